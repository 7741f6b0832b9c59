//! What a node needs from the world, injected: network, clocks, randomness, disc.
//!
//! Production uses [`Env::real`]; simulation gives its own. Nothing else in this crate opens a socket, reads a
//! clock, draws randomness or touches a file of the data directory.

mod authorities;
mod gate;
mod multicast;
mod real;
mod socket;

pub use authorities::system_authorities;
pub use gate::{Dead, Gate, GatedNet};
pub use multicast::{Datagrams, MulticastGroup, MulticastSockets};
pub use real::{RealClock, RealDisk, RealNet, boot_ms};
pub use socket::rehome;

use std::any::Any;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;

use ekka_core::id::{Endpoint, Host};
use ekka_core::time::Now;
use tokio::io::{AsyncRead, AsyncWrite};

use crate::storage::{Storage, StorageError, StorageOptions};

/// A future on the heap, so that the traits here can be used as objects (one compile of the node for all worlds).
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// A stream of bytes, as TCP gives it.
pub trait Stream: AsyncRead + AsyncWrite + Send + Unpin + 'static {
    /// Itself, for those who can do more with some kinds of it.
    fn as_any(&mut self) -> &mut dyn Any;
}

impl<T: AsyncRead + AsyncWrite + Send + Unpin + 'static> Stream for T {
    fn as_any(&mut self) -> &mut dyn Any {
        self
    }
}

/// A connected stream, whatever it is made of.
pub type BoxStream = Box<dyn Stream>;

/// A listening socket.
pub trait Listener: Send + Sync + 'static {
    /// Waits for the next connection.
    fn accept(&self) -> BoxFuture<'_, io::Result<(BoxStream, SocketAddr)>>;

    /// Where it listens.
    ///
    /// # Errors
    /// The system does not tell.
    fn local_addr(&self) -> io::Result<SocketAddr>;
}

/// The network.
pub trait Net: Send + Sync + 'static {
    /// Listens on an address.
    fn bind(&self, addr: SocketAddr) -> BoxFuture<'_, io::Result<Box<dyn Listener>>>;

    /// Connects to an address.
    fn connect(&self, addr: SocketAddr) -> BoxFuture<'_, io::Result<BoxStream>>;

    /// Resolves a host to addresses, in the order in which they are to be tried.
    fn resolve<'a>(&'a self, host: &'a Host, port: u16) -> BoxFuture<'a, io::Result<Vec<SocketAddr>>>;

    /// Opens the sockets of a multicast group. A network may have none.
    fn multicast<'a>(&'a self, group: &'a MulticastGroup) -> BoxFuture<'a, io::Result<MulticastSockets>> {
        let _ = group;
        Box::pin(async { Err(io::Error::new(io::ErrorKind::Unsupported, "this network has no multicast")) })
    }

    /// Resolves and connects: the first address that answers.
    fn dial<'a>(&'a self, endpoint: &'a Endpoint) -> BoxFuture<'a, io::Result<(BoxStream, SocketAddr)>> {
        Box::pin(async move {
            let addrs = self.resolve(&endpoint.host, endpoint.port).await?;
            let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
            for addr in addrs {
                match self.connect(addr).await {
                    Ok(stream) => return Ok((stream, addr)),
                    Err(error) => last = error,
                }
            }
            Err(last)
        })
    }
}

/// Both clocks.
pub trait Clock: Send + Sync + 'static {
    /// Reads both. The monotonic one counts suspended time.
    fn now(&self) -> Now;
}

/// Randomness: seeds and ids of this process. Keys and nonces of TLS come from the TLS library.
pub trait Entropy: Send + Sync + 'static {
    /// Fresh random bits.
    fn bits(&self) -> u128;

    /// The seed of a generator: as many of them as it takes.
    fn seed(&self) -> u64 {
        u64::try_from(self.bits() >> 64).expect("half of 128 bits")
    }
}

/// The small files of one data directory, and the store in it.
///
/// Calls block and are made off the runtime; simulated discs answer at once.
pub trait Disk: Send + Sync + 'static {
    /// The file's bytes, or `None` where it does not exist.
    ///
    /// # Errors
    /// It exists and cannot be read.
    fn read(&self, name: &str) -> io::Result<Option<Vec<u8>>>;

    /// Replaces a file whole: written aside, synced, renamed, directory synced. After `Ok` it survives power loss;
    /// after an error either the old or the new content is there, never a mixture.
    ///
    /// # Errors
    /// It could not be written or synced.
    fn write(&self, name: &str, bytes: &[u8]) -> io::Result<()>;

    /// The files of a folder below it, and their sizes; none where there is no such folder.
    ///
    /// # Errors
    /// It cannot be read.
    fn list(&self, folder: &str) -> io::Result<Vec<(String, u64)>>;

    /// Takes the lock of the directory until the guard is dropped.
    ///
    /// # Errors
    /// `WouldBlock` where another process holds it, with its process id in the text where that is known.
    fn lock(&self) -> io::Result<Box<dyn DiskGuard>>;

    /// Opens the store of the directory (logs, checkpoints), or makes it, with an id from `entropy`. Under the
    /// directory's lock; one at a time.
    ///
    /// # Errors
    /// `Failed` or `Full`: the system refuses. Damage is no error: [`Found::damage`](crate::storage::Found::damage).
    fn open_storage(&self, options: StorageOptions, entropy: &dyn Entropy) -> Result<Arc<dyn Storage>, StorageError>;

    /// A file without a name, which is gone when it is closed: for what is too large for the memory. A disc may have none.
    ///
    /// # Errors
    /// It cannot be made.
    fn scratch(&self) -> io::Result<std::fs::File> {
        Err(io::Error::new(io::ErrorKind::Unsupported, "this disc has no scratch files"))
    }

    /// Where it is, for words.
    fn path(&self) -> String;
}

/// The lock of a data directory; dropping it frees the directory.
pub trait DiskGuard: Send + Sync + 'static {}

/// The world of one node.
#[derive(Clone)]
pub struct Env {
    /// The network.
    pub net: Arc<dyn Net>,
    /// The clocks.
    pub clock: Arc<dyn Clock>,
    /// The randomness.
    pub entropy: Arc<dyn Entropy>,
    /// The data directory.
    pub disk: Arc<dyn Disk>,
    /// Whether blocking work (disc, key derivation) may go to threads. Off in simulation, where it runs inline.
    pub threads: bool,
}

impl Env {
    /// Runs blocking work: on a thread in production, inline in simulation.
    pub async fn blocking<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> T {
        if self.threads {
            match tokio::task::spawn_blocking(work).await {
                Ok(value) => value,
                Err(error) => std::panic::resume_unwind(error.into_panic()),
            }
        } else {
            work()
        }
    }
}
