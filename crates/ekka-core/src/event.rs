//! What happened, for people and programs: one typed event, one line of the log, one line of `ekka events`.

use alloc::string::String;
use alloc::vec::Vec;

use serde::{Deserialize, Serialize};

use crate::decision::DecisionId;
use crate::id::{ClusterId, Guid, NodeId, NodeName};

/// How bad it is.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// A change of state.
    Info,
    /// Degraded.
    Warning,
    /// A person must act.
    Critical,
}

/// An event without its time and place, which the shell adds.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Event {
    /// The record behind `ekka why`, where a decision caused it.
    pub decision: Option<DecisionId>,
    /// What happened.
    pub kind: EventKind,
}

/// What happened. Serialises to the fields of its type (OPERATIONS section 5), without the type's name.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(untagged)]
#[non_exhaustive]
#[allow(missing_docs, reason = "the fields are the contract of OPERATIONS section 5 and named as there")]
pub enum EventKind {
    /// `node.starting`
    NodeStarting { version: String },
    /// `node.ready`
    NodeReady { for_: String },
    /// `node.not_ready`
    NodeNotReady { for_: String, reasons: Vec<String> },
    /// `node.stopping`
    NodeStopping { by: String },
    /// `node.stopped`
    NodeStopped {},
    /// `node.paused`
    NodePaused { for_ms: u64 },
    /// `node.renamed`
    NodeRenamed { from: NodeName, to: NodeName },
    /// `node.refused`: this node must not go on (duplicate identity, name conflict, removed, too old)
    NodeRefused { reason: String, by: String },
    /// `storage.damaged`: what was missing or damaged at the start; the node votes with a new store
    StorageDamaged { what: String },
    /// `member.joining`
    MemberJoining { name: NodeName, node_id: NodeId },
    /// `member.up`
    MemberUp { name: NodeName, node_id: NodeId },
    /// `member.down`
    MemberDown { name: NodeName, node_id: NodeId, evidence: String },
    /// `member.stopped`
    MemberStopped { name: NodeName, node_id: NodeId },
    /// `member.leaving`
    MemberLeaving { name: NodeName, node_id: NodeId },
    /// `member.left`
    MemberLeft { name: NodeName, node_id: NodeId },
    /// `member.removed`
    MemberRemoved { name: NodeName, node_id: NodeId, cause: String },
    /// `member.gone`: this start of it is over, by a committed entry
    MemberGone { name: NodeName, node_id: NodeId, incarnation: Guid, evidence: String },
    /// `member.conflict`
    MemberConflict { name: NodeName, a: String, b: String },
    /// `cluster.formed`
    ClusterFormed { id: ClusterId, nodes: Vec<NodeName>, expect: u32 },
    /// `cluster.waiting`
    ClusterWaiting { waits: String },
    /// `cluster.conflict`
    ClusterConflict { other: ClusterId, met: NodeName, why: String },
    /// `cluster.merged`
    ClusterMerged { from: ClusterId, into: ClusterId },
    /// `cluster.recovered`: it goes on without the majority that it had
    ClusterRecovered { generation: u64, lost: Vec<NodeName> },
    /// `cluster.version`
    ClusterVersion { from: String, to: String },
    /// `leader.changed`
    LeaderChanged { from: Option<NodeName>, to: Option<NodeName> },
    /// `coordinator.changed`
    CoordinatorChanged { from: Option<NodeName>, to: Option<NodeName> },
    /// `partition.suspected`
    PartitionSuspected { silent: Vec<NodeName> },
    /// `partition.occurred`
    PartitionOccurred { sides: Vec<Vec<NodeName>> },
    /// `partition.partial`
    PartitionPartial { links: Vec<(NodeName, NodeName)> },
    /// `partition.ended`
    PartitionEnded { for_ms: u64 },
    /// `clock.offset`
    ClockOffset { peer: NodeName, ms: i64 },
    /// `credentials.rotated`
    CredentialsRotated { step: String },
    /// `credentials.failing`: changed certificate files cannot be used; those before go on serving.
    CredentialsFailing { error: String },
    /// `handshake.refused`
    HandshakeRefused { addr: String, reason: String, count: u64 },
    /// `discovery.failing`
    DiscoveryFailing { strategy: String, error: String },
    /// `discovery.ok`
    DiscoveryOk { strategy: String },
    /// `volatile.began`: the volatile group has a new generation; `lost`: writes to `ram` quorum tables that were
    /// acknowledged before it may be missing
    VolatileBegan { generation: u64, voters: Vec<NodeName>, lost: bool },
    /// `table.created`
    TableCreated { table: String, what: String },
    /// `table.dropped`
    TableDropped { table: String },
    /// `table.ready`: this node has what its peers held of it, or the replica that its rows are in
    TableReady { table: String },
    /// `table.override`: so many versions lost to one whose writer had not seen them, and are in the journal; at most once
    /// a minute of each table
    TableOverride { table: String, count: u64 },
    /// `table.set_aside`: rows that have no place in it any more are in a file
    TableSetAside { table: String, file: String, rows: u64 },
    /// `table.digest_mismatch`: two nodes that hold the same operations do not have the same rows
    TableDigestMismatch { table: String, peer: String, ranges: u64 },
    /// `backup.done`
    BackupDone { tables: u64, rows: u64, bytes: u64 },
    /// `backup.failed`
    BackupFailed { error: String },
    /// `table.returned`: what a member held that had been taken out, or of a cluster that went into this one, was judged here:
    /// so many versions are passed on as rows, so many are in the journal of every node
    TableReturned { table: String, node_id: NodeId, taken: u64, aside: u64 },
    /// `disc.full`: less than `storage.reserve` is free
    DiscFull { why: String },
    /// `disc.ok`: there is room again
    DiscOk {},
    /// `config.reloaded`
    ConfigReloaded { changed: Vec<String>, needs_restart: Vec<String> },
    /// `node.fenced`: its lease has run out, and others may be told that it is gone
    NodeFenced { lease_age_ms: u64 },
    /// `heal.started`: this node carries out a heal; who stays as it is, and who comes back
    HealStarted { heal: String, stays: Vec<NodeName>, returns: Vec<NodeName> },
    /// `heal.step`: of this node's own way back: `prepare`, `exchange`, `reboot`
    HealStep { heal: String, step: String },
    /// `heal.finished`: this node came back, so long after it found that it had parted; rows that came, versions that lost
    HealFinished { heal: String, ms: u64, rows: u64, overridden: u64 },
    /// `heal.ended`: so many nodes came back in the heal that this node carried out, and so many that were to are not there
    /// any more
    HealEnded { heal: String, ms: u64, nodes: u32, away: u32 },
    /// `heal.failed`: a callback of this node failed, hung or panicked; the heal goes on
    HealFailed { heal: String, why: String },
    /// `node.over`: this start was declared gone; the node goes on under a new guid
    NodeOver { incarnation: Guid },
}

