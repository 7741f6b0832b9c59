//! What the callers of a store and its committer share.

use std::path::PathBuf;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Duration;

use super::database::{Database, EngineError};
use super::progress::Progress;
use super::queue::{Queue, Stop};
use super::space::Space;
use crate::histogram::{Histogram, Times};

pub(super) struct Shared {
    pub(super) folder: PathBuf,
    pub(super) cache: u64,
    queue: Mutex<Queue>,
    /// Tells the committer that there is something to do.
    pub(super) wake: Condvar,
    /// Absent while it is opened anew, and after the end.
    pub(super) database: RwLock<Option<Database>>,
    pub(super) progress: Progress,
    pub(super) space: Space,
    syncs: Histogram,
}

impl Shared {
    pub(super) fn new(folder: PathBuf, cache: u64, queue: Queue, database: Database, space: Space) -> Self {
        Self {
            folder,
            cache,
            queue: Mutex::new(queue),
            wake: Condvar::new(),
            database: RwLock::new(Some(database)),
            progress: Progress::new(),
            space,
            syncs: Histogram::default(),
        }
    }

    pub(super) fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Runs a piece of work on the engine. It is not opened anew meanwhile.
    pub(super) fn with_database<T>(
        &self,
        work: impl FnOnce(&Database) -> Result<T, EngineError>,
    ) -> Result<T, EngineError> {
        match &*self.database.read().unwrap_or_else(PoisonError::into_inner) {
            Some(database) => work(database),
            None => Err(EngineError::Gone),
        }
    }

    pub(super) fn stop(&self, stop: Stop) {
        self.queue().stop.get_or_insert(stop);
        self.wake.notify_one();
    }

    pub(super) fn count_sync(&self, took: Duration) {
        self.syncs.count(took);
    }

    pub(super) fn sync_times(&self) -> Times {
        self.syncs.times()
    }
}
