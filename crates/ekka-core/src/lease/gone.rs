//! What is gone, as the durable group has committed it.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use serde::{Deserialize, Serialize};

use crate::id::{Guid, Incarnation, NodeId};

/// Why an incarnation is gone.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Cause {
    /// It said goodbye, and serves nothing since.
    Goodbye,
    /// The same directory was started again.
    NewerStart,
    /// It did not renew its lease, and a majority of the voters saw it down.
    Silent {
        /// For how long nothing was heard, by the clock of the leader.
        unheard_ms: u64,
        /// The voters that saw it down.
        seen_down_by: Vec<NodeId>,
    },
    /// Its member was taken out while it may have lived, and its lease, renewed no more since, has run out.
    Removed {
        /// How long ago it was renewed last, by the clock of the leader.
        unheard_ms: u64,
    },
}

/// The proposal that an incarnation is over.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct GoneEntry {
    /// Which.
    pub id: Incarnation,
    /// The term in which it was proposed, and in which alone it counts.
    pub term: u64,
    /// Why.
    pub cause: Cause,
}

/// Which incarnations are over: for each node, the newest one that is.
///
/// A start ends all earlier ones of its directory, so what is gone takes the older ones with it; who ends sessions or
/// drops rows does so for all guids up to the one named.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct GoneTable {
    newest: BTreeMap<NodeId, Guid>,
}

impl GoneTable {
    /// Applies an entry that stands in the log in term `at_term`; whether something is gone now that was not.
    pub fn apply(&mut self, entry: &GoneEntry, at_term: u64) -> bool {
        entry.term == at_term && self.insert(entry.id)
    }

    /// Takes note of one that is gone; whether that is news.
    pub fn insert(&mut self, id: Incarnation) -> bool {
        if self.is_gone(id) {
            return false;
        }
        self.newest.insert(id.node_id, id.guid);
        true
    }

    /// Whether an incarnation is over.
    #[must_use]
    pub fn is_gone(&self, id: Incarnation) -> bool {
        self.newest.get(&id.node_id).is_some_and(|newest| id.guid <= *newest)
    }

    /// The newest gone incarnation of each node.
    pub fn newest(&self) -> impl Iterator<Item = Incarnation> + '_ {
        self.newest.iter().map(|(node_id, guid)| Incarnation { node_id: *node_id, guid: *guid })
    }

    /// Forgets a node whose member was removed, and whose node id is taken by nobody again without a new guid.
    pub fn forget(&mut self, node_id: NodeId) {
        self.newest.remove(&node_id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(node: u128, guid: u128) -> Incarnation {
        Incarnation { node_id: NodeId::from_u128(node), guid: Guid::from_u128(guid) }
    }

    fn entry(node: u128, guid: u128, term: u64) -> GoneEntry {
        GoneEntry { id: id(node, guid), term, cause: Cause::Goodbye }
    }

    #[test]
    fn gone_is_for_ever_and_news_only_once() {
        let mut table = GoneTable::default();
        assert!(table.apply(&entry(1, 5, 2), 2));
        assert!(!table.apply(&entry(1, 5, 3), 3));
        assert!(table.is_gone(id(1, 5)) && table.is_gone(id(1, 4)));
        assert!(!table.is_gone(id(1, 6)) && !table.is_gone(id(2, 5)));
        assert!(!table.apply(&entry(1, 4, 3), 3), "an older start was over already");
        assert!(table.apply(&entry(1, 6, 3), 3), "each start can be gone: S2-4");
    }

    #[test]
    fn an_entry_that_got_into_a_later_term_is_void() {
        let mut table = GoneTable::default();
        assert!(!table.apply(&entry(1, 5, 2), 3));
        assert!(!table.is_gone(id(1, 5)));
    }
}
