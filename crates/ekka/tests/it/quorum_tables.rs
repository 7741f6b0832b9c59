//! Quorum tables of three real nodes in one process.

use std::time::Duration;

use crate::support::{config, names, start, until};
use ekka::core::view::Status;
use ekka::node::Node;
use ekka::table::{Change, Expected, Quorum, QuorumError, Table, TableDef};

const RAM: TableDef<String, i64, Quorum> = TableDef::quorum("test.ram");
const DISC: TableDef<String, i64, Quorum> = TableDef::quorum("test.disc").disc();

type Accounts = Table<String, i64, Quorum>;

struct Three {
    nodes: Vec<Node>,
    names: Vec<String>,
    dirs: Vec<tempfile::TempDir>,
}

impl Three {
    async fn ready() -> Self {
        let names = names(3);
        let dirs: Vec<_> = (0..3).map(|_| tempfile::tempdir().expect("a directory")).collect();
        let mut three = Self { nodes: Vec::new(), names, dirs };
        for index in 0..3 {
            let node = three.begin(index).await;
            three.nodes.push(node);
        }
        for node in &three.nodes {
            three_up(node).await;
        }
        three
    }

    async fn begin(&self, index: usize) -> Node {
        start(config(&self.names[index], &self.names, self.dirs[index].path())).await.expect("the node starts")
    }

    async fn tables(&self, def: &TableDef<String, i64, Quorum>) -> Vec<Accounts> {
        let mut tables = Vec::new();
        for node in &self.nodes {
            tables.push(node.table(def).await.expect("it opens"));
        }
        tables
    }
}

async fn three_up(node: &Node) {
    let what = format!("{} sees three up and is ready", node.view().name);
    let up = |status: &Status| *status == Status::Up;
    until(node, &what, |view| view.ready_quorum && view.members.iter().filter(|m| up(&m.status)).count() == 3).await;
}

fn account(number: usize) -> String {
    format!("account-{number}")
}

/// Moves one from an account to another, where there is one.
async fn transfer(table: &Accounts, from: usize, to: usize) -> Result<bool, QuorumError> {
    let (from, to) = (account(from), account(to));
    table
        .transact(async |t| {
            let has = t.get(&from).await?.unwrap_or(0);
            let other = t.get(&to).await?.unwrap_or(0);
            if has > 0 {
                t.put(&from, &(has - 1))?;
                t.put(&to, &(other + 1))?;
            }
            Ok(has > 0)
        })
        .await
}

async fn sum(table: &Accounts) -> i64 {
    table.scan().await.expect("a majority").map(|row| row.expect("a number").1).sum()
}

