//! A data directory in memory: survives the crash of its host, may refuse to write. Its store may do worse.

use std::collections::BTreeMap;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use ekka::env::{Disk, DiskGuard, Entropy};
use ekka::storage::{Storage, StorageError, StorageOptions};

use super::storage::StoreDisc;

/// The files of one directory. Clones are the same directory.
#[derive(Clone, Debug, Default)]
pub struct SimDisk {
    inner: Arc<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    files: Mutex<BTreeMap<String, Vec<u8>>>,
    locked: AtomicBool,
    failing: AtomicBool,
    writes: Mutex<u64>,
    store: StoreDisc,
}

struct Guard(Arc<Inner>);

impl DiskGuard for Guard {}

impl Drop for Guard {
    fn drop(&mut self) {
        self.0.locked.store(false, Ordering::Relaxed);
    }
}

impl SimDisk {
    /// An empty directory; the seed decides what crashes take of its store.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self { inner: Arc::new(Inner { store: StoreDisc::new(seed), ..Inner::default() }) }
    }

    /// What lies below its store.
    #[must_use]
    pub fn store(&self) -> &StoreDisc {
        &self.inner.store
    }

    /// Another directory with the same content, as `cp -r` makes it.
    #[must_use]
    pub fn copy(&self) -> Self {
        let copy = Self { inner: Arc::new(Inner { store: self.inner.store.copy(), ..Inner::default() }) };
        copy.inner.files.lock().expect(ONE_THREAD).clone_from(&self.inner.files.lock().expect(ONE_THREAD));
        copy
    }

    /// Another disc in its place, empty.
    pub fn wipe(&self) {
        self.inner.files.lock().expect(ONE_THREAD).clear();
        self.inner.store.wipe();
    }

    /// Makes every write fail from now on, or lets them pass again. To its store, the disc is full.
    pub fn set_failing(&self, failing: bool) {
        self.inner.store.set_faults(|faults| faults.full = failing);
        self.inner.failing.store(failing, Ordering::Relaxed);
    }

    /// How many files were written.
    #[must_use]
    pub fn writes(&self) -> u64 {
        *self.inner.writes.lock().expect(ONE_THREAD)
    }
}

impl Disk for SimDisk {
    fn read(&self, name: &str) -> io::Result<Option<Vec<u8>>> {
        Ok(self.inner.files.lock().expect(ONE_THREAD).get(name).cloned())
    }

    fn write(&self, name: &str, bytes: &[u8]) -> io::Result<()> {
        if self.inner.failing.load(Ordering::Relaxed) {
            return Err(io::Error::new(io::ErrorKind::StorageFull, "the simulated disc is full"));
        }
        *self.inner.writes.lock().expect(ONE_THREAD) += 1;
        self.inner.files.lock().expect(ONE_THREAD).insert(name.to_owned(), bytes.to_vec());
        Ok(())
    }

    fn list(&self, folder: &str) -> io::Result<Vec<(String, u64)>> {
        let files = self.inner.files.lock().expect(ONE_THREAD);
        let name = |path: &String| Some(path.strip_prefix(folder)?.strip_prefix('/')?.to_owned());
        Ok(files.iter().filter_map(|(path, bytes)| Some((name(path)?, bytes.len() as u64))).collect())
    }

    fn lock(&self) -> io::Result<Box<dyn DiskGuard>> {
        if self.inner.locked.swap(true, Ordering::Relaxed) {
            return Err(io::Error::new(io::ErrorKind::WouldBlock, "the simulated directory is in use"));
        }
        Ok(Box::new(Guard(self.inner.clone())))
    }

    fn open_storage(&self, _: StorageOptions, entropy: &dyn Entropy) -> Result<Arc<dyn Storage>, StorageError> {
        Ok(Arc::new(self.inner.store.open(entropy.bits())))
    }

    fn path(&self) -> String {
        "simulated".into()
    }
}

const ONE_THREAD: &str = "one thread runs the simulation";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_is_locked_once_and_free_after_the_end_of_its_process() {
        let disk = SimDisk::default();
        let guard = disk.lock().unwrap();
        assert_eq!(disk.clone().lock().err().map(|e| e.kind()), Some(io::ErrorKind::WouldBlock));
        drop(guard);
        assert!(disk.lock().is_ok());
    }

    #[test]
    fn a_failed_write_leaves_the_old_content_and_a_copy_goes_its_own_way() {
        let disk = SimDisk::default();
        disk.write("a", b"1").unwrap();
        let copy = disk.copy();
        disk.set_failing(true);
        assert!(disk.write("a", b"2").is_err());
        copy.write("a", b"3").unwrap();
        assert_eq!(disk.read("a").unwrap().as_deref(), Some(&b"1"[..]));
        assert_eq!(copy.read("a").unwrap().as_deref(), Some(&b"3"[..]));
    }
}
