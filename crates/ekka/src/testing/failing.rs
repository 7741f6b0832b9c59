//! A store that fails when it is told to, and tells in which order checkpoints came.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use crate::env::BoxFuture;
use crate::storage::{Bounds, Found, LogName, Seq, Storage, StorageError, Ticket, Truncate};

/// The store: another one, until it fails.
pub struct FailingStorage {
    inner: Arc<dyn Storage>,
    failed: AtomicBool,
    no_room: Mutex<Option<String>>,
    checkpoints: Mutex<Vec<String>>,
}

impl FailingStorage {
    /// Over this store.
    #[must_use]
    pub fn new(inner: Arc<dyn Storage>) -> Self {
        Self { inner, failed: AtomicBool::new(false), no_room: Mutex::default(), checkpoints: Mutex::default() }
    }

    /// From now on nothing can be written.
    pub fn fail(&self) {
        self.failed.store(true, Ordering::Release);
    }

    /// From now on there is no room for checkpoints whose name holds this; `None` ends it.
    pub fn no_room_for(&self, name: Option<&str>) {
        *self.no_room.lock().unwrap_or_else(PoisonError::into_inner) = name.map(str::to_owned);
    }

    /// The names of all checkpoints that were taken, in their order.
    #[must_use]
    pub fn checkpoints(&self) -> Vec<String> {
        self.checkpoints.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn works(&self) -> Result<(), StorageError> {
        if self.failed.load(Ordering::Acquire) {
            return Err(StorageError::Full("a fault put in on purpose".into()));
        }
        Ok(())
    }
}

impl Storage for FailingStorage {
    fn found(&self) -> Found {
        self.inner.found()
    }

    fn bounds(&self, log: &LogName) -> Bounds {
        self.inner.bounds(log)
    }

    fn append(&self, log: &LogName, first: Seq, records: Vec<Vec<u8>>) -> Result<Ticket, StorageError> {
        self.works()?;
        self.inner.append(log, first, records)
    }

    fn truncate(&self, log: &LogName, which: Truncate) -> Result<Ticket, StorageError> {
        self.inner.truncate(log, which)
    }

    fn checkpoint(&self, name: &str, bytes: Option<Vec<u8>>) -> Result<Ticket, StorageError> {
        self.works()?;
        let no_room = self.no_room.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if no_room.is_some_and(|part| name.contains(&part)) {
            return Err(StorageError::Full("a fault put in on purpose".into()));
        }
        self.checkpoints.lock().unwrap_or_else(PoisonError::into_inner).push(name.to_owned());
        self.inner.checkpoint(name, bytes)
    }

    fn read(&self, log: &LogName, from: Seq, to: Seq, bytes_max: usize) -> Result<Vec<(Seq, Vec<u8>)>, StorageError> {
        self.inner.read(log, from, to, bytes_max)
    }

    fn read_checkpoint(&self, name: &str) -> Result<Option<Vec<u8>>, StorageError> {
        self.inner.read_checkpoint(name)
    }

    fn synced(&self, ticket: Ticket) -> BoxFuture<'_, Result<(), StorageError>> {
        self.inner.synced(ticket)
    }

    fn syncs(&self) -> u64 {
        self.inner.syncs()
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        self.inner.close()
    }
}
