use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};

use ekka_core::autocluster::Candidate;
use ekka_core::control::{Control, Faults, Identity, Saved, Setup};
use ekka_core::id::{Guid, NodeId};
use ekka_core::view::Role;
use tokio::sync::Semaphore;

use super::*;
use crate::config::{ConfigBuilder, formation_settings};
use crate::env::{BoxFuture, Env};

const LIMIT: Duration = Duration::from_secs(10);

/// Answers when it is let, and tells when it runs.
struct Slow {
    name: &'static str,
    may_answer: Semaphore,
    runs: Semaphore,
    panics_at_end: AtomicBool,
}

impl Slow {
    fn new(name: &'static str) -> Arc<Self> {
        let panics_at_end = AtomicBool::new(false);
        Arc::new(Self { name, may_answer: Semaphore::new(0), runs: Semaphore::new(0), panics_at_end })
    }

    async fn begins(&self) {
        tokio::time::timeout(LIMIT, self.runs.acquire()).await.expect("it runs").expect("open").forget();
    }
}

impl Discovery for Slow {
    fn name(&self) -> &'static str {
        self.name
    }

    fn discover(&self) -> BoxFuture<'_, Result<Found, String>> {
        Box::pin(async {
            self.may_answer.acquire().await.expect("open").forget();
            let name = "n1@10.0.0.1".parse().expect("a name");
            let endpoint = ekka_core::id::NodeName::endpoint(&name, 4370).expect("a port");
            Ok(vec![Candidate { name, endpoint }].into())
        })
    }

    fn run(&self, _: Attachment) -> BoxFuture<'_, ()> {
        self.runs.add_permits(1);
        Box::pin(std::future::pending())
    }

    fn unregister(&self) -> BoxFuture<'_, Result<(), String>> {
        assert!(!self.panics_at_end.load(Ordering::SeqCst), "a fault of the strategy, on purpose");
        Box::pin(async { Ok(()) })
    }
}

fn shared(folder: &std::path::Path) -> Arc<Shared> {
    let config = ConfigBuilder::new()
        .set("node.name", "n1@10.0.0.1")
        .set("node.cookie", "tests-only-0123456789-0123456789-abcdef")
        .set("node.data_dir", folder.to_str().expect("UTF-8"))
        .set("cluster.discovery", "manual")
        .build()
        .unwrap_or_else(|errors| panic!("{errors}"));
    let env = Env::real(folder).expect("the world");
    let setup = Setup {
        session_max: Duration::from_secs(60),
        identity: Identity {
            node_id: NodeId::from_u128(1),
            guid: Guid::from_u128(2),
            previous_guid: None,
            start_counter: 1,
            renamed_from: None,
        },
        name: config.node.name.clone(),
        endpoint: config.node.name.endpoint(4370).expect("a port"),
        role: Role::Core,
        tags: BTreeMap::new(),
        cluster_name: "ekka".to_owned(),
        software: "0.1.0".to_owned(),
        formation: formation_settings(&config),
        store: ekka_core::id::StoreId::from_u128(1),
        damage: Vec::new(),
        saved: Saved::default(),
        seed: 1,
        faults: Faults::default(),
        gone_after: Duration::from_secs(15),
        autoheal: None,
        carried: None,
        autoclean: None,
    };
    let control = Control::new(setup, env.clock.now());
    Arc::new(Shared::new(config.node.name, env.clock, control.view(), 0))
}

/// The next answer: of which list and strategy.
async fn answer(from: &mut mpsc::Receiver<Own>) -> (SourceList, String) {
    match tokio::time::timeout(LIMIT, from.recv()).await.expect("an answer") {
        Some(Own::Input(Input::Discovered { list, strategy, result: Ok(_) })) => (list, strategy),
        _ => panic!("no answer of a strategy"),
    }
}

#[tokio::test]
async fn what_an_exchanged_strategy_would_still_answer_is_neither_told_nor_counted() {
    let folder = tempfile::tempdir().expect("a folder");
    let (shared, (to, mut from)) = (shared(folder.path()), mpsc::channel(16));
    let (old, new, other) = (Slow::new("dns"), Slow::new("dns"), Slow::new("mcast"));
    let mut strategies = Strategies::new(vec![old.clone(), other.clone()], to, shared.clone());
    strategies.ask();
    // It waits for its answer when it is exchanged; the other's answer is on its way.
    other.may_answer.add_permits(1);
    let before = (SourceList::default(), "mcast".to_owned());
    assert_eq!(answer(&mut from).await, before);
    let late = Asker { strategy: other.clone(), list: before.0, to: strategies.to.clone(), shared: shared.clone() };
    strategies.replace(vec![new.clone()]);
    old.may_answer.add_permits(5);
    new.may_answer.add_permits(5);
    strategies.ask();
    let now = (before.0.next(), "dns".to_owned());
    assert_eq!((answer(&mut from).await, strategies.number()), (now.clone(), now.0));
    assert_eq!(old.may_answer.available_permits(), 5, "the old one was not let go on");
    // A thread may have been between its answer and its figures: that is told by its number.
    other.may_answer.add_permits(1);
    late.ask().await;
    assert_eq!(answer(&mut from).await, before);
    let figures = shared.figures();
    assert_eq!(figures.candidates.keys().collect::<Vec<_>>(), ["dns"]);
    assert_eq!(figures.last_success.keys().collect::<Vec<_>>(), ["dns"]);
    assert_eq!(figures.rounds.get(&("mcast".to_owned(), "ok")), Some(&1));
}

#[tokio::test]
async fn a_strategy_that_panics_at_its_end_holds_up_neither_its_successor_nor_the_node() {
    let folder = tempfile::tempdir().expect("a folder");
    let (old, new) = (Slow::new("etcd"), Slow::new("etcd"));
    let (to, _from) = mpsc::channel(16);
    let mut strategies = Strategies::new(vec![old.clone()], to, shared(folder.path()));
    old.begins().await;
    old.panics_at_end.store(true, Ordering::SeqCst);
    strategies.replace(vec![new.clone()]);
    new.begins().await;
    new.panics_at_end.store(true, Ordering::SeqCst);
    tokio::time::timeout(LIMIT, strategies.unregister()).await.expect("it ends");
}
