//! Whom this node exchanges rows with: members, as one. What a node brings that was taken out goes another way (`legacies`),
//! so no link begins before both sides know that the other one is a member, and this node that it is one itself.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{PoisonError, RwLock};

use ekka_core::id::{ClusterId, Incarnation, NodeId};
use tokio::sync::watch;

use super::super::committed::Committed;

/// The latest state of the record that was seen. A replica that is opened anew goes through earlier ones.
#[derive(Clone, Default)]
struct Roster {
    cluster: Option<ClusterId>,
    number: u64,
    members: BTreeSet<NodeId>,
    present: BTreeSet<Incarnation>,
    /// The place of the entry that made this node a member.
    since: Option<u64>,
}

/// What a state of the record says of this node that was not so before.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Admitted {
    /// It is a member as it was, or is none.
    AsBefore,
    /// It was taken out, and is a member again.
    Anew,
    /// It is in another cluster than before.
    Elsewhere,
}

/// The gate.
pub(super) struct Gate {
    roster: RwLock<Roster>,
    /// This node has no cluster, or another one than before, and no record says yet that this start of it is a member.
    outside: AtomicBool,
    /// What is shown of the record is of a replica that ends: this start may be a member there, by the guid that it had.
    shut: AtomicBool,
    changed: watch::Sender<()>,
}

impl Gate {
    pub(super) fn new() -> Self {
        let (outside, shut) = (AtomicBool::new(true), AtomicBool::new(false));
        Self { roster: RwLock::default(), outside, shut, changed: watch::Sender::new(()) }
    }

    /// The replica ends, or has ended and what it showed is shown no more.
    pub(super) fn shut_is(&self, shut: bool) {
        let _following = self.roster.write().unwrap_or_else(PoisonError::into_inner);
        self.shut.store(shut, Ordering::Relaxed);
    }

    /// The cluster ends for this node, or begins for it: nothing is exchanged before it is a member by the record.
    pub(super) fn outside_is(&self, outside: bool) {
        {
            let _following = self.roster.write().unwrap_or_else(PoisonError::into_inner);
            self.outside.store(outside, Ordering::Relaxed);
        }
        self.changed.send_replace(());
    }

    /// Whether nothing of the record is followed now.
    pub(super) fn is_outside(&self) -> bool {
        self.outside.load(Ordering::Relaxed)
    }

    /// Takes a state of the record; what it says of this node.
    pub(super) fn follow(&self, committed: &Committed, me: Incarnation) -> Admitted {
        // The replica does not end in the middle of this.
        let mut roster = self.roster.write().unwrap_or_else(PoisonError::into_inner);
        let Some(cluster) = committed.cluster.filter(|_| !self.shut.load(Ordering::Relaxed)) else {
            return Admitted::AsBefore;
        };
        if committed.present.contains(&me) {
            self.outside.store(false, Ordering::Relaxed);
        }
        if self.is_outside() {
            return Admitted::AsBefore;
        }
        let elsewhere = roster.cluster.is_some_and(|before| before != cluster);
        if !elsewhere && committed.number < roster.number {
            return Admitted::AsBefore;
        }
        let since = committed.since.get(&me.node_id).copied();
        let anew = !elsewhere && since.zip(roster.since).is_some_and(|(now, before)| now > before);
        *roster = Roster {
            cluster: Some(cluster),
            number: committed.number,
            members: committed.members.clone(),
            present: committed.present.clone(),
            since: since.or(roster.since.filter(|_| !elsewhere)),
        };
        drop(roster);
        self.changed.send_replace(());
        match (elsewhere, anew) {
            (true, _) => Admitted::Elsewhere,
            (false, true) => Admitted::Anew,
            (false, false) => Admitted::AsBefore,
        }
    }

    /// The cluster that this node is in, and the place of the entry that made it a member.
    pub(super) fn membership(&self) -> Option<(ClusterId, u64)> {
        let roster = self.roster.read().unwrap_or_else(PoisonError::into_inner);
        roster.cluster.zip(roster.since)
    }

    /// Whether a start of this node was a member already, by the record as it was followed last.
    pub(super) fn had(&self, me: Incarnation) -> bool {
        self.roster.read().unwrap_or_else(PoisonError::into_inner).present.contains(&me)
    }

    /// Whether rows are exchanged with a node.
    pub(super) fn is_open_for(&self, node: NodeId) -> bool {
        !self.is_outside() && self.roster.read().unwrap_or_else(PoisonError::into_inner).members.contains(&node)
    }

