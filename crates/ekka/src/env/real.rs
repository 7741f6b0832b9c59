//! The world as it is: tokio's sockets, the system's clocks and randomness, a directory.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use ekka_core::id::Host;
use ekka_core::time::{Instant, Now, Wall};
use ring::rand::{SecureRandom, SystemRandom};
use rustix::fs::{FlockOperation, flock};
use rustix::time::{ClockId, clock_gettime};
use tokio::net::{TcpListener, TcpStream};

use super::socket::Socket;
use super::{
    BoxFuture, BoxStream, Clock, Disk, DiskGuard, Entropy, Env, Listener, MulticastGroup, MulticastSockets, Net,
    multicast,
};
use crate::storage::{EngineStorage, Storage, StorageError, StorageOptions};

impl Env {
    /// The real world, with the data in `data_dir` (made if absent).
    ///
    /// # Errors
    /// The directory cannot be made.
    pub fn real(data_dir: &Path) -> io::Result<Self> {
        Ok(Self {
            net: Arc::new(RealNet),
            clock: Arc::new(RealClock),
            entropy: Arc::new(RealEntropy),
            disk: Arc::new(RealDisk::open(data_dir)?),
            threads: true,
        })
    }
}

/// Tokio's TCP.
#[derive(Debug)]
pub struct RealNet;

impl Listener for TcpListener {
    fn accept(&self) -> BoxFuture<'_, io::Result<(BoxStream, SocketAddr)>> {
        Box::pin(async move {
            let (stream, addr) = Self::accept(self).await?;
            Ok((Box::new(Socket::new(stream)?) as BoxStream, addr))
        })
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        Self::local_addr(self)
    }
}

impl Net for RealNet {
    fn bind(&self, addr: SocketAddr) -> BoxFuture<'_, io::Result<Box<dyn Listener>>> {
        Box::pin(async move { Ok(Box::new(TcpListener::bind(addr).await?) as Box<dyn Listener>) })
    }

    fn connect(&self, addr: SocketAddr) -> BoxFuture<'_, io::Result<BoxStream>> {
        Box::pin(async move {
            let stream = TcpStream::connect(addr).await?;
            Ok(Box::new(Socket::new(stream)?) as BoxStream)
        })
    }

    fn resolve<'a>(&'a self, host: &'a Host, port: u16) -> BoxFuture<'a, io::Result<Vec<SocketAddr>>> {
        Box::pin(async move {
            match host {
                Host::Ip(ip) => Ok(vec![SocketAddr::new(*ip, port)]),
                Host::Dns(name) => Ok(tokio::net::lookup_host((name.as_str(), port)).await?.collect()),
            }
        })
    }

    fn multicast<'a>(&'a self, group: &'a MulticastGroup) -> BoxFuture<'a, io::Result<MulticastSockets>> {
        Box::pin(async move { multicast::open(group) })
    }
}

/// `CLOCK_BOOTTIME`, which counts suspended time, and `CLOCK_REALTIME`.
#[derive(Debug)]
pub struct RealClock;

impl Clock for RealClock {
    fn now(&self) -> Now {
        let boot = clock_gettime(ClockId::Boottime);
        let nanos = u64::try_from(boot.tv_sec).unwrap_or(0) * 1_000_000_000 + u64::try_from(boot.tv_nsec).unwrap_or(0);
        let wall = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_millis());
        Now { mono: Instant::from_nanos(nanos), wall: Wall::from_millis(u64::try_from(wall).unwrap_or(u64::MAX)) }
    }
}

struct RealEntropy;

impl Entropy for RealEntropy {
    fn bits(&self) -> u128 {
        let mut bytes = [0u8; 16];
        SystemRandom::new().fill(&mut bytes).expect("the system gives random bytes");
        u128::from_ne_bytes(bytes)
    }
}

/// A directory of the file system.
#[derive(Debug)]
pub struct RealDisk {
    dir: PathBuf,
}

