//! How the voters of the volatile group ended, as far as the record says, and whether it can still go on.

use alloc::collections::BTreeSet;
use alloc::vec::Vec;

use super::state::Record;
use crate::id::{Guid, Incarnation, NodeId};
use crate::membership::RemovalCause;

impl Record {
    /// The latest start of a node that is gone by an entry: its lease ran out, it said goodbye, or the node was taken out.
    /// It may live behind a cut, and the starts before a present one are over without this.
    #[must_use]
    pub fn last_gone(&self, node_id: NodeId) -> Option<Guid> {
        let over = Some(self.over(node_id)).filter(|guid| *guid > Guid::MIN);
        over.max(self.forgotten().get(&node_id).map(|out| out.guid))
    }

    /// The start under which a node has left by itself: it had given up its lease before, and serves nothing since.
    #[must_use]
    pub fn last_left(&self, node_id: NodeId) -> Option<Guid> {
        let out = self.forgotten().get(&node_id)?;
        (out.cause == RemovalCause::Leave).then_some(out.guid)
    }

    /// The voters of the volatile group that are gone, where they could go on as a group behind a cut: they are a majority
    /// of a set of its voters. Then nobody may begin the next one, until enough of them are back, or an operator says by
    /// `recover` that they are lost.
    #[must_use]
    pub fn volatile_lost(&self) -> Vec<Incarnation> {
        let lost = |id: &Incarnation| self.is_gone_for_sure(*id) && self.last_left(id.node_id) < Some(id.guid);
        let too_many = |set: &&BTreeSet<Incarnation>| set.iter().filter(|id| lost(id)).count() * 2 > set.len();
        let set = self.volatile().sets.iter().find(too_many);
        set.into_iter().flatten().copied().filter(|id| lost(id)).collect()
    }

    /// Whether the volatile group would be without its majority once this node is out: its voters that stay have to come
    /// in first, and to get what it holds.
    #[must_use]
    pub fn volatile_needs(&self, node_id: NodeId) -> bool {
        let goes = |id: &Incarnation| id.node_id == node_id || self.is_gone_for_sure(*id);
        self.volatile().sets.iter().any(|set| {
            let named = set.iter().any(|id| id.node_id == node_id);
            named && set.iter().filter(|id| goes(id)).count() * 2 > set.len()
        })
    }

    /// By an entry, and no later start of its node is there.
    fn is_gone_for_sure(&self, id: Incarnation) -> bool {
        let restarted = self.member(id.node_id).is_some_and(|member| member.guid > id.guid);
        !restarted && self.last_gone(id.node_id).is_some_and(|guid| guid >= id.guid)
    }
}
