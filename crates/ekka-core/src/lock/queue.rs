//! One lock: who holds it, and who waits for it in which order.

use alloc::collections::VecDeque;
use alloc::vec::Vec;

use serde::{Deserialize, Serialize};

use super::session::Request;
use super::{LockName, SessionId};

/// How a lock is wanted.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Mode {
    /// Alone.
    Exclusive,
    /// Beside others that share it.
    Shared,
    /// One of so many permits: a counted semaphore.
    Permit {
        /// How many there are. All who hold some agree on it.
        of: u32,
    },
}

/// One lock that a request wants.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Want {
    /// Which.
    pub name: LockName,
    /// How.
    pub mode: Mode,
}

/// One holder of a lock.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(super) struct Hold {
    pub(super) session: SessionId,
    pub(super) owner: u64,
    pub(super) mode: Mode,
    pub(super) token: u64,
    /// By which requests of that owner: more than one where it came in again.
    pub(super) requests: Vec<u64>,
}

/// One lock that somebody holds or waits for.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub(super) struct Queue {
    pub(super) holds: Vec<Hold>,
    /// The first has waited longest.
    pub(super) waiters: VecDeque<(SessionId, u64)>,
}

impl Queue {
    pub(super) fn is_unused(&self) -> bool {
        self.holds.is_empty() && self.waiters.is_empty()
    }

    /// Whether whoever comes next in the queue is let in beside those who hold.
    pub(super) fn admits(&self, mode: Mode) -> bool {
        match mode {
            Mode::Exclusive => self.holds.is_empty(),
            Mode::Shared => self.holds.iter().all(|hold| hold.mode == Mode::Shared),
            Mode::Permit { of } => {
                self.holds.iter().all(|hold| hold.mode == mode)
                    && self.holds.len() < usize::try_from(of).unwrap_or(usize::MAX)
            }
        }
    }

    /// The same owner's hold of it.
    pub(super) fn of_owner(&self, session: SessionId, owner: u64) -> Option<&Hold> {
        self.holds.iter().find(|hold| (hold.session, hold.owner) == (session, owner))
    }

    /// Lets in a request for the lock that it wants next: again, where its owner holds it in the same mode, or as one more
    /// holder, where nobody waits before it, it is admitted and there is a token. Whether it is in.
    pub(super) fn let_in(
        &mut self,
        (session, number): (SessionId, u64),
        request: &Request,
        first: bool,
        token: impl FnOnce() -> Option<u64>,
    ) -> bool {
        let (owner, mode) = (request.owner, request.wants[request.has].mode);
        let own = |hold: &&mut Hold| (hold.session, hold.owner, hold.mode) == (session, owner, mode);
        if request.again
            && let Some(hold) = self.holds.iter_mut().find(own)
        {
            hold.requests.push(number);
            return true;
        }
        if first
            && self.admits(mode)
            && let Some(token) = token()
        {
            self.holds.push(Hold { session, owner, mode, token, requests: alloc::vec![number] });
            return true;
        }
        false
    }

    /// Takes a request off; the token of the hold that ended with it, if one did.
    pub(super) fn take_off(&mut self, session: SessionId, request: u64) -> Option<u64> {
        self.waiters.retain(|waiter| *waiter != (session, request));
        let at = self.holds.iter().position(|hold| hold.session == session && hold.requests.contains(&request))?;
        self.holds[at].requests.retain(|held| *held != request);
        self.holds[at].requests.is_empty().then(|| self.holds.remove(at).token)
    }
}
