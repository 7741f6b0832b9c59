//! What one node believes about the cluster at one moment, as everyone else reads it.
//!
//! [`View`] is made by `control` only, is immutable, and is numbered. Its serialised form is the contract of
//! `ekka status | members | links --json` (names of fields never change; more may come).

use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::vec::Vec;

use serde::{Deserialize, Serialize};

use crate::id::{ClusterId, Endpoint, Guid, Incarnation, NodeId, NodeName};
use crate::time::{Instant, Wall};

/// What a node does for the cluster.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Holds every table, may vote.
    #[default]
    Core,
    /// Holds tables, never votes.
    Replicant,
    /// Votes and keeps the log, holds no table.
    Witness,
}

/// Where a node is in its life, as itself and others see it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// Looks for its cluster, or waits for a majority.
    #[default]
    Joining,
    /// Takes part, and fetches rows of its tables that its peers held when it started.
    Syncing,
    /// Takes part.
    Up,
    /// Takes part, but new work should go elsewhere.
    Draining,
    /// Comes back after a partition.
    Healing,
    /// Is on its way out for good.
    Leaving,
    /// Said goodbye; comes back by itself.
    Stopped,
    /// Silent, or its process has ended: a hint of the node that says so.
    Down,
    /// This incarnation is over, by a committed decision.
    Gone,
}

impl Status {
    /// Whether a node with this status takes part in its cluster: it is up, be it draining, or would be but for rows that
    /// it fetches or a heal that it is in.
    #[must_use]
    pub fn takes_part(self) -> bool {
        matches!(self, Self::Syncing | Self::Up | Self::Draining | Self::Healing)
    }

    /// The word that people and JSON use.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Joining => "joining",
            Self::Syncing => "syncing",
            Self::Up => "up",
            Self::Draining => "draining",
            Self::Healing => "healing",
            Self::Leaving => "leaving",
            Self::Stopped => "stopped",
            Self::Down => "down",
            Self::Gone => "gone",
        }
    }

    /// Whether a node of this status runs, as far as is known.
    #[must_use]
    pub fn is_running(self) -> bool {
        !matches!(self, Self::Stopped | Self::Down | Self::Gone)
    }
}

/// One member, as this node sees it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Member {
    /// Its name.
    pub name: NodeName,
    /// Who it is.
    pub id: Incarnation,
    /// Its status: what it says of itself while it is heard, `down` once it is not.
    pub status: Status,
    /// Its role.
    pub role: Role,
    /// Whether it votes.
    pub voter: bool,
    /// Where it is dialled.
    pub endpoint: Endpoint,
    /// The version of its software.
    pub version: String,
    /// Since when it has this status, by this node's wall clock.
    pub since: Wall,
    /// When this node last heard from it; `None` where it never did.
    pub last_heard: Option<Instant>,
    /// The same by the wall clock, for people.
    pub last_heard_wall: Option<Wall>,
    /// Its tags.
    pub tags: BTreeMap<String, String>,
    /// Place in the order of admission: the smallest is the oldest.
    pub seniority: u64,
}

/// State of one direction of a link.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LinkState {
    /// Frames arrive.
    Up,
    /// Nothing has arrived for longer than the limit.
    Down,
    /// One side hears, the other does not.
    OneWay,
    /// No direct connection, but a third node carries for both.
    Relayed,
}

impl LinkState {
    /// The word that people and JSON use.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Up => "up",
            Self::Down => "down",
            Self::OneWay => "one-way",
            Self::Relayed => "relayed",
        }
    }
}

/// One directed link: `from` hears `to`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Link {
    /// The node whose observation this is.
    pub from: NodeId,
    /// The node that it observes.
    pub to: NodeId,
    /// What it observes.
    pub state: LinkState,
    /// Smoothed round-trip time in microseconds.
    pub rtt_us: Option<u64>,
    /// When `from` last heard `to`, by this node's wall clock.
    pub last_ok: Option<Wall>,
    /// The node that carries for both, where the link is relayed.
    pub via: Option<NodeId>,
}

/// One reason why a node is not ready, or one alarm, in words.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Reason {
    /// `joining`, `syncing`, `minority`, `healing`, `draining`, `fenced`, `disc_full`, `clock`, `conflict`, `stopping`, `left`.
    pub code: String,
    /// What a person reads.
    pub text: String,
    /// Since when, by this node's wall clock.
    pub since: Wall,
}

/// How far this node is with fetching rows of its tables.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Sync {
    /// Tables that have all.
    pub tables: u64,
    /// Of how many.
    pub of: u64,
    /// Bytes here of those that have not.
    pub bytes: u64,
}

/// The voters in reach of this node.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Quorum {
    /// How many vote.
    pub voters: u32,
    /// How many of them this node reaches, itself included.
    pub in_reach: u32,
    /// How many make a majority.
    pub needed: u32,
    /// How many of those in reach may fail before there is no majority.
    pub can_lose: u32,
}

impl Quorum {
    /// Counts a majority.
    #[must_use]
    pub fn new(voters: u32, in_reach: u32) -> Self {
        let needed = voters / 2 + 1;
        Self { voters, in_reach, needed, can_lose: in_reach.saturating_sub(needed) }
    }

