//! Quorum tables on disc of nodes whose discs are nearly full: what is put is refused before it goes into any log, and
//! what is deleted is not. The reserve is more than any disc has, so the nodes are full from their start.

use std::time::Duration;

use crate::support::{COOKIE, names, start, until};
use ekka::config::Config;
use ekka::core::view::{Status, View};
use ekka::node::Node;
use ekka::table::{Expected, Quorum, QuorumError, Table, TableDef};

const RAM: TableDef<String, i64, Quorum> = TableDef::quorum("test.ram");
const DISC: TableDef<String, i64, Quorum> = TableDef::quorum("test.disc").disc();

/// Of a disc with room, however small that is.
const NONE: &str = "0B";
const MORE_THAN_THERE_IS: &str = "4000000GB";

type Accounts = Table<String, i64, Quorum>;

struct Three {
    names: Vec<String>,
    dirs: Vec<tempfile::TempDir>,
}

impl Three {
    fn new() -> Self {
        Self { names: names(3), dirs: (0..3).map(|_| tempfile::tempdir().expect("a directory")).collect() }
    }

    fn config(&self, index: usize, reserve: &str) -> Config {
        let builder = ekka::config::ConfigBuilder::new()
            .set("node.name", &self.names[index])
            .set("node.cookie", COOKIE)
            .set("node.data_dir", self.dirs[index].path().to_str().expect("a path in UTF-8"))
            .set("cluster.discovery", "static")
            .set("cluster.static.seeds", self.names.join(","))
            .set("storage.reserve", reserve);
        builder.build().unwrap_or_else(|errors| panic!("{errors}"))
    }

    async fn begin(&self, index: usize, reserve: &str) -> Node {
        start(self.config(index, reserve)).await.expect("the node starts")
    }

    /// Three nodes that had room, with rows in a table, and have ended.
    async fn with_rows(keys: &[&str]) -> Self {
        let three = Self::new();
        let mut nodes = Vec::new();
        for index in 0..3 {
            nodes.push(three.begin(index, NONE).await);
        }
        for node in &nodes {
            up(node, 3).await;
        }
        let table = nodes[0].table(&DISC).await.expect("it opens");
        for key in keys {
            table.put(&(*key).to_owned(), &1).await.expect("there is room");
        }
        for node in nodes {
            node.stop(Duration::from_secs(10)).await.expect("it stops");
        }
        three
    }
}

async fn up(node: &Node, count: usize) {
    let is_up = |view: &View| view.members.iter().filter(|member| member.status == Status::Up).count() == count;
    until(node, &format!("{} sees {count} up", node.view().name), is_up).await;
}

async fn full(node: &Node) {
    let is_full = |view: &View| view.reasons.iter().any(|reason| reason.code == "disc_full");
    until(node, &format!("{} has no room", node.view().name), is_full).await;
}

/// Whatever puts a row is refused, and the table stays as it is.
async fn refuses_puts(table: &Accounts) {
    let (old, new) = ("old".to_owned(), "new".to_owned());
    let refused = table.put(&new, &2).await.expect_err("there is no room");
    assert_eq!(refused, QuorumError::DiscFull);
    assert!(refused.is_retryable() && !refused.outcome_unknown());
    assert_eq!(table.compare_and_swap(&new, Expected::Absent, Some(&2)).await, Err(QuorumError::DiscFull));
    assert_eq!(table.compare_and_swap(&old, Expected::Value(&1), Some(&2)).await, Err(QuorumError::DiscFull));
    let both = table.transact(async |t| {
        t.delete(&old)?;
        t.put(&new, &2)
    });
    assert_eq!(both.await, Err(QuorumError::DiscFull));
    assert_eq!((table.get(&old).await, table.get(&new).await), (Ok(Some(1)), Ok(None)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_full_discs_refuse_what_is_put_and_take_what_is_deleted() {
    let three = Three::with_rows(&["old", "a", "b", "c"]).await;
    let mut nodes = Vec::new();
    for index in 0..3 {
        nodes.push(three.begin(index, MORE_THAN_THERE_IS).await);
    }
    for node in &nodes {
        up(node, 3).await;
        full(node).await;
    }
    for node in &nodes {
        refuses_puts(&node.table(&DISC).await.expect("it opens")).await;
    }
    let table = nodes[0].table(&DISC).await.expect("it opens");
    let [a, b, c] = ["a", "b", "c"].map(str::to_owned);
    table.delete(&a).await.expect("a delete is taken");
    table.compare_and_swap(&b, Expected::Value(&1), None).await.expect("a swap that deletes is taken");
    table.transact(async |t| t.delete(&c)).await.expect("a transaction that deletes is taken");
    assert_eq!(table.scan().await.expect("a majority").count(), 1);
    // What is in memory needs no room on disc.
    let ram = nodes[0].table(&RAM).await.expect("it is made");
    ram.put(&a, &3).await.expect("ram takes it");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_leader_refuses_what_a_node_with_room_puts() {
    let three = Three::with_rows(&["old"]).await;
    // They are a majority, so one of them leads before the third is there.
    let full_ones = [three.begin(0, MORE_THAN_THERE_IS).await, three.begin(1, MORE_THAN_THERE_IS).await];
    for node in &full_ones {
        full(node).await;
        node.table(&DISC).await.expect("it opens").get(&"old".to_owned()).await.expect("one leads");
    }
    let writer = three.begin(2, NONE).await;
    up(&writer, 3).await;
    assert!(writer.view().reasons.iter().all(|reason| reason.code != "disc_full"));
    let table = writer.table(&DISC).await.expect("it opens");
    refuses_puts(&table).await;
    table.delete(&"old".to_owned()).await.expect("a delete is taken");
    assert_eq!(table.get(&"old".to_owned()).await, Ok(None));
}
