//! The store of one process of a simulated host.

use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

use ekka::env::BoxFuture;
use ekka::storage::{Bounds, CHECKPOINT_MAX, Found, LogName, QUEUE_MAX, Seq, Storage, StorageError, Ticket, Truncate};
use tokio::sync::watch;

use super::journal::{Change, push};
use super::state::State;
use super::{StoreDisc, Volume};

/// One opening of a [`StoreDisc`].
#[derive(Debug)]
pub struct SimStorage {
    disc: StoreDisc,
    /// Which opening of the disc this is.
    opening: u64,
    found: Found,
    inner: Mutex<Inner>,
    /// Told after each sync, and where one was given up.
    changed: watch::Sender<()>,
}

#[derive(Debug)]
struct Inner {
    state: State,
    last: u64,
    synced: u64,
    syncing: bool,
    syncs: u64,
    closed: bool,
    failure: Option<StorageError>,
}

/// What one who waits has to do.
enum Step {
    Done,
    /// Another makes a sync.
    Wait,
    Sync(Duration),
}

/// One sync. Dropped before its end, it never was.
struct Sync<'a> {
    storage: &'a SimStorage,
    ticket: u64,
    bytes: usize,
}

impl Drop for Sync<'_> {
    fn drop(&mut self) {
        self.storage.lock().syncing = false;
        self.storage.changed.send_replace(());
    }
}

impl SimStorage {
    pub(super) fn new(disc: StoreDisc, opening: u64, state: State, found: Found) -> Self {
        let inner = Inner { state, last: 0, synced: 0, syncing: false, syncs: 0, closed: false, failure: None };
        Self { disc, opening, found, inner: Mutex::new(inner), changed: watch::Sender::new(()) }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().expect("one thread runs the simulation")
    }

    /// Both locks, for a store that is open.
    fn open(&self) -> Result<(MutexGuard<'_, Inner>, MutexGuard<'_, Volume>), StorageError> {
        let inner = self.lock();
        let volume = self.disc.lock();
        if inner.closed || volume.opening != self.opening {
            return Err(StorageError::Closed);
        }
        Ok((inner, volume))
    }

    /// Both locks, for a change of so many bytes.
    fn change(&self, bytes: usize) -> Result<(MutexGuard<'_, Inner>, MutexGuard<'_, Volume>), StorageError> {
        let (inner, volume) = self.open()?;
        if let Some(failure) = &inner.failure {
            return Err(failure.clone());
        }
        if bytes > 0 && volume.faults.full {
            return Err(StorageError::Full("the simulated disc is full".into()));
        }
        let waiting = volume.journal.len() - volume.safe;
        if bytes > 0 && !volume.faults.lies && waiting.saturating_add(bytes) > QUEUE_MAX {
            return Err(StorageError::Full(format!("{waiting} bytes wait for the disc, as many as may")));
        }
        Ok((inner, volume))
    }

    fn step(&self, ticket: Ticket) -> Result<Step, StorageError> {
        if self.lock().synced >= ticket.0 {
            return Ok(Step::Done);
        }
        let (inner, mut volume) = self.open()?;
        if let Some(failure) = &inner.failure {
            return Err(failure.clone());
        }
        if inner.syncing {
            return Ok(Step::Wait);
        }
        let longest = u64::try_from(2 * volume.faults.sync.as_micros()).unwrap_or(u64::MAX);
        Ok(Step::Sync(Duration::from_micros(volume.rng.below(longest.saturating_add(1)))))
    }

    fn begin(&self) -> Sync<'_> {
        let mut inner = self.lock();
        inner.syncing = true;
        Sync { storage: self, ticket: inner.last, bytes: self.disc.lock().journal.len() }
    }

    async fn wait(&self, ticket: Ticket) -> Result<(), StorageError> {
        loop {
            let mut changed = self.changed.subscribe();
            match self.step(ticket)? {
                Step::Done => return Ok(()),
                Step::Wait => changed.changed().await.expect("the sender is in `self`"),
                Step::Sync(takes) => {
                    let sync = self.begin();
                    // Those who come in the same moment share the next one at the latest, even where it takes no time.
                    tokio::task::yield_now().await;
                    tokio::time::sleep(takes).await;
                    sync.finish()?;
                }
            }
        }
    }
}

