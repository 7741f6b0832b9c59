//! What a holder has in its hands.

use std::sync::Arc;
use std::time::Duration;

use ekka_core::lock::{Held, LockName};
use ekka_core::time::Instant;
use tokio::sync::{oneshot, watch};
use tokio_util::sync::CancellationToken;

use super::LockError;
use super::way::{Ask, Locks};

/// What the desk gives to whoever was let in.
pub(crate) struct Got {
    pub(super) number: u64,
    pub(super) held: Vec<Held>,
    /// Until when its session is valid, by this node's clock; `None` once that is lost.
    pub(super) until: watch::Receiver<Option<Instant>>,
    /// It was lost alone.
    pub(super) lost: CancellationToken,
}

/// A lock that this process holds. Dropping it releases it in the background, also where no majority is in reach just then:
/// its session ends in any case. *It is not cloned: whoever shares it shares a reference.*
#[must_use = "dropping a guard releases its lock"]
pub struct Guard {
    locks: Arc<Locks>,
    got: Got,
    released: bool,
}

impl Guard {
    pub(super) fn new(locks: Arc<Locks>, got: Got) -> Self {
        Self { locks, got, released: false }
    }

    /// The fencing token: higher than that of everybody who held the lock before. Of several locks the highest.
    #[must_use]
    pub fn token(&self) -> u64 {
        self.got.held.iter().map(|held| held.token).max().unwrap_or(0)
    }

    /// Each lock with its token.
    #[must_use]
    pub fn held(&self) -> &[Held] {
        &self.got.held
    }

    fn name(&self) -> LockName {
        // A request for nothing is refused.
        self.got.held[0].name.clone()
    }

    /// How long it is valid still, by the clock at this moment: zero once it is lost.
    #[must_use]
    pub fn left(&self) -> Duration {
        // Without its desk nobody renews it.
        let ended = self.got.lost.is_cancelled() || self.got.until.has_changed().is_err();
        let until = self.got.until.borrow().filter(|_| !ended);
        until.map_or(Duration::ZERO, |until| until.since(self.locks.now()))
    }

    /// Whether it is held at this moment: the clock is looked at in this call, so a process that was stopped and woke up is not
    /// taken in. Between this and the act that follows it can be stopped again: see [`token`](Self::token).
    ///
    /// # Errors
    /// `Lost`.
    pub fn check(&self) -> Result<(), LockError> {
        if self.left().is_zero() { Err(LockError::Lost(self.name())) } else { Ok(()) }
    }

    /// Resolves when it is lost, before anybody else is let in. *Cancel safe.*
    pub async fn lost(&self) {
        let mut until = self.got.until.clone();
        loop {
            until.mark_unchanged();
            let left = self.left();
            if left.is_zero() {
                return;
            }
            tokio::select! {
                biased;
                changed = until.changed() => if changed.is_err() { return },
                () = self.got.lost.cancelled() => return,
                () = tokio::time::sleep(left) => {}
            }
        }
    }

    /// Runs a future for as long as the lock is held: it is dropped when that is lost.
    ///
    /// # Errors
    /// `Lost`: the future has not ended.
    pub async fn run<T>(&self, run: impl Future<Output = T>) -> Result<T, LockError> {
        tokio::select! {
            biased;
            () = self.lost() => Err(LockError::Lost(self.name())),
            done = run => Ok(done),
        }
    }

    /// Releases it, and waits until that is committed. *Dropping the future does not undo.*
    ///
    /// # Errors
    /// `Lost`: it was not held any more. `NoQuorum`: that it is free is not committed yet; it is tried on until its session ends.
    pub async fn release(mut self) -> Result<(), LockError> {
        self.released = true;
        let (done, released) = oneshot::channel();
        self.locks.tell(Ask::Release(self.got.number, Some(done)))?;
        match released.await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(None)) => Err(LockError::Lost(self.name())),
            Ok(Err(Some(error))) => Err(error),
            Err(_) => Err(LockError::Stopping),
        }
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        if !self.released {
            // A node that is stopping releases everything.
            let _ = self.locks.tell(Ask::Release(self.got.number, None));
        }
    }
}
