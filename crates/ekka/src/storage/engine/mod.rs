//! The storage port on an embedded engine (`fjall`), in the folder `store` of a data directory.
//!
//! Owns: the queue of changes that are not on disc yet (readable at once), the committer thread, the mark and its
//! thread, the ballast, and the judgement over what is found at the opening.
//!
//! Invariants: a change is on disc only with all before it; what was acknowledged is there at the next opening, or
//! damage is said; the mark never promises more than was synced; nothing here grows without bound.
//!
//! The way of a change: a caller puts it into the queue (`queue`) and gets a ticket; the committer (`committer`) takes
//! all that waits, makes one batch of it (`disc`, `layout`), writes and syncs it (`database`), and moves the watermark
//! (`progress`). Opening: `folder` finds or makes the store, `verify` reads all of it, `mark` knows how much there
//! must be. docs/decisions/0008 tells what was measured and why it is so.

mod committer;
mod database;
mod disc;
mod folder;
mod hash;
mod layout;
mod mark;
mod marker;
mod progress;
mod queue;
mod shared;
mod space;
mod tail;
mod trees;
mod verify;

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use bytes::Bytes;

use self::committer::Committer;
use self::database::{Database, EngineError};
use self::disc::Disc;
use self::layout::{CheckpointHeader, Record, decode, named, record_key, split_key};
use self::marker::Marker;
use self::queue::{Queue, Stop};
use self::shared::Shared;
use self::space::Space;
use super::{Bounds, DiscFigures, Found, LogName, Seq, Storage, StorageError, StorageOptions, Ticket, Truncate};
use crate::env::BoxFuture;

/// A store in a folder. Dropping it ends it as [`Storage::close`] does, and waits for that.
pub struct EngineStorage {
    shared: Arc<Shared>,
    found: Found,
    committer: Mutex<Option<JoinHandle<()>>>,
}

impl EngineStorage {
    /// Opens the store of a data directory, or makes it. The caller holds the directory's lock. `fresh_id` gives the
    /// id of a store that is made. Reads the whole store, so it blocks for as long as that takes.
    ///
    /// # Errors
    /// `Failed` or `Full`: the system refuses (rights, limits, no room). Damage is no error: see [`Found::damage`].
    pub fn open(dir: &Path, options: StorageOptions, fresh_id: &dyn Fn() -> u128) -> Result<Self, StorageError> {
        let opened = folder::open(dir, options.cache, fresh_id).map_err(|error| explain(dir, error))?;
        let disc = Disc::new(opened.on_disc);
        let space = Space::new(dir, options.reserve);
        space.keep_ballast();
        let queue = Queue::new(disc.logs());
        let shared = Shared::new(dir.join(folder::STORE), options.cache, queue, opened.database, space);
        let shared = Arc::new(shared);
        let failed = |error: std::io::Error| StorageError::Failed(format!("no thread for the store: {error}"));
        let marker = Marker::start(opened.files, opened.mark).map_err(failed)?;
        let committer = Committer::new(shared.clone(), disc, marker);
        let thread = std::thread::Builder::new().name("ekka-commit".into());
        let thread = thread.spawn(move || committer.run()).map_err(failed)?;
        Ok(Self { shared, found: opened.found, committer: Mutex::new(Some(thread)) })
    }

    /// Ends it as a killed process does: what waits is not written, the mark is not made exact. For tests of recovery.
    #[cfg(any(test, feature = "testing"))]
    pub fn crash(&self) {
        self.shared.stop(Stop::Crash);
        self.join();
    }

    /// Moves what the engine holds in memory into its tables, as it does by itself after many megabytes. For tests of
    /// damage to them.
    ///
    /// # Errors
    /// Of the engine.
    #[cfg(any(test, feature = "testing"))]
    pub fn flush(&self) -> Result<(), StorageError> {
        Ok(self.shared.with_database(Database::flush)?)
    }

    fn join(&self) {
        let thread = self.committer.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(thread) = thread {
            // A panic there has been told to all who wait.
            drop(thread.join());
        }
    }

    /// Reads `range` from the engine, as far as `bytes_max` goes.
    fn read_disc(&self, log: &LogName, range: std::ops::Range<Seq>, bytes_max: usize) -> Result<Records, ReadError> {
        let mut found = Records::default();
        let mut next = range.start;
        let mut sum = None;
        let ends = (record_key(log, range.start), record_key(log, range.end));
        let read = self.shared.with_database(|database| {
            database.visit(&ends.0, &ends.1, |key, value| {
                let seq = split_key(key).and_then(|(_, rest)| Some(u64::from_be_bytes(rest.try_into().ok()?)));
                let record = Record::parse(next, value).filter(|_| seq == Some(next));
                let record = record.filter(|record| sum.is_none_or(|sum| sum == record.previous));
                let Some(record) = record else { return Ok(false) };
                if !found.fits(record.bytes, bytes_max) {
                    return Ok(false);
                }
                sum = Some(record.sum);
                found.push(next, record.bytes.to_vec());
                next += 1;
                Ok(true)
            })
        });
        match read {
            Ok(()) if next == range.end || found.full => Ok(found),
            Ok(()) => Err(ReadError::Record(next, "it is missing, or not what was written".into())),
            Err(EngineError::Damaged(why)) => Err(ReadError::Record(next, why)),
            Err(other) => Err(ReadError::Other(other.into())),
        }
    }
}