impl Sync<'_> {
    fn finish(self) -> Result<(), StorageError> {
        let (mut inner, mut volume) = self.storage.open()?;
        if volume.faults.broken {
            let failure = StorageError::Failed("the simulated disc is broken".into());
            inner.failure = Some(failure.clone());
            return Err(failure);
        }
        let before = inner.state.ordinal - (inner.last - self.ticket);
        volume.mark = Some(before);
        if !volume.faults.lies {
            volume.safe = self.bytes;
        }
        inner.synced = self.ticket;
        inner.syncs += 1;
        if volume.is_wasteful(&inner.state) {
            volume.restart(&inner.state);
        }
        Ok(())
    }
}

impl Inner {
    fn push(&mut self, volume: &mut Volume, change: Change) -> Ticket {
        push(&mut volume.journal, &change);
        self.state.apply(change);
        self.last += 1;
        Ticket(self.last)
    }
}

impl Storage for SimStorage {
    fn found(&self) -> Found {
        self.found.clone()
    }

    fn bounds(&self, log: &LogName) -> Bounds {
        self.lock().state.bounds(log)
    }

    fn append(&self, log: &LogName, first: Seq, records: Vec<Vec<u8>>) -> Result<Ticket, StorageError> {
        let (mut inner, mut volume) = self.change(records.iter().map(|record| record.len() + 1).sum())?;
        let next = inner.state.bounds(log).next;
        if first != next {
            return Err(StorageError::Gap { log: log.clone(), got: first, next });
        }
        if records.is_empty() {
            return Ok(Ticket(inner.last));
        }
        Ok(inner.push(&mut volume, Change::Append { log: log.clone(), first, records }))
    }

    fn truncate(&self, log: &LogName, which: Truncate) -> Result<Ticket, StorageError> {
        let (mut inner, mut volume) = self.change(0)?;
        let bounds = inner.state.bounds(log);
        if bounds == bounds.truncated(which) {
            return Ok(Ticket(inner.last));
        }
        Ok(inner.push(&mut volume, Change::Truncate { log: log.clone(), which }))
    }

    fn checkpoint(&self, name: &str, bytes: Option<Vec<u8>>) -> Result<Ticket, StorageError> {
        let length = bytes.as_ref().map_or(0, |bytes| bytes.len() + 1);
        assert!(length <= CHECKPOINT_MAX + 1, "a checkpoint has at most {CHECKPOINT_MAX} bytes");
        let (mut inner, mut volume) = self.change(length)?;
        Ok(inner.push(&mut volume, Change::Checkpoint { name: name.to_owned(), bytes }))
    }

    fn read(&self, log: &LogName, from: Seq, to: Seq, bytes_max: usize) -> Result<Vec<(Seq, Vec<u8>)>, StorageError> {
        let inner = self.open()?.0;
        let mut bytes = 0usize;
        let records = inner.state.logs.get(log).into_iter().flat_map(|log| log.records.range(from..to.max(from)));
        let records = records.enumerate().take_while(|(n, (_, record))| {
            bytes += record.len();
            *n == 0 || bytes <= bytes_max
        });
        Ok(records.map(|(_, (seq, record))| (*seq, record.clone())).collect())
    }

    fn read_checkpoint(&self, name: &str) -> Result<Option<Vec<u8>>, StorageError> {
        Ok(self.open()?.0.state.checkpoints.get(name).cloned())
    }

    fn synced(&self, ticket: Ticket) -> BoxFuture<'_, Result<(), StorageError>> {
        Box::pin(self.wait(ticket))
    }

    fn syncs(&self) -> u64 {
        self.lock().syncs
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        Box::pin(async {
            let last = self.lock().last;
            // A disc that fails keeps nobody from ending.
            drop(self.wait(Ticket(last)).await);
            self.lock().closed = true;
        })
    }
}
