//! How many datagrams a socket is read for: a flood is left in the system's buffer, which drops it at no cost of ours.

use std::time::Duration;

use ekka_core::time::Instant;

/// Datagrams a second: two hundred nodes that all ask at once are far below it, and their codes cost a few milliseconds.
const PER_SECOND: u32 = 2000;
/// Datagrams at once.
const BURST: u32 = 500;

/// A bucket that fills with time.
#[derive(Clone, Debug)]
pub(super) struct Pace {
    left: u32,
    at: Instant,
}

impl Pace {
    /// A full one.
    pub(super) fn new(now: Instant) -> Self {
        Self { left: BURST, at: now }
    }

    /// Takes one, or says how long to wait before the next try.
    pub(super) fn take(&mut self, now: Instant) -> Result<(), Duration> {
        let each = Duration::from_secs(1) / PER_SECOND;
        let filled = now.since(self.at).as_nanos() / each.as_nanos();
        if filled >= u128::from(BURST - self.left) {
            (self.left, self.at) = (BURST, now);
        } else {
            let filled = u32::try_from(filled).unwrap_or(BURST); // below the burst
            self.left += filled;
            self.at = self.at + each * filled;
        }
        match self.left.checked_sub(1) {
            Some(left) => {
                self.left = left;
                Ok(())
            }
            // Long enough that waking up costs little beside what is read then.
            None => Err(each * (BURST / 10)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_is_taken_at_the_pace_and_silence_fills_the_bucket() {
        let mut now = Instant::ZERO;
        let mut pace = Pace::new(now);
        let mut taken = 0;
        let end = now + Duration::from_secs(10);
        while now < end {
            match pace.take(now) {
                Ok(()) => taken += 1,
                Err(wait) => now = now + wait,
            }
        }
        assert!((PER_SECOND * 10 - BURST..=PER_SECOND * 10 + BURST).contains(&taken), "{taken}");
        now = now + Duration::from_secs(100);
        assert_eq!((0..10_000).take_while(|_| pace.take(now).is_ok()).count(), BURST as usize);
    }
}
