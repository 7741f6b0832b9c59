//! Room on the disc: what appends leave free, and the ballast that is given up where others left none.

use std::fs::{self, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use rustix::fs::{FallocateFlags, fallocate, statvfs};

use crate::storage::StorageError;

/// The greatest size of the ballast; it is sixteen times the reserve where that is less.
const BALLAST_MAX: u64 = 64 << 20;

/// Name of the file that only takes up room.
pub(super) const BALLAST: &str = "store.ballast";

pub(super) struct Space {
    dir: PathBuf,
    reserve: u64,
    free: AtomicU64,
    ballast: AtomicBool,
}

impl Space {
    pub(super) fn new(dir: &Path, reserve: u64) -> Self {
        let ballast = AtomicBool::new(dir.join(BALLAST).exists());
        let space = Self { dir: dir.to_owned(), reserve, free: AtomicU64::new(0), ballast };
        space.look();
        space
    }

    /// Reads how much is free.
    pub(super) fn look(&self) {
        // A system that does not tell is taken to have room: the write itself will say otherwise.
        let free = statvfs(&self.dir).map_or(u64::MAX, |stat| stat.f_bavail.saturating_mul(stat.f_frsize));
        self.free.store(free, Ordering::Relaxed);
    }

    /// How much is free at the moment, where the system tells.
    pub(super) fn free(&self) -> Option<u64> {
        self.look();
        Some(self.free.load(Ordering::Relaxed)).filter(|free| *free < u64::MAX)
    }

    /// Whether so many bytes more leave the reserve untouched. Where they do not, the ballast is given up for them.
    ///
    /// # Errors
    /// `Full`.
    pub(super) fn room_for(&self, bytes: usize) -> Result<(), StorageError> {
        let needed = self.reserve.saturating_add(bytes as u64);
        if self.free.load(Ordering::Relaxed) < needed {
            self.look();
        }
        if self.free.load(Ordering::Relaxed) < needed && self.drop_ballast() {
            tracing::warn!("the disc is nearly full: the ballast is given up for the logs");
            self.look();
        }
        let free = self.free.load(Ordering::Relaxed);
        if free < needed {
            let reserve = self.reserve;
            return Err(StorageError::Full(format!("{free} bytes are free, and {reserve} of them are kept")));
        }
        Ok(())
    }

    /// Makes the ballast where there is room for it twice. That it cannot be made is no error.
    pub(super) fn keep_ballast(&self) {
        let size = BALLAST_MAX.min(self.reserve.saturating_mul(16));
        if self.ballast.load(Ordering::Relaxed) || size == 0 {
            return;
        }
        self.look();
        if self.free.load(Ordering::Relaxed) < self.reserve.saturating_add(2 * size) {
            return;
        }
        let made = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(self.dir.join(BALLAST));
        let filled = made.and_then(|file| Ok(fallocate(file, FallocateFlags::empty(), 0, size)?));
        match filled {
            Ok(()) => self.ballast.store(true, Ordering::Relaxed),
            Err(error) => {
                tracing::debug!(%error, "no ballast: the file system does not allocate ahead");
                drop(fs::remove_file(self.dir.join(BALLAST)));
            }
        }
    }

    /// Gives the ballast up. `false` where there was none.
    pub(super) fn drop_ballast(&self) -> bool {
        self.ballast.swap(false, Ordering::Relaxed) && fs::remove_file(self.dir.join(BALLAST)).is_ok()
    }
}

/// Whether an error says that there is no room.
pub(super) fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reserve_is_refused_and_the_ballast_is_given_up_once() {
        let dir = tempfile::tempdir().unwrap();
        let space = Space::new(dir.path(), 4096);
        assert!(space.room_for(1).is_ok());
        space.keep_ballast();
        assert_eq!(fs::metadata(dir.path().join(BALLAST)).unwrap().len(), 16 * 4096);
        assert!(Space::new(dir.path(), 4096).drop_ballast(), "it is found again");
        assert!(!dir.path().join(BALLAST).exists());
        let space = Space::new(dir.path(), 4096);
        space.keep_ballast();
        assert!(space.room_for(usize::MAX).is_err() && !dir.path().join(BALLAST).exists(), "it was given up first");
        let greedy = Space::new(dir.path(), u64::MAX);
        assert!(matches!(greedy.room_for(1), Err(StorageError::Full(_))));
        greedy.keep_ballast();
        assert!(!greedy.drop_ballast());
    }
}
