//! Measures a table of this node: writes, until every linked peer holds them, and reads.
//!
//! Of a quorum table a run ends with the commit of the last write: which replicas hold it, each of them says.

use std::sync::Arc;
use std::time::Duration;

use ekka_core::rng::Rng;
use ekka_core::table::Ack;
use ekka_core::table::quorum::Transaction;
use tokio::runtime::{Builder, Handle, Runtime};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};

use super::acks::Terms;
use super::available::{AvailableSlot, Write};
use super::door::TableDoor;
use super::owned::OwnedSlot;
use super::quorum::QuorumSlot;
use super::slot::Slot;
use crate::node::percentiles;

/// How long peers may take to hold what was written.
const SETTLE: Duration = Duration::from_secs(120);
/// How often that is looked at.
const LOOK: Duration = Duration::from_millis(1);
/// Operations after which others have their turn on the thread.
const TURN: u64 = 64;
/// Of so many operations one is timed.
const SAMPLE: u64 = 16;
/// Rows are written once by so many at a time.
const FILLERS: usize = 64;
/// A write that takes longer fails the measurement.
const DEADLINE: Duration = Duration::from_secs(30);

/// What is done again and again.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum BenchOp {
    /// A row is written over, and acknowledged so.
    Put(Ack),
    /// A row is read.
    Get,
    /// All rows of an `owned` table are written in one go, and acknowledged by all that are up.
    PutMany,
}

/// What is to be measured. Each writer has rows of its own; all are written once before.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TablePlan {
    /// What is done.
    pub op: BenchOp,
    /// At once.
    pub writers: usize,
    /// Rows in all.
    pub rows: usize,
    /// Bytes of a value; a key has 16.
    pub value_bytes: usize,
    /// For how long.
    pub time: Duration,
    /// Threads of the runtime on which those that are measured are tasks, at least one.
    pub threads: usize,
    /// All rows are there already.
    pub filled: bool,
}

/// What was measured.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct TableFigures {
    /// Operations that ended.
    pub ops: u64,
    /// From the first one until every linked peer held the last one.
    pub time: Duration,
    /// Of it, after the last operation had ended.
    pub settle: Duration,
    /// Half of them took no longer.
    pub p50: Duration,
    /// Of a hundred one took longer.
    pub p99: Duration,
    /// Peers that were linked, and held all in the end.
    pub peers: usize,
}

impl TableDoor {
    /// Measures a table, after a fifth of the time to warm up. `None`: there is no such table.
    ///
    /// # Errors
    /// A write failed, or peers do not hold what was written within two minutes, or tables of this kind have no such
    /// operation; in words.
    pub async fn bench(&self, name: &str, plan: TablePlan) -> Option<Result<TableFigures, String>> {
        let target = match self.tables.named(name)? {
            Slot::Available(slot) => Target::Available(slot),
            Slot::Quorum(slot) => Target::Quorum(slot),
            Slot::Owned(slot) => return Some(put_many(slot, plan).await),
        };
        Some(target.measure(plan).await)
    }
}

/// Threads on which callers are tasks, as those of an application are.
struct Threads(Option<Runtime>);

impl Threads {
    fn start(count: usize) -> Result<Self, String> {
        let mut builder = Builder::new_multi_thread();
        let runtime = builder.worker_threads(count.max(1)).thread_name("ekka-bench").enable_all().build();
        runtime.map(|runtime| Self(Some(runtime))).map_err(|error| format!("no runtime to measure on: {error}"))
    }

    fn handle(&self) -> &Handle {
        self.0.as_ref().expect("it is there until this is dropped").handle()
    }
}

impl Drop for Threads {
    fn drop(&mut self) {
        // Whoever measures is a task itself, where a runtime must not wait for its threads.
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}

/// The table that is measured.
#[derive(Clone)]
enum Target {
    Available(Arc<AvailableSlot>),
    Quorum(Arc<QuorumSlot>),
}

impl Target {
    async fn measure(&self, plan: TablePlan) -> Result<TableFigures, String> {
        if plan.op == BenchOp::PutMany {
            return Err("only an owned table takes many rows in one go".to_owned());
        }
        if !plan.filled {
            self.fill_all(plan).await?;
        }
        let threads = Threads::start(plan.threads)?;
        run(self, TablePlan { time: plan.time / 5, ..plan }, threads.handle()).await?;
        run(self, plan, threads.handle()).await
    }

    async fn fill_all(&self, plan: TablePlan) -> Result<(), String> {
        let mut filling = JoinSet::new();
        for writer in 0..FILLERS {
            let target = self.clone();
            filling.spawn(async move { target.fill(plan, writer).await });
        }
        for filled in filling.join_all().await {
            filled?;
        }
        self.settled().await.map(drop)
    }

    async fn fill(&self, plan: TablePlan, writer: usize) -> Result<(), String> {
        for row in (writer..plan.rows).step_by(FILLERS) {
            self.put(&key(row), &vec![0; plan.value_bytes], Ack::Local).await?;
            if ((row / FILLERS) as u64).is_multiple_of(TURN) {
                tokio::task::yield_now().await;
            }
        }
        Ok(())
    }

