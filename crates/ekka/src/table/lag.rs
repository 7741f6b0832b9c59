//! How old the oldest operation of a table is that a member has not acknowledged.
//!
//! Now and then it is remembered how many operations there were. The age is that of the first of these marks which the
//! member has not reached: one operation in flight, and that all the time, is no lag. A member whose link has ended stays
//! at what it said last.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use ekka_core::id::{Guid, Incarnation, NodeId};
use ekka_core::time::Instant;

use super::available::AvailableSlot;

/// At most one mark in so long.
const STEP: Duration = Duration::from_secs(1);
/// So many marks are kept: with one more every second is forgotten, and the age of the oldest stays exact.
const MARKS: usize = 1024;

/// How far each member is, and the marks by which its age is found.
#[derive(Debug, Default)]
pub(super) struct Lags {
    /// At this time there were so many operations; in the order of both.
    marks: VecDeque<(Instant, u64)>,
    peers: BTreeMap<NodeId, Peer>,
}

/// What is known of a member.
#[derive(Clone, Copy, Debug)]
struct Peer {
    /// The start of it that was linked last.
    guid: Option<Guid>,
    acked: u64,
    /// Since when this start of it is known: what was written before it was not owed to it.
    since: Instant,
}

impl Lags {
    /// There are so many operations, these are the other members, and those that are linked have acknowledged so many.
    pub(super) fn see(
        &mut self,
        latest: u64,
        members: &BTreeSet<NodeId>,
        linked: impl IntoIterator<Item = (Incarnation, u64)>,
        now: Instant,
    ) {
        self.peers.retain(|node, _| members.contains(node));
        for node in members {
            self.peers.entry(*node).or_insert(Peer { guid: None, acked: 0, since: now });
        }
        for (id, acked) in linked {
            if let Some(peer) = self.peers.get_mut(&id.node_id) {
                peer.hears(id.guid, acked, now);
            }
        }
        self.mark(latest, now);
        let least = self.peers.values().map(|peer| peer.acked).min().unwrap_or(latest);
        // The last one that all have reached stays: the next start of a member may have nothing.
        while self.marks.get(1).is_some_and(|(_, number)| *number <= least) {
            self.marks.pop_front();
        }
    }

    fn mark(&mut self, latest: u64, now: Instant) {
        if self.marks.back().is_some_and(|(at, number)| *number >= latest || now.since(*at) < STEP) {
            return;
        }
        if self.marks.len() >= MARKS {
            let mut at = 0;
            self.marks.retain(|_| {
                at += 1;
                at == 1 || at % 2 == 0
            });
        }
        self.marks.push_back((now, latest));
    }

    /// The operations are counted anew.
    pub(super) fn begin_anew(&mut self) {
        *self = Self::default();
    }

    /// How many operations a member has acknowledged, as far as is known; `None` where it is none.
    pub(super) fn acked(&self, node: NodeId) -> Option<u64> {
        self.peers.get(&node).map(|peer| peer.acked)
    }

    /// The age of the oldest operation that each member has not acknowledged, in seconds; 0 where it has all.
    pub(super) fn ages(&self, now: Instant) -> BTreeMap<NodeId, f64> {
        self.peers.iter().map(|(node, peer)| (*node, self.age(peer, now).as_secs_f64())).collect()
    }

    fn age(&self, peer: &Peer, now: Instant) -> Duration {
        let first = self.marks.partition_point(|(_, number)| *number <= peer.acked);
        self.marks.get(first).map_or(Duration::ZERO, |(at, _)| now.since((*at).max(peer.since)))
    }
}

impl Peer {
    fn hears(&mut self, guid: Guid, acked: u64, now: Instant) {
        if self.guid == Some(guid) {
            // A connection that is new says nothing at first.
            self.acked = self.acked.max(acked);
            return;
        }
        let since = if self.guid.is_some() { now } else { self.since };
        *self = Self { guid: Some(guid), acked, since };
    }
}

