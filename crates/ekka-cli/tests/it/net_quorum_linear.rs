//! Clients of quorum tables in ram and on disc, at every voter and at a node beyond the voters, while voters are
//! killed, frozen and cut off: what they saw is what one table would have answered. Writes, compare-and-set, reads of one row
//! and of all, and transactions over two rows. Real processes on loopback; the node beyond them is in this process.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crate::support;
use crate::support::ask::{Stream, connect, exchange};
use crate::support::duration;
use crate::support::gated::{Chance, Gated};
use crate::support::poll::pace;
use ekka::config::ConfigBuilder;
use ekka::env::Env;
use ekka::node::{Node, StartOptions};
use ekka::table::{Quorum, QuorumError, Table, TableDef};
use porcupine_rs::{CheckResult, Model, Operation, check_operations_timeout};
use serde_json::{Value, json};
use tempfile::TempDir;

const RAM: TableDef<String, u32, Quorum> = TableDef::quorum("linear.ram").json();
const DISC: TableDef<String, u32, Quorum> = TableDef::quorum("linear.disc").disc().json();
const KEYS: usize = 3;
/// Between two operations of a client: the machine is the nodes' too.
const PAUSE: Duration = Duration::from_millis(25);
/// The judgement of one table.
const JUDGED: Duration = Duration::from_secs(60);
const READY: Duration = Duration::from_secs(90);

/// How long: `EKKA_MINUTES`, or five minutes with `EKKA_SOAK`, or what CI has.
fn time() -> Duration {
    match std::env::var("EKKA_MINUTES") {
        Ok(text) => Duration::from_secs_f64(60.0 * text.parse::<f64>().expect("EKKA_MINUTES is a number")),
        Err(_) => duration(Duration::from_secs(10), Duration::from_secs(300)),
    }
}

/// What all rows hold; 0 where there is none. No value is ever written twice.
type Rows = [u32; KEYS];

#[derive(Clone, Debug)]
enum Op {
    Read(usize),
    All,
    Put(usize, u32),
    /// Only where the row holds the first.
    Swap(usize, u32, u32),
    /// Reads two rows and writes both.
    Both([usize; 2], [u32; 2]),
}

#[derive(Clone, PartialEq, Debug)]
enum Answer {
    Done,
    Held(u32),
    AllHeld(Rows),
    Swapped(bool),
    BothHeld([u32; 2]),
}

impl Op {
    fn apply(&self, rows: &Rows) -> (Rows, Answer) {
        let mut after = *rows;
        let answer = match *self {
            Self::Read(key) => Answer::Held(rows[key]),
            Self::All => Answer::AllHeld(*rows),
            Self::Put(key, value) => {
                after[key] = value;
                Answer::Done
            }
            Self::Swap(key, from, to) => {
                let swaps = rows[key] == from;
                if swaps {
                    after[key] = to;
                }
                Answer::Swapped(swaps)
            }
            Self::Both(keys, values) => {
                for (key, value) in keys.into_iter().zip(values) {
                    after[key] = value;
                }
                Answer::BothHeld(keys.map(|key| rows[key]))
            }
        };
        (after, answer)
    }

    fn changes(&self) -> bool {
        !matches!(self, Self::Read(_) | Self::All)
    }
}

/// How it ended.
enum Heard {
    Ok(Answer),
    /// It was not done.
    Not,
    Unknown,
}

struct Entry {
    client: u32,
    op: Op,
    called: Duration,
    answered: Duration,
    heard: Heard,
}

#[derive(Clone, Debug)]
struct Tables;

impl Model for Tables {
    type State = Rows;
    type Op = (Op, Option<Answer>);
    type Metadata = ();

    fn init() -> Rows {
        [0; KEYS]
    }

    fn step(rows: &Rows, (op, heard): &Self::Op) -> (bool, Rows) {
        let (after, answer) = op.apply(rows);
        (heard.as_ref().is_none_or(|heard| *heard == answer), after)
    }
}

/// Whether some order of the operations explains all answers.
fn judge(entries: &[Entry]) -> CheckResult {
    let place = |at: Duration| i64::try_from(at.as_nanos()).expect("a test does not take 290 years");
    let operations: Vec<Operation<Tables>> = entries
        .iter()
        .filter_map(|entry| {
            let (ended, answer) = match &entry.heard {
                Heard::Ok(answer) => (place(entry.answered), Some(answer.clone())),
                // At any time after its call, which may be at the very end.
                Heard::Unknown if entry.op.changes() => (i64::MAX, None),
                Heard::Not | Heard::Unknown => return None,
            };
            let (op, call_time) = ((entry.op.clone(), answer), place(entry.called));
            Some(Operation { client_id: Some(entry.client), call_time, return_time: ended, op, metadata: None })
        })
        .collect();
    check_operations_timeout(&operations, JUDGED)
}

