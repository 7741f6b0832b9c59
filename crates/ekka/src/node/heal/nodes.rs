//! Real nodes of one process, cut off from each other, wait for their tables.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::sync::Mutex;
use std::time::Duration;

use ekka_core::event::EventKind;
use ekka_core::id::Guid;
use ekka_core::table::Faults;
use ekka_core::view::{LinkState, Status, View};
use tokio::time::{Instant, timeout};

use super::*;
use crate::config::ConfigBuilder;
use crate::env::{Dead, Env, Gate, GatedNet};
use crate::node::{Node, StartOptions, start};
use crate::table::{Ack, Available, Quorum, TableDef};
use crate::transport::Kdf;

const LIMIT: Duration = Duration::from_secs(30);
const USERS: TableDef<u64, u64, Available> = TableDef::available("users");
const STOCK: TableDef<u64, u64, Quorum> = TableDef::quorum("stock").disc();

struct Few {
    nodes: Vec<Node>,
    gates: Vec<Gate>,
    addrs: Vec<SocketAddr>,
    _dirs: Vec<tempfile::TempDir>,
}

impl Few {
    /// So many nodes, of which the last one has these faults.
    async fn with(count: usize, faults: Faults) -> Self {
        // They are not to heal by themselves what a test looks at.
        Self::healing("off", count, faults).await
    }

    async fn healing(autoheal: &str, count: usize, faults: Faults) -> Self {
        let free = |_| TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
        let listeners: Vec<TcpListener> = (0..count).map(free).collect();
        let addrs: Vec<SocketAddr> = listeners.iter().map(|it| it.local_addr().expect("it is bound")).collect();
        drop(listeners);
        let names: Vec<String> = (1..).zip(&addrs).map(|(number, addr)| format!("ekka{number}@{addr}")).collect();
        let (mut nodes, mut gates, mut dirs) = (Vec::new(), Vec::new(), Vec::new());
        for (index, name) in names.iter().enumerate() {
            let dir = tempfile::tempdir().expect("a directory");
            let builder = ConfigBuilder::new()
                .set("node.name", name)
                .set("node.cookie", "tests-only-0123456789-0123456789-abcdef")
                .set("node.data_dir", dir.path().to_str().expect("a path in UTF-8"))
                .set("cluster.autoheal", autoheal)
                .set("cluster.discovery", "static")
                .set("cluster.static.seeds", names.join(","));
            let config = builder.build().unwrap_or_else(|errors| panic!("{errors}"));
            let (mut env, gate) = (Env::real(&config.node.data_dir).expect("a directory"), Gate::new());
            env.net = Arc::new(GatedNet::new(env.net.clone(), gate.clone()));
            let table_faults = if index + 1 == count { faults } else { Faults::default() };
            let options = StartOptions { kdf: Kdf::cheap(), table_faults, ..StartOptions::default() };
            nodes.push(start(config, env, options).await.expect("it starts"));
            gates.push(gate);
            dirs.push(dir);
        }
        let nodes = Self { nodes, gates, addrs, _dirs: dirs };
        for node in &nodes.nodes {
            until(node, |view| view.ready_quorum && up(view) == count).await;
        }
        nodes
    }

    fn cut(&self, a: usize, b: usize) {
        self.gates[a].set(self.addrs[b], Dead::BOTH);
        self.gates[b].set(self.addrs[a], Dead::BOTH);
    }

    fn mend(&self, a: usize, b: usize) {
        self.gates[a].set(self.addrs[b], Dead::default());
        self.gates[b].set(self.addrs[a], Dead::default());
    }

    /// How many questions about tables a node asked, or answered: in all, and without an answer.
    fn asked(&self, at: usize, side: &'static str) -> (u64, u64) {
        let rpc = self.nodes[at].counters().rpc;
        let Some(calls) = rpc.get(&("ekka.table.digest.passed".to_owned(), side)) else { return (0, 0) };
        let broken_off = ["unreachable", "timed_out"].iter().filter_map(|result| calls.results.get(result)).sum();
        (calls.results.values().sum(), broken_off)
    }

