//! What is counted of a table on this node.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use ekka_core::id::NodeId;
use ekka_core::table::Acknowledged;
use ekka_core::time::Instant;

use super::error::PutError;
use crate::histogram::{Histogram, Times};

/// What writes are counted by.
pub const OPS: [&str; 2] = ["put", "delete"];
/// How they end.
pub const RESULTS: [&str; 5] = ["ok", "too_few_copies", "timed_out", "refused", "closed"];

/// Counts the writes of one table.
#[derive(Debug, Default)]
pub(super) struct Figures {
    ops: [[AtomicU64; RESULTS.len()]; OPS.len()],
    times: [Histogram; OPS.len()],
    degraded: AtomicU64,
    /// Since when each linked peer has not been in step.
    behind: Mutex<BTreeMap<NodeId, Instant>>,
}

/// What was counted up to one moment.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct TableCounts {
    /// Writes by operation and result.
    pub ops: BTreeMap<(&'static str, &'static str), u64>,
    /// How long they took, by operation.
    pub times: BTreeMap<&'static str, Times>,
    /// Writes that were acknowledged by one node because no other was up.
    pub degraded: u64,
    /// For how long each peer has not been in step, in seconds.
    pub behind_s: BTreeMap<NodeId, f64>,
}

impl Figures {
    /// Counts a write that has ended.
    pub(super) fn count(&self, delete: bool, took: Duration, result: &Result<Acknowledged, PutError>) {
        let op = usize::from(delete);
        let at = match result {
            Ok(acknowledged) => {
                if acknowledged.lonely {
                    self.degraded.fetch_add(1, Ordering::Relaxed);
                }
                0
            }
            Err(PutError::TooFewCopies(_)) => 1,
            Err(PutError::TimedOut { .. }) => 2,
            Err(PutError::Closed) => 4,
            Err(_) => 3,
        };
        self.ops[op][at].fetch_add(1, Ordering::Relaxed);
        self.times[op].count(took);
    }

    /// Takes note of which peers have something outstanding now.
    pub(super) fn lags(&self, lags: impl IntoIterator<Item = (NodeId, u64)>, now: Instant) {
        let lags: BTreeMap<NodeId, u64> = lags.into_iter().collect();
        let mut behind = self.behind.lock().unwrap_or_else(PoisonError::into_inner);
        behind.retain(|node, _| lags.get(node).is_some_and(|lag| *lag > 0));
        for (node, _) in lags.into_iter().filter(|(_, lag)| *lag > 0) {
            behind.entry(node).or_insert(now);
        }
    }

    /// What was counted so far.
    pub(super) fn counts(&self, now: Instant) -> TableCounts {
        let mut counts = TableCounts { degraded: self.degraded.load(Ordering::Relaxed), ..TableCounts::default() };
        for ((op, results), times) in OPS.iter().zip(&self.ops).zip(&self.times) {
            for (result, count) in RESULTS.iter().zip(results) {
                counts.ops.insert((op, result), count.load(Ordering::Relaxed));
            }
            counts.times.insert(op, times.times());
        }
        let behind = self.behind.lock().unwrap_or_else(PoisonError::into_inner);
        counts.behind_s = behind.iter().map(|(node, since)| (*node, now.since(*since).as_secs_f64())).collect();
        counts
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_peer_is_behind_since_it_was_last_in_step() {
        let (figures, peer) = (Figures::default(), NodeId::from_u128(2));
        let at = |s: u64| Instant::from_nanos(s * 1_000_000_000);
        figures.lags([(peer, 3)], at(5));
        figures.lags([(peer, 1)], at(8));
        assert_eq!(figures.counts(at(9)).behind_s.get(&peer), Some(&4.0));
        figures.lags([(peer, 0)], at(10));
        assert!(figures.counts(at(11)).behind_s.is_empty());
    }

    #[test]
    fn writes_are_counted_by_how_they_ended() {
        let figures = Figures::default();
        let alone = Acknowledged { copies: 1, durable: false, lonely: true };
        figures.count(false, Duration::from_micros(7), &Ok(alone));
        figures.count(true, Duration::from_secs(5), &Err(PutError::TimedOut { missing: "somebody".into() }));
        let counts = figures.counts(Instant::ZERO);
        assert_eq!((counts.ops[&("put", "ok")], counts.ops[&("delete", "timed_out")], counts.degraded), (1, 1, 1));
        assert_eq!((counts.times["put"].total(), counts.ops[&("put", "refused")]), (1, 0));
    }
}