/// What the clients of one table share.
struct Shared {
    begun: Instant,
    stop: AtomicBool,
    last_value: AtomicU32,
    entries: Mutex<Vec<Entry>>,
}

impl Shared {
    fn value(&self) -> u32 {
        self.last_value.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// What a client does next: `seen` is what it saw last of each row.
    fn next(&self, chance: &mut Chance, seen: &Rows, kinds: u64) -> Op {
        let key = usize::try_from(chance.below(KEYS as u64)).expect("small");
        match chance.below(kinds) {
            0 | 1 => Op::Read(key),
            2 => Op::Put(key, self.value()),
            3 => Op::Swap(key, seen[key], self.value()),
            4 => Op::All,
            _ => Op::Both([key, (key + 1) % KEYS], [self.value(), self.value()]),
        }
    }

    fn note(&self, client: u32, (op, called): (Op, Duration), heard: Heard, seen: &mut Rows) {
        let answered = self.begun.elapsed();
        if let Heard::Ok(answer) = &heard {
            match (&op, answer) {
                (Op::Read(key), Answer::Held(value)) => seen[*key] = *value,
                (Op::All, Answer::AllHeld(rows)) => *seen = *rows,
                (op, _) => *seen = op.apply(seen).0,
            }
        }
        let entry = Entry { client, op, called, answered, heard };
        self.entries.lock().expect("no holder panics").push(entry);
    }
}

fn key(number: usize) -> String {
    format!("k{number}")
}

/// A client at an agent, over its admin interface.
struct AtAgent {
    socket: PathBuf,
    table: &'static str,
    /// The revision at which each row was read last.
    revisions: [u64; KEYS],
    seen: Rows,
}

impl AtAgent {
    fn run(mut self, shared: &Shared, client: u32) {
        let mut chance = Chance::of(u64::from(client) + 77);
        let mut stream = None;
        while !shared.stop.load(Ordering::Relaxed) {
            pace(PAUSE);
            let Some(open) = stream.take().or_else(|| connect(&self.socket).ok()) else { continue };
            let op = shared.next(&mut chance, &self.seen, 5);
            let called = shared.begun.elapsed();
            let heard = self.ask(open, &mut stream, &op);
            let mut seen = self.seen;
            shared.note(client, (op.clone(), called), heard, &mut seen);
            // What was not read with its revision is not swapped by it.
            if let Op::Read(_) = op {
                self.seen = seen;
            }
        }
    }

    fn ask(&mut self, mut open: Stream, keep: &mut Option<Stream>, op: &Op) -> Heard {
        let path = |what: &str| format!("/v1/tables/{}/{what}", self.table);
        let (path, body) = match op {
            Op::Read(row) => (path("get"), json!({"key": key(*row)})),
            Op::All => (path("scan"), json!({"limit": 100})),
            Op::Put(row, value) => (path("put"), json!({"key": key(*row), "value": value})),
            Op::Swap(row, _, to) => {
                (path("put"), json!({"key": key(*row), "value": to, "if_revision": self.revisions[*row]}))
            }
            Op::Both(..) => unreachable!("there are no transactions over HTTP"),
        };
        let Ok((status, body)) = exchange(&mut open, ("POST", &path, &body.to_string())) else {
            return Heard::Unknown;
        };
        *keep = Some(open);
        self.read(op, status, &body)
    }

