//! A store that fails when it is told to.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::env::BoxFuture;
use crate::storage::{Bounds, Found, LogName, Seq, Storage, StorageError, Ticket, Truncate};

/// The store: another one, until it fails.
pub struct FailingStorage {
    inner: Arc<dyn Storage>,
    failed: AtomicBool,
}

impl FailingStorage {
    /// Over this store.
    #[must_use]
    pub fn new(inner: Arc<dyn Storage>) -> Self {
        Self { inner, failed: AtomicBool::new(false) }
    }

    /// From now on nothing can be written.
    pub fn fail(&self) {
        self.failed.store(true, Ordering::Release);
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
