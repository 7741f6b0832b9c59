//! What nodes say to each other about forming and joining.

use alloc::string::String;
use alloc::vec::Vec;

use serde::{Deserialize, Serialize};

use super::{Ballot, Merge, Proposal};
use crate::durable::{Founder, MergeRecord};
use crate::id::{ClusterId, NodeName, StoreId};
use crate::membership::{Record, Roster};
use crate::view::Status;

/// A message of this room.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Message {
    /// What a node says as soon as a link is there, and whenever it changes: where it stands.
    State {
        /// Its cluster.
        cluster_id: Option<ClusterId>,
        /// Its status.
        status: Status,
        /// Whether it reaches a majority of its cluster's voters.
        quorum: bool,
        /// The list that it votes with; `None`: it votes with whoever is found.
        electorate: Option<Vec<NodeName>>,
        /// The strategy whose backend decides for it; it takes no part in votes.
        decider: Option<String>,
        /// Its merged clusters.
        merged: Vec<MergeRecord>,
        /// It left, or its role does not vote: do not count it.
        idle: bool,
        /// What it does when two formed clusters meet.
        merge: Merge,
        /// The store that it votes with.
        store: StoreId,
        /// The generation of its cluster.
        generation: u64,
        /// Quorum tables of its cluster hold, or ever held, a row.
        quorum_rows: bool,
    },
    /// Paxos 1a.
    Prepare {
        /// The ballot.
        ballot: Ballot,
        /// The proposer's list.
        electorate: Option<Vec<NodeName>>,
    },
    /// Paxos 1b.
    Promise {
        /// The ballot promised.
        ballot: Ballot,
        /// What this acceptor accepted before.
        accepted: Option<(Ballot, Proposal)>,
    },
    /// Paxos 2a.
    Accept {
        /// The ballot.
        ballot: Ballot,
        /// The value.
        proposal: Proposal,
        /// The proposer's list.
        electorate: Option<Vec<NodeName>>,
    },
    /// Paxos 2b.
    Accepted {
        /// The ballot accepted.
        ballot: Ballot,
    },
    /// No.
    Nack {
        /// The ballot that is refused.
        ballot: Ballot,
        /// Why.
        why: NackReason,
    },
    /// The value was chosen.
    Chosen {
        /// The value.
        proposal: Proposal,
        /// The roster of the new cluster as the proposer starts it.
        roster: Roster,
    },
    /// Let me in.
    Join {
        /// Who asks.
        record: Record,
        /// The cluster that it wants to join.
        cluster_id: ClusterId,
        /// The cluster that it comes from, where it was absorbed or an operator moved it.
        from: Option<ClusterId>,
        /// The records that lead from that cluster into the wanted one; empty where an operator moves it elsewhere.
        chain: Vec<MergeRecord>,
        /// An operator wants it: who was taken out for good comes back only so.
        asked: bool,
    },
    /// You are in.
    Joined {
        /// The roster, with the newcomer.
        roster: Roster,
        /// First voters of the cluster.
        first_voters: Vec<Founder>,
        /// The generation of the cluster.
        generation: u64,
    },
    /// You are not, and why.
    NotJoined {
        /// Why, in words.
        why: String,
        /// What that means.
        denial: Denial,
    },
}

/// What it means that a node was not admitted.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Denial {
    /// Asking again can help.
    Later,
    /// Asking again cannot help.
    Never,
    /// It was taken out for good, and waits for an operator's word.
    TakenOut,
    /// Its start is over in this cluster: it asks again under a new guid.
    Over,
}

/// Why an acceptor refuses.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum NackReason {
    /// It promised this higher ballot.
    Promised(Ballot),
    /// Its list differs.
    ListDiffers(Option<Vec<NodeName>>),
    /// It is in this cluster.
    InCluster(ClusterId),
    /// It takes no part (left, or no voter).
    Idle,
    /// The backend of this strategy decides for it.
    DecidedBy(String),
}