    fn read(&mut self, op: &Op, status: u16, body: &Value) -> Heard {
        let number = |value: &Value| value.as_u64().and_then(|value| u32::try_from(value).ok());
        let answer = match (op, status) {
            (Op::Read(row), 200) => {
                let revision = body["revision"].as_str().and_then(|text| text.parse().ok());
                self.revisions[*row] = revision.expect("a revision");
                number(&body["value"]).map(Answer::Held)
            }
            // The row, not the table: that is made before anybody asks.
            (Op::Read(row), 404) if body["error"]["message"].to_string().contains("has no row") => {
                self.revisions[*row] = 0;
                Some(Answer::Held(0))
            }
            (Op::All, 200) => {
                let rows = body["rows"].as_array().into_iter().flatten();
                let row = |row: &Value| Some((row["key"].as_str()?.to_owned(), number(&row["value"])?));
                Some(all(rows.filter_map(row)))
            }
            (Op::Put(..), 200) => Some(Answer::Done),
            (Op::Swap(..), 200) => Some(Answer::Swapped(true)),
            (Op::Swap(..), _) if body["error"]["code"] == "conflict" => Some(Answer::Swapped(false)),
            _ => None,
        };
        match answer {
            Some(answer) => Heard::Ok(answer),
            None if body["error"]["outcome_unknown"] == false => Heard::Not,
            None => Heard::Unknown,
        }
    }
}

fn all(rows: impl Iterator<Item = (String, u32)>) -> Answer {
    let held: BTreeMap<String, u32> = rows.collect();
    Answer::AllHeld(std::array::from_fn(|number| held.get(&key(number)).copied().unwrap_or(0)))
}

/// A client of the library, on a node that has no replica of the volatile group.
async fn beyond(table: Table<String, u32, Quorum>, shared: Arc<Shared>, client: u32) {
    let mut chance = Chance::of(u64::from(client) + 77);
    let mut seen = [0; KEYS];
    let mut pace = tokio::time::interval(PAUSE);
    while !shared.stop.load(Ordering::Relaxed) {
        pace.tick().await;
        let op = shared.next(&mut chance, &seen, 8);
        let called = shared.begun.elapsed();
        let heard = match by_library(&table, &op).await {
            Ok(answer) => Heard::Ok(answer),
            Err(error) if error.outcome_unknown() => Heard::Unknown,
            Err(_) => Heard::Not,
        };
        shared.note(client, (op, called), heard, &mut seen);
    }
}

async fn by_library(table: &Table<String, u32, Quorum>, op: &Op) -> Result<Answer, QuorumError> {
    use ekka::table::Expected;
    Ok(match op {
        Op::Read(row) => Answer::Held(table.get(&key(*row)).await?.unwrap_or(0)),
        Op::All => {
            let rows: Result<Vec<_>, _> = table.scan().await?.collect();
            all(rows?.into_iter())
        }
        Op::Put(row, value) => table.put(&key(*row), value).await.map(|_| Answer::Done)?,
        Op::Swap(row, from, to) => {
            let expected = if *from == 0 { Expected::Absent } else { Expected::Value(from) };
            match table.compare_and_swap(&key(*row), expected, Some(to)).await {
                Ok(_) => Answer::Swapped(true),
                Err(QuorumError::Conflict) => Answer::Swapped(false),
                Err(error) => return Err(error),
            }
        }
        Op::Both(rows, values) => {
            let held = table.transact(async |t| {
                let mut held = [0; 2];
                for (place, row) in rows.iter().enumerate() {
                    held[place] = t.get(&key(*row)).await?.unwrap_or(0);
                    t.put(&key(*row), &values[place])?;
                }
                Ok::<_, QuorumError>(held)
            });
            Answer::BothHeld(held.await?)
        }
    })
}

/// The clients of one table.
struct Load {
    shared: Arc<Shared>,
    agents: Vec<JoinHandle<()>>,
    beyond: Vec<tokio::task::JoinHandle<()>>,
}

impl Load {
    fn begin(gated: &Gated, name: &'static str, table: &Table<String, u32, Quorum>, first: u32) -> Self {
        let (stop, last_value, entries) = (AtomicBool::new(false), AtomicU32::new(0), Mutex::default());
        let shared = Arc::new(Shared { begun: Instant::now(), stop, last_value, entries });
        let agent = |(client, data): (u32, PathBuf)| {
            let (shared, socket) = (shared.clone(), data.join("ekka.sock"));
            let at = AtAgent { socket, table: name, revisions: [0; KEYS], seen: [0; KEYS] };
            thread::spawn(move || at.run(&shared, client))
        };
        let agents = (first..).zip(gated.cluster.agents.iter().map(support::Agent::data)).map(agent).collect();
        let beyond = |client| tokio::spawn(beyond(table.clone(), shared.clone(), client));
        let beyond = (first + 3..first + 5).map(beyond).collect();
        Self { shared, agents, beyond }
    }

