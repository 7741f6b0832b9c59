//! Offsets of the peers' wall clocks, and whether this node's own clock can be trusted.
//!
//! **Owns** the latest offset of each linked peer. **Invariant**: only peers that are linked are counted.

use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use crate::id::NodeId;
use crate::limits::CLOCK_WARN;
use crate::time::{Wall, is_clock_refused};

/// The offsets of the peers' clocks from this node's.
#[derive(Clone, Debug, Default)]
pub struct Clocks {
    offsets_ms: BTreeMap<NodeId, i64>,
    /// How many are further away than [`crate::limits::CLOCK_REFUSE`]: asked after every input, so it is counted as they come and go.
    far: usize,
}

/// A length of time, roughly.
pub(crate) fn human(ms: u64) -> String {
    let s = ms / 1000;
    match s {
        0..=119 => format!("{s} s"),
        120..=7_199 => format!("{} min", s / 60),
        7_200..=172_799 => format!("{} h", s / 3_600),
        _ => format!("{} d", s / 86_400),
    }
}

impl Clocks {
    /// Takes a comparison: the peer's clock as it answered, and how long the round trip took. One that took so long
    /// that it says nothing is left out (Cristian, *Probabilistic clock synchronization*, 1989): half of the round trip
    /// is what it may be off by. What it found: how far the peer's clock is ahead, in milliseconds.
    pub fn observe(&mut self, node_id: NodeId, peer: Wall, here: Wall, rtt_us: u64) -> Option<i64> {
        if u128::from(rtt_us) / 2 > CLOCK_WARN.as_micros() {
            return None;
        }
        let half = i64::try_from(rtt_us / 2_000).unwrap_or(0);
        let offset = peer.offset_from(here).saturating_add(half);
        let before = self.offsets_ms.insert(node_id, offset);
        self.count(before, Some(offset));
        Some(offset)
    }

    /// Forgets a peer that is not linked any more.
    pub fn forget(&mut self, node_id: NodeId) {
        let before = self.offsets_ms.remove(&node_id);
        self.count(before, None);
    }

    fn count(&mut self, before: Option<i64>, after: Option<i64>) {
        self.far += usize::from(after.is_some_and(is_clock_refused));
        self.far -= usize::from(before.is_some_and(is_clock_refused));
    }

    /// Offset of each linked peer's clock from this node's, in milliseconds.
    #[must_use]
    pub fn offsets(&self) -> &BTreeMap<NodeId, i64> {
        &self.offsets_ms
    }

    /// Whether there is any comparison.
    #[must_use]
    pub fn compared(&self) -> bool {
        !self.offsets_ms.is_empty()
    }

    /// The offsets of those whose clocks count, in order.
    ///
    /// Peers that are up are the ones to be compared with. A node that is up itself looks at nobody else, so newcomers with
    /// wrong clocks are told and tell nobody; one that is not up takes what there is while nobody is.
    #[must_use]
    pub fn counted(&self, is_up: bool, peer_is_up: impl Fn(NodeId) -> bool) -> Counted {
        let mut offsets: Vec<i64> =
            self.offsets_ms.iter().filter(|(id, _)| peer_is_up(**id)).map(|(_, ms)| *ms).collect();
        if offsets.is_empty() && !is_up {
            offsets.extend(self.offsets_ms.values());
        }
        offsets.sort_unstable();
        Counted { offsets, is_up }
    }

    /// Whether any peer's clock is so far away that this node's may be wrong.
    #[must_use]
    pub fn any_is_far(&self) -> bool {
        self.far > 0
    }
}

/// The clocks that this node's is compared with, and its own: half of all nodes do not outvote the other half.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Counted {
    offsets: Vec<i64>,
    is_up: bool,
}

impl Counted {
    /// How many peers there are.
    #[must_use]
    pub fn peers(&self) -> usize {
        self.offsets.len()
    }

    /// How far this node's clock is ahead of the median of all, its own among them, in milliseconds. Of two in the middle the
    /// one counts that is nearer to this clock. With one peer it is that peer's.
    #[must_use]
    pub fn ahead_of_median_ms(&self) -> Option<i64> {
        let mut all = self.offsets.clone();
        if all.len() > 1 {
            all.insert(all.partition_point(|ms| *ms < 0), 0);
        }
        let middle = [all.len().checked_sub(1)? / 2, all.len() / 2].map(|place| all[place]);
        middle.into_iter().min_by_key(|ms| ms.unsigned_abs()).map(|median| 0i64.saturating_sub(median))
    }

    /// Whether the median is further away than what gives a warning.
    #[must_use]
    pub fn warns(&self) -> bool {
        self.ahead_of_median_ms().is_some_and(|ms| u128::from(ms.unsigned_abs()) > CLOCK_WARN.as_millis())
    }

    /// Whether more than half of all, this node among them, have a clock that works together with its own.
    #[must_use]
    pub fn agree(&self) -> bool {
        let near = 1 + self.offsets.iter().filter(|ms| !is_clock_refused(**ms)).count();
        near > 1 && near * 2 > 1 + self.peers()
    }

