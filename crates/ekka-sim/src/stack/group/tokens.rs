//! A load of writes: every host takes ranges of tokens all the time, and what was acknowledged is remembered.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use ekka::node::Node;

use super::SharedGroups;
use crate::stack::world::ONE_THREAD;

/// Ranges of one cluster.
#[derive(Debug, Default)]
pub(super) struct Tokens {
    /// By the first token: one more than the last.
    ranges: BTreeMap<u64, u64>,
    last_at: Option<Duration>,
    longest: Duration,
}

impl Tokens {
    pub(super) fn acknowledged(&self) -> usize {
        self.ranges.len()
    }

    /// No range that is asked for from now on may begin below this.
    fn floor(&self) -> u64 {
        self.ranges.values().next_back().copied().unwrap_or(0)
    }

    fn acknowledge(&mut self, floor: u64, (from, to): (u64, u64), now: Duration) -> Result<(), String> {
        if from < floor {
            return Err(format!("tokens {from}..{to} were asked for after those below {floor} were given out"));
        }
        let overlaps = self.ranges.range(..to).next_back().is_some_and(|(_, end)| *end > from);
        if overlaps || from >= to {
            return Err(format!("tokens {from}..{to} are another's: {:?}", self.ranges.range(..to).next_back()));
        }
        self.ranges.insert(from, to);
        self.longest = self.longest_gap(now);
        self.last_at = Some(now);
        Ok(())
    }

    pub(super) fn longest_gap(&self, now: Duration) -> Duration {
        self.longest.max(now.saturating_sub(self.last_at.unwrap_or(now)))
    }

    pub(super) fn forget_gaps(&mut self, now: Duration) {
        (self.last_at, self.longest) = (Some(now), Duration::ZERO);
    }

    /// Each acknowledged range is in the log.
    pub(super) fn verdict(&self, committed: &BTreeSet<(u64, u64)>) -> Result<(), String> {
        match self.ranges.iter().find(|(from, to)| !committed.contains(&(**from, **to))) {
            Some((from, to)) => Err(format!("tokens {from}..{to} were acknowledged and are in no committed entry")),
            None => Ok(()),
        }
    }
}

/// Takes tokens until the node ends.
pub(in crate::stack) async fn take_tokens(node: Node, groups: SharedGroups) {
    let Some(pace) = groups.lock().expect(ONE_THREAD).pace else { return };
    for turn in 0u64.. {
        tokio::select! {
            biased;
            _ = node.ended() => return,
            () = tokio::time::sleep(pace) => {}
        }
        let Some(cluster_id) = node.view().cluster_id else { continue };
        let floor = groups.lock().expect(ONE_THREAD).tokens.entry(cluster_id).or_default().floor();
        let taken = node.take_tokens(1 + turn % 3).await;
        // A node that moved meanwhile may have been answered by another cluster.
        if let (Ok(range), true) = (taken, node.view().cluster_id == Some(cluster_id)) {
            let groups = &mut *groups.lock().expect(ONE_THREAD);
            let tokens = groups.tokens.entry(cluster_id).or_default();
            if let Err(what) = tokens.acknowledge(floor, (range.start, range.end), groups.now) {
                groups.wrong.get_or_insert(what);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_that_is_given_twice_or_out_of_order_is_seen() {
        let mut tokens = Tokens::default();
        let at = Duration::from_secs;
        tokens.acknowledge(0, (0, 3), at(1)).unwrap();
        tokens.acknowledge(0, (5, 6), at(2)).unwrap();
        assert!(tokens.acknowledge(0, (2, 4), at(3)).is_err(), "the last of it is another's");
        assert!(tokens.acknowledge(0, (4, 6), at(3)).is_err(), "the end of it is another's");
        tokens.acknowledge(0, (3, 5), at(3)).unwrap();
        assert!(tokens.acknowledge(6, (4, 5), at(3)).is_err());
        assert_eq!((tokens.floor(), tokens.longest_gap(at(9))), (6, at(6)));
        assert!(tokens.verdict(&[(0, 3), (5, 6)].into()).unwrap_err().contains("3..5"));
    }
}
