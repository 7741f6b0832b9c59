//! Two real nodes of one process compare their tables: equal ones are in step, and a fault that was put in is found.

use std::time::Duration;

use crate::support::{config, names, until};
use ekka::core::event::EventKind;
use ekka::core::table::Faults;
use ekka::core::view::Status;
use ekka::env::Env;
use ekka::node::{Node, StartOptions};
use ekka::table::{Ack, Available, Quorum, Step, TableDef, TableVerdict};
use ekka::transport::Kdf;

const USERS: TableDef<u64, u64, Available> = TableDef::available("test.users").disc();
const STOCK: TableDef<u64, u64, Quorum> = TableDef::quorum("test.stock").disc();

struct Two {
    nodes: Vec<Node>,
    _dirs: Vec<tempfile::TempDir>,
}

impl Two {
    /// Two nodes, of which the second one has these faults.
    async fn with(faults: Faults) -> Self {
        let names = names(2);
        let dirs: Vec<_> = (0..2).map(|_| tempfile::tempdir().expect("a directory")).collect();
        let mut nodes = Vec::new();
        for (index, dir) in dirs.iter().enumerate() {
            let config = config(&names[index], &names, dir.path());
            let env = Env::real(&config.node.data_dir).expect("a data directory");
            let table_faults = if index == 1 { faults } else { Faults::default() };
            let options = StartOptions { kdf: Kdf::cheap(), table_faults, ..StartOptions::default() };
            nodes.push(ekka::node::start(config, env, options).await.expect("the node starts"));
        }
        for node in &nodes {
            let up = |status: &Status| *status == Status::Up;
            until(node, "both are up", |view| {
                view.ready_quorum && view.members.iter().filter(|member| up(&member.status)).count() == 2
            })
            .await;
        }
        Self { nodes, _dirs: dirs }
    }
}

fn steps(verdict: &TableVerdict) -> Vec<&Step> {
    verdict.peers.iter().map(|peer| &peer.step).collect()
}

async fn verdict(node: &Node, table: &str) -> TableVerdict {
    node.verify_tables(Some(table)).await.expect("the table is there").remove(0)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tables_that_are_equal_are_in_step_whoever_asks() {
    let two = Two::with(Faults::default()).await;
    for node in &two.nodes {
        let (users, stock) = (node.table(&USERS).await.expect("it opens"), node.table(&STOCK).await.expect("it opens"));
        for key in 0..20 {
            users.put(&key, &key).ack(Ack::All).await.expect("written");
            stock.put(&key, &key).await.expect("written");
        }
        users.delete(&3).ack(Ack::All).await.expect("deleted");
    }
    let mut sums = Vec::new();
    for node in &two.nodes {
        for table in ["test.users", "test.stock"] {
            let verdict = verdict(node, table).await;
            // What a peer has applied, and not yet said, may be on its way.
            assert!(
                matches!(steps(&verdict)[..], [Step::InStep | Step::Behind { .. }]),
                "{table} on {}: {verdict:?}",
                node.view().name
            );
            assert_eq!(verdict.differs(), Some(false));
            sums.push((verdict.rows, verdict.digest));
        }
        assert_eq!(node.tables().info("test.users").and_then(|info| info.differs), Some(false));
    }
    assert_eq!((sums[0], sums[1].0), (sums[2], 20), "equal rows, equal sums");
    assert_eq!(sums[0].0, 19);
    assert!(two.nodes[0].verify_tables(Some("nobody")).await.is_none());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_counts_what_it_does_not_merge_is_found() {
    let two = Two::with(Faults { counts_unmerged: true, ..Faults::default() }).await;
    let users = two.nodes[0].table(&USERS).await.expect("it opens");
    let mut events = two.nodes[0].events();
    users.put(&1, &1).ack(Ack::All).await.expect("by its word the other one has it");
    let found = verdict(&two.nodes[0], "test.users").await;
    assert!(matches!(steps(&found)[..], [Step::Differs { ranges }] if ranges.len() == 1), "{found:?}");
    assert_eq!(two.nodes[0].tables().info("test.users").and_then(|info| info.differs), Some(true));
    let told = tokio::time::timeout(Duration::from_secs(10), async {
        loop {
            if let EventKind::TableDigestMismatch { table, peer, ranges } =
                &events.recv().await.expect("events").event.kind
            {
                return (table.clone(), peer.clone(), *ranges);
            }
        }
    });
    let (table, peer, ranges) = told.await.expect("it is told");
    assert_eq!((table.as_str(), ranges), ("test.users", 1));
    assert_eq!(peer, two.nodes[1].view().name.to_string());
    let other = verdict(&two.nodes[1], "test.users").await;
    assert_eq!(other.differs(), Some(true), "the other one finds it too: {other:?}");
}
