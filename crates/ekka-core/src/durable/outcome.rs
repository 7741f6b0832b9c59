//! What a committed command did: the answer to its proposer, and what changed for everybody.

use alloc::string::String;
use alloc::vec::Vec;

use serde::{Deserialize, Serialize};

use super::absorb::MergeRecord;
use super::command::Proof;
use super::schemas::TableEntry;
use crate::id::{ClusterId, Incarnation, NodeId};
use crate::lease::Agreed;
use crate::membership::RemovalCause;
use crate::volatile::Version;

/// The answer of the state machine. Variants are appended only: proposer and leader may run different versions.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Outcome {
    /// It was done by this entry.
    Done {
        /// The place of the entry in the order of the cluster: seniority, where it admitted somebody.
        number: u64,
        /// What comes with it.
        gave: Gave,
    },
    /// It holds already, by an earlier entry: a repeat, or somebody else was faster.
    Already {
        /// The place of the entry that did it, as far as that is still known; else 0.
        number: u64,
        /// What comes with it.
        gave: Gave,
    },
    /// It was not done, and changed nothing.
    Refused {
        /// Why.
        code: Refusal,
        /// The same in words.
        words: String,
    },
    /// A newer version wrote it: it changed nothing.
    Unknown {
        /// What could not be read.
        words: String,
    },
}

/// What comes with an outcome.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Gave {
    /// Nothing.
    Nothing,
    /// Tokens of which the proposer is the only owner: `from` and above, below `to`.
    Tokens {
        /// The first.
        from: u64,
        /// One more than the last.
        to: u64,
    },
    /// The record that every member of this cluster follows from now on.
    Merge(MergeRecord),
}

/// Why a command was refused.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
pub enum Refusal {
    /// The cluster has no first entry yet.
    NotFounded,
    /// This log has the first entry of another cluster.
    OtherCluster,
    /// It was decided on what does not hold any more: look again.
    Outdated,
    /// That start is over.
    Over,
    /// A later start of the same node is a member.
    Superseded,
    /// It is no member.
    NotMember,
    /// It was taken out for good and waits for an operator's word.
    TakenOut,
    /// It votes, or learns to, and its place in the group goes first.
    Votes,
    /// It is the only member.
    Last,
    /// A start that is not over is not cleaned.
    NotOver,
    /// This cluster goes into another one.
    Merging,
    /// Quorum tables have held rows.
    HasRows,
    /// The records do not lead here.
    BadChain,
    /// A bound is reached.
    Full,
    /// It makes no sense.
    Senseless,
    /// There is a table of this name with another schema.
    Mismatch,
}

/// What an entry changed, for tables, locks, gossip and people.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Change {
    /// The cluster has begun.
    Founded {
        /// Its id.
        cluster_id: ClusterId,
    },
    /// A node is a member now.
    Admitted {
        /// Which start of it.
        id: Incarnation,
        /// Its seniority.
        number: u64,
    },
    /// A member has started again.
    Returned {
        /// Its start.
        id: Incarnation,
        /// Its seniority.
        number: u64,
    },
    /// A member votes with another store from now on.
    StoreChanged {
        /// Whose.
        node_id: NodeId,
    },
    /// A start of a node is over: its sessions end, its owned rows drop, its duties run. Said once for each.
    Ended {
        /// Which, and with it every earlier one of its node.
        id: Incarnation,
        /// How that is known.
        proof: Proof,
    },
    /// A member was forgotten.
    Removed {
        /// Who.
        node_id: NodeId,
        /// Why.
        cause: RemovalCause,
        /// Who asked for it.
        by: NodeId,
        /// The place of the removal.
        number: u64,
    },
    /// Tokens: below `floor` none is issued any more, at `ceiling` and above none yet.
    Tokens {
        /// The lowest that may still be issued.
        floor: u64,
        /// One more than the highest.
        ceiling: u64,
    },
    /// This cluster goes into another one.
    Merging(MergeRecord),
    /// Another cluster has gone into this one.
    Merged(MergeRecord),
    /// There is a new volatile group.
    Generation(u64),
    /// Leases of incarnations last so long from now on.
    Leases(Agreed),
    /// The voters of the volatile group change: this is its record now.
    VolatileVoters(Version),
    /// There is a table.
    TableCreated(TableEntry),
    /// A table is no more.
    TableDropped(TableEntry),
    /// The cluster goes on without the majority that it had.
    Recovered {
        /// Its generation.
        generation: u64,
        /// Who was given up.
        given_up: Vec<NodeId>,
    },
}

impl Outcome {
    /// Whether what was wanted holds now.
    #[must_use]
    pub fn holds(&self) -> bool {
        matches!(self, Self::Done { .. } | Self::Already { .. })
    }

    /// The answer as bytes.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        postcard::to_allocvec(self).expect("an outcome consists of what postcard can hold")
    }

    /// Reads an answer.
    ///
    /// # Errors
    /// A newer version gave it.
    pub fn decode(bytes: &[u8]) -> Result<Self, postcard::Error> {
        postcard::from_bytes(bytes)
    }

    pub(super) fn done(number: u64) -> Self {
        Self::Done { number, gave: Gave::Nothing }
    }

    pub(super) fn already(number: u64) -> Self {
        Self::Already { number, gave: Gave::Nothing }
    }

    pub(super) fn refused(code: Refusal, words: impl Into<String>) -> Self {
        Self::Refused { code, words: words.into() }
    }
}