    fn end(self, runtime: &tokio::runtime::Runtime) -> Vec<Entry> {
        self.shared.stop.store(true, Ordering::Relaxed);
        self.agents.into_iter().for_each(|agent| agent.join().expect("a client does not panic"));
        for task in self.beyond {
            runtime.block_on(task).expect("a client does not panic");
        }
        std::mem::take(&mut *self.shared.entries.lock().expect("no holder panics"))
    }
}

/// A node of this process that never votes.
fn replicant(gated: &Gated, runtime: &tokio::runtime::Runtime, folder: &Path) -> (String, Node) {
    let name = format!("far@{}", gated.cluster.free_host());
    let builder = ConfigBuilder::new()
        .set("node.name", name.as_str())
        .set("node.role", "replicant")
        .set("node.cookie", gated.cluster.cookie())
        .set("node.data_dir", folder.to_str().expect("a path in UTF-8"))
        .set("cluster.discovery", "static")
        .set("cluster.static.seeds", gated.cluster.seed_list());
    let config = builder.build().unwrap_or_else(|errors| panic!("{errors}"));
    let node = runtime.block_on(async {
        let env = Env::real(folder).expect("a data directory");
        let node = ekka::node::start(config, env, StartOptions::default()).await.expect("it starts");
        node.ready(READY).await.unwrap_or_else(|error| panic!("{error}"));
        node
    });
    (name, node)
}

#[test]
fn what_clients_see_is_linearizable_while_voters_are_killed_frozen_and_cut_off() {
    let seed = std::env::var("EKKA_SEED").map_or(1, |text| text.parse().expect("EKKA_SEED is a number"));
    let mut chance = Chance::of(seed);
    let mut gated = Gated::formed();
    let folder = TempDir::new().expect("a temporary folder");
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime");
    let _inside = runtime.enter();
    let (name, node) = replicant(&gated, &runtime, folder.path());
    gated.others.push(name);
    let table = |def: &TableDef<_, _, _>| runtime.block_on(node.table(def)).unwrap_or_else(|error| panic!("{error}"));
    let (ram, disc) = (table(&RAM), table(&DISC));
    gated.cluster.wait("every node has the tables", READY, |cluster| {
        let mut asked = cluster.agents.iter().flat_map(|agent| [RAM.name(), DISC.name()].map(|name| (agent, name)));
        asked.try_for_each(|(agent, name)| support::ask::get(&agent.data(), &format!("/v1/tables/{name}")).map(drop))
    });
    let begun = Instant::now();
    let loads = [Load::begin(&gated, RAM.name(), &ram, 1), Load::begin(&gated, DISC.name(), &disc, 11)];
    let mut faults = 0;
    while begun.elapsed() < time() {
        gated.harm(&mut chance);
        faults += 1;
    }
    for (name, load) in [RAM.name(), DISC.name()].into_iter().zip(loads) {
        let entries = load.end(&runtime);
        let count = |of: fn(&Entry) -> bool| entries.iter().filter(|entry| of(entry)).count();
        let answered = count(|entry| matches!(entry.heard, Heard::Ok(_)));
        let both = count(|entry| matches!(entry.heard, Heard::Ok(Answer::BothHeld(_))));
        let unknown = count(|entry| matches!(entry.heard, Heard::Unknown) && entry.op.changes());
        let (all, time) = (entries.len(), begun.elapsed());
        println!(
            "FIGURE {name}: {faults} faults in {time:.1?}, {answered} of {all} answered, {both} transactions, {unknown} unknown"
        );
        assert!(answered > 100 && both > 10, "{name}: only {answered} answered, {both} transactions");
        match judge(&entries) {
            CheckResult::Ok => {}
            found => panic!("{name}, seed {seed}: {found:?}\n{}", gated.cluster.report()),
        }
    }
    runtime.block_on(node.stop(Duration::from_secs(10))).expect("it stops");
}

#[test]
fn half_a_transaction_and_a_read_of_old_state_are_seen() {
    let entry = |client, op: Op, at: u64, answer| Entry {
        client,
        op,
        called: Duration::from_millis(at),
        answered: Duration::from_millis(at + 1),
        heard: Heard::Ok(answer),
    };
    let first = || entry(1, Op::Both([0, 1], [5, 6]), 0, Answer::BothHeld([0, 0]));
    let read = |rows: Rows| entry(2, Op::All, 2, Answer::AllHeld(rows));
    assert!(matches!(judge(&[first(), read([5, 6, 0])]), CheckResult::Ok));
    assert!(matches!(judge(&[first(), read([5, 0, 0])]), CheckResult::Illegal), "a half of it");
    assert!(matches!(judge(&[first(), read([0, 0, 0])]), CheckResult::Illegal), "from before");
    let stale = entry(3, Op::Both([0, 2], [7, 8]), 4, Answer::BothHeld([0, 0]));
    assert!(matches!(judge(&[first(), stale]), CheckResult::Illegal), "a transaction on an old state");
    let lost = Entry { heard: Heard::Not, ..first() };
    assert!(matches!(judge(&[lost, read([5, 6, 0])]), CheckResult::Illegal), "what was not done");
    let open = || Entry { heard: Heard::Unknown, ..first() };
    assert!(matches!(judge(&[open(), read([5, 6, 0])]), CheckResult::Ok));
    assert!(matches!(judge(&[open(), read([0, 0, 0])]), CheckResult::Ok));
}