    /// Why this node's clock cannot be trusted, in words; `None` where it can.
    ///
    /// With one peer nobody can tell which of both is wrong: the one that is not yet `up` yields.
    #[must_use]
    pub fn refused(&self) -> Option<String> {
        let (offsets, peers) = (&self.offsets, self.peers());
        // The median is far where more than half are far, all to one side.
        let far_on = |side: i64| offsets.iter().filter(|ms| is_clock_refused(**ms) && ms.signum() == side).count();
        let far = far_on(1).max(far_on(-1));
        let yields = if peers == 1 { far == 1 && !self.is_up } else { far * 2 > 1 + peers };
        if !yields {
            return None;
        }
        let ahead = 0i64.saturating_sub(offsets[peers / 2]);
        let direction = if ahead >= 0 { "ahead of" } else { "behind" };
        Some(format!("your clock is {} {direction} {far} of {peers} peers: set it", human(ahead.unsigned_abs())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(_: NodeId) -> bool {
        true
    }

    fn clocks(offsets: &[i64]) -> Clocks {
        let mut clocks = Clocks::default();
        for (i, ms) in offsets.iter().enumerate() {
            let peer = Wall::from_millis(u64::try_from(ms + 100_000_000_000).unwrap());
            clocks.observe(NodeId::from_u128(i as u128 + 1), peer, Wall::from_millis(100_000_000_000), 0);
        }
        clocks
    }

    fn refused(offsets: &[i64], is_up: bool) -> Option<String> {
        clocks(offsets).counted(is_up, all).refused()
    }

    fn ahead(offsets: &[i64]) -> Option<i64> {
        clocks(offsets).counted(true, all).ahead_of_median_ms()
    }

    const YEAR: i64 = 365 * 86_400_000;

    #[test]
    fn s2_6_the_one_whose_clock_is_wrong_is_told_and_not_the_others() {
        assert_eq!(
            refused(&[-YEAR, -YEAR], false).as_deref(),
            Some("your clock is 365 d ahead of 2 of 2 peers: set it")
        );
        assert_eq!(refused(&[0, YEAR], false), None);
        assert_eq!(refused(&[YEAR, YEAR], true).as_deref(), Some("your clock is 365 d behind 2 of 2 peers: set it"));
    }

    #[test]
    fn s2_6_newcomers_with_wrong_clocks_do_not_trouble_a_node_that_is_up() {
        let up = |id: NodeId| id <= NodeId::from_u128(2);
        let one = |id: NodeId| id == NodeId::from_u128(1);
        assert_eq!(clocks(&[0, YEAR, YEAR]).counted(true, one).refused(), None);
        assert_eq!(clocks(&[YEAR, YEAR]).counted(true, |_| false).refused(), None);
        assert!(clocks(&[YEAR, 0, 0]).counted(false, one).refused().is_some(), "a newcomer is told by one that is up");
        // Three that wait to join, an hour behind, stop nobody from writing: they are not in the median either.
        let joined = clocks(&[1, -1, -3_600_000, -3_600_000, -3_600_000]).counted(true, up);
        assert_eq!((joined.ahead_of_median_ms(), joined.refused(), joined.agree()), (Some(0), None, true));
        assert_eq!(clocks(&[YEAR]).counted(true, |_| false).ahead_of_median_ms(), None);
    }

    #[test]
    fn an_answer_from_before_a_long_pause_is_no_comparison() {
        let mut clocks = Clocks::default();
        let here = Wall::from_millis(1_000_000);
        assert_eq!(clocks.observe(NodeId::from_u128(1), Wall::from_millis(870_000), here, 130_000_000), None);
        assert!(!clocks.compared());
    }

    #[test]
    fn with_one_peer_the_one_that_is_not_yet_up_yields() {
        assert!(refused(&[100_000], false).is_some());
        assert!(refused(&[100_000], true).is_none());
        assert_eq!(ahead(&[100_000]), Some(-100_000));
    }

    /// Which half is wrong the clocks alone do not tell.
    #[test]
    fn half_of_the_nodes_do_not_outvote_the_other_half() {
        let jump = 300_000;
        for (half, agree) in [([0, jump, jump].as_slice(), false), (&[0, 0, jump, jump], true)] {
            assert_eq!((refused(half, true), ahead(half)), (None, Some(0)), "{half:?}");
            assert_eq!(clocks(half).counted(true, all).agree(), agree, "{half:?}");
        }
        assert!(refused(&[0, jump, jump, jump], true).is_some(), "three of five are more than half");
        assert!(refused(&[jump, jump, jump], true).is_some());
    }

    #[test]
    fn half_a_second_warns() {
        let warns = |offsets: &[i64]| clocks(offsets).counted(true, all).warns();
        assert!(!warns(&[400, 300]));
        assert!(warns(&[600, 700]) && warns(&[600]));
        assert_eq!(ahead(&[]), None);
    }

    #[test]
    fn one_of_two_peers_whose_clock_is_wrong_does_not_trouble_the_others() {
        for wrong in [300_000, -300_000] {
            assert!(ahead(&[2, wrong]).is_some_and(|ms| ms.abs() <= 2));
            assert_eq!(ahead(&[wrong, wrong + 10]).map(|ms| ms.abs() > 299_000), Some(true));
        }
        assert!(ahead(&[1, 2, 300_000]).is_some_and(|ms| ms.abs() <= 2));
    }
}
