//! What an operator or the embedding program wants of a node, and what it answers.

use alloc::string::String;
use alloc::vec::Vec;

use serde::{Deserialize, Serialize};

use crate::decision::{Decision, DecisionId};
use crate::durable::SchemaChange;
use crate::id::{ClusterId, NodeName};

/// What an operator or the embedding program can want of `Control`.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Command {
    /// Form a cluster of this node now.
    Form {
        /// Only say what would happen.
        plan: bool,
    },
    /// Go into the cluster of this node.
    Join {
        /// Its name.
        name: NodeName,
        /// This node's whole cluster goes into that one, although its quorum tables have held rows.
        absorb: bool,
        /// Only say what would happen.
        plan: bool,
    },
    /// Leave for good.
    Leave {
        /// Only say what would happen.
        plan: bool,
    },
    /// Say goodbye and end; come back by itself.
    Stop {
        /// Who asked: `sigterm`, `command`, `api`.
        by: String,
        /// Only say what would happen.
        plan: bool,
    },
    /// Send new work elsewhere.
    Drain {
        /// Only say what would happen.
        plan: bool,
    },
    /// Take new work again.
    Undrain {
        /// Only say what would happen.
        plan: bool,
    },
    /// Take a member that is down out for good.
    ForceLeave {
        /// Who: a name, or at least 6 hex digits of a node id.
        node: String,
        /// Who is to take its vote, named likewise: that one catches up first, and the vote moves in one change.
        replace_with: Option<String>,
        /// Do it although the member is up.
        alive: bool,
        /// Only say what would happen.
        plan: bool,
    },
    /// Bring the sides of a partition that was repaired together, although autoheal may be off.
    Heal {
        /// Only say what would happen.
        plan: bool,
    },
    /// The record of one decision.
    Why {
        /// Its id.
        id: DecisionId,
    },
    /// The latest records of decisions, newest first.
    Decisions {
        /// At most so many.
        last: u32,
    },
    /// Whether this node can stop without harm, as far as membership and groups know: what its tables have that no other
    /// node has is not asked here.
    SafeToStop {
        /// Whether the majorities of the groups count, or only that nobody is on its way in.
        groups: bool,
    },
    /// Fencing tokens that nobody else has, committed by the group.
    TakeTokens {
        /// How many.
        count: u64,
    },
    /// Fencing tokens are issued from this number on; the answer is an empty range at the ceiling.
    TokensFrom {
        /// The number.
        floor: u64,
    },
    /// Make or drop a table: one committed entry.
    Schema(SchemaChange),
    /// Quorum tables are to hold their first row: from then on this cluster goes into another one by an operator's word
    /// only.
    QuorumRows,
    /// Go on although the majority of the voters is lost for good.
    Recover {
        /// What only the lost ones held is given up; else nothing is changed.
        accept_loss: bool,
        /// Only say what would happen.
        plan: bool,
    },
}

/// The answer to a command.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Reply {
    /// Done.
    Done {
        /// What was done, in words.
        text: String,
        /// The record behind `ekka why`.
        decision: DecisionId,
        /// The cluster that this node is in now.
        cluster_id: Option<ClusterId>,
    },
    /// What would happen, line by line, and whether it would be refused.
    Plan {
        /// The lines.
        plan: Vec<String>,
        /// Why it would be refused.
        refused: Option<String>,
    },
    /// One record.
    Decision(Decision),
    /// Records.
    Decisions(Vec<Decision>),
    /// Yes or no, and why not.
    Answer {
        /// The answer.
        yes: bool,
        /// Why not.
        reasons: Vec<String>,
    },
    /// Tokens of which whoever asked is the only owner: `from` and above, below `to`.
    Tokens {
        /// The first.
        from: u64,
        /// One more than the last.
        to: u64,
    },
    /// The schemas are as they were wanted.
    Schema {
        /// The number of the table that was made, or found; of a dropped one it means nothing.
        table: u64,
        /// The record behind `ekka why`.
        decision: DecisionId,
    },
}

/// Why a command was not done.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, thiserror::Error)]
#[non_exhaustive]
pub enum CommandError {
    /// It makes no sense here (state or argument). Nothing was changed.
    #[error("{0}")]
    Refused(String),
    /// No such node, or no such record.
    #[error("{0}")]
    NotFound(String),
    /// The text names more than one node.
    #[error("`{text}` may be any of {candidates:?}: write more of it")]
    Ambiguous {
        /// What was given.
        text: String,
        /// Whom it may mean.
        candidates: Vec<String>,
    },
    /// It was begun, and failed.
    #[error("{0}")]
    Failed(String),
    /// The node stops or has stopped.
    #[error("the node is stopping")]
    Stopping,
}