/// Asks again and again until it is so.
async fn comes_true(what: &str, mut is_so: impl AsyncFnMut() -> bool) {
    let mut look = tokio::time::interval(Duration::from_millis(20));
    let waited = tokio::time::timeout(Duration::from_secs(20), async {
        while !is_so().await {
            look.tick().await;
        }
    });
    waited.await.unwrap_or_else(|_| panic!("waited for: {what}"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn transactions_of_three_nodes_keep_the_sum_and_swaps_count_right() {
    let three = Three::ready().await;
    for def in [RAM, DISC] {
        let tables = three.tables(&def).await;
        for number in 0..4 {
            tables[0].put(&account(number), &25).await.expect("written");
        }
        let mut tasks = Vec::new();
        for (which, table) in tables.iter().cloned().enumerate() {
            tasks.push(tokio::spawn(async move {
                let mut moved = 0;
                for step in 0..20 {
                    match transfer(&table, (which + step) % 4, (which + step + 1 + step % 3) % 4).await {
                        Ok(done) => moved += i64::from(done),
                        Err(QuorumError::Conflict) => {}
                        Err(error) => panic!("{error}"),
                    }
                }
                moved
            }));
        }
        let mut moved = 0;
        for task in tasks {
            moved += task.await.expect("no panic");
        }
        assert!(moved > 0, "somebody got through");
        for table in &tables {
            assert_eq!(sum(table).await, 100, "{}", def.name());
        }
        let counted = count(&tables, 30).await;
        assert_eq!(tables[1].get(&"count".to_owned()).await, Ok(Some(counted)));
        assert_eq!(counted, 30);
    }
}

/// Counts up by compare-and-swap from all nodes at once; how many swaps were acknowledged.
async fn count(tables: &[Accounts], most: i64) -> i64 {
    let key = "count".to_owned();
    assert!(tables[0].compare_and_swap(&key, Expected::Absent, Some(&0)).await.is_ok());
    assert_eq!(tables[1].compare_and_swap(&key, Expected::Absent, Some(&7)).await, Err(QuorumError::Conflict));
    let mut tasks = Vec::new();
    for table in tables {
        let (table, key) = (table.clone(), key.clone());
        tasks.push(tokio::spawn(async move {
            let mut swapped = 0;
            loop {
                let (value, revision) = table.get_versioned(&key).await.expect("a majority").expect("a row");
                if value >= most {
                    return swapped;
                }
                match table.compare_and_swap(&key, Expected::Revision(revision), Some(&(value + 1))).await {
                    Ok(_) => swapped += 1,
                    Err(QuorumError::Conflict) => {}
                    Err(error) => panic!("{error}"),
                }
            }
        }));
    }
    let mut swapped = 0;
    for task in tasks {
        swapped += task.await.expect("no panic");
    }
    swapped
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rows_survive_restarts_and_generations_and_expire() {
    let mut three = Three::ready().await;
    let (ram, disc) = (three.tables(&RAM).await, three.tables(&DISC).await);
    let key = "kept".to_owned();
    let mut watch = ram[2].watch();
    assert_eq!(watch.next().await, Ok(Some(Change::SnapshotEnd { revision: 0 })));
    let revision = ram[0].put(&key, &1).await.expect("written");
    assert_eq!(watch.next().await, Ok(Some(Change::Put(key.clone(), 1))));
    assert_eq!(ram[1].get_versioned(&key).await, Ok(Some((1, revision))));
    disc[1].put(&key, &2).await.expect("written");
    // Time-to-live: the leader's node takes it out, on all nodes at once.
    ram[0].put(&"short".to_owned(), &3).ttl(Duration::from_millis(300)).await.expect("written");
    assert_eq!(ram[1].get(&"short".to_owned()).await, Ok(Some(3)));
    comes_true("the row has expired", async || ram[2].get(&"short".to_owned()).await == Ok(None)).await;
    // One after the other: ram rows stay while a majority does, under the same generation or a later one.
    for index in 0..3 {
        let old = three.nodes.remove(index);
        old.stop(Duration::from_secs(10)).await.expect("it stops");
        drop(old);
        let node = three.begin(index).await;
        three.nodes.insert(index, node);
        for node in &three.nodes {
            three_up(node).await;
        }
    }
    let (ram, disc) = (three.tables(&RAM).await, three.tables(&DISC).await);
    for node in 0..3 {
        assert_eq!(ram[node].get(&key).await, Ok(Some(1)), "ram at {node}");
        assert_eq!(disc[node].get(&key).await, Ok(Some(2)), "disc at {node}");
    }
    // All at once: ram is empty then, disc is not.
    for node in three.nodes.drain(..) {
        node.stop(Duration::from_secs(10)).await.expect("it stops");
    }
    for index in 0..3 {
        let node = three.begin(index).await;
        three.nodes.push(node);
    }
    for node in &three.nodes {
        three_up(node).await;
    }
    let (ram, disc) = (three.tables(&RAM).await, three.tables(&DISC).await);
    assert_eq!(disc[0].get(&key).await, Ok(Some(2)));
    assert_eq!(ram[0].get(&key).await, Ok(None));
    assert!(ram[0].put(&key, &4).await.is_ok());
    assert_eq!(ram[1].get(&key).await, Ok(Some(4)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn in_a_minority_reads_and_writes_say_so_and_stale_reads_answer() {
    let mut three = Three::ready().await;
    let (ram, disc) = (three.tables(&RAM).await, three.tables(&DISC).await);
    let key = "kept".to_owned();
    for table in [&ram[2], &disc[2]] {
        table.put(&key, &1).await.expect("written");
    }
    // A majority has both rows; a voter hears a moment later that they count.
    for table in [&ram[0], &disc[0]] {
        comes_true("the node that stays has the row", async || table.get_stale(&key) == Ok(Some(1))).await;
    }
    for node in three.nodes.drain(1..) {
        node.stop(Duration::from_secs(10)).await.expect("it stops");
    }
    for table in [&ram[0], &disc[0]] {
        let read = table.get(&key).await.expect_err("no majority");
        assert!(matches!(read, QuorumError::NoQuorum(_)) && read.is_retryable(), "{read}");
        let written = table.put(&key, &2).await.expect_err("no majority");
        assert!(matches!(written, QuorumError::NoQuorum(_) | QuorumError::Unknown(_)), "{written}");
        let tried = transfer(table, 0, 1).await.expect_err("no majority");
        assert!(matches!(tried, QuorumError::NoQuorum(_)), "{tried}");
        assert_eq!(table.get_stale(&key), Ok(Some(1)));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_too_large_or_of_another_group_is_refused_and_a_dropped_table_is_closed() {
    const TEXTS: TableDef<String, String, Quorum> = TableDef::quorum("test.texts");
    let three = Three::ready().await;
    let node = &three.nodes[0];
    let (texts, ram) = (node.table(&TEXTS).await.expect("opens"), node.table(&RAM).await.expect("opens"));
    let disc = node.table(&DISC).await.expect("opens");
    let key = "key".to_owned();
    let large = texts.put(&key, &"x".repeat(1024 * 1024)).await.expect_err("too large");
    assert!(matches!(large, QuorumError::TooLarge(_)) && large.to_string().contains("917504"), "{large}");
    // Two tables of one group in one transaction, of which the group knows neither yet.
    let both = texts.transact(async |t| {
        t.put(&key, &"text".to_owned())?;
        t.on(&ram)?.put(&key, &5)
    });
    both.await.expect("one group");
    assert_eq!((texts.get(&key).await, ram.get(&key).await), (Ok(Some("text".to_owned())), Ok(Some(5))));
    let other = texts.transact(async |t| t.on(&disc).map(|_| ())).await.expect_err("two groups");
    assert!(matches!(other, QuorumError::Refused(_)) && other.to_string().contains("different groups"), "{other}");
    assert!(node.drop_table("test.texts").await.expect("a majority").is_some());
    comes_true("the table is closed", async || texts.get(&key).await == Err(QuorumError::Closed)).await;
    // One that is made anew under the name begins empty.
    let again = node.table(&TEXTS).await.expect("opens");
    assert_eq!(again.get(&key).await, Ok(None));
}