    /// Waits until rows are exchanged with a node. *Cancel safe.*
    pub(super) async fn opened_for(&self, node: NodeId) {
        // It is never closed while this is borrowed.
        let _ = self.changed.subscribe().wait_for(|()| self.is_open_for(node)).await;
    }

    /// Whether the node at the other end of a connection was in the cluster of these tables when that began, and this one
    /// is: tables of two clusters have the same numbers, and a node is let into one before it has left the other.
    pub(super) fn is_of(&self, theirs: Option<ClusterId>, ours: Option<ClusterId>) -> bool {
        let cluster = self.roster.read().unwrap_or_else(PoisonError::into_inner).cluster;
        cluster.is_some() && cluster == theirs && cluster == ours
    }
}

#[cfg(test)]
mod tests {
    use ekka_core::id::Guid;

    use super::*;

    fn start(node: u128, guid: u128) -> Incarnation {
        Incarnation { node_id: NodeId::from_u128(node), guid: Guid::from_u128(guid) }
    }

    fn committed(cluster: u128, number: u64, members: &[(Incarnation, u64)]) -> Committed {
        Committed {
            cluster: Some(ClusterId::from_u128(cluster)),
            number,
            members: members.iter().map(|(id, _)| id.node_id).collect(),
            present: members.iter().map(|(id, _)| *id).collect(),
            since: members.iter().map(|(id, since)| (id.node_id, *since)).collect(),
            ..Committed::default()
        }
    }

    #[test]
    fn who_was_taken_out_exchanges_nothing_until_the_record_has_this_start_again() {
        let (gate, me, other) = (Gate::new(), start(1, 10), start(2, 20));
        gate.outside_is(false);
        assert_eq!(gate.follow(&committed(1, 5, &[(me, 1), (other, 2)]), me), Admitted::AsBefore);
        assert!(gate.is_open_for(other.node_id) && gate.had(me));
        let (ours, another) = (Some(ClusterId::from_u128(1)), Some(ClusterId::from_u128(2)));
        assert!(gate.is_of(ours, ours) && !gate.is_of(another, ours) && !gate.is_of(ours, another));
        assert_eq!(gate.follow(&committed(1, 6, &[(other, 2)]), me), Admitted::AsBefore);
        gate.outside_is(true);
        assert!(!gate.is_open_for(other.node_id));
        // The replica that is opened anew goes through what was.
        assert_eq!(gate.follow(&committed(1, 5, &[(start(1, 9), 1), (other, 2)]), me), Admitted::AsBefore);
        assert!(!gate.is_open_for(other.node_id) && gate.is_outside());
        assert_eq!(gate.follow(&committed(1, 9, &[(me, 9), (other, 2)]), me), Admitted::Anew);
        assert!(gate.is_open_for(other.node_id));
        assert_eq!(gate.membership(), Some((ClusterId::from_u128(1), 9)));
        assert_eq!(gate.follow(&committed(2, 3, &[(me, 3), (other, 2)]), me), Admitted::Elsewhere);
    }

    #[test]
    fn the_record_of_a_cluster_that_is_left_lets_nobody_in_again() {
        let (gate, me) = (Gate::new(), start(1, 10));
        gate.outside_is(false);
        gate.follow(&committed(2, 5, &[(me, 1)]), me);
        gate.shut_is(true);
        gate.outside_is(true);
        // It goes into the other cluster under the guid that it had.
        gate.follow(&committed(2, 5, &[(me, 1)]), me);
        assert!(gate.is_outside());
        gate.shut_is(false);
        assert_eq!(gate.follow(&committed(1, 9, &[(me, 9)]), me), Admitted::Elsewhere);
        assert!(!gate.is_outside());
    }

    #[test]
    fn a_member_that_is_taken_out_is_exchanged_with_no_more_and_an_old_state_does_not_bring_it_back() {
        let (gate, me, other) = (Gate::new(), start(1, 10), start(2, 20));
        gate.outside_is(false);
        gate.follow(&committed(1, 5, &[(me, 1), (other, 2)]), me);
        gate.follow(&committed(1, 6, &[(me, 1)]), me);
        assert!(!gate.is_open_for(other.node_id));
        gate.follow(&committed(1, 5, &[(me, 1), (other, 2)]), me);
        assert!(!gate.is_open_for(other.node_id));
    }
}
