//! Keeps one table on disc: appends what is new in its op log, tells it what is synced, writes checkpoints.
//!
//! One append is on its way at a time; what comes meanwhile is gathered for the next, so that many writers share a
//! sync. A checkpoint is written beside it. What follows a full copy in the op log waits for one: the log on disc alone
//! would not add up to it.

use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep_until};
use tracing::{debug, error, info, warn};

use super::checkpoint;
use super::form::{Head, write_record};
use super::names::Names;
use super::side::{Side, Trouble};
use crate::env::{BoxFuture, Env};
use crate::storage::{Storage, StorageError, Truncate};
use crate::table::available::AvailableSlot;

/// Records that are given to the store at once.
const GATHER: usize = 16;
/// Before what found no room is tried again.
const AGAIN: Duration = Duration::from_secs(1);

/// How much goes into what is written.
#[derive(Clone, Copy, Debug)]
pub(in crate::table) struct Sizes {
    /// Bytes of operations in one record, about.
    pub(super) record: usize,
    /// Bytes of a piece of a checkpoint, about.
    pub(super) piece: usize,
    /// A log that is longer than this, and than twice the table, gives way to a checkpoint.
    pub(super) log_max: u64,
}

impl Default for Sizes {
    fn default() -> Self {
        Self { record: 256 << 10, piece: 2 << 20, log_max: 8 << 20 }
    }
}

/// The world of keepers.
#[derive(Clone)]
pub(super) struct Means {
    pub(super) env: Env,
    pub(super) storage: Arc<dyn Storage>,
    pub(super) home: tokio::runtime::Handle,
    pub(super) sizes: Sizes,
}

/// Keeps one table on disc.
pub(super) struct Keeper {
    means: Means,
    names: Names,
    slot: Arc<AvailableSlot>,
    side: Arc<Side>,
    /// Everything in front of this position of the op log is on disc, in the log or in a checkpoint.
    position: u64,
    /// Of the log since the checkpoint.
    log_bytes: u64,
    head: Option<Head>,
    syncing: Option<Syncing>,
    writing: Option<Writing>,
    append_again: Option<Instant>,
    checkpoint_again: Option<Instant>,
}

/// An append on its way.
struct Syncing {
    end: u64,
    bytes: u64,
    done: BoxFuture<'static, Result<(), StorageError>>,
}

/// A checkpoint on its way.
struct Writing {
    position: u64,
    /// All records before this one are covered.
    seq: u64,
    /// Bytes of those.
    bytes: u64,
    done: JoinHandle<Result<Head, StorageError>>,
}

impl Keeper {
    /// That of a table that was read back: `log_bytes` and the head of its checkpoint.
    pub(super) fn new(
        means: Means,
        names: Names,
        (slot, side): (Arc<AvailableSlot>, Arc<Side>),
        (log_bytes, head): (u64, Option<Head>),
    ) -> Self {
        let position = slot.read().log_end();
        Self {
            means,
            names,
            slot,
            side,
            position,
            log_bytes,
            head,
            syncing: None,
            writing: None,
            append_again: None,
            checkpoint_again: None,
        }
    }

    /// Keeps it until it is dropped. Nothing is written by it any more then.
    pub(super) async fn run(mut self) {
        let side = self.side.clone();
        if let Err(error) = side.end.run_until_cancelled(self.keep()).await.unwrap_or(Ok(())) {
            self.failed(&error);
            side.end.cancelled().await;
        }
        if let Some(Writing { done, .. }) = self.writing.take() {
            done.abort();
            // It has ended, one way or the other.
            drop(done.await);
        }
    }

    async fn keep(&mut self) -> Result<(), StorageError> {
        loop {
            self.append()?;
            self.begin_checkpoint();
            let again = [self.append_again, self.checkpoint_again].into_iter().flatten().min();
            tokio::select! {
                biased;
                synced = synced(&mut self.syncing) => self.after_append(synced)?,
                written = written(&mut self.writing) => self.after_checkpoint(written)?,
                () = sleep_until(again.unwrap_or_else(Instant::now)), if again.is_some() => {
                    let now = Instant::now();
                    self.append_again.take_if(|at| *at <= now);
                    self.checkpoint_again.take_if(|at| *at <= now);
                }
                () = self.side.wake.notified(), if self.syncing.is_none() => {}
            }
        }
    }

    /// Appends what is new, unless that is under way.
    fn append(&mut self) -> Result<(), StorageError> {
        if self.syncing.is_some() || self.append_again.is_some() {
            return Ok(());
        }
        let (records, end) = gather(&self.slot, self.position, self.means.sizes.record);
        if records.is_empty() {
            return Ok(());
        }
        let bytes = records.iter().map(|record| record.len() as u64).sum();
        let storage = self.means.storage.clone();
        let first = storage.bounds(&self.names.log).next;
        match storage.append(&self.names.log, first, records) {
            Ok(ticket) => {
                let done = Box::pin(async move { storage.synced(ticket).await });
                self.syncing = Some(Syncing { end, bytes, done });
                Ok(())
            }
            Err(StorageError::Full(why)) => {
                self.no_room(&why);
                Ok(())
            }
            Err(error) => Err(error),
        }
    }

