//! What is counted of one group, over all replicas of it that this node runs one after the other.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use ekka_core::consensus::{Standing, VoterId};

use crate::histogram::{Histogram, Times};

/// The counters of one group.
#[derive(Debug, Default)]
pub(super) struct GroupFigures {
    /// From proposal to answer, of those made on this node.
    pub(super) commits: Arc<Histogram>,
    leader_changes: AtomicU64,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    standing: Option<Arc<Standing>>,
    leader: Option<VoterId>,
}

/// What is known of one group at one moment.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
pub struct GroupCounts {
    /// This node runs a replica of it, and knows a leader.
    pub has_leader: bool,
    /// This node leads it.
    pub leads: bool,
    /// Entries in the replica's log that it has not applied.
    pub applied_lag: u64,
    /// How often another leader than the last one was heard of.
    pub leader_changes: u64,
    /// Times from proposal to answer, of those made on this node.
    pub commits: Times,
}

impl GroupFigures {
    /// The replica that runs stands so now.
    pub(super) fn stands(&self, standing: Arc<Standing>) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(leader) = standing.leader
            && state.leader.replace(leader).is_some_and(|before| before != leader)
        {
            self.leader_changes.fetch_add(1, Ordering::Relaxed);
        }
        state.standing = Some(standing);
    }

    /// No replica runs.
    pub(super) fn ended(&self) {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).standing = None;
    }

    pub(super) fn counts(&self) -> GroupCounts {
        let standing = self.state.lock().unwrap_or_else(PoisonError::into_inner).standing.clone();
        let standing = standing.as_deref();
        GroupCounts {
            has_leader: standing.is_some_and(|standing| standing.leader.is_some()),
            leads: standing.is_some_and(|standing| standing.leads),
            applied_lag: standing.map_or(0, |at| at.last.index.saturating_sub(at.applied.index)),
            leader_changes: self.leader_changes.load(Ordering::Relaxed),
            commits: self.commits.times(),
        }
    }
}

#[cfg(test)]
mod tests {
    use ekka_core::consensus::LogPlace;
    use ekka_core::id::NodeId;

    use super::*;

    #[test]
    fn a_leader_that_comes_back_after_nobody_is_no_change() {
        let figures = GroupFigures::default();
        let leader = |number| Some(VoterId { node_id: NodeId::from_u128(number), start: 1 });
        let last = LogPlace { term: 1, index: 7 };
        let stands = |leader| figures.stands(Arc::new(Standing { leader, last, ..Standing::default() }));
        [leader(1), None, leader(1), leader(2)].into_iter().for_each(stands);
        let counts = figures.counts();
        assert_eq!((counts.has_leader, counts.leader_changes, counts.applied_lag), (true, 1, 7));
        figures.ended();
        assert_eq!(figures.counts(), GroupCounts { leader_changes: 1, ..GroupCounts::default() });
    }
}