    async fn put(&self, key: &[u8], value: &[u8], ack: Ack) -> Result<(), String> {
        match self {
            Self::Available(slot) => {
                let write = Write::Put { key, value, expires_at: None };
                slot.put(write, Terms { ack, strict: false }, DEADLINE)
                    .await
                    .map(drop)
                    .map_err(|error| error.to_string())
            }
            Self::Quorum(slot) => {
                let now = slot.world.clock.now().wall;
                let write = Transaction::put(slot.id, key, value, None, now).map_err(|error| error.to_string())?;
                slot.write(write, Instant::now() + DEADLINE).await.map(drop).map_err(|error| error.to_string())
            }
        }
    }

    async fn get(&self, key: &[u8]) -> Result<(), String> {
        let found = match self {
            Self::Available(slot) => std::hint::black_box(slot.get(key, |version| version.value().to_vec())).is_some(),
            Self::Quorum(slot) => {
                let row = slot.get(key, Instant::now() + DEADLINE).await.map_err(|error| error.to_string())?;
                std::hint::black_box(row.map(|row| row.value().to_vec())).is_some()
            }
        };
        if found { Ok(()) } else { Err("a row is missing".to_owned()) }
    }

    /// Waits until every linked peer has said that it holds all that was written here; how many there are.
    async fn settled(&self) -> Result<usize, String> {
        let Self::Available(slot) = self else { return Ok(0) };
        let wait = async {
            loop {
                let links = slot.world.links.all();
                if links.iter().all(|link| slot.lag_of(link.peer.node_id) == Some(0)) {
                    return links.len();
                }
                sleep(LOOK).await;
            }
        };
        let limit = || format!("peers do not hold what was written after {} s", SETTLE.as_secs());
        timeout(SETTLE, wait).await.map_err(|_| limit())
    }
}

async fn put_many(slot: Arc<OwnedSlot>, plan: TablePlan) -> Result<TableFigures, String> {
    if plan.op != BenchOp::PutMany {
        return Err("of an owned table only put_many is measured".to_owned());
    }
    let threads = Threads::start(plan.threads)?;
    let mut measured = JoinSet::new();
    measured.spawn_on(async move { put_all(&slot, plan).await }, threads.handle());
    let ended = measured.join_next().await;
    ended.and_then(Result::ok).unwrap_or_else(|| Err("the measurement has ended early".to_owned()))
}

async fn put_all(slot: &OwnedSlot, plan: TablePlan) -> Result<TableFigures, String> {
    let rows: Vec<_> = (0..plan.rows).map(|row| (key(row).to_vec(), vec![0; plan.value_bytes])).collect();
    let (begun, terms) = (Instant::now(), Terms { ack: Ack::All, strict: false });
    let acknowledged = slot.put_many(&rows, terms, SETTLE).await.map_err(|error| error.to_string())?;
    let time = begun.elapsed();
    let peers = usize::try_from(acknowledged.copies).map_or(0, |copies| copies.saturating_sub(1));
    Ok(TableFigures { ops: rows.len() as u64, time, settle: Duration::ZERO, p50: time, p99: time, peers })
}

async fn run(target: &Target, plan: TablePlan, runtime: &Handle) -> Result<TableFigures, String> {
    let begun = Instant::now();
    let mut writers = JoinSet::new();
    for writer in 0..plan.writers {
        let target = target.clone();
        writers.spawn_on(async move { work(&target, plan, writer, begun).await }, runtime);
    }
    let (mut ops, mut times) = (0, Vec::new());
    while let Some(ended) = writers.join_next().await {
        // A writer neither panics nor is aborted.
        if let Ok(done) = ended {
            let (count, mut sample) = done?;
            ops += count;
            times.append(&mut sample);
        }
    }
    let worked = begun.elapsed();
    let peers = target.settled().await?;
    let time = begun.elapsed();
    let (p50, p99) = percentiles(&mut times);
    Ok(TableFigures { ops, time, settle: time.saturating_sub(worked), p50, p99, peers })
}

async fn work(target: &Target, plan: TablePlan, writer: usize, begun: Instant) -> Result<(u64, Vec<Duration>), String> {
    let mine: Vec<usize> = (0..plan.rows).filter(|row| row % plan.writers == writer).collect();
    let (mut rng, mut times, mut ops) = (Rng::new(writer as u64), Vec::new(), 0u64);
    let mut value = vec![0; plan.value_bytes];
    while begun.elapsed() < plan.time {
        for _ in 0..SAMPLE {
            let row = mine[usize::try_from(ops).unwrap_or(0) % mine.len()];
            let key = key(row);
            let at = (ops % SAMPLE == 0).then(Instant::now);
            match plan.op {
                BenchOp::Put(ack) => {
                    // No value is written twice.
                    let fresh = rng.next_u64().to_le_bytes();
                    let length = value.len().min(fresh.len());
                    value[..length].copy_from_slice(&fresh[..length]);
                    target.put(&key, &value, ack).await?;
                }
                BenchOp::Get => target.get(&key).await?,
                // Of owned tables, which are measured otherwise.
                BenchOp::PutMany => {}
            }
            times.extend(at.map(|at| at.elapsed()));
            ops += 1;
        }
        if ops % TURN == 0 {
            tokio::task::yield_now().await;
        }
    }
    Ok((ops, times))
}

fn key(row: usize) -> [u8; 16] {
    // Spread, as keys of applications are: neighbours in time are none in the map.
    let mut key = [0; 16];
    key[..8].copy_from_slice(&(row as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15).to_be_bytes());
    key[8..].copy_from_slice(&(row as u64).to_be_bytes());
    key
}
