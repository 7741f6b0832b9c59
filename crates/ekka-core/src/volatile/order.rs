//! What the room, and `Control` for it, wants of the replicas of this process, and what is told of that.

use alloc::collections::BTreeSet;

use super::{LogKey, Source, Start};
use crate::id::Incarnation;

/// What is to be done, in this order.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Order {
    /// Have this state here, from its source or from a founder that has begun with it; answered by a
    /// [`Report::Fetched`].
    Fetch {
        /// The generation that begins with it.
        generation: u64,
        /// Which state.
        from: Source,
        /// Who may have it too.
        founders: BTreeSet<Incarnation>,
    },
    /// Serve this generation from now on.
    Start {
        /// Which.
        generation: u64,
        /// How.
        start: Start,
    },
    /// Seal the replica: it takes, votes for and answers nothing more, and what it holds is kept. Answered by a
    /// [`Report::Stopped`] once that is certain.
    Stop {
        /// Of which generation.
        generation: u64,
    },
    /// On the leader: make these the voters of the running group. What becomes of it shows in the standing.
    ChangeVoters {
        /// Of which generation.
        generation: u64,
        /// The voters.
        voters: BTreeSet<Incarnation>,
    },
    /// On the leader, once it has waited: write into the log of this generation that locks may be granted in it, so that
    /// no later leader of it waits again.
    Open {
        /// Which.
        generation: u64,
    },
}

/// What has become of an order.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Report {
    /// The state that was to be fetched is here, or could not be had just now.
    Fetched {
        /// For which generation.
        generation: u64,
        /// It is here.
        ok: bool,
    },
    /// The replica is sealed. What it holds is kept until a replica of a later generation has the state with which that
    /// began.
    Stopped {
        /// Which generation.
        generation: u64,
        /// What it holds; `None` where it never got the state with which its generation began.
        log: Option<LogKey>,
    },
    /// The log of that generation holds, committed, that locks may be granted ([`Order::Open`]).
    Opened {
        /// Which.
        generation: u64,
    },
}
