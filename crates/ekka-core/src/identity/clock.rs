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

    /// How far this node's clock is ahead of the median of its peers, in milliseconds. Of an even number of them the one in
    /// the middle counts that is nearer to this clock: half of them do not outvote the other half and this node.
    #[must_use]
    pub fn ahead_of_median_ms(&self) -> Option<i64> {
        let mut offsets: Vec<i64> = self.offsets_ms.values().copied().collect();
        offsets.sort_unstable();
        let middle = [offsets.len().checked_sub(1)? / 2, offsets.len() / 2].map(|place| offsets[place]);
        middle.into_iter().min_by_key(|ms| ms.unsigned_abs()).map(|median| 0i64.saturating_sub(median))
    }

    /// Whether the median is further away than what gives a warning.
    #[must_use]
    pub fn warns(&self) -> bool {
        self.ahead_of_median_ms().is_some_and(|ms| u128::from(ms.unsigned_abs()) > CLOCK_WARN.as_millis())
    }

    /// Why this node's clock cannot be trusted, in words; `None` where it can.
    ///
    /// Peers that are up are the ones to be compared with. A node that is up itself looks at nobody else, so newcomers
    /// with wrong clocks are told and tell nobody; one that is not up takes what there is while nobody is. With one peer
    /// nobody can tell which of both is wrong: the one that is not yet `up` yields.
    #[must_use]
    pub fn refused(&self, is_up: bool, peer_is_up: impl Fn(NodeId) -> bool) -> Option<String> {
        if self.far == 0 {
            return None;
        }
        let mut offsets: Vec<i64> =
            self.offsets_ms.iter().filter(|(id, _)| peer_is_up(**id)).map(|(_, ms)| *ms).collect();
        if offsets.is_empty() && !is_up {
            offsets.extend(self.offsets_ms.values());
        }
        offsets.sort_unstable();
        let peers = offsets.len();
        // The median is far where more than half are far, all to one side.
        let far_on = |side: i64| offsets.iter().filter(|ms| is_clock_refused(**ms) && ms.signum() == side).count();
        let far = far_on(1).max(far_on(-1));
        let yields = if peers == 1 { far == 1 && !is_up } else { far * 2 > peers };
        if !yields {
            return None;
        }
        let ahead = 0i64.saturating_sub(offsets[peers / 2]);
        let direction = if ahead >= 0 { "ahead of" } else { "behind" };
        Some(format!("your clock is {} {direction} {} of {peers} peers: set it", human(ahead.unsigned_abs()), far))
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

    #[test]
    fn s2_6_the_one_whose_clock_is_wrong_is_told_and_not_the_others() {
        let year = 365 * 86_400_000;
        let wrong = clocks(&[-year, -year]);
        assert_eq!(wrong.refused(false, all).as_deref(), Some("your clock is 365 d ahead of 2 of 2 peers: set it"));
        assert_eq!(clocks(&[0, year]).refused(false, all), None);
        assert_eq!(
            clocks(&[year, year]).refused(true, all).as_deref(),
            Some("your clock is 365 d behind 2 of 2 peers: set it")
        );
    }

    #[test]
    fn s2_6_newcomers_with_wrong_clocks_do_not_trouble_a_node_that_is_up() {
        let year = 365 * 86_400_000;
        let up = |id: NodeId| id == NodeId::from_u128(1);
        assert_eq!(clocks(&[0, year, year]).refused(true, up), None);
        assert_eq!(clocks(&[year, year]).refused(true, |_| false), None);
        assert!(clocks(&[year, 0, 0]).refused(false, up).is_some(), "a newcomer is told by the one that is up");
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
        assert!(clocks(&[100_000]).refused(false, all).is_some());
        assert!(clocks(&[100_000]).refused(true, all).is_none());
    }

    #[test]
    fn half_a_second_warns() {
        assert!(!clocks(&[400, 300]).warns());
        assert!(clocks(&[600, 700]).warns());
        assert_eq!(clocks(&[]).ahead_of_median_ms(), None);
    }

    #[test]
    fn one_of_two_peers_whose_clock_is_wrong_does_not_trouble_the_others() {
        for wrong in [300_000, -300_000] {
            assert_eq!(clocks(&[2, wrong]).ahead_of_median_ms(), Some(-2));
            assert_eq!(clocks(&[wrong, wrong + 10]).ahead_of_median_ms().map(|ms| ms.abs() > 299_000), Some(true));
        }
        assert_eq!(clocks(&[1, 2, 300_000]).ahead_of_median_ms(), Some(-2));
    }
}
