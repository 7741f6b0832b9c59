//! The engine itself: a folder opened, read, and written in batches.

use std::fmt;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use fjall::config::FilterPolicy;
use fjall::{Database as Fjall, Keyspace, KeyspaceCreateOptions, PersistMode, Slice};

use super::space::is_full;
use super::{tail, trees};
use crate::storage::StorageError;

const KEYSPACE: &str = "ekka";
/// One for flushes, so that compactions do not delay them.
const WORKERS: usize = 2;

/// Why the engine did not do what it was asked.
#[derive(Debug)]
pub(super) enum EngineError {
    /// The disc is full.
    Full(String),
    /// The engine stopped itself after an earlier error, perhaps in the background.
    Poisoned,
    /// The system refuses for reasons outside the folder: rights, limits, another process.
    Refused(String),
    /// The folder does not hold what the engine wrote.
    Damaged(String),
    /// The engine is closed.
    Gone,
}

impl EngineError {
    /// The same, where trying again could not help.
    pub(super) fn fatal(self) -> Self {
        Self::Refused(self.to_string())
    }
}

impl fmt::Display for EngineError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Full(why) | Self::Refused(why) | Self::Damaged(why) => f.write_str(why),
            Self::Poisoned => f.write_str("the engine stopped after an earlier error"),
            Self::Gone => f.write_str("the engine is closed"),
        }
    }
}

impl From<EngineError> for StorageError {
    fn from(error: EngineError) -> Self {
        match error {
            EngineError::Full(why) => Self::Full(why),
            EngineError::Gone => Self::Closed,
            other => Self::Failed(other.to_string()),
        }
    }
}

impl From<io::Error> for EngineError {
    fn from(error: io::Error) -> Self {
        // From here on every other error of the system (absent, cut short, unreadable sectors) speaks of the folder.
        const LIMITS: [rustix::io::Errno; 3] =
            [rustix::io::Errno::MFILE, rustix::io::Errno::NFILE, rustix::io::Errno::NOMEM];
        let refused = matches!(error.kind(), io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem)
            || rustix::io::Errno::from_io_error(&error).is_some_and(|errno| LIMITS.contains(&errno));
        match () {
            () if is_full(&error) => Self::Full(error.to_string()),
            () if refused => Self::Refused(error.to_string()),
            () => Self::Damaged(error.to_string()),
        }
    }
}

impl From<fjall::Error> for EngineError {
    fn from(error: fjall::Error) -> Self {
        match error {
            fjall::Error::Io(error) | fjall::Error::Storage(fjall::LsmError::Io(error)) => error.into(),
            fjall::Error::Poisoned => Self::Poisoned,
            fjall::Error::Locked => Self::Refused("another process has the store open".into()),
            other => Self::Damaged(format!("the engine says: {other:?}")),
        }
    }
}

/// One opened folder. Clones are the same.
#[derive(Clone)]
pub(super) struct Database {
    fjall: Fjall,
    keys: Keyspace,
}

/// What one batch changes: the last word on each key.
pub(super) type Changes = std::collections::BTreeMap<Vec<u8>, Option<Vec<u8>>>;

impl Database {
    /// Makes a folder.
    ///
    /// # Errors
    /// `Refused`, `Full`, or `Damaged` for whatever else goes wrong.
    pub(super) fn create(folder: &Path, cache: u64) -> Result<Self, EngineError> {
        guarded(|| {
            let fjall = Fjall::builder(folder).cache_size(cache).worker_threads(WORKERS).open()?;
            // Filters serve reads of single keys, of which there are few, and nothing at the opening would notice a
            // damaged one.
            let options = || KeyspaceCreateOptions::default().filter_policy(FilterPolicy::disabled());
            let keys = fjall.keyspace(KEYSPACE, options)?;
            Ok(Self { fjall, keys })
        })
    }

    /// Opens a folder. A batch at the end that a power loss tore is cut off.
    ///
    /// # Errors
    /// `Damaged`, `Refused`, `Full`.
    pub(super) fn open(folder: &Path, cache: u64) -> Result<Self, EngineError> {
        // Without one of these the engine takes the folder, or our keys in it, for one that it may begin anew.
        let version = folder.join("version");
        if !version.is_file() {
            return Err(EngineError::Damaged("the engine's version file is gone".into()));
        }
        let torn = tail::trim(folder)?;
        trees::check(folder)?;
        match guarded(|| Self::try_open(folder, cache)) {
            Err(EngineError::Damaged(first)) if !torn && tail::cut_last_batch(folder)? => {
                guarded(|| Self::try_open(folder, cache)).map_err(|second| match second {
                    EngineError::Damaged(_) => EngineError::Damaged(first),
                    other => other,
                })
            }
            other => other,
        }
    }

    fn try_open(folder: &Path, cache: u64) -> Result<Self, EngineError> {
        let fjall = Fjall::builder(folder).cache_size(cache).worker_threads(WORKERS).open()?;
        if !fjall.keyspace_exists(KEYSPACE) {
            return Err(EngineError::Damaged("the engine no longer knows our keys".into()));
        }
        let keys = fjall.keyspace(KEYSPACE, KeyspaceCreateOptions::default)?;
        Ok(Self { fjall, keys })
    }

    /// Writes and syncs one batch: all of it or nothing.
    ///
    /// # Errors
    /// Whether it will be there at the next opening is not known.
    pub(super) fn commit(&self, changes: Changes) -> Result<(), EngineError> {
        let mut batch = self.fjall.batch().durability(Some(PersistMode::SyncData));
        for (key, value) in changes {
            match value {
                Some(value) => batch.insert(&self.keys, key, value),
                None => batch.remove(&self.keys, key),
            }
        }
        Ok(batch.commit()?)
    }

    /// Syncs everything, sizes and names of files included.
    ///
    /// # Errors
    /// The engine takes no more writes.
    pub(super) fn sync_all(&self) -> Result<(), EngineError> {
        Ok(self.fjall.persist(PersistMode::SyncAll)?)
    }

    /// Moves what is in memory into tables.
    ///
    /// # Errors
    /// Of the engine.
    #[cfg(any(test, feature = "testing"))]
    pub(super) fn flush(&self) -> Result<(), EngineError> {
        Ok(self.keys.rotate_memtable_and_wait()?)
    }

    /// The value under a key.
    ///
    /// # Errors
    /// `Damaged`.
    pub(super) fn get(&self, key: &[u8]) -> Result<Option<Slice>, EngineError> {
        guarded(|| Ok(self.keys.get(key)?))
    }

    /// Goes through the keys `from..to`, in order, as long as the visitor says so.
    ///
    /// # Errors
    /// Of the engine, and of the visitor.
    pub(super) fn visit(
        &self,
        from: &[u8],
        to: &[u8],
        mut visitor: impl FnMut(&[u8], &[u8]) -> Result<bool, EngineError>,
    ) -> Result<(), EngineError> {
        guarded(|| {
            for entry in self.keys.range(from..to) {
                let (key, value) = entry.into_inner()?;
                if !visitor(&key, &value)? {
                    break;
                }
            }
            Ok(())
        })
    }
}

/// Runs a piece of the engine over bytes that may be damaged: some of its checks are assertions.
pub(super) fn guarded<T>(work: impl FnOnce() -> Result<T, EngineError>) -> Result<T, EngineError> {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().cloned();
        let text = text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
        Err(EngineError::Damaged(format!("the engine gave up: {}", text.as_deref().unwrap_or("it does not say why"))))
    })
}
