//! Section 4: start counters find restored directories, so what a node keeps of them never falls.

use std::collections::{BTreeMap, BTreeSet};

use ekka_core::id::{ClusterId, Guid, NodeId};
use ekka_core::membership::Roster;

/// The latest start of each node of a cluster, as one process keeps them.
#[derive(Clone, Debug, Default)]
pub(super) struct Kept {
    cluster_id: Option<ClusterId>,
    starts: BTreeMap<NodeId, (Guid, u64)>,
}

impl Kept {
    pub(super) fn of(roster: &Roster) -> Self {
        let start =
            |(id, record): (&NodeId, &ekka_core::membership::Record)| (*id, (record.id.guid, record.start_counter));
        Self { cluster_id: roster.cluster_id, starts: roster.records.iter().map(start).collect() }
    }

    /// Neither guid nor counter of any node falls while the cluster is the same, unless the later start was of a copy.
    pub(super) fn check(&self, before: &Self, copies: &BTreeSet<NodeId>) -> Result<(), String> {
        if self.cluster_id != before.cluster_id {
            return Ok(());
        }
        for (node_id, old) in before.starts.iter().filter(|(node_id, _)| !copies.contains(node_id)) {
            if let Some(new) = self.starts.get(node_id)
                && (new.0 < old.0 || new.0 == old.0 && new.1 < old.1)
            {
                return Err(format!("what is kept of starts of {node_id} fell from {old:?} to {new:?}"));
            }
        }
        Ok(())
    }
}
