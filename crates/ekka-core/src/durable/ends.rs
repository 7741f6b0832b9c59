//! How the voters of the volatile group ended, as far as the record says, and whether it can still go on.

use alloc::collections::BTreeSet;
use alloc::vec::Vec;

use super::state::Record;
use crate::id::{Guid, Incarnation, NodeId};

impl Record {
    /// The latest start of a node that is gone by an entry: its lease ran out, it said goodbye, or the node was taken out.
    /// It may live behind a cut, and the starts before a present one are over without this.
    #[must_use]
    pub fn last_gone(&self, node_id: NodeId) -> Option<Guid> {
        let over = Some(self.over(node_id)).filter(|guid| *guid > Guid::MIN);
        over.max(self.forgotten().get(&node_id).map(|out| out.guid))
    }

    /// The voters of the volatile group that are gone, where they could go on as a group behind a cut: they are a majority
    /// of a set of its voters. Then nobody may begin the next one, until enough of them are back, or an operator says by
    /// `recover` that they are lost.
    #[must_use]
    pub fn volatile_lost(&self) -> Vec<Incarnation> {
        let lost = |id: &Incarnation| self.is_gone_for_sure(*id);
        let too_many = |set: &&BTreeSet<Incarnation>| set.iter().filter(|id| lost(id)).count() * 2 > set.len();
        let set = self.volatile().sets.iter().find(too_many);
        set.into_iter().flatten().copied().filter(|id| lost(id)).collect()
    }

    /// Whether a set of voters of the volatile group names a start of this node.
    #[must_use]
    pub fn volatile_names(&self, node_id: NodeId) -> bool {
        self.volatile().sets.iter().flatten().any(|id| id.node_id == node_id)
    }

    /// By an entry, and no later start of its node is there.
    fn is_gone_for_sure(&self, id: Incarnation) -> bool {
        let restarted = self.member(id.node_id).is_some_and(|member| member.guid > id.guid);
        !restarted && self.last_gone(id.node_id).is_some_and(|guid| guid >= id.guid)
    }
}
