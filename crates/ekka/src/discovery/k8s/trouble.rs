//! One voice for a failure that goes on: at its start, when it changes, then once a minute, and at its end.

use std::time::Duration;

use tokio::time::Instant;
use tracing::{info, warn};

/// How often a failure that stays the same is told.
const AGAIN: Duration = Duration::from_secs(60);

/// What was told last.
#[derive(Default)]
pub(super) struct Trouble {
    told: Option<(String, Instant)>,
    count: u64,
}

impl Trouble {
    /// It failed.
    pub(super) fn failed(&mut self, err: &str) {
        self.count += 1;
        let now = Instant::now();
        let again = self.told.as_ref().is_none_or(|(last, at)| last != err || now - *at >= AGAIN);
        if again {
            warn!(
                strategy = "k8s",
                err,
                count = self.count,
                "the API server cannot be watched; it is asked now and then"
            );
            self.told = Some((err.to_owned(), now));
        }
    }

    /// It works.
    pub(super) fn works(&mut self) {
        if self.told.take().is_some() {
            info!(strategy = "k8s", count = self.count, "the API server is watched again");
        }
        self.count = 0;
    }
}
