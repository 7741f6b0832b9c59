//! How a program asks for a lock.

use std::future::IntoFuture;
use std::sync::Arc;
use std::time::Duration;

use ekka_core::lock::{LockName, Mode, Want};
use tokio::sync::oneshot;
use tokio::time::{Instant, timeout_at};

use super::sessions::Wanted;
use super::way::{Ask, Locks};
use super::{Guard, LockError};
use crate::env::BoxFuture;
use crate::node::Node;

/// A session's time-to-live unless told otherwise.
const TTL: Duration = Duration::from_secs(15);
/// The shortest: a renewal has to fit into it several times.
const TTL_MIN: Duration = Duration::from_secs(1);

/// Who lets in, and what that is worth.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
#[non_exhaustive]
pub enum LockKind {
    /// The voters of the cluster, by a majority: safe across the failure of any minority of them, and across partitions.
    #[default]
    Quorum,
}

/// A lock of the cluster, by name. It holds nothing.
#[derive(Clone)]
pub struct Lock {
    locks: Arc<Locks>,
    wants: Vec<Want>,
    ttl: Duration,
    owner: Option<u64>,
}

impl Node {
    /// The lock of this name.
    ///
    /// # Errors
    /// The name is none: it has 1 to 255 bytes, and no control characters.
    pub fn lock(&self, name: &str) -> Result<Lock, LockError> {
        self.locks([name])
    }

    /// All locks of these names, taken together: in the order of their names, so that two who want the same ones never wait
    /// for each other.
    ///
    /// # Errors
    /// A name is none.
    pub fn locks<'a>(&self, names: impl IntoIterator<Item = &'a str>) -> Result<Lock, LockError> {
        let want = |name: &str| Ok(Want { name: name.parse::<LockName>()?, mode: Mode::Exclusive });
        let wants = names.into_iter().map(want).collect::<Result<_, LockError>>()?;
        Ok(Lock { locks: self.lock_desk(), wants, ttl: TTL, owner: None })
    }
}

impl Lock {
    /// For how long it outlives the last word of its holder; 15 s unless told otherwise. The holder counts a tenth less.
    #[must_use]
    pub fn ttl(self, ttl: Duration) -> Self {
        Self { ttl, ..self }
    }

    /// Together with others who share it.
    #[must_use]
    pub fn shared(self) -> Self {
        self.with(Mode::Shared)
    }

    /// One of so many permits: a counted semaphore. All who hold one agree on the number.
    #[must_use]
    pub fn permits(self, of: u32) -> Self {
        self.with(Mode::Permit { of })
    }

    fn with(mut self, mode: Mode) -> Self {
        self.wants.iter_mut().for_each(|want| want.mode = mode);
        self
    }

    /// Whoever holds it under the same number, in this process and with the same time-to-live, may come in again.
    #[must_use]
    pub fn owner(self, owner: u64) -> Self {
        Self { owner: Some(owner), ..self }
    }

    /// Takes it, and waits for it as long as it takes: among those who wait whoever came first is let in first.
    pub fn acquire(&self) -> Acquire {
        Acquire { lock: self.clone(), waits: true, wait: None }
    }

    /// Takes it where it is free.
    pub fn try_acquire(&self) -> Acquire {
        Acquire { lock: self.clone(), waits: false, wait: None }
    }

    fn check(&self) -> Result<(), LockError> {
        let max = self.locks.max_ttl();
        if self.ttl < TTL_MIN || self.ttl > max {
            let text =
                format!("a time-to-live of {:?}: from {TTL_MIN:?} to lock.max_ttl, {max:?}, are taken", self.ttl);
            return Err(LockError::Bad(text));
        }
        Ok(())
    }
}

/// A lock on its way. Dropping the future gives it up, also where it was granted in that moment.
#[must_use = "it is taken when the future is awaited"]
pub struct Acquire {
    lock: Lock,
    waits: bool,
    wait: Option<Duration>,
}

impl Acquire {
    /// At most so long.
    pub fn wait(self, wait: Duration) -> Self {
        Self { wait: Some(wait), ..self }
    }

    async fn run(self) -> Result<Guard, LockError> {
        let Self { lock, waits, wait } = self;
        lock.check()?;
        let begun = Instant::now();
        let (reply, granted) = oneshot::channel();
        let first = lock.wants.first().map(|want| want.name.clone());
        let Lock { locks, wants, ttl, owner } = lock;
        let number = locks.acquire(|number| Ask::Acquire(Wanted { number, wants, ttl, owner, waits, reply }))?;
        let mut given_up = GivenUp { locks: Some(locks.clone()), number };
        let result = match wait {
            Some(wait) => timeout_at(begun + wait, granted).await,
            None => Ok(granted.await),
        };
        let result = match result {
            Ok(Ok(result)) => result.map(|got| Guard::new(locks, got)),
            Ok(Err(_)) => Err(LockError::Stopping),
            Err(_) => {
                let (waited, (name, holder, why)) = (begun.elapsed(), locks.what_of(number).await);
                match (name.or(first), why) {
                    (_, Some(why)) => Err(why),
                    (Some(name), None) => Err(LockError::TimedOut { name, waited, holder }),
                    (None, None) => Err(LockError::Bad("no lock is wanted".into())),
                }
            }
        };
        if result.is_ok() {
            given_up.locks = None;
        }
        result
    }
}

impl IntoFuture for Acquire {
    type Output = Result<Guard, LockError>;
    type IntoFuture = BoxFuture<'static, Self::Output>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.run())
    }
}

/// Gives a request up when it is dropped.
struct GivenUp {
    /// None once it was granted.
    locks: Option<Arc<Locks>>,
    number: u64,
}

impl Drop for GivenUp {
    fn drop(&mut self) {
        // A node that is stopping gives up everything.
        let _ = self.locks.take().map(|locks| locks.tell(Ask::GiveUp(self.number)));
    }
}
