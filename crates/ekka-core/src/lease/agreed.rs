//! How long leases last, as the durable group has committed it.

use core::time::Duration;

use serde::{Deserialize, Serialize};

use super::Terms;

/// How long leases last in one cluster.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Agreed {
    /// `gone_after` of the leases that are given from now on, in milliseconds.
    pub given_ms: u64,
    /// How long an incarnation must be unheard before it may be gone, in milliseconds: not less than `given_ms`, and more
    /// while leases of an earlier, longer length may be held.
    pub waited_ms: u64,
}

impl Agreed {
    /// The length of the leases that are given.
    #[must_use]
    pub fn given(self) -> Terms {
        Terms::from_ms(self.given_ms)
    }

    /// How long a keeper waits.
    #[must_use]
    pub fn waited(self) -> Duration {
        Terms::from_ms(self.waited_ms).gone_after()
    }

    /// What a leader whose configuration says `own` has committed next. `held` is how long it has led with what is
    /// agreed now; `Err` says how much longer it has to before the next step.
    ///
    /// # Errors
    /// Nothing is to be committed now; the time after which something will be, if any.
    pub fn next(now: Option<Self>, own: Terms, held: Duration) -> Result<Self, Option<Duration>> {
        let given_ms = own.gone_after_ms();
        let Some(now) = now else { return Ok(Self { given_ms, waited_ms: given_ms }) };
        if now.given_ms != given_ms {
            return Ok(Self { given_ms, waited_ms: now.waited_ms.max(given_ms) });
        }
        if now.waited_ms == given_ms {
            return Err(None);
        }
        // Whoever holds a lease of the longer length asked for it before this leader had applied the cut.
        let left = now.waited().saturating_sub(held);
        if left.is_zero() { Ok(Self { given_ms, waited_ms: given_ms }) } else { Err(Some(left)) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn agreed(given_s: u64, waited_s: u64) -> Agreed {
        Agreed { given_ms: given_s * 1_000, waited_ms: waited_s * 1_000 }
    }

    fn next(now: Option<Agreed>, own_s: u64, held_s: u64) -> Result<Agreed, Option<Duration>> {
        Agreed::next(now, Terms::new(Duration::from_secs(own_s)), Duration::from_secs(held_s))
    }

    #[test]
    fn a_longer_lease_is_waited_for_from_the_same_entry_on() {
        assert_eq!(next(None, 15, 0), Ok(agreed(15, 15)));
        assert_eq!(next(Some(agreed(15, 15)), 15, 99), Err(None));
        assert_eq!(next(Some(agreed(15, 15)), 60, 0), Ok(agreed(60, 60)));
    }

    #[test]
    fn a_shorter_lease_is_given_at_once_and_the_longer_one_still_waited_for() {
        assert_eq!(next(Some(agreed(60, 60)), 10, 99), Ok(agreed(10, 60)));
        assert_eq!(next(Some(agreed(10, 60)), 10, 20), Err(Some(Duration::from_secs(40))));
        assert_eq!(next(Some(agreed(10, 60)), 10, 60), Ok(agreed(10, 10)));
        // The next leader wants another one in between: nothing is forgotten.
        assert_eq!(next(Some(agreed(10, 60)), 20, 0), Ok(agreed(20, 60)));
    }

    #[test]
    fn less_than_the_least_counts_as_that() {
        assert_eq!(next(None, 1, 0), Ok(agreed(10, 10)));
    }
}