/// Records that were read, up to a number of bytes.
#[derive(Default)]
struct Records {
    list: Vec<(Seq, Vec<u8>)>,
    bytes: usize,
    full: bool,
}

impl Records {
    /// Whether one more may be taken; the first always may.
    fn fits(&mut self, record: &[u8], bytes_max: usize) -> bool {
        self.full = !self.list.is_empty() && self.bytes.saturating_add(record.len()) > bytes_max;
        !self.full
    }

    fn push(&mut self, seq: Seq, record: Vec<u8>) {
        self.bytes += record.len();
        self.list.push((seq, record));
    }
}

enum ReadError {
    Record(Seq, String),
    Other(StorageError),
}

impl Storage for EngineStorage {
    fn found(&self) -> Found {
        self.found.clone()
    }

    fn bounds(&self, log: &LogName) -> Bounds {
        self.shared.queue().bounds(log)
    }

    fn append(&self, log: &LogName, first: Seq, records: Vec<Vec<u8>>) -> Result<Ticket, StorageError> {
        let records: Vec<Bytes> = records.into_iter().map(Bytes::from).collect();
        let mut queue = self.shared.queue();
        queue.open()?;
        let next = queue.bounds(log).next;
        if first != next {
            return Err(StorageError::Gap { log: log.clone(), got: first, next });
        }
        if records.is_empty() {
            return Ok(Ticket(queue.last()));
        }
        self.shared.space.room_for(queue.room_for(queue::weight(&records))?)?;
        let ticket = queue.append(log, first, records);
        self.shared.wake.notify_one();
        Ok(Ticket(ticket))
    }

    fn truncate(&self, log: &LogName, which: Truncate) -> Result<Ticket, StorageError> {
        let mut queue = self.shared.queue();
        queue.open()?;
        let ticket = queue.truncate(log, which);
        self.shared.wake.notify_one();
        Ok(Ticket(ticket))
    }

    fn checkpoint(&self, name: &str, bytes: Option<Vec<u8>>) -> Result<Ticket, StorageError> {
        let bytes = bytes.map(Bytes::from);
        let mut queue = self.shared.queue();
        queue.open()?;
        if let Some(bytes) = &bytes {
            queue::assert_checkpoint(bytes);
            self.shared.space.room_for(queue.room_for(bytes.len())?)?;
        }
        let ticket = queue.checkpoint(name, bytes);
        self.shared.wake.notify_one();
        Ok(Ticket(ticket))
    }

    fn read(&self, log: &LogName, from: Seq, to: Seq, bytes_max: usize) -> Result<Vec<(Seq, Vec<u8>)>, StorageError> {
        loop {
            let slice = self.shared.queue().slice(log, from, to, bytes_max);
            let mut found = match self.read_disc(log, slice.on_disc, bytes_max) {
                Ok(found) => found,
                // Overtaken by a truncation: what was asked for is another thing now.
                Err(ReadError::Record(..)) if self.shared.queue().epoch(log) != slice.epoch => continue,
                Err(ReadError::Record(seq, why)) => {
                    return Err(StorageError::Damaged { log: log.clone(), seq, why });
                }
                Err(ReadError::Other(error)) => return Err(error),
            };
            for (seq, record) in slice.queued {
                if found.full || !found.fits(&record, bytes_max) {
                    break;
                }
                found.push(seq, record.to_vec());
            }
            return Ok(found.list);
        }
    }

    fn read_checkpoint(&self, name: &str) -> Result<Option<Vec<u8>>, StorageError> {
        if let Ok(queued) = self.shared.queue().queued_checkpoint(name) {
            return Ok(queued.map(Vec::from));
        }
        let read = self.shared.with_database(|database| read_checkpoint(database, name));
        read.map_err(|error| match error {
            EngineError::Damaged(why) => StorageError::Damaged { log: name.into(), seq: 0, why },
            other => other.into(),
        })
    }

    fn synced(&self, ticket: Ticket) -> BoxFuture<'_, Result<(), StorageError>> {
        Box::pin(self.shared.progress.wait(ticket))
    }

    fn syncs(&self) -> u64 {
        self.shared.sync_times().total()
    }

    fn disc(&self) -> DiscFigures {
        DiscFigures { free: self.shared.space.free(), syncs: self.shared.sync_times() }
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        Box::pin(async {
            self.shared.stop(Stop::Close);
            self.shared.progress.wait_closed().await;
        })
    }
}

impl Drop for EngineStorage {
    fn drop(&mut self) {
        self.shared.stop(Stop::Close);
        self.join();
    }
}

/// The committer may replace it between the reads of header and parts; then it is read again.
fn read_checkpoint(database: &Database, name: &str) -> Result<Option<Vec<u8>>, EngineError> {
    let key = named(layout::CHECKPOINT, name);
    let mut header = database.get(&key)?;
    loop {
        let Some(known) = header else { return Ok(None) };
        let parsed: CheckpointHeader =
            decode(&known).ok_or_else(|| EngineError::Damaged("its header cannot be read".into()))?;
        let bytes = verify::checkpoint(database, name, parsed);
        let again = database.get(&key)?;
        if again.as_ref() == Some(&known) {
            return bytes.map(Some);
        }
        header = again;
    }
}

fn explain(dir: &Path, error: EngineError) -> StorageError {
    match error {
        EngineError::Full(why) => StorageError::Full(why),
        other => StorageError::Failed(format!("{}: {other}", dir.join(folder::STORE).display())),
    }
}
