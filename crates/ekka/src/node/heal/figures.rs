//! What is counted of heals on this node.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::histogram::{Histogram, Times};

/// How heals ended, and how long they took.
#[derive(Debug, Default)]
pub(in crate::node) struct HealFigures {
    healed: AtomicU64,
    restarted: AtomicU64,
    failed: AtomicU64,
    times: Histogram,
}

impl HealFigures {
    /// This node came back, so long after it found that it had parted.
    pub(in crate::node) fn healed(&self, after: Duration) {
        self.healed.fetch_add(1, Ordering::Relaxed);
        self.times.count_long(after);
    }

    /// A heal was begun again under a new id.
    pub(in crate::node) fn restarted(&self) {
        self.restarted.fetch_add(1, Ordering::Relaxed);
    }

    /// Something of a heal did not work.
    pub(in crate::node) fn failed(&self) {
        self.failed.fetch_add(1, Ordering::Relaxed);
    }

    /// What was counted so far: by result, and how long those took that ended well.
    pub(in crate::node) fn counts(&self) -> (BTreeMap<&'static str, u64>, Times) {
        let results = [("healed", &self.healed), ("restarted", &self.restarted), ("failed", &self.failed)];
        (results.map(|(result, count)| (result, count.load(Ordering::Relaxed))).into(), self.times.times())
    }
}
