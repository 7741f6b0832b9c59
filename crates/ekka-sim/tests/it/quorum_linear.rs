//! Quorum tables of three real nodes in one process: clients of all of them read, write, swap and append while nodes
//! are stopped and started again, and what they saw is judged.

use std::net::{Ipv4Addr, TcpListener};
use std::path::PathBuf;
use std::time::Duration;

use ekka::config::ConfigBuilder;
use ekka::env::Env;
use ekka::node::{Node, StartOptions};
use ekka::table::{Expected, Quorum, QuorumError, Table, TableDef};
use ekka::transport::Kdf;
use ekka_sim::linear::{Answer, Limits, Op, Outcome, Recorder, RegisterClient, Value, Workload, check, drive};
use tokio::sync::watch;

const RAM: TableDef<String, Value, Quorum> = TableDef::quorum("test.ram");
const DISC: TableDef<String, Value, Quorum> = TableDef::quorum("test.disc").disc();
const READY: Duration = Duration::from_secs(60);
/// Clients at once.
const CLIENTS: u32 = 6;
/// Operations of them that are answered before a node is stopped: the others are under way then.
const UNDER_WAY: usize = 40;

type Registers = Table<String, Value, Quorum>;

/// The table of one node, while the node runs.
#[derive(Clone, Default)]
struct Door(watch::Sender<Option<Registers>>);

impl Door {
    fn set(&self, table: Option<Registers>) {
        self.0.send_replace(table);
    }

    /// Waits for the node where it does not run.
    async fn table(&self) -> Registers {
        let mut doors = self.0.subscribe();
        let table = doors.wait_for(Option::is_some).await.expect("the sender is here");
        table.clone().expect("it was waited for")
    }
}

struct Client {
    door: Door,
}

fn outcome(error: &QuorumError) -> Outcome {
    if error.outcome_unknown() { Outcome::Unknown } else { Outcome::Fail }
}

impl RegisterClient for Client {
    async fn apply(&mut self, key: &str, op: Op) -> Outcome {
        let table = self.door.table().await;
        let key = key.to_owned();
        let done = match &op {
            Op::Read => table.get(&key).await.map(|value| Answer::Value(value.unwrap_or_default())),
            Op::Write(value) => table.put(&key, &vec![*value]).await.map(|_| Answer::Done),
            Op::Cas { from, to } => {
                let expected = if from.is_empty() { Expected::Absent } else { Expected::Value(from) };
                match table.compare_and_swap(&key, expected, Some(&vec![*to])).await {
                    Err(QuorumError::Conflict) => Ok(Answer::Swapped(false)),
                    swapped => swapped.map(|_| Answer::Swapped(true)),
                }
            }
            Op::Append(value) => {
                let appended = table.transact(async |t| {
                    let mut held = t.get(&key).await?.unwrap_or_default();
                    held.push(*value);
                    t.put(&key, &held)
                });
                appended.await.map(|()| Answer::Done)
            }
        };
        done.map_or_else(|error| outcome(&error), Outcome::Ok)
    }
}

struct Nodes {
    names: Vec<String>,
    folder: PathBuf,
    running: Vec<Option<Node>>,
}

impl Nodes {
    async fn three(name: &str) -> Self {
        let listeners: Vec<_> =
            (0..3).map(|_| TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port")).collect();
        let port = |listener: &TcpListener| listener.local_addr().expect("bound").port();
        let names = listeners.iter().enumerate().map(|(i, l)| format!("ekka{i}@127.0.0.1:{}", port(l))).collect();
        drop(listeners);
        let folder = std::env::temp_dir().join(format!("ekka-linear-{}-{name}", std::process::id()));
        let mut nodes = Self { names, folder, running: vec![None, None, None] };
        for index in 0..3 {
            nodes.start(index).await;
        }
        for index in 0..3 {
            nodes.ready(index).await;
        }
        nodes
    }

    async fn start(&mut self, index: usize) {
        let data = self.folder.join(index.to_string());
        std::fs::create_dir_all(&data).expect("a folder");
        let builder = ConfigBuilder::new()
            .set("node.name", self.names[index].as_str())
            .set("node.cookie", "tests-only-0123456789-0123456789-abcdef")
            .set("node.data_dir", data.to_str().expect("a path in UTF-8"))
            .set("cluster.discovery", "static")
            .set("cluster.static.seeds", self.names.join(","));
        let config = builder.build().unwrap_or_else(|errors| panic!("{errors}"));
        let env = Env::real(&data).expect("a data directory");
        let options = StartOptions { kdf: Kdf::cheap(), ..StartOptions::default() };
        self.running[index] = Some(ekka::node::start(config, env, options).await.expect("it starts"));
    }

    async fn stop(&mut self, index: usize) {
        let node = self.running[index].take().expect("it runs");
        node.stop(Duration::from_secs(10)).await.expect("it stops");
    }

    fn node(&self, index: usize) -> &Node {
        self.running[index].as_ref().expect("it runs")
    }

    async fn ready(&self, index: usize) {
        self.node(index).ready(READY).await.unwrap_or_else(|error| panic!("{error}"));
    }
}

impl Drop for Nodes {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

/// Two at each node.
fn clients(doors: &[Door]) -> impl Iterator<Item = Client> + '_ {
    doors.iter().cycle().take(CLIENTS as usize).map(|door| Client { door: door.clone() })
}

async fn histories(def: TableDef<String, Value, Quorum>, seed: u64) {
    let mut nodes = Nodes::three(def.name()).await;
    let doors = [Door::default(), Door::default(), Door::default()];
    for (index, door) in doors.iter().enumerate() {
        door.set(Some(nodes.node(index).table(&def).await.expect("it opens")));
    }
    let recorder = Recorder::default();
    for (index, door) in doors.iter().enumerate() {
        let before = recorder.history().answered();
        let tasks = (0..).zip(clients(&doors)).map(|(number, mut client)| {
            let recorder = recorder.clone();
            let client_number = u32::try_from(index).expect("three") * CLIENTS + number;
            let workload = Workload { seed, client: client_number, ops: 60, keys: 3, unknown_max: 3 };
            tokio::spawn(async move { drive(&mut client, &recorder, workload).await })
        });
        let tasks: Vec<_> = tasks.collect();
        let under_way = recorder.until_answered(before + UNDER_WAY);
        tokio::time::timeout(READY, under_way).await.expect("clients are answered");
        door.set(None);
        nodes.stop(index).await;
        nodes.start(index).await;
        nodes.ready(index).await;
        door.set(Some(nodes.node(index).table(&def).await.expect("it opens")));
        for task in tasks {
            task.await.expect("no panic");
        }
    }
    let history = recorder.history();
    println!("{}: {} operations, {} answered", def.name(), history.entries().len(), history.answered());
    assert!(history.answered() > 200, "{} answered", history.answered());
    check(&history, Limits::default()).assert_linearizable();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_clients_of_a_ram_table_see_is_linearizable() {
    histories(RAM, 1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_clients_of_a_disc_table_see_is_linearizable() {
    histories(DISC, 2).await;
}