    /// Counts a majority of each of several sets of voters, as they have to agree while voters change: of each set how
    /// many vote and how many of these are in reach. The worse one decides how many are needed in all.
    #[must_use]
    pub fn of_each(self, sets: impl IntoIterator<Item = (u32, u32)>) -> Self {
        let needed = |(voters, in_reach): (u32, u32)| (self.in_reach + voters / 2 + 1).saturating_sub(in_reach);
        let needed = sets.into_iter().map(needed).max().unwrap_or(self.needed);
        Self { needed, can_lose: self.in_reach.saturating_sub(needed), ..self }
    }

    /// Whether a majority is in reach.
    #[must_use]
    pub fn holds(self) -> bool {
        self.voters > 0 && self.in_reach >= self.needed
    }
}

/// The volatile group, as this node knows it.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Volatile {
    /// The present generation; 0 before the first.
    pub generation: u64,
    /// Who votes in it.
    pub voters: Vec<NodeId>,
    /// Who leads it, where this node follows it and knows.
    pub leader: Option<NodeId>,
    /// This start of this node counts as one of the voters.
    pub votes: bool,
    /// Writes that were acknowledged before this generation may be missing in it.
    pub lost: bool,
}

/// Which kind of split this node sees (OPERATIONS: exactly one holds).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SplitState {
    /// All well.
    #[default]
    None,
    /// A member that did not say goodbye is silent: crash or cut cannot be told apart.
    Suspected,
    /// No majority of voters in reach.
    Minority,
    /// All up, but a link is broken.
    Partial,
    /// Coming back together.
    Healing,
}

impl SplitState {
    /// All states, in the order of the metric.
    pub const ALL: [Self; 5] = [Self::None, Self::Suspected, Self::Minority, Self::Partial, Self::Healing];

    /// The word that people, JSON and metrics use.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Suspected => "suspected",
            Self::Minority => "minority",
            Self::Partial => "partial",
            Self::Healing => "healing",
        }
    }
}

/// A member that this node does not reach.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Unreachable {
    /// Who.
    pub node_id: NodeId,
    /// Since when, by this node's wall clock.
    pub since: Wall,
    /// `silent`, `refused` or `one-way`.
    pub evidence: String,
    /// Which other members still hear it.
    pub seen_by: Vec<NodeId>,
}

/// What this node knows of a split.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Split {
    /// Which kind.
    pub state: SplitState,
    /// Since when; `None` while there is none.
    pub since: Option<Wall>,
    /// Whether a majority of voters is in reach.
    pub majority: bool,
    /// Who is not reached.
    pub unreachable: Vec<Unreachable>,
}

/// Another formed cluster of the same name and cookie that this one cannot merge with.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Conflict {
    /// The id of the other one.
    pub other: ClusterId,
    /// A member of it that was met.
    pub met: NodeName,
    /// Why nothing moves.
    pub why: String,
    /// Since when.
    pub since: Wall,
}

/// The whole view of one node.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct View {
    /// Grows by one with each change.
    pub number: u64,
    /// This incarnation.
    pub me: Incarnation,
    /// This node's name.
    pub name: NodeName,
    /// This node's status.
    pub status: Status,
    /// The name that all nodes of the cluster share.
    pub cluster_name: String,
    /// The id, once formed or joined.
    pub cluster_id: Option<ClusterId>,
    /// The generation of the cluster: one more with each recovery.
    pub generation: u64,
    /// The smallest software version among all members, down ones included.
    pub cluster_version: String,
    /// Ready for work that needs a majority.
    pub ready_quorum: bool,
    /// Ready for `available` tables and local work.
    pub ready_available: bool,
    /// Why not ready, what it waits for; empty when all is well.
    pub reasons: Vec<Reason>,
    /// The oldest member that is up: a hint.
    pub leader: Option<NodeId>,
    /// The oldest core that is up: a hint.
    pub coordinator: Option<NodeId>,
    /// What it fetches, while it is `syncing`.
    pub sync: Option<Sync>,
    /// The voters in reach.
    pub quorum: Quorum,
    /// The volatile group.
    pub volatile: Volatile,
    /// The split, if there is one.
    pub split: Split,
    /// Other clusters of this name.
    pub conflicts: Vec<Conflict>,
    /// What an operator must know.
    pub alarms: Vec<Reason>,
    /// What an operator can do.
    pub advice: Vec<String>,
    /// All members, this node included, sorted by seniority.
    pub members: Vec<Member>,
    /// The link matrix as far as it is known.
    pub links: Vec<Link>,
    /// Offset of this node's clock from the median of its peers, in milliseconds; where they do not agree with it, how far it jumped
    /// since one agreed with it, if by more than is refused.
    pub clock_offset_ms: Option<i64>,
    /// How many peers that was compared with: newcomers do not count.
    pub clock_peers: usize,
    /// Offset of each peer's clock from this node's, in milliseconds.
    pub peer_clock_offset_ms: BTreeMap<NodeId, i64>,
    /// When this incarnation started.
    pub started: Wall,
}

impl View {
    /// The member with this id.
    #[must_use]
    pub fn member(&self, node_id: NodeId) -> Option<&Member> {
        self.members.iter().find(|m| m.id.node_id == node_id)
    }

    /// Whether the node is up, and does not show that a heal of it is under way or to come: what was a partition is over,
    /// unless another one hides it.
    #[must_use]
    pub fn is_settled(&self) -> bool {
        self.status == Status::Up && self.split.state != SplitState::Healing
    }

    /// The guid of this start.
    #[must_use]
    pub fn guid(&self) -> Guid {
        self.me.guid
    }
}
