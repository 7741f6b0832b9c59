//! Backups of the tables that are kept on disc: taken while writers go on, and put back.
//!
//! | file | does |
//! |---|---|
//! | `take` | clones of all tables at nearly one moment, given piece by piece |
//! | `restore` | reads a file through and puts it back table by table |
//! | `available`, `quorum` | what becomes of rows in a table of that kind |

mod available;
mod quorum;
mod report;
mod restore;
mod take;

pub use self::report::{RestoreError, RestoreMode, Restored, TableRestored};
pub(crate) use self::restore::{Job, pieces_of};
pub use self::take::{Backup, BackupError};

use std::sync::atomic::{AtomicU64, Ordering};

use ekka_core::time::Wall;
use tokio::sync::Mutex;
use tracing::warn;

use crate::env::Disk;

/// The small file that says when the last backup was given whole.
const LAST: &str = "last-backup";

/// What a node remembers of backups.
pub(super) struct Backups {
    /// Milliseconds of the wall clock; 0 where there was none.
    last: AtomicU64,
    /// Held while one is put back.
    pub(super) restoring: Mutex<()>,
}

impl Backups {
    /// What is known from before.
    pub(super) fn read(disk: &dyn Disk) -> Self {
        let found = disk.read(LAST).ok().flatten();
        let last = found.and_then(|bytes| String::from_utf8(bytes).ok()?.trim().parse().ok()).unwrap_or(0);
        Self { last: AtomicU64::new(last), restoring: Mutex::default() }
    }

    /// One was given whole.
    fn done(&self, disk: &dyn Disk, at: Wall) {
        self.last.store(at.as_millis(), Ordering::Relaxed);
        if let Err(error) = disk.write(LAST, at.as_millis().to_string().as_bytes()) {
            warn!(err = %error, "when the last backup was taken cannot be kept");
        }
    }

    /// How many seconds ago the last one was given whole.
    pub(super) fn age_s(&self, now: Wall) -> Option<u64> {
        let last = self.last.load(Ordering::Relaxed);
        (last > 0).then(|| now.as_millis().saturating_sub(last) / 1000)
    }
}
