//! One voice for a failure that goes on: at its start, when it changes, then once a minute, and at its end. A failure that
//! comes and goes is told once a minute too.

use std::time::Duration;

use tokio::time::Instant;
use tracing::{info, warn};

/// How often a failure that stays the same is told.
const AGAIN: Duration = Duration::from_secs(60);

/// What was told last.
#[derive(Default)]
pub(super) struct Trouble {
    told: Option<(String, Instant)>,
    /// It was told since it last worked.
    open: bool,
    count: u64,
}

impl Trouble {
    /// It failed; whether that was told.
    pub(super) fn failed(&mut self, err: &str) -> bool {
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
            self.open = true;
        }
        again
    }

    /// It works; whether that was told.
    pub(super) fn works(&mut self) -> bool {
        let told = std::mem::take(&mut self.open);
        if told {
            info!(strategy = "k8s", count = self.count, "the API server is watched again");
            self.count = 0;
        }
        told
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_failure_is_told_at_its_start_when_it_changes_once_a_minute_and_at_its_end() {
        let mut trouble = Trouble::default();
        assert!(!trouble.works(), "nothing was wrong");
        assert!(trouble.failed("a") && !trouble.failed("a") && trouble.failed("b"));
        tokio::time::advance(AGAIN).await;
        assert!(trouble.failed("b") && trouble.works() && !trouble.works());
    }

    #[tokio::test(start_paused = true)]
    async fn a_failure_that_comes_and_goes_is_told_once_a_minute() {
        let mut trouble = Trouble::default();
        let mut told = 0;
        for _ in 0..180 {
            told += u32::from(trouble.failed("cut")) + u32::from(trouble.works());
            tokio::time::advance(Duration::from_secs(1)).await;
        }
        assert_eq!(told, 6, "two lines a minute");
    }
}
