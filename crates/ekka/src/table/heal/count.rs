//! What is counted of a heal: rows that came and went since the others were met again.
//!
//! Tables exchange what they lack as soon as nodes meet, long before a heal begins. So it is counted from the moment at which
//! the link with a node ended last: what was held of its operations then came before, all else after. What is counted are
//! operations; a row that was written twice meanwhile counts twice.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};

use ekka_core::id::NodeId;
use ekka_core::table::{Table, Vector};

/// What was held when the link with each peer ended last.
#[derive(Default)]
pub(in crate::table) struct Sights(Mutex<BTreeMap<NodeId, Sight>>);

/// The same of one peer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Sight {
    /// Operations of the peer.
    pub(super) theirs: u64,
    /// Operations of this node.
    pub(super) mine: u64,
    /// Versions that had ever come into the journal.
    pub(super) overridden: u64,
}

impl Sights {
    fn locked(&self) -> MutexGuard<'_, BTreeMap<NodeId, Sight>> {
        // Nothing that holds this lock can leave it half-changed.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The link with a peer has ended.
    pub(in crate::table) fn lose(&self, peer: NodeId, table: &Table) {
        let sums = sums(&table.all_held());
        let of = |node: NodeId| sums.get(&node).copied().unwrap_or(0);
        let sight = Sight { theirs: of(peer), mine: of(table.me().node_id), overridden: table.journal_size().2 };
        self.locked().insert(peer, sight);
    }

    /// Those of these nodes.
    pub(super) fn of(&self, nodes: &BTreeSet<NodeId>) -> BTreeMap<NodeId, Sight> {
        self.locked().iter().filter(|(node, _)| nodes.contains(node)).map(|(node, sight)| (*node, *sight)).collect()
    }

    /// What came of these is counted.
    pub(super) fn forget(&self, nodes: impl Iterator<Item = NodeId>) {
        let mut sights = self.locked();
        for node in nodes {
            sights.remove(&node);
        }
    }
}

/// What came and went.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct Count {
    pub(super) taken: u64,
    pub(super) given: u64,
    pub(super) overridden: u64,
}

/// Counts by what was held when the exchange began, what is held at its end, and what was when nodes of the side were lost
/// sight of.
pub(super) fn count(
    (start, overridden_start): (&Vector, u64),
    (wanted, overridden): (&Vector, u64),
    me: NodeId,
    sights: &BTreeMap<NodeId, Sight>,
) -> Count {
    let began = sums(start);
    let base = |node: NodeId| {
        let began = began.get(&node).copied().unwrap_or(0);
        sights.get(&node).map_or(began, |sight| sight.theirs.min(began))
    };
    let taken = sums(wanted).into_iter().map(|(node, number)| number.saturating_sub(base(node)));
    let mine = began.get(&me).copied().unwrap_or(0);
    let given = sights.values().map(|sight| mine.saturating_sub(sight.mine)).max();
    let before = sights.values().map(|sight| sight.overridden).fold(overridden_start, u64::min);
    Count {
        taken: taken.fold(0, u64::saturating_add),
        given: given.unwrap_or(0),
        overridden: overridden.saturating_sub(before),
    }
}

/// How many operations of each node there are in a vector, whichever start of it wrote them.
fn sums(vector: &Vector) -> BTreeMap<NodeId, u64> {
    let mut sums = BTreeMap::<NodeId, u64>::new();
    for (origin, number) in vector.iter() {
        let sum = sums.entry(origin.node_id).or_default();
        *sum = sum.saturating_add(number);
    }
    sums
}

#[cfg(test)]
mod tests {
    use ekka_core::id::{Guid, Incarnation};

    use super::*;

    fn node(node: u128) -> NodeId {
        NodeId::from_u128(node)
    }

    fn vector(entries: &[(u128, u64)]) -> Vector {
        let origin = |id: u128| Incarnation { node_id: node(id), guid: Guid::from_u128(1) };
        entries.iter().map(|(id, number)| (origin(*id), *number)).collect()
    }

    #[test]
    fn what_came_before_the_heal_began_counts_from_when_the_other_side_was_lost_sight_of() {
        let (start, wanted) = (vector(&[(1, 9), (2, 5), (3, 7)]), vector(&[(1, 9), (2, 5), (3, 8), (4, 2)]));
        let none = BTreeMap::new();
        let counted = count((&start, 4), (&wanted, 4), node(1), &none);
        assert_eq!(counted, Count { taken: 3, given: 0, overridden: 0 });
        let sight = Sight { theirs: 3, mine: 6, overridden: 1 };
        let counted = count((&start, 4), (&wanted, 4), node(1), &BTreeMap::from([(node(3), sight)]));
        assert_eq!(counted, Count { taken: 7, given: 3, overridden: 3 });
    }
}