impl AvailableSlot {
    /// By so many operations a node is behind; `None` where it is not connected.
    pub(super) fn lag_of(&self, node: NodeId) -> Option<u64> {
        let table = self.read();
        let peer = table.connected().find(|peer| peer.node_id == node)?;
        table.lag_of(peer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> Instant {
        Instant::from_nanos(ms * 1_000_000)
    }

    fn peer(node: u128, start: u128) -> Incarnation {
        Incarnation { node_id: NodeId::from_u128(node), guid: Guid::from_u128(start) }
    }

    fn members(nodes: &[u128]) -> BTreeSet<NodeId> {
        nodes.iter().map(|node| NodeId::from_u128(*node)).collect()
    }

    fn age(lags: &Lags, node: u128, ms: u64) -> Option<f64> {
        lags.ages(at(ms)).get(&NodeId::from_u128(node)).copied()
    }

    #[test]
    fn one_operation_in_flight_all_the_time_is_no_lag() {
        let mut lags = Lags::default();
        for tick in 1..10_000 {
            lags.see(tick, &members(&[2]), [(peer(2, 1), tick - 1)], at(tick * 100));
            let age = age(&lags, 2, tick * 100 + 50).unwrap();
            assert!(age < 0.2, "{age} s at tick {tick}");
            assert!(lags.marks.len() <= 3, "{:?}", lags.marks);
        }
    }

    #[test]
    fn the_age_is_that_of_the_oldest_operation_without_an_answer() {
        let mut lags = Lags::default();
        let see = |lags: &mut Lags, latest, acked, ms| lags.see(latest, &members(&[2]), [(peer(2, 1), acked)], at(ms));
        see(&mut lags, 7, 7, 0);
        assert_eq!(age(&lags, 2, 90_000), Some(0.0), "it has all");
        see(&mut lags, 8, 7, 5_000);
        see(&mut lags, 9, 7, 8_000);
        assert_eq!(age(&lags, 2, 9_000), Some(4.0));
        see(&mut lags, 9, 8, 10_000);
        assert_eq!(age(&lags, 2, 11_000), Some(3.0), "the first is answered, and the second is younger");
        see(&mut lags, 9, 9, 12_000);
        assert_eq!(age(&lags, 2, 13_000), Some(0.0));
    }

    #[test]
    fn a_member_that_is_cut_off_keeps_its_lag_until_it_is_removed() {
        let mut lags = Lags::default();
        lags.see(5, &members(&[2, 3]), [(peer(2, 1), 5), (peer(3, 1), 5)], at(0));
        for tick in 1..=72_000 {
            let latest = 5 + tick;
            lags.see(latest, &members(&[2, 3]), [(peer(2, 1), latest)], at(tick * 100));
        }
        assert_eq!((age(&lags, 2, 7_200_000), lags.acked(NodeId::from_u128(3))), (Some(0.0), Some(5)));
        let behind = age(&lags, 3, 7_200_000).unwrap();
        assert!((7_198.0..=7_200.0).contains(&behind), "two hours, and not {behind} s");
        assert!(lags.marks.len() <= MARKS, "{}", lags.marks.len());
        // Over a new connection the same start says nothing at first, and all a moment later.
        lags.see(80_000, &members(&[2, 3]), [(peer(2, 1), 80_000), (peer(3, 1), 0)], at(7_200_100));
        assert_eq!(lags.acked(NodeId::from_u128(3)), Some(5));
        lags.see(80_000, &members(&[2, 3]), [(peer(2, 1), 80_000), (peer(3, 1), 80_000)], at(7_200_200));
        assert_eq!((age(&lags, 3, 7_200_300), lags.marks.len()), (Some(0.0), 1));
        lags.see(80_001, &members(&[2]), [], at(7_300_000));
        assert_eq!((age(&lags, 3, 7_300_000), lags.acked(NodeId::from_u128(3))), (None, None));
    }

    #[test]
    fn the_next_start_of_a_member_lacks_all_since_it_came() {
        let mut lags = Lags::default();
        lags.see(9, &members(&[2]), [(peer(2, 1), 9)], at(0));
        lags.see(9, &members(&[2]), [(peer(2, 2), 0)], at(50_000));
        assert_eq!((age(&lags, 2, 53_000), lags.acked(NodeId::from_u128(2))), (Some(3.0), Some(0)));
        lags.see(9, &members(&[2]), [(peer(2, 2), 9)], at(54_000));
        assert_eq!(age(&lags, 2, 54_000), Some(0.0));
    }

    #[test]
    fn a_member_that_never_said_anything_lacks_all() {
        let mut lags = Lags::default();
        lags.see(0, &members(&[2]), [], at(0));
        assert_eq!(age(&lags, 2, 9_000), Some(0.0), "there is nothing");
        lags.see(3, &members(&[2]), [], at(10_000));
        assert_eq!((age(&lags, 2, 12_000), lags.acked(NodeId::from_u128(2))), (Some(2.0), Some(0)));
        lags.begin_anew();
        assert_eq!(age(&lags, 2, 12_000), None);
    }
}
