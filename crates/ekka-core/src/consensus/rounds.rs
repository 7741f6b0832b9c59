//! Questions to a leader that are answered once a majority has confirmed its term *after* they came.

use alloc::collections::BTreeMap;
use core::mem;

use crate::limits::CONFIRM_TIMEOUT;
use crate::time::Instant;

/// What waits for a round of confirmation, by what it is about: of two questions about one thing the later counts.
#[derive(Clone, Debug)]
pub(crate) struct Rounds<K, A> {
    /// For the next round.
    waiting: BTreeMap<K, A>,
    /// The round that is under way: until when, and whom it answers.
    under_way: Option<(Instant, BTreeMap<K, A>)>,
    last: u64,
}

impl<K, A> Default for Rounds<K, A> {
    fn default() -> Self {
        Self { waiting: BTreeMap::new(), under_way: None, last: 0 }
    }
}

impl<K: Ord, A> Rounds<K, A> {
    /// None any more. They go on being counted, so that a late answer to an old one is none to a new one.
    pub(crate) fn anew(&self) -> Self {
        Self { last: self.last, ..Self::default() }
    }

    /// A question came. A round that is under way began before it, so it proves nothing for it.
    pub(crate) fn wait(&mut self, about: K, asked: A) {
        self.waiting.insert(about, asked);
    }

    /// Begins a round with all that waits; its number, where one is wanted.
    pub(crate) fn begin(&mut self, now: Instant) -> Option<u64> {
        if self.under_way.is_some() || self.waiting.is_empty() {
            return None;
        }
        self.last += 1;
        self.under_way = Some((now + CONFIRM_TIMEOUT, mem::take(&mut self.waiting)));
        Some(self.last)
    }

    /// A round has ended: whom it answers, if it is the one that is under way.
    pub(crate) fn ended(&mut self, round: u64) -> Option<BTreeMap<K, A>> {
        self.under_way.take_if(|_| round == self.last).map(|(_, asked)| asked)
    }

    /// Gives up the round that is under way where its time is over; whether that was so. Those who asked ask again.
    pub(crate) fn expire(&mut self, now: Instant) -> bool {
        self.under_way.take_if(|(until, _)| *until <= now).is_some()
    }

    /// Gives up the round that is under way, and keeps what waits for the next.
    pub(crate) fn give_up(&mut self) {
        self.under_way = None;
    }

    /// Drops all that was asked.
    pub(crate) fn clear(&mut self) {
        self.waiting.clear();
        self.under_way = None;
    }

    /// When the round that is under way is given up.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.under_way.as_ref().map(|(until, _)| *until)
    }

    /// Whether nothing waits, and no round is under way.
    pub(crate) fn is_idle(&self) -> bool {
        self.waiting.is_empty() && self.under_way.is_none()
    }
}
