//! What is counted of a table on this node.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use ekka_core::id::{Incarnation, NodeId};
use ekka_core::schema::Kind;
use ekka_core::table::Acknowledged;
use ekka_core::table::quorum::{Transaction, Write};
use ekka_core::time::Instant;

use super::error::PutError;
use super::lag::Lags;
use super::quorum::QuorumError;
use crate::histogram::{Histogram, Times};

const OPS: [&str; 3] = ["put", "delete", "transaction"];
const RESULTS: [&str; 8] =
    ["ok", "refused", "closed", "too_few_copies", "timed_out", "no_quorum", "conflict", "unknown"];

/// A write, as it is counted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Op {
    Put,
    Delete,
    /// Of several rows, or with what was read.
    Transaction,
}

impl Op {
    /// What a write to a quorum table is.
    pub(super) fn of(write: &Transaction) -> Self {
        match write.writes[..] {
            [Write::Put { .. }] => Self::Put,
            [Write::Delete { .. }] => Self::Delete,
            _ => Self::Transaction,
        }
    }
}

/// How a write ended, as it is counted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum End {
    Ok,
    Refused,
    Closed,
    TooFewCopies,
    TimedOut,
    NoQuorum,
    Conflict,
    Unknown,
}

/// What writes to a table of a kind are counted by.
#[must_use]
pub fn ops_of(kind: Kind) -> &'static [&'static str] {
    match kind {
        Kind::Quorum => &OPS,
        _ => &OPS[..2],
    }
}

/// Whether writes to a table of a kind can end so.
fn ends_so(kind: Kind, result: usize) -> bool {
    match kind {
        Kind::Quorum => !(End::TooFewCopies as usize..=End::TimedOut as usize).contains(&result),
        _ => result <= End::TimedOut as usize,
    }
}

/// Counts the writes of one table.
#[derive(Debug, Default)]
pub(super) struct Figures {
    ops: [[AtomicU64; RESULTS.len()]; OPS.len()],
    times: [Histogram; OPS.len()],
    degraded: AtomicU64,
    lags: Mutex<Lags>,
    /// Rows that heals brought here, and took from here.
    healed: [AtomicU64; 2],
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
    /// The age of the oldest operation that each other member has not acknowledged, in seconds.
    pub behind_s: BTreeMap<NodeId, f64>,
    /// Rows that heals brought here, and took from here.
    pub healed: (u64, u64),
}

impl Figures {
    /// Counts a write that has ended.
    pub(super) fn count(&self, delete: bool, took: Duration, result: &Result<Acknowledged, PutError>) {
        let end = match result {
            Ok(acknowledged) => {
                if acknowledged.lonely {
                    self.degraded.fetch_add(1, Ordering::Relaxed);
                }
                End::Ok
            }
            Err(PutError::TooFewCopies(_)) => End::TooFewCopies,
            Err(PutError::TimedOut { .. }) => End::TimedOut,
            Err(PutError::Closed) => End::Closed,
            Err(_) => End::Refused,
        };
        self.add(if delete { Op::Delete } else { Op::Put }, end, took);
    }

    /// Counts a write to a quorum table that has ended.
    pub(super) fn count_quorum(&self, op: Op, took: Duration, result: Result<(), &QuorumError>) {
        let end = match result {
            Ok(()) => End::Ok,
            Err(QuorumError::NoQuorum(_)) => End::NoQuorum,
            Err(QuorumError::Conflict) => End::Conflict,
            Err(QuorumError::Unknown(_)) => End::Unknown,
            Err(QuorumError::Closed) => End::Closed,
            Err(_) => End::Refused,
        };
        self.add(op, end, took);
    }

    fn add(&self, op: Op, end: End, took: Duration) {
        self.ops[op as usize][end as usize].fetch_add(1, Ordering::Relaxed);
        self.times[op as usize].count(took);
    }

    /// Counts what a heal brought here, and took from here.
    pub(super) fn healed(&self, taken: u64, given: u64) {
        for (counter, number) in self.healed.iter().zip([taken, given]) {
            counter.fetch_add(number, Ordering::Relaxed);
        }
    }

    fn lags(&self) -> MutexGuard<'_, Lags> {
        // Nothing that holds this lock can leave it half-changed.
        self.lags.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes note of how many operations there are, and how many of them each linked member has acknowledged.
    pub(super) fn see(
        &self,
        latest: u64,
        members: &BTreeSet<NodeId>,
        linked: impl IntoIterator<Item = (Incarnation, u64)>,
        now: Instant,
    ) {
        self.lags().see(latest, members, linked, now);
    }

    /// The operations of this node are counted anew.
    pub(super) fn begin_anew(&self) {
        self.lags().begin_anew();
    }

    /// How many operations a member has acknowledged, as far as is known; `None` where it is none.
    pub(super) fn acked(&self, node: NodeId) -> Option<u64> {
        self.lags().acked(node)
    }

    /// What was counted so far of a table of this kind.
    pub(super) fn counts(&self, kind: Kind, now: Instant) -> TableCounts {
        let mut counts = TableCounts { degraded: self.degraded.load(Ordering::Relaxed), ..TableCounts::default() };
        for ((op, results), times) in ops_of(kind).iter().zip(&self.ops).zip(&self.times) {
            for (at, (result, count)) in RESULTS.iter().zip(results).enumerate() {
                if ends_so(kind, at) {
                    counts.ops.insert((op, result), count.load(Ordering::Relaxed));
                }
            }
            counts.times.insert(op, times.times());
        }
        counts.behind_s = self.lags().ages(now);
        let [taken, given] = &self.healed;
        counts.healed = (taken.load(Ordering::Relaxed), given.load(Ordering::Relaxed));
        counts
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn writes_are_counted_by_how_they_ended() {
        let figures = Figures::default();
        let alone = Acknowledged { copies: 1, durable: false, lonely: true };
        figures.count(false, Duration::from_micros(7), &Ok(alone));
        figures.count(true, Duration::from_secs(5), &Err(PutError::TimedOut { missing: "somebody".into() }));
        let counts = figures.counts(Kind::Available, Instant::ZERO);
        assert_eq!((counts.ops[&("put", "ok")], counts.ops[&("delete", "timed_out")], counts.degraded), (1, 1, 1));
        assert_eq!((counts.times["put"].total(), counts.ops[&("put", "refused")]), (1, 0));
        assert_eq!(counts.ops.len(), 2 * 5, "{:?}", counts.ops);
    }

    #[test]
    fn writes_to_quorum_tables_have_their_own_ends() {
        let figures = Figures::default();
        let none = QuorumError::NoQuorum("alone".into());
        figures.count_quorum(Op::Put, Duration::from_micros(7), Ok(()));
        figures.count_quorum(Op::Transaction, Duration::from_micros(7), Err(&QuorumError::Conflict));
        figures.count_quorum(Op::Delete, Duration::from_micros(7), Err(&none));
        let counts = figures.counts(Kind::Quorum, Instant::ZERO);
        let ended = |op, result| counts.ops[&(op, result)];
        assert_eq!((ended("put", "ok"), ended("transaction", "conflict"), ended("delete", "no_quorum")), (1, 1, 1));
        assert!(!counts.ops.contains_key(&("put", "too_few_copies")) && counts.ops.len() == 3 * 6, "{:?}", counts.ops);
    }
}
