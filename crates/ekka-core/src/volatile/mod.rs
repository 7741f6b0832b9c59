//! The generations of the volatile group: which group there is, who serves it, and how the next one comes about.
//!
//! **Owns** what this process has promised about generations (which it serves, which it has sealed), the logs that
//! others handed in, and the time from which locks may be granted. The record of the present generation belongs to the
//! durable group ([`Decided`]), which alone decides.
//!
//! **Inputs** [`Input`]: the facts of the durable group as this node has applied them, what its volatile replica knows,
//! messages, results of fetching, starting and stopping.
//!
//! **Outputs** [`Output`]: messages, what to fetch, start and stop, changes of voters, proposals to the durable group.
//!
//! **When the next generation may be proposed.** Each voter of the present one is accounted for ([`account`]): (a) its
//! node started again from the same directory; or (b) it has stopped serving for good and handed in its log, or
//! says that it has dropped it; or (c), for less than a majority of them, it is gone by a committed entry. The new group starts from the highest log handed
//! in. What only the others had is lost, and [`Generation::lost`] says whether that can be anything.
//!
//! **Why a record has a revision.** While a group has its majority a restarted node becomes a voter of it, by a change in
//! the running group. Were the record not to follow, its voters would all have restarted one day, every one accounted
//! for by (a), beside a healthy group of their successors. So each set of voters is recorded before the group may count
//! in it, and taken out once the group cannot count in it any more; and a proposal names the very revision that its
//! proposer looked at.
//!
//! **Invariants**: no generation is served that was not read from the durable group; what was sealed is never served
//! again by this process; no voter counts in the running group that the record does not name; no lock is granted while
//! a session of an earlier generation may be held.
//!
//! **Sources**: section 12 of the design; schedules S1-3, S1-6; Ongaro's thesis, section 4 (changes of voters).

mod account;
mod changes;
mod order;
mod record;
mod room;
mod seal;
mod sessions;
pub mod state;
pub mod tokens;

pub use account::{Accounts, Blocked, account};
pub use order::{Order, Report};
pub use record::{Decided, Generation, Held, LogKey, Proposal, Source, Version};
pub use room::Generations;

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;
use core::time::Duration;

use serde::{Deserialize, Serialize};

use crate::consensus::{LogPlace, VoterId};
use crate::id::{Guid, Incarnation, NodeId};

/// As whom a start of a node votes in the volatile group.
#[must_use]
pub fn voter(id: Incarnation) -> VoterId {
    VoterId { node_id: id.node_id, start: id.guid.as_u128() }
}

/// The start that votes so.
#[must_use]
pub fn incarnation(voter: VoterId) -> Incarnation {
    Incarnation { node_id: voter.node_id, guid: Guid::from_u128(voter.start) }
}

/// How generations come and go; the same on every node.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Settings {
    /// The longest time for which a session can be valid (`lock.max_ttl`).
    pub session_max: Duration,
    /// Planted faults. All off in production.
    pub faults: Faults,
}

/// Faults put in on purpose, so that a test can show that the harness sees them.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Faults {
    /// The durable group takes every proposal, whatever its proposer looked at.
    pub no_compare: bool,
    /// A voter hands in its log and goes on serving.
    pub unsealed: bool,
    /// Locks are granted as soon as the generation runs.
    pub no_wait: bool,
    /// The new group starts from the lowest log handed in.
    pub lowest_log: bool,
    /// Voters change in the running group alone.
    pub unrecorded: bool,
    /// A voter that has dropped its log hands in as one that never had any.
    pub forgets_dropping: bool,
}

/// What the durable group has committed, as far as this node has applied it. It only ever grows.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Facts {
    /// The present generation.
    pub generation: Generation,
    /// The latest start of each node, by the same directory: every earlier one is over for certain.
    pub present: BTreeMap<NodeId, Guid>,
    /// The newest incarnation of each node that is gone.
    pub gone: BTreeMap<NodeId, Guid>,
    /// The nodes that should vote: those of the durable group.
    pub wanted: BTreeSet<NodeId>,
    /// Whoever may keep sessions of clients: all members, whoever is up, and those that were taken out and may live.
    pub members: BTreeSet<NodeId>,
}

impl Facts {
    /// Whether a start is over because a later one of its directory is there.
    #[must_use]
    pub fn is_over(&self, voter: Incarnation) -> bool {
        self.present.get(&voter.node_id).is_some_and(|guid| *guid > voter.guid)
    }

