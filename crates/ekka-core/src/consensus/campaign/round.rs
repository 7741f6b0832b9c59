//! One question to the other voters, and what they have answered.

use alloc::collections::BTreeMap;
use core::time::Duration;

use super::{Answer, LogPlace, VoterId};
use crate::limits::{GROUP_QUESTION_TIMEOUT, GROUP_VOTE_LEASE};
use crate::time::Instant;

#[derive(Debug)]
pub(super) struct Round {
    pub(super) number: u64,
    /// The leader of this term has asked for it.
    pub(super) permitted: Option<u64>,
    asked_at: Instant,
    /// Not before this may the engine campaign: earlier the leases of those who agreed would refuse it.
    pub(super) ready_at: Instant,
    pub(super) looked_at: Instant,
    answers: BTreeMap<VoterId, (bool, LogPlace)>,
}

impl Round {
    pub(super) fn new(number: u64, permitted: Option<u64>, now: Instant, own_lease: Option<Instant>) -> Self {
        let ready_at = own_lease.map_or(now, |end| end.max(now));
        Self { number, permitted, asked_at: now, ready_at, looked_at: now, answers: BTreeMap::new() }
    }

    pub(super) fn take(&mut self, from: VoterId, answer: &Answer, now: Instant) {
        if answer.agrees {
            let wait = Duration::from_millis(u64::from(answer.wait_ms)).min(GROUP_VOTE_LEASE);
            self.ready_at = self.ready_at.max(now + wait);
        }
        self.answers.insert(from, (answer.agrees, answer.last));
    }

    pub(super) fn agrees(&self, voter: VoterId) -> bool {
        self.answers.get(&voter).is_some_and(|(agrees, _)| *agrees)
    }

    pub(super) fn has(&self, voter: VoterId) -> bool {
        self.answers.contains_key(&voter)
    }

    pub(super) fn answers(&self) -> impl Iterator<Item = (VoterId, LogPlace)> {
        self.answers.iter().map(|(voter, (_, last))| (*voter, *last))
    }

    /// Then it is given up.
    pub(super) fn end(&self) -> Instant {
        self.asked_at + GROUP_QUESTION_TIMEOUT + GROUP_VOTE_LEASE
    }

    /// When it has to be looked at again, if nothing comes before.
    pub(super) fn deadline(&self) -> Instant {
        if self.ready_at > self.looked_at { self.ready_at.min(self.end()) } else { self.end() }
    }
}
