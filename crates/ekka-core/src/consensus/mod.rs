//! What a consensus group is to the rest: the vocabulary of the port, and the state machine behind it.
//!
//! A *group* is a set of voters that keeps one log (Raft: Ongaro, Ousterhout 2014). The durable group keeps the roster
//! and survives power loss; the volatile group of each generation keeps locks and `ram` quorum tables. Both stand
//! behind one port: propose, committed, read barrier, change voters, snapshot. The crate `ekka` has the adapter to the
//! engine; the simulation has an ideal group that keeps the same promises without one.

pub mod campaign;
mod frozen;
pub mod ideal;
pub(crate) mod rounds;

pub use frozen::{Frozen, Gathered, Restored, Restorer, Restoring};

use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt;

use serde::{Deserialize, Serialize};

use crate::id::{ClusterId, NodeId};

/// Who votes in a group: a node, and which start of what it votes with.
///
/// In the durable group `start` is the id of its store, made when that was created empty: a store that was wiped,
/// restored or found damaged is another voter. In the volatile group it is the guid of the process. Addresses are never
/// part of it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub struct VoterId {
    /// The node.
    pub node_id: NodeId,
    /// The store id, or the guid, as 128 bits.
    pub start: u128,
}

impl Default for VoterId {
    /// Nobody: the engine wants a value, and none of ours is it.
    fn default() -> Self {
        Self { node_id: NodeId::MIN, start: 0 }
    }
}

impl fmt::Display for VoterId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{:08x}", self.node_id, self.start & 0xffff_ffff)
    }
}

/// Which group.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub enum GroupId {
    /// Roster, schemas, `disc` tables; its log is synced.
    Durable {
        /// Whose: a node that is absorbed votes, with the same store, in one cluster after the other.
        cluster_id: ClusterId,
    },
    /// Locks, `ram` quorum tables; a new one for each generation.
    Volatile {
        /// Whose: a start of a node may vote in the same generation of one cluster and, later, of another.
        cluster_id: ClusterId,
        /// The generation, as the durable group committed it.
        generation: u64,
    },
    /// No group: under this name nodes hand each other what replicas of volatile groups held when they were sealed.
    HandedIn {
        /// Of which cluster.
        cluster_id: ClusterId,
    },
}

/// Place of an entry: which leader's term, and where in the log. Terms only grow along a log.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default, Serialize, Deserialize)]
pub struct LogPlace {
    /// The term.
    pub term: u64,
    /// The index; the first entry of a log has 1, and 0 is before it.
    pub index: u64,
}

/// The voters of a group and those who learn, as the latest configuration in the log has them.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Configuration {
    /// Majorities are counted in each of these sets: one, or two while a joint change is under way.
    pub voters: Vec<Vec<VoterId>>,
    /// Who gets the log without a vote.
    pub learners: Vec<VoterId>,
    /// Where in the log it stands.
    pub at: LogPlace,
    /// It is known to be committed.
    pub committed: bool,
}

/// What one replica knows of its group at one moment: a hint, never a proof of anything but its own past.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Standing {
    /// This replica, once it has a name in the group.
    pub me: VoterId,
    /// The term it is in.
    pub term: u64,
    /// Who leads that term, as far as is known.
    pub leader: Option<VoterId>,
    /// This replica leads, and has committed an entry of its own term.
    pub leads: bool,
    /// The last entry in its log.
    pub last: LogPlace,
    /// The last entry that it has applied.
    pub applied: LogPlace,
    /// The last entry that whoever keeps a copy of the state was told of, by a [`GroupEvent`]. Entries without any may
    /// have been applied since.
    pub told: LogPlace,
    /// Who votes.
    pub configuration: Configuration,
    /// The replica has ended with an error and serves no more, in words.
    pub failed: Option<alloc::string::String>,
}

impl Configuration {
    /// Everybody with a vote, in order and each once.
    #[must_use]
    pub fn all_voters(&self) -> Vec<VoterId> {
        let mut all: Vec<VoterId> = self.voters.iter().flatten().copied().collect();
        all.sort_unstable();
        all.dedup();
        all
    }

