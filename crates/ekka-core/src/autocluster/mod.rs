//! Whom to contact, when to form a cluster, which one to join.
//!
//! **Owns** the candidates of discovery, the vote (single-decree Paxos, both roles), the cluster id of this node,
//! the records of merged clusters, and the memory that this node left.
//!
//! **Inputs** [`Input`]: answers of discovery, peers that came and went, messages, completed writes to disc, an
//! operator's word, and whether a majority is in reach.
//!
//! **Outputs** [`Output`]: dials, messages, what must be on disc (before the messages that depend on it are given
//! out), the cluster entered, what this node waits for.
//!
//! **Invariants** (checked by `check`): a promise never falls, and is on disc before it is answered; no ballot is
//! used twice; a cluster id, once taken, changes only by a recorded merge or after `leave`; at most one join is
//! under way; never joins itself.
//!
//! **Sources**: Lamport, *Paxos Made Simple* (2001), section 2; rules of section 8 of the design; schedules S1-1,
//! S1-5, S1-12.

mod acceptor;
mod candidates;
mod decided;
mod join;
mod meet;
mod message;
mod outranked;
mod proposer;
mod registration;
mod room;
mod words;

pub use message::{Denial, Message, NackReason};
pub use registration::{Registration, Supersedes};
pub use room::Autocluster;

use alloc::string::String;
use alloc::vec::Vec;
use core::time::Duration;

use serde::{Deserialize, Serialize};

use crate::durable::{Chains, Founder, MergeRecord};
use crate::id::{ClusterId, Endpoint, Incarnation, NodeId, NodeName, StoreId};
use crate::membership::{Record, Roster};
use crate::view::{Role, Status};

/// A number of a vote: never used twice, ordered.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
pub struct Ballot {
    /// Grows.
    pub round: u64,
    /// Who proposes.
    pub node_id: NodeId,
}

/// What is voted on: the id of the cluster, and who votes in it first.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Proposal {
    /// The new cluster.
    pub cluster_id: ClusterId,
    /// Its first members and voters: the nodes that promised, oldest first.
    pub founders: Vec<Peer>,
}

impl Proposal {
    /// Who votes in the new cluster first, oldest first.
    #[must_use]
    pub fn voters(&self) -> Vec<Founder> {
        self.founders.iter().map(Peer::as_founder).collect()
    }

    /// Whether this node is one of the first voters.
    #[must_use]
    pub fn names(&self, node_id: NodeId) -> bool {
        self.founders.iter().any(|founder| founder.id.node_id == node_id)
    }
}

/// A candidate that discovery named.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Candidate {
    /// Its name.
    pub name: NodeName,
    /// Where it is dialled.
    pub endpoint: Endpoint,
}

/// What a strategy answers.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Answer {
    /// Whom it knows, this node included where the backend lists it.
    pub candidates: Vec<Candidate>,
    /// How many distinct nodes must vote by what the backend knows. It holds where the configuration gives no number.
    pub expect: Expect,
}

/// How many distinct nodes must vote, by what a backend knows.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub enum Expect {
    /// It knows no number: that of the configuration holds, or the default.
    #[default]
    Unknown,
    /// So many (the majority of the replicas, say).
    Nodes(u32),
    /// It may know, and could not be asked yet, with why.
    NotHeard(String),
}

/// Which list of strategies is meant: a reload that exchanges them begins another one. What those of an earlier list
/// still say does not count, whatever their names.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct SourceList(u64);

impl SourceList {
    /// The one that follows.
    #[must_use]
    pub fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }
}

impl From<Vec<Candidate>> for Answer {
    fn from(candidates: Vec<Candidate>) -> Self {
        Self { candidates, expect: Expect::Unknown }
    }
}

/// What happens when two formed clusters meet.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Merge {
    /// The younger one is absorbed where it holds no quorum rows.
    #[default]
    Empty,
    /// Nothing moves; an operator decides.
    Never,
}