impl RealDisk {
    /// Opens a data directory; makes it, readable by its owner only, where it is absent.
    ///
    /// # Errors
    /// It cannot be made or is no directory.
    pub fn open(dir: &Path) -> io::Result<Self> {
        use std::os::unix::fs::DirBuilderExt;
        if !dir.is_dir() {
            fs::DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
        }
        Ok(Self { dir: dir.to_owned() })
    }
}

struct RealGuard {
    _file: File,
}

impl DiskGuard for RealGuard {}

impl Disk for RealDisk {
    fn read(&self, name: &str) -> io::Result<Option<Vec<u8>>> {
        match fs::read(self.dir.join(name)) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn write(&self, name: &str, bytes: &[u8]) -> io::Result<()> {
        use std::os::unix::fs::OpenOptionsExt;
        let path = self.dir.join(name);
        let folder = path.parent().unwrap_or(&self.dir);
        fs::create_dir_all(folder)?;
        let aside = self.dir.join(format!("{name}.new"));
        let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&aside)?;
        let written = file.write_all(bytes).and_then(|()| file.sync_all());
        if let Err(error) = written.and_then(|()| fs::rename(&aside, &path)) {
            // A part of it is of no use, and takes room where there is least.
            drop(fs::remove_file(&aside));
            return Err(error);
        }
        File::open(folder)?.sync_all()?;
        if folder == self.dir { Ok(()) } else { File::open(&self.dir)?.sync_all() }
    }

    fn list(&self, folder: &str) -> io::Result<Vec<(String, u64)>> {
        let entries = match fs::read_dir(self.dir.join(folder)) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(error),
        };
        let mut files = Vec::new();
        for entry in entries {
            let entry = entry?;
            match (entry.metadata(), entry.file_name().into_string()) {
                (Ok(meta), Ok(name)) if meta.is_file() => files.push((name, meta.len())),
                // Somebody took it away meanwhile, or it is no file of ours.
                _ => {}
            }
        }
        Ok(files)
    }

    fn scratch(&self) -> io::Result<File> {
        use std::os::unix::fs::OpenOptionsExt;
        static NUMBER: AtomicU64 = AtomicU64::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let path = self.dir.join(format!("scratch-{}-{number}", std::process::id()));
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(true).mode(0o600).open(&path)?;
        fs::remove_file(&path)?;
        Ok(file)
    }

    fn lock(&self) -> io::Result<Box<dyn DiskGuard>> {
        let mut file =
            OpenOptions::new().read(true).write(true).create(true).truncate(false).open(self.dir.join("lock"))?;
        if let Err(error) = flock(&file, FlockOperation::NonBlockingLockExclusive) {
            let mut pid = String::new();
            file.read_to_string(&mut pid)?;
            let error: io::Error = error.into();
            let text = format!("data directory {} is in use by process {}", self.dir.display(), pid.trim());
            return Err(io::Error::new(error.kind(), text));
        }
        file.set_len(0)?;
        write!(file, "{}", std::process::id())?;
        Ok(Box::new(RealGuard { _file: file }))
    }

    fn open_storage(&self, options: StorageOptions, entropy: &dyn Entropy) -> Result<Arc<dyn Storage>, StorageError> {
        Ok(Arc::new(EngineStorage::open(&self.dir, options, &|| entropy.bits())?))
    }

    fn path(&self) -> String {
        self.dir.display().to_string()
    }
}

/// The time since this host booted, in milliseconds, suspended time included: the same for all processes of the host.
#[must_use]
pub fn boot_ms() -> u64 {
    RealClock.now().mono.as_nanos() / 1_000_000
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_write_that_fails_leaves_no_file_behind() {
        let dir = tempfile::tempdir().unwrap();
        let disk = RealDisk::open(dir.path()).unwrap();
        // No file takes the place of a directory.
        fs::create_dir_all(dir.path().join("folder/name")).unwrap();
        assert!(disk.write("folder/name", b"bytes").is_err());
        assert_eq!(disk.list("folder").unwrap(), []);
        disk.write("folder/other", b"bytes").unwrap();
        assert_eq!(disk.list("folder").unwrap(), [("other".to_owned(), 5)]);
    }
}
