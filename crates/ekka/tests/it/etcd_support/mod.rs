//! The strategy as a node uses it, against a real etcd.

#[allow(dead_code, reason = "the other crate that compiles it needs the rest")]
#[path = "../../../../ekka-cli/tests/it/support/etcd.rs"]
pub(crate) mod etcd;
#[allow(dead_code, reason = "the other crate that compiles it needs the rest")]
#[path = "../../../../ekka-cli/tests/it/support/poll.rs"]
pub(crate) mod poll;

use std::sync::Arc;
use std::time::Duration;

use ekka::config::ConfigBuilder;
use ekka::core::autocluster::{Peer, Proposal, Registration, Supersedes};
use ekka::core::id::{ClusterId, Endpoint, Guid, Incarnation, NodeId};
use ekka::core::view::Role;
use ekka::discovery::{Attachment, Context, Discovery, Found, Me, SharedCredentials, strategies};
use ekka::env::Env;
use ekka::transport::{CookieSet, Credentials, Kdf};
use tokio::sync::{Notify, watch};
use tokio::task::JoinHandle;

pub(crate) use etcd::Etcd;

/// Far longer than anything here takes.
pub(crate) const LIMIT: Duration = Duration::from_secs(30);

/// One node's strategy.
pub(crate) struct Own {
    pub(crate) strategy: Arc<dyn Discovery>,
    pub(crate) me: Me,
    pub(crate) news: Arc<Notify>,
    registration: watch::Sender<Registration>,
    task: Option<JoinHandle<()>>,
    _folder: tempfile::TempDir,
}

impl Own {
    /// The strategy of node `n<number>@10.0.0.<number>`, not running, with further settings.
    pub(crate) fn new(number: u8, servers: &str, settings: &[(&str, &str)]) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let name = format!("n{number}@10.0.0.{number}");
        let mut builder = ConfigBuilder::new()
            .set("node.name", &name)
            .set("node.cookie", "tests-only-0123456789-0123456789-abcdef")
            .set("node.data_dir", folder.path().to_str().expect("UTF-8"))
            .set("cluster.discovery", "etcd")
            .set("cluster.etcd.server", servers)
            .set("cluster.etcd.node_ttl", "2s");
        for (key, value) in settings {
            builder = builder.set(*key, *value);
        }
        let config = builder.build().unwrap_or_else(|errors| panic!("{errors}"));
        let cookies = CookieSet::of(&config.node).expect("a cookie");
        let credentials = Credentials::derive(&config.cluster.tls, &cookies, &config.cluster.name, Kdf::cheap());
        let me = Me {
            name: config.node.name.clone(),
            endpoint: Endpoint { host: config.node.name.host().clone(), port: config.node.port },
            node_id: NodeId::from_u128(u128::from(number)),
        };
        let context = Context {
            env: Env::real(folder.path()).expect("the world"),
            me: me.clone(),
            base_port: config.node.base_port,
            cluster_name: config.cluster.name.clone(),
            credentials: SharedCredentials::new(credentials.expect("credentials")),
        };
        let mut strategies = strategies(&config, &context).unwrap_or_else(|error| panic!("{error}"));
        let strategy = strategies.remove(0);
        let registration = watch::Sender::default();
        Self { strategy, me, news: Arc::default(), registration, task: None, _folder: folder }
    }

    /// Runs it, listed.
    pub(crate) fn run(mut self) -> Self {
        self.register(None);
        let node = Attachment { registration: self.registration.subscribe(), news: self.news.clone() };
        let strategy = self.strategy.clone();
        self.task = Some(tokio::spawn(async move { strategy.run(node).await }));
        self
    }

    /// What etcd is to know from now on.
    pub(crate) fn register(&self, cluster_id: Option<u128>) {
        self.say(cluster_id, Supersedes::default());
    }

    pub(crate) fn say(&self, cluster_id: Option<u128>, supersedes: Supersedes) {
        let cluster_id = cluster_id.map(ClusterId::from_u128);
        self.registration.send_replace(Registration { listed: true, cluster_id, supersedes, settled: false });
    }

    /// All founders of its cluster are in.
    pub(crate) fn settle(&self) {
        self.registration.send_modify(|registration| registration.settled = true);
    }

    /// As at `leave`.
    pub(crate) fn unlist(&self) {
        self.registration.send_replace(Registration::default());
    }

    /// As a crash: nothing is taken out.
    pub(crate) async fn crash(&mut self) {
        let task = self.task.take().expect("it runs");
        task.abort();
        // Its end by the abort is what is waited for.
        let _ = task.await;
    }

    /// As at `stop`.
    pub(crate) async fn stop(&mut self) {
        self.crash().await;
        self.stop_again().await;
    }

    /// As at `stop`, after a crash.
    pub(crate) async fn stop_again(&mut self) {
        self.strategy.unregister().await.unwrap_or_else(|error| panic!("{error}"));
    }

    pub(crate) async fn found(&self) -> Found {
        self.strategy.discover().await.unwrap_or_else(|error| panic!("{error}"))
    }

    pub(crate) async fn names(&self) -> Vec<String> {
        self.found().await.candidates.iter().map(|candidate| candidate.name.to_string()).collect()
    }

    /// What it would offer.
    pub(crate) fn offer(&self, cluster_id: u128) -> Proposal {
        let founder = Peer {
            id: Incarnation { node_id: self.me.node_id, guid: Guid::from_u128(cluster_id) },
            name: self.me.name.clone(),
            endpoint: self.me.endpoint.clone(),
            role: Role::Core,
            software: "0.1.0".to_owned(),
            store: ekka::core::id::StoreId::from_u128(9),
        };
        Proposal { cluster_id: ClusterId::from_u128(cluster_id), founders: vec![founder] }
    }

    /// Waits until it names exactly those, and says how long that took.
    pub(crate) async fn sees(&self, names: &[&str]) -> Duration {
        self.wait(&format!("{} sees {names:?}", self.me.name), async || {
            let found = self.strategy.discover().await?;
            let seen: Vec<String> = found.candidates.iter().map(|candidate| candidate.name.to_string()).collect();
            if seen == names { Ok(()) } else { Err(format!("{seen:?}")) }
        })
        .await
    }

    /// Waits for a condition; how long that took.
    pub(crate) async fn wait(&self, what: &str, condition: impl AsyncFn() -> Result<(), String>) -> Duration {
        let begun = std::time::Instant::now();
        let mut ticks = tokio::time::interval(Duration::from_millis(20));
        loop {
            ticks.tick().await;
            match condition().await {
                Ok(()) => break,
                Err(seen) => assert!(begun.elapsed() < LIMIT, "waited for: {what}\nbut: {seen}"),
            }
        }
        println!("{what}: {:.2?}", begun.elapsed());
        begun.elapsed()
    }
}

/// A condition on etcd's own words.
pub(crate) fn holds(condition: bool, seen: impl std::fmt::Debug) -> Result<(), String> {
    if condition { Ok(()) } else { Err(format!("{seen:?}")) }
}
