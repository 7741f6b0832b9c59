//! What is said of trouble that comes with each operation: at once for each peer, then once a minute with its number.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use ekka_core::id::NodeId;
use ekka_core::time::Instant;

/// How often it is said again.
const AGAIN: Duration = Duration::from_secs(60);

/// What was said of each node; there are at most as many as there are members.
#[derive(Default)]
pub(super) struct Seldom(Mutex<BTreeMap<NodeId, Said>>);

struct Said {
    at: Instant,
    since: u64,
}

impl Seldom {
    /// One more: how many there were since it was last said, where it is to be said now.
    pub(super) fn one_more(&self, of: NodeId, now: Instant) -> Option<u64> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(said) = all.get_mut(&of) else {
            all.insert(of, Said { at: now, since: 0 });
            return Some(1);
        };
        said.since += 1;
        if now.since(said.at) < AGAIN {
            return None;
        }
        said.at = now;
        Some(std::mem::take(&mut said.since))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_is_said_and_then_one_number_a_minute_for_each_node() {
        let (seldom, start) = (Seldom::default(), Instant::from_nanos(1));
        let at = |seconds| start + Duration::from_secs(seconds);
        let (one, other) = (NodeId::from_u128(1), NodeId::from_u128(2));
        assert_eq!(seldom.one_more(one, at(0)), Some(1));
        let told: Vec<u64> = (0..5_900).filter_map(|n| seldom.one_more(one, at(n / 100))).collect();
        assert!(told.is_empty(), "{told:?}");
        assert_eq!(seldom.one_more(other, at(59)), Some(1), "another node has its own line");
        assert_eq!(seldom.one_more(one, at(60)), Some(5_901));
        assert_eq!(seldom.one_more(one, at(61)), None);
    }
}