    /// Whether these are a majority in each of the sets. Of no set at all nobody is.
    #[must_use]
    pub fn is_majority(&self, mut yes: impl FnMut(VoterId) -> bool) -> bool {
        !self.voters.is_empty()
            && self.voters.iter().all(|set| set.iter().filter(|voter| yes(**voter)).count() * 2 > set.len())
    }

    /// Whether it votes in any of the sets.
    #[must_use]
    pub fn has_voter(&self, voter: VoterId) -> bool {
        self.voters.iter().any(|set| set.contains(&voter))
    }
}

/// What a replica tells of its group, in the order of the log and without gaps, to whoever keeps a copy of the state.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum GroupEvent {
    /// A command was committed and applied. Commands of one entry share its place, and keep their order.
    Applied {
        /// Where it stands.
        at: LogPlace,
        /// The command.
        command: Vec<u8>,
    },
    /// A configuration was committed.
    Reconfigured(Configuration),
    /// The state was replaced by a snapshot: at the start, or because this replica was too far behind.
    Restored {
        /// The whole state.
        snapshot: Vec<u8>,
        /// The last entry that it holds.
        at: LogPlace,
    },
}

impl GroupEvent {
    /// The place of the entry; of a snapshot, of the last one that it holds.
    #[must_use]
    pub fn at(&self) -> LogPlace {
        match self {
            Self::Applied { at, .. } | Self::Restored { at, .. } => *at,
            Self::Reconfigured(configuration) => configuration.at,
        }
    }
}

/// What a group keeps, as a pure function of its log. The same entries give the same state and the same answers on
/// every node and in every version that runs beside it.
pub trait StateMachine: Send {
    /// Applies one committed command. What cannot be read is the fault of a newer version: it changes nothing and is
    /// answered as such, alike on every node. Commands of one entry come with the same place, in their order.
    fn apply(&mut self, at: LogPlace, command: &[u8]) -> Vec<u8>;

    /// Takes note of a committed configuration.
    fn reconfigured(&mut self, configuration: &Configuration);

    /// The whole state as bytes, for a replica that is too far behind for the log.
    fn snapshot(&self) -> Vec<u8>;

    /// Replaces the state by a snapshot.
    ///
    /// # Errors
    /// The bytes are no snapshot of this kind, in words; the state is as it was.
    fn restore(&mut self, snapshot: &[u8]) -> Result<(), alloc::string::String>;

    /// Whether whoever keeps a copy of the state is told of this command. A copy has nothing of those that it is not
    /// told of, and no part of the state that it has goes by them.
    fn is_told(&self, _command: &[u8]) -> bool {
        true
    }

    /// The part of a snapshot that such a copy is restored from.
    fn told_part<'a>(&self, snapshot: &'a [u8]) -> &'a [u8] {
        snapshot
    }

    /// The state of this moment, to be written down elsewhere while this machine goes on. Whoever applies waits for
    /// this, so a machine with much in it takes a clone that costs nothing.
    fn freeze(&self) -> Arc<dyn Frozen> {
        Arc::new(self.snapshot())
    }

    /// Makes what puts a state together from the pieces of a snapshot, elsewhere, for [`adopt`](Self::adopt).
    fn restorer(&self) -> Restorer {
        || Box::new(Gathered::default())
    }

    /// Replaces the state by one that was put together. Gives the part of the snapshot that a copy is restored from, as
    /// [`told_part`](Self::told_part) does.
    ///
    /// # Errors
    /// As for [`restore`](Self::restore).
    fn adopt(&mut self, restored: Restored) -> Result<Vec<u8>, alloc::string::String> {
        let bytes: Vec<u8> = restored.into_state().ok_or(Restored::OTHER)?;
        self.restore(&bytes)?;
        Ok(self.told_part(&bytes).to_vec())
    }
}
