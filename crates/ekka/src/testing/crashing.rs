//! A store on a disc that forgets: a crash leaves what was synced, and as much of the rest, in order, as a test likes.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::sleep;

use crate::env::BoxFuture;
use crate::storage::{Bounds, Found, LogName, MemoryStorage, Seq, Storage, StorageError, Ticket, Truncate};

/// What one sync takes.
const SYNC: Duration = Duration::from_micros(500);

#[derive(Clone)]
enum Change {
    Append { log: LogName, first: Seq, records: Vec<Vec<u8>> },
    Truncate { log: LogName, which: Truncate },
    Checkpoint { name: String, bytes: Option<Vec<u8>> },
}

#[derive(Default)]
struct Volume {
    changes: Vec<Change>,
    /// How many of them no crash takes.
    synced: usize,
    /// The ticket of the last change.
    last: u64,
    /// Up to which ticket all that was not synced was given up.
    given_up: u64,
    full: bool,
    failed: bool,
    opening: u64,
}

/// The disc; outlives its stores. Clones are the same disc.
#[derive(Clone, Default)]
pub struct CrashingDisc {
    volume: Arc<Mutex<Volume>>,
}

impl CrashingDisc {
    fn locked(&self) -> MutexGuard<'_, Volume> {
        self.volume.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many changes no crash takes, and how many there are.
    #[must_use]
    pub fn changes(&self) -> (usize, usize) {
        let volume = self.locked();
        (volume.synced, volume.changes.len())
    }

    /// Another disc with the first of its changes, synced.
    #[must_use]
    pub fn first(&self, changes: usize) -> Self {
        let changes = self.locked().changes[..changes].to_vec();
        let volume = Volume { synced: changes.len(), changes, ..Volume::default() };
        Self { volume: Arc::new(Mutex::new(volume)) }
    }

    /// From now on there is no room, or there is again.
    pub fn set_full(&self, full: bool) {
        self.locked().full = full;
    }

    /// From now on nothing can be written.
    pub fn fail(&self) {
        self.locked().failed = true;
    }

    /// Opens the store. One that was opened before is that of a process which has ended.
    #[must_use]
    pub fn open(&self) -> CrashingStorage {
        let mut volume = self.locked();
        volume.opening += 1;
        let (opening, memory) = (volume.opening, replayed(&volume.changes));
        drop(volume);
        CrashingStorage { disc: self.clone(), opening, memory: Mutex::new(Arc::new(memory)) }
    }
}

fn replayed(changes: &[Change]) -> MemoryStorage {
    let memory = MemoryStorage::new(1);
    for change in changes.iter().cloned() {
        let done = match change {
            Change::Append { log, first, records } => memory.append(&log, first, records),
            Change::Truncate { log, which } => memory.truncate(&log, which),
            Change::Checkpoint { name, bytes } => memory.checkpoint(&name, bytes),
        };
        done.expect("it was taken before");
    }
    memory
}

/// One opening of a [`CrashingDisc`].
pub struct CrashingStorage {
    disc: CrashingDisc,
    opening: u64,
    memory: Mutex<Arc<MemoryStorage>>,
}

impl CrashingStorage {
    fn memory(&self) -> Arc<MemoryStorage> {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn open(&self) -> Result<MutexGuard<'_, Volume>, StorageError> {
        let volume = self.disc.locked();
        match volume {
            volume if volume.opening != self.opening => Err(StorageError::Closed),
            volume if volume.failed => Err(StorageError::Failed("the disc of a test is broken".into())),
            volume => Ok(volume),
        }
    }

    fn change(&self, change: Change, takes_room: bool) -> Result<Ticket, StorageError> {
        let mut volume = self.open()?;
        if takes_room && volume.full {
            return Err(StorageError::Full("the disc of a test is full".into()));
        }
        let memory = self.memory();
        match change.clone() {
            Change::Append { log, first, records } => memory.append(&log, first, records)?,
            Change::Truncate { log, which } => memory.truncate(&log, which)?,
            Change::Checkpoint { name, bytes } => memory.checkpoint(&name, bytes)?,
        };
        volume.changes.push(change);
        volume.last += 1;
        Ok(Ticket(volume.last))
    }

    async fn sync(&self, ticket: Ticket) -> Result<(), StorageError> {
        let begun = self.open()?.last;
        sleep(SYNC).await;
        let mut volume = self.open()?;
        if ticket.0 <= volume.given_up {
            return Err(StorageError::Full("the disc of a test was full".into()));
        }
        if volume.full && volume.synced < volume.changes.len() {
            let synced = volume.synced;
            volume.changes.truncate(synced);
            volume.given_up = volume.last;
            *self.memory.lock().unwrap_or_else(PoisonError::into_inner) = Arc::new(replayed(&volume.changes));
            return Err(StorageError::Full("the disc of a test became full".into()));
        }
        let later = usize::try_from(volume.last - begun.max(volume.given_up)).unwrap_or(usize::MAX);
        volume.synced = volume.synced.max(volume.changes.len().saturating_sub(later));
        Ok(())
    }
}

impl Storage for CrashingStorage {
    fn found(&self) -> Found {
        self.memory().found()
    }

    fn bounds(&self, log: &LogName) -> Bounds {
        self.memory().bounds(log)
    }

    fn append(&self, log: &LogName, first: Seq, records: Vec<Vec<u8>>) -> Result<Ticket, StorageError> {
        self.change(Change::Append { log: log.clone(), first, records }, true)
    }

    fn truncate(&self, log: &LogName, which: Truncate) -> Result<Ticket, StorageError> {
        self.change(Change::Truncate { log: log.clone(), which }, false)
    }

    fn checkpoint(&self, name: &str, bytes: Option<Vec<u8>>) -> Result<Ticket, StorageError> {
        let takes_room = bytes.is_some();
        self.change(Change::Checkpoint { name: name.to_owned(), bytes }, takes_room)
    }

    fn read(&self, log: &LogName, from: Seq, to: Seq, bytes_max: usize) -> Result<Vec<(Seq, Vec<u8>)>, StorageError> {
        drop(self.open()?);
        self.memory().read(log, from, to, bytes_max)
    }

    fn read_checkpoint(&self, name: &str) -> Result<Option<Vec<u8>>, StorageError> {
        drop(self.open()?);
        self.memory().read_checkpoint(name)
    }

    fn synced(&self, ticket: Ticket) -> BoxFuture<'_, Result<(), StorageError>> {
        Box::pin(self.sync(ticket))
    }

    fn syncs(&self) -> u64 {
        0
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        Box::pin(async {})
    }
}