    fn repair(&self) {
        self.gates.iter().for_each(Gate::open_all);
    }

    fn id(&self, at: usize) -> Incarnation {
        self.nodes[at].view().me
    }

    /// The exchange of a node with these; what it waits for goes into the list.
    async fn exchange(&self, at: usize, with: &[Incarnation], said: &Arc<Mutex<Vec<String>>>) -> Exchanged {
        let (inner, said) = (&self.nodes[at].inner, said.clone());
        let exchange = exchange(&inner.tables, &inner.calls);
        exchange(with.to_vec(), with.to_vec(), Box::new(move |text| said.lock().unwrap().push(text))).await
    }
}

fn up(view: &View) -> usize {
    view.members.iter().filter(|member| member.status == Status::Up).count()
}

/// Whether a node does not hear another one directly.
fn is_silent(view: &View, other: Incarnation) -> bool {
    let link = view.links.iter().find(|link| link.from == view.me.node_id && link.to == other.node_id);
    link.is_none_or(|link| link.state != LinkState::Up)
}

async fn until(node: &Node, condition: impl Fn(&View) -> bool) {
    let mut views = node.view_changes();
    let done = timeout(LIMIT, views.wait_for(|view| condition(view))).await.is_ok_and(|seen| seen.is_ok());
    assert!(done, "not within {LIMIT:?}: {:#?}", node.view());
}

