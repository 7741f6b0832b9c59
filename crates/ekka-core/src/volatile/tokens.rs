//! Fencing tokens as an authority issues them: from ranges that the durable group gave to it alone.
//!
//! **Owns** the range in use and the next one. The authority takes a range by
//! [`Wish::Tokens`](crate::durable::Wish::Tokens), half a step before it needs it, and looks at
//! [`Record::token_floor`](crate::durable::Record::token_floor) before each token: below the floor some belong to a
//! cluster that was absorbed. A new authority (generation, leader, start) begins without a range, so its first one lies
//! at the ceiling as committed then, above everything that was issued before.
//!
//! **Invariant**: tokens only grow, and none is issued that is outside a range of this authority or below the floor.
//!
//! **Sources**: section 13 of the design; schedules S2-8, M10.

use core::ops::Range;

use crate::limits::TOKEN_STEP;

/// See the module's head.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Tokens {
    now: Range<u64>,
    next: Option<Range<u64>>,
    asked: bool,
}

impl Tokens {
    /// The next token at or above the floor; `None` where a range has to come first.
    #[must_use]
    pub fn issue(&mut self, floor: u64) -> Option<u64> {
        loop {
            self.now.start = self.now.start.max(floor);
            if let Some(token) = self.now.next() {
                return Some(token);
            }
            self.now = self.next.take()?;
        }
    }

    /// Whether a range is to be asked for now; it counts as asked for from then on.
    #[must_use]
    pub fn ask(&mut self, floor: u64) -> bool {
        let left = self.now.end.saturating_sub(self.now.start.max(floor));
        let wants = !self.asked && self.next.is_none() && left < TOKEN_STEP / 2;
        self.asked |= wants;
        wants
    }

    /// The durable group gave this range, to this authority and nobody else.
    pub fn take(&mut self, range: Range<u64>) {
        self.asked = false;
        if range.start >= self.now.end {
            self.next = Some(range);
        }
    }

    /// No range came: it is asked for again. One whose answer was lost is nobody's.
    pub fn failed(&mut self) {
        self.asked = false;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_come_from_own_ranges_and_only_grow() {
        let mut tokens = Tokens::default();
        assert_eq!(tokens.issue(0), None);
        assert!(tokens.ask(0) && !tokens.ask(0), "asked for once");
        tokens.take(10..12);
        assert_eq!((tokens.issue(0), tokens.issue(0), tokens.issue(0)), (Some(10), Some(11), None));
        assert!(tokens.ask(0));
        tokens.failed();
        assert!(tokens.ask(0), "its answer was lost");
        tokens.take(5..9);
        assert_eq!(tokens.issue(0), None, "a range of the past is not taken");
    }

    #[test]
    fn the_next_range_is_asked_for_ahead_of_need() {
        let mut tokens = Tokens::default();
        tokens.take(0..TOKEN_STEP);
        assert_eq!(tokens.issue(0), Some(0));
        assert!(!tokens.ask(0));
        assert_eq!(tokens.issue(TOKEN_STEP / 2 + 1), Some(TOKEN_STEP / 2 + 1));
        assert!(tokens.ask(0));
        tokens.take(2 * TOKEN_STEP..3 * TOKEN_STEP);
        assert!(!tokens.ask(0), "one ahead is enough");
        assert_eq!(tokens.issue(0), Some(TOKEN_STEP / 2 + 2), "the range in use first");
    }

    #[test]
    fn an_absorbed_cluster_raises_the_floor_within_a_range() {
        let mut tokens = Tokens::default();
        tokens.take(0..100);
        assert_eq!(tokens.issue(0), Some(0));
        assert_eq!(tokens.issue(50), Some(50));
        assert_eq!(tokens.issue(100), None, "all of it is below the floor");
        tokens.take(200..300);
        assert_eq!(tokens.issue(100), Some(200));
    }
}