impl EventKind {
    /// The dotted name of the type.
    #[must_use]
    pub fn type_name(&self) -> &'static str {
        match self {
            Self::NodeStarting { .. } => "node.starting",
            Self::NodeReady { .. } => "node.ready",
            Self::NodeNotReady { .. } => "node.not_ready",
            Self::NodeStopping { .. } => "node.stopping",
            Self::NodeStopped {} => "node.stopped",
            Self::NodePaused { .. } => "node.paused",
            Self::NodeRenamed { .. } => "node.renamed",
            Self::NodeRefused { .. } => "node.refused",
            Self::StorageDamaged { .. } => "storage.damaged",
            Self::MemberJoining { .. } => "member.joining",
            Self::MemberUp { .. } => "member.up",
            Self::MemberDown { .. } => "member.down",
            Self::MemberStopped { .. } => "member.stopped",
            Self::MemberLeaving { .. } => "member.leaving",
            Self::MemberLeft { .. } => "member.left",
            Self::MemberRemoved { .. } => "member.removed",
            Self::MemberGone { .. } => "member.gone",
            Self::MemberConflict { .. } => "member.conflict",
            Self::ClusterFormed { .. } => "cluster.formed",
            Self::ClusterWaiting { .. } => "cluster.waiting",
            Self::ClusterConflict { .. } => "cluster.conflict",
            Self::ClusterMerged { .. } => "cluster.merged",
            Self::ClusterRecovered { .. } => "cluster.recovered",
            Self::ClusterVersion { .. } => "cluster.version",
            Self::LeaderChanged { .. } => "leader.changed",
            Self::CoordinatorChanged { .. } => "coordinator.changed",
            Self::PartitionSuspected { .. } => "partition.suspected",
            Self::PartitionOccurred { .. } => "partition.occurred",
            Self::PartitionPartial { .. } => "partition.partial",
            Self::PartitionEnded { .. } => "partition.ended",
            Self::ClockOffset { .. } => "clock.offset",
            Self::CredentialsRotated { .. } => "credentials.rotated",
            Self::CredentialsFailing { .. } => "credentials.failing",
            Self::HandshakeRefused { .. } => "handshake.refused",
            Self::DiscoveryFailing { .. } => "discovery.failing",
            Self::DiscoveryOk { .. } => "discovery.ok",
            Self::VolatileBegan { .. } => "volatile.began",
            Self::TableCreated { .. } => "table.created",
            Self::TableDropped { .. } => "table.dropped",
            Self::TableReady { .. } => "table.ready",
            Self::TableOverride { .. } => "table.override",
            Self::TableSetAside { .. } => "table.set_aside",
            Self::TableDigestMismatch { .. } => "table.digest_mismatch",
            Self::BackupDone { .. } => "backup.done",
            Self::BackupFailed { .. } => "backup.failed",
            Self::TableReturned { .. } => "table.returned",
            Self::DiscFull { .. } => "disc.full",
            Self::DiscOk {} => "disc.ok",
            Self::ConfigReloaded { .. } => "config.reloaded",
            Self::NodeFenced { .. } => "node.fenced",
            Self::NodeOver { .. } => "node.over",
            Self::HealStarted { .. } => "heal.started",
            Self::HealStep { .. } => "heal.step",
            Self::HealFinished { .. } => "heal.finished",
            Self::HealEnded { .. } => "heal.ended",
            Self::HealFailed { .. } => "heal.failed",
        }
    }

    /// How bad it is.
    #[must_use]
    pub fn severity(&self) -> Severity {
        match self {
            Self::ClusterConflict { .. }
            | Self::ClusterRecovered { .. }
            | Self::NodeRefused { .. }
            | Self::TableDigestMismatch { .. }
            | Self::DiscFull { .. }
            | Self::HealFailed { .. }
            | Self::NodeFenced { .. } => Severity::Critical,
            Self::MemberDown { .. }
            | Self::MemberConflict { .. }
            | Self::PartitionSuspected { .. }
            | Self::PartitionOccurred { .. }
            | Self::PartitionPartial { .. }
            | Self::PartitionEnded { .. }
            | Self::NodePaused { .. }
            | Self::NodeOver { .. }
            | Self::NodeNotReady { .. }
            | Self::StorageDamaged { .. }
            | Self::ClockOffset { .. }
            | Self::CredentialsFailing { .. }
            | Self::HandshakeRefused { .. }
            | Self::TableSetAside { .. }
            | Self::TableOverride { .. }
            | Self::BackupFailed { .. }
            | Self::TableReturned { aside: 1.., .. }
            | Self::DiscoveryFailing { .. }
            | Self::VolatileBegan { lost: true, .. } => Severity::Warning,
            _ => Severity::Info,
        }
    }
}

impl From<EventKind> for Event {
    fn from(kind: EventKind) -> Self {
        Self { decision: None, kind }
    }
}
