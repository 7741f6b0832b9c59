//! Who pinged: which pings are answered, and which are a hint.
//!
//! Each node is answered at most once in [`PING_INTERVAL`] and each ping once, whoever sends it again. So a recorded
//! ping makes a node send one datagram to the one that made it, and nothing more.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use ekka_core::id::NodeId;
use ekka_core::limits::CANDIDATES_MAX;
use ekka_core::time::Instant;

use super::counts::Ignored;
use super::message::Nonce;

/// A node's pings are answered not more often than this.
pub(super) const PING_INTERVAL: Duration = Duration::from_secs(1);
/// Nodes that are remembered at one time.
const NODES_MAX: usize = CANDIDATES_MAX;
/// Nonces of each that are remembered: of more than two minutes at the pace at which a node asks.
const NONCES_MAX: usize = 32;
/// A node that has not pinged for so long makes room for another.
const IDLE: Duration = Duration::from_secs(60);
/// A node's pings are a hint not more often than this.
const HINT_INTERVAL: Duration = Duration::from_secs(5);

/// The nodes that pinged.
#[derive(Default)]
pub(super) struct Askers {
    nodes: BTreeMap<NodeId, Asker>,
}

struct Asker {
    seen: Instant,
    answered: Option<Instant>,
    hinted: Option<Instant>,
    nonces: VecDeque<Nonce>,
}

impl Askers {
    /// Takes a ping; whether it may be answered.
    pub(super) fn pinged(&mut self, node: NodeId, nonce: Nonce, now: Instant) -> Result<(), Ignored> {
        let asker = self.asker(node, now).ok_or(Ignored::Full)?;
        if asker.nonces.contains(&nonce) {
            return Err(Ignored::Replayed);
        }
        asker.seen = now;
        asker.nonces.push_back(nonce);
        if asker.nonces.len() > NONCES_MAX {
            asker.nonces.pop_front();
        }
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
        let new = || Asker { seen: now, answered: None, hinted: None, nonces: VecDeque::new() };
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
    fn a_node_is_answered_once_a_second_and_each_ping_once() {
        let mut askers = Askers::default();
        assert_eq!(askers.pinged(node(0), 1, at(0)), Ok(()));
        assert_eq!(askers.pinged(node(0), 1, at(5000)), Err(Ignored::Replayed));
        assert_eq!(askers.pinged(node(0), 2, at(999)), Err(Ignored::TooSoon));
        assert_eq!(askers.pinged(node(1), 9, at(999)), Ok(()), "each node by itself");
        assert_eq!(askers.pinged(node(0), 3, at(1000)), Ok(()));
        assert_eq!(askers.pinged(node(0), 2, at(9000)), Err(Ignored::Replayed), "one that came too soon too");
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
        for nonce in 0..1000 {
            let _ = askers.pinged(node(0), nonce, at(61_000));
        }
        assert_eq!(askers.nodes[&node(0)].nonces.len(), NONCES_MAX);
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
