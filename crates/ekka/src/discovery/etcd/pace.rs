//! How often something that fails is tried again, and how often it is told.

use std::time::Duration;

use tokio::time::Instant;

use crate::env::Env;

const FIRST: Duration = Duration::from_millis(250);
/// Where etcd comes back empty, the members of a cluster must be back in it before a newcomer that is listed there asks
/// for an id of its own.
const LAST: Duration = Duration::from_secs(2);
const _: () = assert!(LAST.as_millis() < ekka_core::limits::SETTLE_OTHER.as_millis());
/// A failure that goes on is told once in this time.
const TOLD_AGAIN: Duration = Duration::from_secs(60);
/// Texts that are remembered: failures may take turns.
const REMEMBERED: usize = 4;

/// Pauses between tries: they double, up to a bound, and each is drawn between half of it and all of it.
pub(super) struct Backoff {
    next: Duration,
}

impl Backoff {
    pub(super) fn new() -> Self {
        Self { next: FIRST }
    }

    pub(super) fn reset(&mut self) {
        self.next = FIRST;
    }

    pub(super) fn pause(&mut self, env: &Env) -> Duration {
        let whole = self.next;
        self.next = (whole * 2).min(LAST);
        let thousandth = u32::try_from(env.entropy.bits() % 501).unwrap_or(0); // below 501
        whole * (500 + thousandth) / 1000
    }
}

/// What failed of late: each text is told when it is new, then once a minute with how often it came.
#[derive(Default)]
pub(super) struct Trouble {
    told: Vec<(String, Instant, u64)>,
}

impl Trouble {
    /// One more failure: how often it came since it was last told, where it is to be told now.
    pub(super) fn failed(&mut self, text: &str, now: Instant) -> Option<u64> {
        if let Some((_, at, count)) = self.told.iter_mut().find(|(known, ..)| known == text) {
            *count += 1;
            if now.duration_since(*at) < TOLD_AGAIN {
                return None;
            }
            *at = now;
            return Some(std::mem::take(count));
        }
        if self.told.len() == REMEMBERED {
            self.told.remove(0);
        }
        self.told.push((text.to_owned(), now, 0));
        Some(1)
    }

    /// It works: whether it had failed before.
    pub(super) fn over(&mut self) -> bool {
        let failed = !self.told.is_empty();
        self.told.clear();
        failed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_is_told_when_it_is_new_and_then_once_a_minute() {
        let (mut trouble, start) = (Trouble::default(), Instant::now());
        let at = |seconds| start + Duration::from_secs(seconds);
        assert!(!trouble.over());
        assert_eq!(trouble.failed("a", at(0)), Some(1));
        assert_eq!(trouble.failed("a", at(5)), None);
        assert_eq!(trouble.failed("b", at(6)), Some(1), "another one");
        assert_eq!(trouble.failed("a", at(10)), None, "they take turns");
        assert_eq!(trouble.failed("a", at(60)), Some(3));
        assert!(trouble.over() && !trouble.over());
        for n in 0..10 {
            trouble.failed(&n.to_string(), at(100));
        }
        assert_eq!(trouble.told.len(), REMEMBERED);
    }

    #[test]
    fn pauses_double_up_to_two_seconds_and_are_drawn() {
        let directory = tempfile::tempdir().expect("a folder");
        let env = Env::real(directory.path()).expect("the world");
        let mut backoff = Backoff::new();
        for whole in [250, 500, 1000, 2000, 2000] {
            let pause = backoff.pause(&env).as_millis();
            assert!((whole / 2..=whole).contains(&pause), "{pause} of {whole}");
        }
        backoff.reset();
        assert!(backoff.pause(&env) <= FIRST);
    }
}
