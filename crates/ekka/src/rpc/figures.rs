//! What is counted of calls: results and times by method, on both sides.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use crate::histogram::{Histogram, Times};

/// The results of `ekka_rpc_requests_total`.
pub const RESULTS: [&str; 9] = [
    "ok",
    "busy",
    "cancelled",
    "handler_failed",
    "no_such_method",
    "timed_out",
    "too_large",
    "unreachable",
    "version_mismatch",
];

/// Methods whose calls are counted under their own name; others count as `other`.
const CLIENT_METHODS_MAX: usize = 256;

/// The label for what has no row of its own.
const OTHER: &str = "other";

/// The counters of one method on one side.
#[derive(Default)]
pub(super) struct MethodFigures {
    results: [AtomicU64; RESULTS.len()],
    times: Histogram,
}

impl MethodFigures {
    /// Counts one call.
    pub(super) fn count(&self, result: &'static str, took: Duration) {
        if let Some(index) = RESULTS.iter().position(|known| *known == result) {
            self.results[index].fetch_add(1, Ordering::Relaxed);
        }
        self.times.count(took);
    }

    fn snapshot(&self) -> MethodCounts {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        MethodCounts {
            results: RESULTS.iter().zip(&self.results).map(|(result, count)| (*result, read(count))).collect(),
            times: self.times.times(),
        }
    }
}

/// What was counted of one method on one side.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct MethodCounts {
    /// Calls by result; every result is there.
    pub results: BTreeMap<&'static str, u64>,
    /// Calls by time.
    pub times: Times,
}

/// The counters of all methods.
#[derive(Default)]
pub(super) struct Figures {
    served: BTreeMap<String, Arc<MethodFigures>>,
    /// Calls of methods that this node does not have.
    unknown: MethodFigures,
    called: RwLock<BTreeMap<String, Arc<MethodFigures>>>,
}

impl Figures {
    /// Counters for the methods that this node serves; others are never made on this side, whatever peers call.
    pub(super) fn new<'a>(served: impl Iterator<Item = &'a str>) -> Self {
        Self { served: served.map(|name| (name.to_owned(), Arc::default())).collect(), ..Self::default() }
    }

    /// A method that is served.
    pub(super) fn served(&self, name: &str) -> Option<Arc<MethodFigures>> {
        self.served.get(name).cloned()
    }

    /// Those of methods that nobody serves here.
    pub(super) fn unknown(&self) -> &MethodFigures {
        &self.unknown
    }

    /// A method that is called. A node that passes on names from outside cannot make rows without end.
    pub(super) fn called(&self, name: &str) -> Arc<MethodFigures> {
        if let Some(figures) = self.called.read().unwrap_or_else(PoisonError::into_inner).get(name) {
            return figures.clone();
        }
        let mut called = self.called.write().unwrap_or_else(PoisonError::into_inner);
        let name = if called.len() < CLIENT_METHODS_MAX { name } else { OTHER };
        called.entry(name.to_owned()).or_default().clone()
    }

    /// Everything, by method and side (`client`, `server`).
    pub(super) fn snapshot(&self) -> BTreeMap<(String, &'static str), MethodCounts> {
        let served = self.served.iter().map(|(name, figures)| ((name.clone(), "server"), figures.snapshot()));
        let mut counts: BTreeMap<_, _> = served.collect();
        counts.insert((OTHER.to_owned(), "server"), self.unknown.snapshot());
        let called = self.called.read().unwrap_or_else(PoisonError::into_inner);
        counts.extend(called.iter().map(|(name, figures)| ((name.clone(), "client"), figures.snapshot())));
        counts
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::histogram::BUCKETS;

    #[test]
    fn a_call_counts_by_result_and_in_the_bucket_of_its_time() {
        let figures = Figures::new(["shop.price"].into_iter());
        figures.served("shop.price").unwrap().count("ok", Duration::from_micros(60));
        figures.called("shop.price").count("timed_out", Duration::from_secs(9));
        let counts = figures.snapshot();
        let server = &counts[&("shop.price".to_owned(), "server")];
        assert_eq!((server.results["ok"], server.results["busy"], server.times.buckets[1]), (1, 0, 1));
        let client = &counts[&("shop.price".to_owned(), "client")];
        assert_eq!((client.results["timed_out"], client.times.buckets[BUCKETS.len()]), (1, 1));
    }

    #[test]
    fn names_from_outside_make_a_bounded_number_of_rows() {
        let figures = Figures::default();
        (0..2 * CLIENT_METHODS_MAX).for_each(|n| figures.called(&n.to_string()).count("ok", Duration::ZERO));
        let counts = figures.snapshot();
        assert_eq!(counts.keys().filter(|(_, side)| *side == "client").count(), CLIENT_METHODS_MAX + 1);
        assert_eq!(counts[&("other".to_owned(), "client")].results["ok"], CLIENT_METHODS_MAX as u64);
    }

    #[test]
    fn every_error_has_its_result() {
        use crate::rpc::CallError;
        let node = ekka_core::id::NodeId::from_u128(1);
        assert!(RESULTS.contains(&CallError::Cancelled { node }.code()));
        assert!(RESULTS.contains(&CallError::Busy { node, text: String::new() }.code()));
    }
}
