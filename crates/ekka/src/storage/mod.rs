//! The storage port: the logs and checkpoints of one data directory, and one thread that commits them.
//!
//! Five operations: append, sync to a watermark, read, truncate, checkpoint. Calls that change something return a
//! [`Ticket`] at once, in the order in which they will be on disc; whoever has promised something to others waits for
//! [`Storage::synced`]. One committer gathers what waits into one sync.
//!
//! After a crash a store opens with everything that was synced, a part of what was not (in order, nothing torn), and
//! says in [`Found`] what it lacks of what it knows to have been synced (the mark file): never less in silence.

mod engine;
mod memory;

use std::sync::Arc;

pub use self::engine::EngineStorage;
pub use self::memory::MemoryStorage;
use crate::env::BoxFuture;
use crate::histogram::Times;

/// Name of one log (`durable`, `table/…`): `a-z0-9._-/`, at most [`NAME_MAX`] bytes.
pub type LogName = Arc<str>;

/// Bytes of the name of a log or of a checkpoint. A longer one is a fault of the caller and panics.
pub const NAME_MAX: usize = 128;

/// Bytes of a checkpoint.
pub const CHECKPOINT_MAX: usize = 64 << 20;

/// Bytes that may wait for the committer: a checkpoint of the greatest size, and as much again. What would go beyond it
/// is refused at once with [`StorageError::Full`]; who awaits [`Storage::synced`] before it gives more never sees that.
pub const QUEUE_MAX: usize = 2 * CHECKPOINT_MAX;

/// How a store is opened.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct StorageOptions {
    /// Bytes of the disc that appends and checkpoints leave free: room for truncations and for the engine's own work. It is
    /// not `storage.reserve`, below which tables take no more: logs of groups go on up to here.
    pub reserve: u64,
    /// Bytes of memory in which the engine keeps blocks that it has read.
    pub cache: u64,
}

impl Default for StorageOptions {
    fn default() -> Self {
        Self { reserve: 4 << 20, cache: 16 << 20 }
    }
}

/// How the disc of a store does.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
pub struct DiscFigures {
    /// Bytes that are free; `None` where there is no disc, or the system does not tell.
    pub free: Option<u64>,
    /// How long syncs took.
    pub syncs: Times,
}

/// Number of a record in its log; the first is 1. Without gaps.
pub type Seq = u64;

/// Place of a change in the order of all changes of one store, from its opening on.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Ticket(pub u64);

/// Which records a log holds: `first..next`, empty where they are equal.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Bounds {
    /// The oldest that is kept.
    pub first: Seq,
    /// The number that the next record will have.
    pub next: Seq,
}

impl Bounds {
    /// What a log holds that nobody wrote.
    pub const EMPTY: Self = Self { first: 1, next: 1 };

    /// What is left after a truncation.
    #[must_use]
    pub fn truncated(self, which: Truncate) -> Self {
        match which {
            Truncate::Before(seq) => Self { first: self.first.max(seq), next: self.next.max(seq) },
            Truncate::From(seq) => Self { first: self.first, next: self.next.min(seq.max(self.first)) },
        }
    }
}

/// Which records to drop.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Truncate {
    /// All before this one: a checkpoint covers them. Where it is beyond the end, the log goes on from it, empty.
    Before(Seq),
    /// This one and all after it: they were overruled.
    From(Seq),
}

/// What was found at the opening.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Found {
    /// Made when the store was created empty, random; another store never has it.
    pub store_id: u128,
    /// The store was created just now.
    pub created: bool,
    /// What is missing or damaged, in words that name the file or log, with how much is there and how much should be.
    /// A store that says anything here was emptied of what it could not vouch for (the damaged folder is kept aside,
    /// named in the words) and has a new `store_id`.
    pub damage: Vec<String>,
}

/// Why an operation failed.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StorageError {
    /// The disc is full, or more waits for it than [`QUEUE_MAX`]. Nothing of the change is kept, nor of those that
    /// were queued behind it; others may still fit later.
    #[error("no room on disc: {0}")]
    Full(String),
    /// The engine or the system failed. The store takes no more changes: what was synced before stays.
    #[error("storage failed: {0}")]
    Failed(String),
    /// The records do not follow the end of their log; nothing was changed.
    #[error("log {log}: record {got} does not follow the end, {next}")]
    Gap {
        /// The log.
        log: LogName,
        /// The number given.
        got: Seq,
        /// The number that would follow.
        next: Seq,
    },
    /// A record that should be there cannot be read.
    #[error("log {log}: record {seq} cannot be read: {why}")]
    Damaged {
        /// The log.
        log: LogName,
        /// The record.
        seq: Seq,
        /// Why.
        why: String,
    },
    /// The store was closed.
    #[error("the store is closed")]
    Closed,
}

/// One store: the logs and checkpoints of a data directory. Handles are shared; all calls may come from any thread, and
/// none but [`Storage::synced`] waits for the disc longer than for a read of it.
pub trait Storage: Send + Sync + 'static {
    /// What was found at the opening.
    fn found(&self) -> Found;

    /// What a log holds, queued records included. A log that nobody wrote is empty and begins at 1.
    fn bounds(&self, log: &LogName) -> Bounds;

    /// Appends records, the first of them with the number `first`. They can be read at once.
    ///
    /// # Errors
    /// `Gap`, `Full`, `Failed`, `Closed`.
    fn append(&self, log: &LogName, first: Seq, records: Vec<Vec<u8>>) -> Result<Ticket, StorageError>;

    /// Drops records. A truncation that drops nothing is no change.
    ///
    /// # Errors
    /// `Failed`, `Closed`. Never `Full`: room for it is kept. (`synced` may still say that a change before it was not
    /// written; then neither was the truncation.)
    fn truncate(&self, log: &LogName, which: Truncate) -> Result<Ticket, StorageError>;

    /// Replaces a named checkpoint whole (`None` removes it), in the order of all changes: it is on disc when and only
    /// when everything given before it is. Up to
    /// [`CHECKPOINT_MAX`].
    ///
    /// # Errors
    /// `Full`, `Failed`, `Closed`.
    fn checkpoint(&self, name: &str, bytes: Option<Vec<u8>>) -> Result<Ticket, StorageError>;

    /// Reads records `from..to`, as many as fit into `bytes_max`, at least one where there is one.
    ///
    /// # Errors
    /// `Damaged`, `Failed`, `Closed`. What lies outside the bounds is not given and is no error.
    fn read(&self, log: &LogName, from: Seq, to: Seq, bytes_max: usize) -> Result<Vec<(Seq, Vec<u8>)>, StorageError>;

    /// Reads a checkpoint, one that is queued included.
    ///
    /// # Errors
    /// `Damaged` (the log is the checkpoint's name, the record 0), `Failed`, `Closed`.
    fn read_checkpoint(&self, name: &str) -> Result<Option<Vec<u8>>, StorageError>;

    /// Waits until all changes up to this ticket are on disc. *Cancel safe.*
    ///
    /// # Errors
    /// `Full` or `Failed`, where the change or one before it could not be written.
    fn synced(&self, ticket: Ticket) -> BoxFuture<'_, Result<(), StorageError>>;

    /// Syncs made since the opening, for benchmarks and metrics.
    fn syncs(&self) -> u64;

    /// How its disc does, for metrics and to see that it fills up. A store without one has nothing to say.
    fn disc(&self) -> DiscFigures {
        DiscFigures::default()
    }

    /// Syncs what waits and ends the committer. Later calls give `Closed`.
    fn close(&self) -> BoxFuture<'_, ()>;
}
