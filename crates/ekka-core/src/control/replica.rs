//! What `Control` and the replicas of its groups say to each other, by way of the shell.

use alloc::boxed::Box;
use alloc::collections::BTreeSet;
use alloc::string::String;
use alloc::vec::Vec;

use crate::consensus::{GroupEvent, LogPlace, Standing, VoterId};
use crate::durable;
use crate::id::{ClusterId, Incarnation};
use crate::volatile::{Order, Report};

/// What `Control` wants of the replica of its cluster's durable group, in this order.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum GroupRequest {
    /// Run the replica of this cluster, as this voter.
    Open {
        /// Whose group.
        cluster_id: ClusterId,
        /// As whom.
        me: VoterId,
        /// It begins a new log with what this node kept of the one before, by [`Whole`](Self::Whole) for this voter.
        /// Where the log has begun already that says nothing.
        goes_on: bool,
    },
    /// What the room of the group wants. A proposal is answered by a [`GroupNews::Answered`], a change of voters or
    /// learners by a [`GroupNews::Reconfigured`].
    Ask(durable::Ask),
    /// Where it leads: let one of these voters lead, any other one where none is named.
    HandOver {
        /// Who may.
        among: BTreeSet<VoterId>,
    },
    /// End the replica, and give the state that its whole log adds up to, committed or not: nobody is left who could
    /// say which of its last entries were committed. What the group keeps beside the record is on disc for the voter
    /// that goes on with it before the answer comes.
    Whole {
        /// As whom this node would go on.
        next: VoterId,
    },
    /// End the replica.
    Close {
        /// Its log goes too: this node has left the cluster for good.
        delete: bool,
    },
    /// Have a majority of the voters say that this replica leads this term, asked from now on; answered by a
    /// [`GroupNews::Confirmed`].
    Confirm {
        /// Comes back with the answer.
        round: u64,
        /// The term: an answer for another one is no.
        term: u64,
    },
}

/// What the replica tells. A standing comes after the entries that led to it: where it says that this replica leads,
/// everything that was committed before its term has been told.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum GroupNews {
    /// The next of what was committed, in order and without gaps.
    Event {
        /// What.
        event: GroupEvent,
        /// It was committed before this start of the node already: no news for people.
        replay: bool,
    },
    /// What the replica knows of its group now.
    Standing(Box<Standing>),
    /// The answer to a proposal.
    Answered {
        /// Of the request.
        token: u64,
        /// What the state machine answered.
        result: Result<Vec<u8>, durable::Failure>,
    },
    /// The answer to a change of voters or learners.
    Reconfigured {
        /// Of the request.
        token: u64,
        /// How it ended.
        result: Result<(), durable::Failure>,
        /// Where the latest configuration stands in this replica's log now, committed or not.
        latest: LogPlace,
    },
    /// The answer to [`GroupRequest::Confirm`].
    Confirmed {
        /// Of the request.
        round: u64,
        /// A majority had seen no higher term after the request.
        ok: bool,
    },
    /// The answer to [`GroupRequest::Whole`]: a snapshot of the record, or why it cannot be read.
    Whole(Result<Vec<u8>, String>),
}

/// What `Control` wants of the replica of its cluster's volatile group, in this order.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum VolatileRequest {
    /// What the room of the group's generations wants.
    Order {
        /// Of which cluster.
        cluster_id: ClusterId,
        /// As whom.
        me: Incarnation,
        /// What.
        order: Order,
    },
    /// This node is not in that cluster any more: what there is of its volatile group here ends and is dropped.
    Close,
}

/// What the replica of the volatile group tells.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum VolatileNews {
    /// What it knows of its group now.
    Standing {
        /// Of which generation.
        generation: u64,
        /// What.
        standing: Box<Standing>,
    },
    /// What has become of an order.
    Report(Report),
}