/// How this node forms.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Settings {
    /// Names of the strategies, in order (`static`, `dns`, …), for words and metrics.
    pub strategies: Vec<String>,
    /// With `static`: the list that votes, this node's own name included, sorted. `None`: whoever is found votes.
    pub electorate: Option<Vec<NodeName>>,
    /// The strategy whose backend decides the id in one step (etcd), in place of a vote.
    pub decider: Option<String>,
    /// The strategy whose backend may know how many nodes there are to be (k8s). Without a number of the
    /// configuration nobody forms before it has answered.
    pub counts: Option<String>,
    /// How many distinct nodes must vote; `None`: what a backend knows, else a majority of the distinct candidates
    /// listed so far, at least 2, and 1 only after 30 s in which answers listed this node and nobody else.
    pub expect: Option<u32>,
    /// How long the answering candidates must have been the same. Not waited for once all of a static list answer.
    pub settle: Duration,
    /// What happens when two formed clusters meet.
    pub merge: Merge,
    /// Base port of the port rule.
    pub base_port: u16,
    /// `node.role` lets this node vote.
    pub may_vote: bool,
    /// Planted faults, for proving the harness. All off in production.
    pub faults: Faults,
}

/// Faults put in on purpose, so that a test can show that the harness sees them.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Faults {
    /// Form by this node's own decision, without a vote.
    pub form_alone: bool,
    /// Answer before the promise is on disc.
    pub promise_unsaved: bool,
    /// Take an offer to the backend that decides as won where its answer is lost.
    pub lost_claim_wins: bool,
    /// Do not care how many nodes must vote by what a backend knows.
    pub ignore_replicas: bool,
}

/// What this room keeps on disc.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Saved {
    /// Highest ballot promised.
    pub promised: Option<Ballot>,
    /// Highest ballot accepted, with its value.
    pub accepted: Option<(Ballot, Proposal)>,
    /// Highest round that this node ever used as a proposer.
    pub last_round: u64,
    /// The cluster that this node is in.
    pub cluster_id: Option<ClusterId>,
    /// First voters of that cluster, as chosen.
    pub first_voters: Vec<Founder>,
    /// Merged clusters: younger → older.
    pub merged: Chains,
    /// This node left (`leave`): no strategy brings it back until `join` or `form`.
    pub left: bool,
    /// This node formed its cluster by an operator's word.
    #[serde(default)]
    pub by_word: bool,
    /// Clusters that this node was in and is not now, the latest last.
    #[serde(default)]
    pub was_in: Vec<ClusterId>,
    /// The generation of the cluster that this node is in, as far as it knows.
    #[serde(default)]
    pub generation: u64,
    /// The cluster that was recovered without this node, until it is in one again: it votes for none and joins only that.
    #[serde(default)]
    pub outranked: Option<Outranked>,
}

/// A cluster that was recovered without this node.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Outranked {
    /// Which.
    pub cluster_id: ClusterId,
    /// Who said so, in words.
    pub words: String,
}

/// What this room knows of a peer from its Hello. It goes with the vote, since whoever finishes a vote may never have
/// met one of the founders.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Peer {
    /// Which start of which node.
    pub id: Incarnation,
    /// Its name.
    pub name: NodeName,
    /// Where it is dialled.
    pub endpoint: Endpoint,
    /// Its role.
    pub role: Role,
    /// Version of its software.
    pub software: String,
    /// The store that it votes with; unknown until it has said where it stands.
    pub store: StoreId,
}