    /// Whether a start is gone by a committed entry; it may live behind a cut.
    #[must_use]
    pub fn is_gone(&self, voter: Incarnation) -> bool {
        self.gone.get(&voter.node_id).is_some_and(|guid| *guid >= voter.guid)
    }

    /// The present start of a node, unless that is gone.
    #[must_use]
    pub fn living(&self, node_id: NodeId) -> Option<Incarnation> {
        let id = Incarnation { node_id, guid: *self.present.get(&node_id)? };
        (!self.is_gone(id)).then_some(id)
    }
}

/// What the volatile replica of this process knows.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Standing {
    /// Which generation it serves.
    pub generation: u64,
    /// It knows a leader that is there: this group has its majority.
    pub led: bool,
    /// It leads, and has committed an entry of its own term.
    pub leads: bool,
    /// The last entry of its log.
    pub last: LogPlace,
    /// The sets of voters in force, where they are committed.
    pub voters: Option<Vec<BTreeSet<Incarnation>>>,
}

/// A message between processes.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Message {
    /// Stop serving this generation for good, and hand in your log.
    Seal {
        /// Which.
        generation: u64,
        /// Also where it has a leader: who asks is a voter that can never serve it again.
        insists: bool,
    },
    /// It serves this generation no more. Its log will not grow.
    HandedIn {
        /// Which generation was sealed.
        generation: u64,
        /// Who sealed it.
        voter: Incarnation,
        /// What it holds.
        held: Held,
    },
    /// The generation is alive: it has a leader. Or a later one is there.
    Serving {
        /// The generation that the sender knows.
        generation: u64,
    },
    /// The sessions that the sender keeps for its clients.
    Sessions {
        /// For which generation.
        generation: u64,
        /// The sender has kept them for longer than any session lasts, so these are all.
        whole: bool,
        /// As the lock room has them.
        sessions: Vec<u8>,
    },
    /// The receiver's start was a voter of this generation and was taken out, be it that it never heard of it: it never
    /// counts in it again.
    TakenOut {
        /// Which.
        generation: u64,
    },
}

/// How a voter begins.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Start {
    /// As one of the founders, with the state that was fetched, or empty.
    Found {
        /// Where the state is from.
        from: Option<Source>,
        /// All founders.
        founders: BTreeSet<Incarnation>,
    },
    /// Empty; the leader brings it up to date.
    Learn,
}

/// What comes in.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Input {
    /// The durable group, as this node has applied it.
    Facts(Facts),
    /// Which starts this node hears, of those that vote or are to; the leader brings nobody in, and lets nobody go, where the
    /// group would have no majority then.
    Up(BTreeSet<Incarnation>),
    /// Which of those say that they leave for good. They go before others that are not wanted: a start that is taken out is
    /// never a voter of the same generation again, and the durable group may want it back once it hears who leaves.
    Leaving(BTreeSet<Incarnation>),
    /// The volatile replica.
    Standing(Standing),
    /// A message came.
    Message {
        /// From which node; it may be this one.
        from: NodeId,
        /// What.
        message: Message,
    },
    /// What has become of an order.
    Report(Report),
    /// The sessions that this process keeps, as asked for by [`Output::AskSessions`]. From then on its lock room takes no
    /// answer of an earlier generation.
    Sessions {
        /// For which generation.
        generation: u64,
        /// As the lock room has them.
        sessions: Vec<u8>,
    },
    /// This incarnation is over: everything that it serves stops before the node takes a new guid.
    Over,
}

/// What goes out.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Output {
    /// Send this; it may be to this node itself.
    Send {
        /// To whom.
        to: NodeId,
        /// What.
        message: Message,
    },
    /// The replicas of this process are to do something.
    Order(Order),
    /// Propose this to the durable group. What becomes of it shows in the facts.
    Propose(Proposal),
    /// Give the sessions that this process keeps.
    AskSessions {
        /// For which generation.
        generation: u64,
    },
    /// A member's sessions of earlier generations, for the lock room.
    Sessions {
        /// Of which node.
        from: NodeId,
        /// As the lock room has them.
        sessions: Vec<u8>,
    },
    /// For people: these are waited for before the next generation can be formed. Nobody: there is a leader again.
    Waiting(Vec<Incarnation>),
}
