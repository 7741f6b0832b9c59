//! Fencing tokens: numbers from ranges that nobody else has, each issued once and in order (S2-8).

use alloc::collections::VecDeque;
use alloc::vec::Vec;

use serde::{Deserialize, Serialize};

use super::Event;
use crate::limits::LOCK_TOKENS_LOW;

/// Those that may be issued, and those that were.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub(super) struct Tokens {
    /// Each range is above the one before.
    ranges: VecDeque<(u64, u64)>,
    /// Every token that was issued is below.
    issued: u64,
}

impl Tokens {
    /// How many may be issued still.
    pub(super) fn left(&self) -> u64 {
        self.ranges.iter().map(|(from, to)| to - from).sum()
    }

    /// Whether a token was issued.
    pub(super) fn is_issued(&self, token: u64) -> bool {
        token < self.issued
    }

    /// Takes a range; whether there are more now. It may come twice, or late: what was issued, or may be, is not issued again.
    pub(super) fn add(&mut self, from: u64, to: u64) -> bool {
        // 0 is what a resource begins with that has seen none.
        let from = from.max(self.ranges.back().map_or(self.issued, |(_, end)| *end)).max(1);
        if from < to {
            self.ranges.push_back((from, to));
        }
        from < to
    }

    /// What was not issued is not issued any more.
    pub(super) fn drop_rest(&mut self) {
        self.ranges.clear();
    }

    /// The next one, where there is one.
    pub(super) fn issue(&mut self, events: &mut Vec<Event>) -> Option<u64> {
        let left = self.left();
        if left == LOCK_TOKENS_LOW || left == 0 {
            events.push(Event::TokensWanted { left });
        }
        let (from, to) = self.ranges.front_mut()?;
        let token = *from;
        *from += 1;
        if *from == *to {
            self.ranges.pop_front();
        }
        self.issued = token + 1;
        Some(token)
    }

    pub(super) fn check(&self) {
        assert!(
            self.ranges.iter().all(|(from, to)| self.issued <= *from && from < to),
            "tokens are above those issued"
        );
    }
}