/// EKKA_SPEC 10, row 28: what it held before is not what it goes on with.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_written_on_both_sides_of_a_cut_is_here_when_the_exchange_ends() {
    let nodes = Few::with(2, Faults::default()).await;
    let (left, right) = (&nodes.nodes[0], &nodes.nodes[1]);
    let (here, there) = (right.table(&USERS).await.expect("open"), left.table(&USERS).await.expect("open"));
    let stock = left.table(&STOCK).await.expect("open");
    stock.put(&1, &1).await.expect("written");
    here.put(&1, &1).ack(Ack::All).await.expect("written");
    nodes.cut(0, 1);
    for node in [left, right] {
        until(node, |view| up(view) == 1).await;
    }
    // Until the links of the tables have ended as well: from then on what is written counts as exchanged.
    for node in [left, right] {
        let slots = node.inner.tables.clone();
        let linked = async || {
            while slots.has_links() {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        timeout(LIMIT, linked()).await.expect("they end");
    }
    for key in 0..20 {
        there.put(&key, &100).ack(Ack::Local).await.expect("written");
    }
    for key in 0..5 {
        here.put(&key, &200).ack(Ack::Local).await.expect("written");
    }
    let said = Arc::default();
    nodes.repair();
    for node in [left, right] {
        until(node, |view| up(view) == 2).await;
    }
    let exchanged = timeout(LIMIT, nodes.exchange(1, &[nodes.id(0)], &said)).await.expect("it ends");
    assert_eq!(exchanged, Exchanged { rows: 20, overridden: 5 }, "{said:?}");
    for key in 5..20 {
        assert_eq!(here.get(&key).expect("read"), Some(100));
    }
    let (_, counts) = right.tables().figures("users").expect("it is open");
    assert_eq!(counts.healed, (20, 5));
    let again = timeout(LIMIT, nodes.exchange(1, &[nodes.id(0)], &said)).await.expect("it ends");
    assert_eq!(again, Exchanged::default(), "nothing is counted twice");
}

/// USERS 10: a difference that was planted in a table.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_table_that_differs_is_never_healed() {
    let nodes = Few::with(2, Faults { counts_unmerged: true, ..Faults::default() }).await;
    let users = nodes.nodes[0].table(&USERS).await.expect("open");
    let mut events = nodes.nodes[0].events();
    users.put(&1, &1).ack(Ack::All).await.expect("by its word the other one has it");
    let said = Arc::<Mutex<Vec<String>>>::default();
    let ended = timeout(Duration::from_secs(4), nodes.exchange(0, &[nodes.id(1)], &said)).await;
    let said = said.lock().unwrap().clone();
    assert!(ended.is_err() && said.iter().any(|text| text.contains("its rows are not those of ekka2@")), "{said:?}");
    let mut told = 0;
    while let Ok(event) = events.try_recv() {
        told += u32::from(matches!(event.event.kind, EventKind::TableDigestMismatch { .. }));
    }
    assert_eq!(told, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_that_only_a_third_node_reaches_is_asked_through_it_and_one_that_is_over_is_waited_for() {
    let nodes = Few::with(3, Faults::default()).await;
    let mut tables = Vec::new();
    for node in &nodes.nodes {
        tables.push(node.table(&USERS).await.expect("open"));
    }
    tables[2].put(&1, &1).ack(Ack::All).await.expect("written");
    nodes.cut(0, 2);
    until(&nodes.nodes[0], |view| is_silent(view, nodes.id(2))).await;
    tables[2].put(&2, &2).await.expect("written");
    let said = Arc::<Mutex<Vec<String>>>::default();
    // The one that is cut off is the first of the side.
    let all = [nodes.id(2), nodes.id(1)];
    timeout(LIMIT, nodes.exchange(0, &all, &said)).await.unwrap_or_else(|_| panic!("it waits: {said:?}"));
    assert_eq!(tables[0].get(&2).expect("read"), Some(2), "it came through the third");
    assert_eq!(nodes.asked(0, "client").1, 0, "who is not heard is not called");
    assert_eq!(nodes.asked(2, "server"), (1, 0), "it says what it holds, and the other one is compared with");
    let over = Incarnation { guid: Guid::from_u128(1), ..nodes.id(1) };
    said.lock().unwrap().clear();
    assert!(timeout(Duration::from_secs(2), nodes.exchange(0, &[over], &said)).await.is_err());
    let said = said.lock().unwrap().clone();
    let expected = "not known yet what is held by ekka2@";
    assert!(said[0].contains(expected) && said[0].ends_with("(another start of it runs)"), "{said:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_side_that_only_a_third_node_reaches_is_compared_with_through_it_and_called_in_vain_once() {
    let nodes = Few::with(3, Faults::default()).await;
    let stock = nodes.nodes[2].table(&STOCK).await.expect("open");
    stock.put(&1, &1).await.expect("written");
    let mut tables = Vec::new();
    for node in &nodes.nodes {
        for def in [&USERS, &TableDef::available("visits"), &TableDef::available("orders")] {
            tables.push((node, node.table(def).await.expect("open")));
        }
    }
    for (node, table) in &tables {
        table.put(&1, &1).ack(Ack::All).await.unwrap_or_else(|error| panic!("{}: {error}", node.view().name));
    }
    nodes.cut(0, 2);
    // Nobody knows yet that they do not hear each other.
    for (_, table) in &tables[6..] {
        table.put(&2, &2).ack(Ack::Local).await.expect("written");
    }
    let said = Arc::<Mutex<Vec<String>>>::default();
    let began = Instant::now();
    timeout(LIMIT, nodes.exchange(0, &[nodes.id(2)], &said)).await.unwrap_or_else(|_| panic!("it waits: {said:?}"));
    let took = began.elapsed();
    for (_, table) in &tables[..3] {
        assert_eq!(table.get(&2).expect("read"), Some(2), "it came through the third");
    }
    assert_eq!(nodes.asked(0, "client").1, 1, "{said:?}");
    // What each holds, and is compared by; and which tables are open.
    assert!(nodes.asked(2, "server").0 > 3 * 3, "{:?}", nodes.asked(2, "server"));
    assert!(took < Duration::from_secs(10), "{took:?}: {said:?}");
    // It is called itself again once it is linked again.
    nodes.mend(0, 2);
    until(&nodes.nodes[0], |view| !is_silent(view, nodes.id(2))).await;
    let through = nodes.asked(1, "server").0;
    timeout(LIMIT, nodes.exchange(0, &[nodes.id(2)], &said)).await.unwrap_or_else(|_| panic!("it waits: {said:?}"));
    assert_eq!(nodes.asked(1, "server").0, through);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_alone_heal_while_one_of_their_links_stays_cut() {
    let nodes = Few::healing("500ms", 3, Faults::default()).await;
    let mut tables = Vec::new();
    for node in &nodes.nodes {
        tables.push(node.table(&USERS).await.expect("open"));
    }
    let mut events = nodes.nodes[2].events();
    for (a, b) in [(0, 1), (0, 2), (1, 2)] {
        nodes.cut(a, b);
    }
    for node in &nodes.nodes {
        until(node, |view| up(view) == 1).await;
    }
    for (number, table) in (1..).zip(&tables) {
        table.put(&number, &number).ack(Ack::Local).await.expect("written");
    }
    let began = Instant::now();
    nodes.mend(0, 1);
    nodes.mend(1, 2);
    let finished =
        async { while !matches!(events.recv().await.expect("events").event.kind, EventKind::HealFinished { .. }) {} };
    timeout(LIMIT, finished).await.unwrap_or_else(|_| panic!("not healed: {:#?}", nodes.nodes[2].view()));
    let took = began.elapsed();
    for table in &tables {
        let rows = [1, 2, 3].map(|key| table.get(&key).expect("read"));
        assert_eq!(rows, [Some(1), Some(2), Some(3)]);
    }
    assert!(took < Duration::from_secs(10), "{took:?}");
    assert!(nodes.asked(2, "client").1 <= 1, "{:?}", nodes.asked(2, "client"));
    assert!(is_silent(&nodes.nodes[2].view(), nodes.id(0)), "all of it was through the third");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_was_cut_off_comes_back_with_all_rows_and_its_callbacks_are_called_once() {
    let nodes = Few::healing("500ms", 3, Faults::default()).await;
    let calls = Arc::new(Mutex::new(Vec::new()));
    for (number, node) in (1..).zip(&nodes.nodes) {
        let (prepares, reboots) = (calls.clone(), calls.clone());
        node.on_prepare(move |_| {
            prepares.lock().unwrap().push((number, "prepare"));
            async { Err("it is a test") }
        });
        node.on_reboot(move |_| {
            reboots.lock().unwrap().push((number, "reboot"));
            async { Ok::<_, std::convert::Infallible>(()) }
        });
    }
    let (whole, alone) = (&nodes.nodes[0], &nodes.nodes[2]);
    let (there, here) = (whole.table(&USERS).await.expect("open"), alone.table(&USERS).await.expect("open"));
    let mut events = alone.events();
    nodes.cut(0, 2);
    nodes.cut(1, 2);
    until(whole, |view| up(view) == 2).await;
    until(alone, |view| up(view) == 1).await;
    there.put(&1, &1).await.expect("written");
    here.put(&2, &2).ack(Ack::Local).await.expect("written");
    nodes.repair();
    let finished = async {
        let mut failed = 0;
        loop {
            match &events.recv().await.expect("events").event.kind {
                EventKind::HealFailed { .. } => failed += 1,
                EventKind::HealFinished { .. } => return failed,
                _ => {}
            }
        }
    };
    let failed = timeout(LIMIT, finished).await.unwrap_or_else(|_| panic!("not healed: {:#?}", alone.view()));
    assert_eq!(*calls.lock().unwrap(), [(3, "prepare"), (3, "reboot")]);
    assert_eq!((here.get(&1).expect("read"), there.get(&2).expect("read")), (Some(1), Some(2)));
    until(alone, |view| up(view) == 3).await;
    let counters = alone.counters();
    assert_eq!((counters.heals["healed"], counters.heals["failed"], failed), (1, 1, 1), "{:?}", counters.heals);
    assert_eq!(counters.heal_times.total(), 1);
}
