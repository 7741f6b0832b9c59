//! Who pinged: which pings are answered, and which are a hint.
//!
//! Each node is answered at most once in [`PING_INTERVAL`], and only a ping with a later stamp than all before: whoever
//! sends recorded pings again takes nothing from the node that made them, however many he has. What came too soon counts
//! as heard too; a ping that is not newer changes nothing.
//!
//! Stamps are of the clock of the node that pings. One whose clock was set back while it was down has earlier stamps than
//! it had; it must not be shut out for ever. So a node of which nothing new came for [`IDLE`] is taken as if it had never
//! been heard, as after a restart of this node: by any stamp. Recorded pings are taken then too, in the order in which they
//! were made, until the node itself is heard: only where its clock is behind the recordings do they hold it back longer.

use std::collections::BTreeMap;
use std::time::Duration;

use ekka_core::id::NodeId;
use ekka_core::limits::CANDIDATES_MAX;
use ekka_core::time::Instant;

use super::counts::Ignored;
use super::message::Stamp;

/// A node's pings are answered not more often than this.
pub(super) const PING_INTERVAL: Duration = Duration::from_secs(1);
/// Nodes that are remembered at one time.
const NODES_MAX: usize = CANDIDATES_MAX;
/// A node of which no new ping came for so long makes room for another, and may begin anew with an earlier stamp. About
/// twice the longest time between two pings of a node.
pub(super) const IDLE: Duration = Duration::from_secs(60);
/// A node's pings are a hint not more often than this.
const HINT_INTERVAL: Duration = Duration::from_secs(5);

/// The nodes that pinged.
#[derive(Default)]
pub(super) struct Askers {
    nodes: BTreeMap<NodeId, Asker>,
}

struct Asker {
    /// When the last new ping came.
    seen: Instant,
    /// The stamp of that.
    newest: Option<Stamp>,
    answered: Option<Instant>,
    hinted: Option<Instant>,
}

impl Askers {
    /// Takes a ping; whether it may be answered.
    pub(super) fn pinged(&mut self, node: NodeId, stamp: Stamp, now: Instant) -> Result<(), Ignored> {
        let asker = self.asker(node, now).ok_or(Ignored::Full)?;
        if asker.newest.is_some_and(|newest| stamp <= newest) && now.since(asker.seen) < IDLE {
            return Err(Ignored::Replayed);
        }
        asker.seen = now;
        asker.newest = Some(stamp);
        if asker.answered.is_some_and(|then| now.since(then) < PING_INTERVAL) {
            return Err(Ignored::TooSoon);
        }
        asker.answered = Some(now);
        Ok(())
    }

    /// Whether the ping of a node that is not known is worth a hint.
    pub(super) fn hint(&mut self, node: NodeId, now: Instant) -> bool {
        let Some(asker) = self.nodes.get_mut(&node) else { return false };
        if asker.hinted.is_some_and(|then| now.since(then) < HINT_INTERVAL) {
            return false;
        }
        asker.hinted = Some(now);
        true
    }

    /// What is remembered of a node; `None` where there is no room.
    fn asker(&mut self, node: NodeId, now: Instant) -> Option<&mut Asker> {
        if self.nodes.len() >= NODES_MAX && !self.nodes.contains_key(&node) {
            self.nodes.retain(|_, asker| now.since(asker.seen) < IDLE);
            if self.nodes.len() >= NODES_MAX {
                return None;
            }
        }
        let new = || Asker { seen: now, newest: None, answered: None, hinted: None };
        Some(self.nodes.entry(node).or_insert_with(new))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> Instant {
        Instant::from_nanos(ms * 1_000_000)
    }

    fn node(n: usize) -> NodeId {
        NodeId::from_u128(n as u128 + 1)
    }

    #[test]
    fn a_node_is_answered_once_a_second_and_only_by_a_newer_ping() {
        let mut askers = Askers::default();
        assert_eq!(askers.pinged(node(0), 5, at(0)), Ok(()));
        assert_eq!(askers.pinged(node(0), 6, at(999)), Err(Ignored::TooSoon));
        assert_eq!(askers.pinged(node(1), 1, at(999)), Ok(()), "each node by itself");
        for stamp in [0, 5, 6] {
            assert_eq!(askers.pinged(node(0), stamp, at(1500)), Err(Ignored::Replayed), "what came too soon was heard");
        }
        assert_eq!(askers.pinged(node(0), 7, at(1500)), Ok(()), "what is not newer takes no turn");
    }

    #[test]
    fn an_earlier_stamp_is_taken_once_nothing_new_came_for_a_minute() {
        let mut askers = Askers::default();
        assert_eq!(askers.pinged(node(0), 1000, at(0)), Ok(()));
        for ms in (1000..60_000).step_by(1000) {
            assert_eq!(askers.pinged(node(0), 10, at(ms)), Err(Ignored::Replayed), "after {ms} ms");
        }
        assert_eq!(askers.pinged(node(0), 10, at(60_000)), Ok(()), "what is refused does not keep it from being idle");
        assert_eq!(askers.pinged(node(0), 10, at(62_000)), Err(Ignored::Replayed), "from there on as before");
        assert_eq!(askers.pinged(node(0), 11, at(62_000)), Ok(()));
    }

    #[test]
    fn the_tables_are_bounded_and_idle_nodes_make_room() {
        let mut askers = Askers::default();
        for n in 0..NODES_MAX {
            assert_eq!(askers.pinged(node(n), 1, at(0)), Ok(()));
        }
        assert_eq!(askers.pinged(node(NODES_MAX), 1, at(59_000)), Err(Ignored::Full));
        assert_eq!(askers.pinged(node(0), 2, at(59_000)), Ok(()), "who is known has a place");
        assert_eq!(askers.pinged(node(NODES_MAX), 1, at(60_000)), Ok(()));
        assert_eq!(askers.nodes.len(), 2);
    }

    #[test]
    fn a_hint_is_given_once_in_five_seconds_for_each_node() {
        let mut askers = Askers::default();
        askers.pinged(node(0), 1, at(0)).unwrap();
        assert!(askers.hint(node(0), at(0)));
        assert!(!askers.hint(node(0), at(4999)));
        assert!(askers.hint(node(0), at(5000)));
        assert!(!askers.hint(node(1), at(0)), "one that never pinged");
    }
}