/// What comes in.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Input {
    /// The node runs: begin.
    Start,
    /// Discovery answered.
    Discovered {
        /// The list that the strategy is of.
        list: SourceList,
        /// Which strategy.
        strategy: String,
        /// Whom it named, or why it failed.
        result: Result<Answer, String>,
    },
    /// The backend that decides has answered a claim.
    Claimed {
        /// The list whose backend it is.
        list: SourceList,
        /// The value that holds, this node's or another, or why it failed.
        result: Result<Proposal, String>,
    },
    /// A verified control connection to this incarnation is there.
    Connected(Peer),
    /// The last one went.
    Disconnected {
        /// Who.
        id: Incarnation,
    },
    /// Somebody answered at this endpoint, perhaps a node that is linked already, or this node itself.
    Answered {
        /// Where.
        endpoint: Endpoint,
        /// Who.
        node_id: NodeId,
    },
    /// A dial failed.
    DialFailed {
        /// Where.
        endpoint: Endpoint,
        /// Why, in words.
        why: String,
    },
    /// A message came.
    Received {
        /// From whom.
        from: Incarnation,
        /// What.
        message: Message,
    },
    /// The write with this token is on disc.
    Persisted {
        /// The token.
        token: u64,
    },
    /// Whether a majority of the voters of this node's cluster is in reach, and this node's status.
    Standing {
        /// The majority.
        quorum: bool,
        /// The status.
        status: Status,
        /// This node's clock is too far off for it to propose.
        clock_refused: bool,
        /// It is the only member of its cluster.
        alone: bool,
        /// Its log of the cluster holds nothing but the first voters.
        unfounded: bool,
    },
    /// An admission that this room asked for: the roster with the newcomer, or why not.
    Admitted {
        /// Who asked.
        id: Incarnation,
        /// The result.
        result: Result<Roster, (String, Denial)>,
    },
    /// An operator: form a cluster of this node now.
    Form,
    /// An operator: go into the cluster of the node at this endpoint.
    Join {
        /// Its name.
        name: NodeName,
        /// Where.
        endpoint: Endpoint,
        /// This node's whole cluster goes there, whatever it holds.
        absorb: bool,
    },
    /// The store that this node votes with is another from now on.
    Store(StoreId),
    /// A cluster has committed where it goes.
    Merging(MergeRecord),
    /// The generation that the record of this node's cluster has.
    Generation(u64),
    /// Quorum tables of this node's cluster hold, or ever held, a row.
    QuorumRows(bool),
    /// This node's cluster was recovered without it.
    Outranked {
        /// Who said so, in words.
        words: String,
    },
    /// This node left its cluster, or was removed from it.
    Left {
        /// Whether it is to stay outside until an operator says otherwise.
        stay_out: bool,
    },
    /// The configuration was reloaded.
    Reconfigure {
        /// The list of strategies in use now: another one where they were exchanged.
        list: SourceList,
        /// How this node forms now.
        settings: Settings,
    },
}

/// What goes out.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Output {
    /// Ask all strategies now.
    Discover,
    /// Offer this value to the backend that decides, and answer with [`Input::Claimed`].
    Claim(Proposal),
    /// What backends are to know of this node now. Given when it changes.
    Register(Registration),
    /// A connection to this candidate is wanted.
    Dial {
        /// Where.
        endpoint: Endpoint,
        /// Also where somebody who answered there is linked already.
        anew: bool,
    },
    /// Send on the control link of this peer; dropped where there is none.
    Send {
        /// To whom.
        to: NodeId,
        /// What.
        message: Message,
    },
    /// Keep this room's [`Saved`] on disc, then say so with the token.
    Persist {
        /// The token.
        token: u64,
    },
    /// This node's cluster is this one now (it is on disc): formed, joined, or merged into.
    Entered {
        /// The cluster.
        cluster_id: ClusterId,
        /// Its roster.
        roster: Roster,
        /// How: `formed`, `joined`, `merged`.
        how: &'static str,
        /// The evidence for the decision record.
        lines: Vec<String>,
        /// An operator's word brought it here; whoever it leaves behind is told.
        asked: bool,
    },
    /// A peer of this node's cluster says which generation of it it is in.
    Heard {
        /// Who.
        by: NodeName,
        /// The generation.
        generation: u64,
    },
    /// A newcomer asks to be admitted: check it, admit it, and answer with [`Input::Admitted`].
    Admit {
        /// Its record.
        record: Record,
        /// An operator wants it.
        asked: bool,
        /// The records that lead from the cluster that it comes from into this one.
        chain: Vec<MergeRecord>,
    },
    /// This cluster is to go into that one: have it committed, and answer with [`Input::Merging`].
    Absorb {
        /// The older one.
        into: ClusterId,
        /// An operator's word.
        by_word: bool,
    },
    /// This node was taken out of the cluster that it wanted to join, and stays outside until an operator's word.
    TakenOut(String),
    /// This start is over in the cluster that it wants to join.
    Over,
    /// What this node waits for, in words; empty where it waits for nothing. Given when it changes.
    Waits(String),
    /// Another cluster that nothing moves with; `None` where it is gone from sight.
    Conflict {
        /// The other one.
        other: ClusterId,
        /// Who was met, and why nothing moves. `None`: over.
        met: Option<(NodeName, String)>,
    },
    /// A join by an operator's word ended.
    JoinDone(Result<ClusterId, String>),
    /// Discovery fails (`Some`) or works again (`None`): said when it changes.
    DiscoveryState {
        /// Which strategy.
        strategy: String,
        /// Why it fails.
        error: Option<String>,
    },
}
