//! Clients that write or read for some time, and the wait until every member has every write.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use tokio::task::JoinSet;

use crate::api::{Client, PutRequest, Read};
use crate::members::Members;

/// etcd refuses larger transactions by default.
const FILL_AT_ONCE: usize = 100;
const SETTLE_MAX: Duration = Duration::from_secs(120);
const POLL: Duration = Duration::from_millis(1);

/// What the clients do.
#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
#[value(rename_all = "snake_case")]
pub(crate) enum Mode {
    /// Writes.
    Put,
    /// Reads of what a majority has.
    LinearizableGet,
    /// Reads of what the asked member has.
    SerializableGet,
}

/// What all clients share.
#[derive(Clone, Copy)]
pub(crate) struct Load {
    pub(crate) mode: Mode,
    pub(crate) clients: usize,
    pub(crate) connections: usize,
    pub(crate) rows: usize,
    pub(crate) value_bytes: usize,
}

/// What was done.
pub(crate) struct Done {
    /// Of each operation, in order of length.
    pub(crate) times: Vec<Duration>,
    pub(crate) elapsed: Duration,
    /// The highest that a write made.
    revision: i64,
}

impl Load {
    /// Writes every row once.
    pub(crate) async fn fill(&self, members: &Members, at: usize) -> Result<()> {
        let mut client = Client::connect(members.port(at)).await?;
        let mut revision = 0;
        let rows: Vec<usize> = (0..self.rows).collect();
        for part in rows.chunks(FILL_AT_ONCE) {
            let puts = part.iter().map(|row| PutRequest { key: key(*row), value: self.value(0, *row) });
            revision = client.put_all(puts.collect()).await?;
        }
        settle(members, revision).await?;
        Ok(())
    }

    /// Has all clients work at one member.
    pub(crate) async fn run(self, members: &Members, at: usize, length: Duration) -> Result<Done> {
        let mut connected = Vec::new();
        for _ in 0..self.connections {
            connected.push(Client::connect(members.port(at)).await?);
        }
        let begun = Instant::now();
        let mut tasks = JoinSet::new();
        for number in 0..self.clients {
            let client = connected[number % connected.len()].clone();
            tasks.spawn(self.work(number, client, begun, begun + length));
        }
        let mut done = Done { times: Vec::new(), elapsed: Duration::ZERO, revision: 0 };
        while let Some(ended) = tasks.join_next().await {
            let (times, revision) = ended.context("a client panicked")??;
            done.times.extend(times);
            done.revision = done.revision.max(revision);
        }
        done.elapsed = begun.elapsed();
        done.times.sort_unstable();
        Ok(done)
    }

    /// One client walks over rows of its own, again and again.
    async fn work(
        self,
        number: usize,
        mut client: Client,
        begun: Instant,
        end: Instant,
    ) -> Result<(Vec<Duration>, i64)> {
        let mut times = Vec::new();
        let (mut last, mut highest) = (begun, 0);
        let mut place = number;
        while last < end {
            let key = key(scattered(place, self.rows));
            match self.mode {
                Mode::Put => highest = client.put(key, self.value(number + 1, times.len())).await?,
                Mode::LinearizableGet => found(client.get(key, Read::Linearizable).await?)?,
                Mode::SerializableGet => found(client.get(key, Read::Serializable).await?)?,
            }
            let now = Instant::now();
            times.push(now - last);
            last = now;
            place = if place + self.clients < self.rows { place + self.clients } else { number };
        }
        Ok((times, highest))
    }

    /// Each is written once only.
    fn value(&self, writer: usize, number: usize) -> Vec<u8> {
        let mut value = format!("{writer:05}:{number:010}").into_bytes();
        value.resize(self.value_bytes, b'v');
        value
    }
}

impl Done {
    /// Waits until every member has every write, and gives how long that took.
    pub(crate) async fn settle(&self, members: &Members) -> Result<Duration> {
        if self.revision == 0 { Ok(Duration::ZERO) } else { settle(members, self.revision).await }
    }

    /// In microseconds.
    pub(crate) fn percentile(&self, percent: usize) -> f64 {
        let at = (self.times.len() * percent / 100).min(self.times.len().saturating_sub(1));
        self.times.get(at).map_or(0.0, |time| time.as_secs_f64() * 1e6)
    }
}

/// Sixteen bytes.
fn key(row: usize) -> Vec<u8> {
    format!("row:{row:012}").into_bytes()
}

/// The row at a place of an order that only looks random: the step has no factor in common with the number of rows.
fn scattered(place: usize, rows: usize) -> usize {
    const PRIMES: [usize; 2] = [1_000_003, 998_244_353];
    let step = if rows.is_multiple_of(PRIMES[0]) { PRIMES[1] } else { PRIMES[0] };
    place * step % rows
}

fn found((found, _): (bool, i64)) -> Result<()> {
    if found { Ok(()) } else { bail!("a row that was written is not found") }
}

/// Waits until all members are at one revision, which is no lower; comparing their rows then is not counted.
async fn settle(members: &Members, revision: i64) -> Result<Duration> {
    let mut clients = members.clients().await?;
    let begun = Instant::now();
    loop {
        let mut revisions = Vec::new();
        for client in &mut clients {
            revisions.push(client.get(key(0), Read::Serializable).await?.1);
        }
        if revisions.iter().all(|one| *one >= revision && *one == revisions[0]) {
            break;
        }
        if begun.elapsed() > SETTLE_MAX {
            bail!("the members are at {revisions:?} {SETTLE_MAX:?} after revision {revision} was acknowledged");
        }
        tokio::time::sleep(POLL).await;
    }
    let elapsed = begun.elapsed();
    let mut hashes = Vec::new();
    for client in &mut clients {
        hashes.push(client.hash(revision).await?);
    }
    if hashes.iter().any(|hash| *hash != hashes[0]) {
        bail!("the members have different rows at revision {revision}: hashes {hashes:?}");
    }
    Ok(elapsed)
}