    fn after_append(&mut self, (result, end, bytes): (Result<(), StorageError>, u64, u64)) -> Result<(), StorageError> {
        match result {
            Ok(()) => {
                self.position = self.position.max(end);
                self.log_bytes += bytes;
                self.room_again();
                self.slot.synced(end);
                Ok(())
            }
            Err(StorageError::Full(why)) => {
                // Nothing of it is kept, and its numbers are given again: to records that no checkpoint may cover.
                let next = self.means.storage.bounds(&self.names.log).next;
                if let Some(writing) = &mut self.writing {
                    writing.seq = writing.seq.min(next);
                    writing.bytes = writing.bytes.min(self.log_bytes);
                }
                self.no_room(&why);
                Ok(())
            }
            Err(error) => Err(error),
        }
    }

    fn no_room(&mut self, why: &str) {
        self.append_again = Some(Instant::now() + AGAIN);
        if self.side.set_trouble(Some(Trouble::Full)) {
            let table = &self.slot.schema.name;
            warn!(table, log = %self.names.log, why, "no room on disc: writes are refused until there is");
        }
    }

    fn room_again(&self) {
        if self.side.set_trouble(None) {
            info!(table = self.slot.schema.name, "there is room on the disc again: writes are taken");
        }
    }

    /// Begins a checkpoint where one is due.
    fn begin_checkpoint(&mut self) {
        if self.writing.is_some() || self.checkpoint_again.is_some() {
            return;
        }
        let (wanted, bytes) = {
            let table = self.slot.read();
            (table.wants_checkpoint(), table.size().bytes as u64)
        };
        if !wanted && self.log_bytes <= self.means.sizes.log_max.max(bytes.saturating_mul(2)) {
            return;
        }
        let Some(giving) = self.slot.clone_to_give() else { return };
        let (position, bytes) = (giving.position(), self.log_bytes);
        let bytes = bytes + self.syncing.as_ref().map_or(0, |syncing| syncing.bytes);
        let seq = self.means.storage.bounds(&self.names.log).next;
        debug!(table = self.slot.schema.name, wanted, log_bytes = bytes, "a checkpoint begins");
        let Means { env, storage, home, sizes } = self.means.clone();
        let done = home.spawn(checkpoint::write((env, storage, sizes.piece), self.names.clone(), giving, self.head));
        self.writing = Some(Writing { position, seq, bytes, done });
    }

    fn after_checkpoint(&mut self, written: Written) -> Result<(), StorageError> {
        match written.result {
            Ok(head) => {
                self.head = Some(head);
                self.position = self.position.max(written.position);
                self.log_bytes = self.log_bytes.saturating_sub(written.bytes);
                self.means.storage.truncate(&self.names.log, Truncate::Before(written.seq))?;
                debug!(table = self.slot.schema.name, bytes = head.length, "a checkpoint is on disc");
                self.room_again();
                self.slot.covered(written.position);
                Ok(())
            }
            Err(StorageError::Full(why)) => {
                self.checkpoint_again = Some(Instant::now() + AGAIN);
                // Without it the log is only longer; but after a full copy nothing is acknowledged meanwhile.
                if self.slot.read().wants_checkpoint() && self.side.set_trouble(Some(Trouble::Full)) {
                    let table = &self.slot.schema.name;
                    warn!(
                        table,
                        checkpoint = self.names.head(),
                        why,
                        "no room on disc: writes are refused until there is"
                    );
                }
                Ok(())
            }
            Err(error) => Err(error),
        }
    }

    /// The store takes nothing any more, or is closed because the node ends.
    fn failed(&self, error: &StorageError) {
        if matches!(error, StorageError::Closed) {
            return;
        }
        let table = &self.slot.schema.name;
        error!(table, log = %self.names.log, err = %error, "the table is kept on disc no longer: it takes no writes");
        self.side.set_trouble(Some(Trouble::Failed(error.to_string())));
        self.slot.answers_nobody();
    }
}

/// A checkpoint that was written, or not.
struct Written {
    result: Result<Head, StorageError>,
    position: u64,
    seq: u64,
    bytes: u64,
}

/// The end of the append that is on its way. *Cancel safe.*
async fn synced(syncing: &mut Option<Syncing>) -> (Result<(), StorageError>, u64, u64) {
    let Some(Syncing { end, bytes, done }) = syncing else { return std::future::pending().await };
    let answer = (done.await, *end, *bytes);
    *syncing = None;
    answer
}

/// The end of the checkpoint that is on its way. *Cancel safe.*
async fn written(writing: &mut Option<Writing>) -> Written {
    let Some(Writing { position, seq, bytes, done }) = writing else { return std::future::pending().await };
    let result =
        done.await.unwrap_or_else(|error| Err(StorageError::Failed(format!("a fault of this program: {error}"))));
    let written = Written { result, position: *position, seq: *seq, bytes: *bytes };
    *writing = None;
    written
}

/// What is new in the op log from a position on, as records, and the position behind it.
fn gather(slot: &AvailableSlot, from: u64, record_bytes: usize) -> (Vec<Vec<u8>>, u64) {
    let (mut records, mut bytes, mut at) = (Vec::new(), 0, from);
    while bytes < GATHER * record_bytes {
        // Writers have their turn between two records.
        let (batch, end) = slot.read().records(at, record_bytes);
        if batch.is_empty() {
            break;
        }
        let record = write_record(&batch);
        bytes += record.len();
        records.push(record);
        at = end;
    }
    (records, at)
}
