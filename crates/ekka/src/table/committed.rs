//! What the cluster has committed that tables go by, from this node's own replica of the durable group.

use std::collections::{BTreeMap, BTreeSet};

use ekka_core::durable::{Chains, Faults, Record, TableEntry};
use ekka_core::id::{ClusterId, Incarnation, NodeId};
use ekka_core::view::Role;

/// It is replaced as a whole, whenever something of it changes.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct Committed {
    /// Whose record it is.
    pub(super) cluster: Option<ClusterId>,
    /// Who holds tables, down ones included.
    pub(super) members: BTreeSet<NodeId>,
    /// The present start of each, save those that are over.
    pub(super) present: BTreeSet<Incarnation>,
    /// The latest start of each node that is over; those before it are too.
    pub(super) over: BTreeSet<Incarnation>,
    /// The places of the entries that made them members.
    pub(super) since: BTreeMap<NodeId, u64>,
    /// Which cluster went into which.
    pub(super) merged: Chains,
    /// The tables by name.
    pub(super) tables: BTreeMap<String, TableEntry>,
    /// Quorum tables may hold rows.
    pub(super) quorum_rows: bool,
    /// The cluster goes into another one: its quorum tables take no write any more.
    pub(super) merging: bool,
    /// The place of the last entry that counts: a table with a lower number that is not here was dropped.
    pub(super) number: u64,
}

impl Committed {
    /// That of a record.
    pub(crate) fn of(record: &Record) -> Self {
        let holds = |id: &NodeId| record.member(*id).is_some_and(|member| member.role != Role::Witness);
        Self {
            cluster: record.cluster(),
            members: record.members().keys().copied().filter(holds).collect(),
            present: record.present().filter(|id| holds(&id.node_id)).collect(),
            over: record.ended().collect(),
            since: record.members().iter().map(|(id, member)| (*id, member.since)).collect(),
            merged: record.merged().clone(),
            tables: record.tables().clone(),
            quorum_rows: record.quorum_rows(),
            merging: record.merging().is_some(),
            number: record.number(),
        }
    }

    /// Whether more than the number is another one than before.
    pub(crate) fn is_news_after(&self, before: &Self) -> bool {
        Self { number: before.number, ..self.clone() } != *before
    }

    /// Whether a cluster went into this one, through others perhaps.
    pub(super) fn has_absorbed(&self, cluster: ClusterId) -> bool {
        self.cluster.is_some_and(|into| into != cluster && self.merged.end(cluster, Faults::default()) == into)
    }

    /// Whether a table that is not among its tables was dropped for certain: a replica that was opened just now may not
    /// have come to where it was made.
    pub(super) fn is_past(&self, table: u64) -> bool {
        self.number >= table
    }
}
