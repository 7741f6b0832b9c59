//! What is said of trouble that lasts: at once when it changes, then once a minute with its number, and its end.

use std::time::Duration;

use tokio::time::Instant;
use tracing::{info, warn};

const INTERVAL: Duration = Duration::from_secs(60);
/// Pauses between tries: this, doubled each time, up to [`PAUSE_MAX`].
const PAUSE: Duration = Duration::from_millis(250);
const PAUSE_MAX: Duration = Duration::from_secs(5);

/// Failures of one kind in a row.
#[derive(Default)]
pub(super) struct Trouble {
    text: String,
    told: Option<Instant>,
    /// Since the last word.
    count: u64,
    failures: u32,
}

impl Trouble {
    /// One more failure; gives how long to wait, of which a random part is to be taken off.
    pub(super) fn failed(&mut self, err: &str, now: Instant) -> Duration {
        self.count += 1;
        let is_due = self.told.is_none_or(|told| now.duration_since(told) >= INTERVAL);
        if is_due || self.text != err {
            warn!(strategy = "mcast", err, count = self.count, "multicast does not work; trying again");
            err.clone_into(&mut self.text);
            (self.told, self.count) = (Some(now), 0);
        }
        let pause = PAUSE.saturating_mul(1 << self.failures.min(16)).min(PAUSE_MAX);
        self.failures += 1;
        pause
    }

    /// It works.
    pub(super) fn ended(&mut self) {
        if self.told.is_some() {
            info!(strategy = "mcast", "multicast works again");
        }
        *self = Self::default();
    }
}

/// Strangers on the group: a wrong cookie, an attack. Told at once, then once a minute.
#[derive(Default)]
pub(super) struct Strangers {
    told: Option<Instant>,
    seen: u64,
}

impl Strangers {
    /// Whether more than before were ignored and it is time to say so; gives how many more.
    pub(super) fn due(&mut self, total: u64, now: Instant) -> Option<u64> {
        let is_due = self.told.is_none_or(|told| now.duration_since(told) >= INTERVAL);
        let more = total.saturating_sub(self.seen);
        if more == 0 || !is_due {
            return None;
        }
        (self.told, self.seen) = (Some(now), total);
        Some(more)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_five_seconds_and_begin_anew_once_it_works() {
        let (mut trouble, now) = (Trouble::default(), Instant::now());
        let pauses: Vec<_> = (0..7).map(|_| trouble.failed("no route", now).as_millis()).collect();
        assert_eq!(pauses, [250, 500, 1000, 2000, 4000, 5000, 5000]);
        trouble.ended();
        assert_eq!(trouble.failed("no route", now).as_millis(), 250);
    }

    #[test]
    fn strangers_are_told_at_once_then_once_a_minute_with_their_number() {
        let (mut strangers, mut now) = (Strangers::default(), Instant::now());
        assert_eq!(strangers.due(0, now), None);
        assert_eq!(strangers.due(3, now), Some(3));
        assert_eq!(strangers.due(9, now), None);
        now += INTERVAL;
        assert_eq!(strangers.due(9, now), Some(6));
        now += INTERVAL;
        assert_eq!(strangers.due(9, now), None);
    }
}
