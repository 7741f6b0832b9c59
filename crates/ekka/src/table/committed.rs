//! What the cluster has committed that tables go by, from this node's own replica of the durable group.

use std::collections::{BTreeMap, BTreeSet};

use ekka_core::durable::{Record, TableEntry};
use ekka_core::id::{ClusterId, Incarnation, NodeId};
use ekka_core::view::Role;

/// It is replaced as a whole, whenever something of it changes.
#[derive(Clone, Debug, Default)]
pub(crate) struct Committed {
    /// Whose record it is.
    pub(super) cluster: Option<ClusterId>,
    /// Who holds tables, down ones included.
    pub(super) members: BTreeSet<NodeId>,
    /// The present start of each, save those that are over.
    pub(super) present: BTreeSet<Incarnation>,
    /// The latest start of each node that is over; those before it are too.
    pub(super) over: BTreeSet<Incarnation>,
    /// How far the record goes. Not news by itself.
    pub(super) number: u64,
    /// The tables by name.
    pub(super) tables: BTreeMap<String, TableEntry>,
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
            number: record.number(),
            tables: record.tables().clone(),
        }
    }

    /// Whether it is the same, however far the record of either goes.
    pub(crate) fn says_the_same(&self, other: &Self) -> bool {
        let Self { cluster, members, present, over, number: _, tables } = self;
        *cluster == other.cluster
            && *members == other.members
            && *present == other.present
            && *over == other.over
            && *tables == other.tables
    }

    /// Whether a table that is not among its tables was dropped for certain: a replica that was opened just now may not
    /// have come to where it was made.
    pub(super) fn is_past(&self, table: u64) -> bool {
        self.number >= table
    }
}
