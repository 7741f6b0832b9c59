//! The wait before the first grant of a generation: sessions of earlier ones may still be held.

use alloc::collections::BTreeSet;
use alloc::vec::Vec;

use super::{Message, Settings};
use crate::id::NodeId;
use crate::time::Instant;

/// Sessions of this process, and who has handed in theirs.
///
/// A session of an earlier generation was confirmed last before the present one was decided, so a full longest
/// time-to-live after this process learned of that, on its own clock, none is valid: holders count a tenth less. What a
/// member hands in is all that its clients can hold only if it kept it for so long itself; a process that began a moment
/// ago has lost what the one before it kept.
#[derive(Clone, Debug)]
pub(super) struct Sessions {
    settings: Settings,
    began: Instant,
    generation: u64,
    /// When no session of an earlier generation can be valid, whoever hands in what.
    expired_at: Instant,
    /// When the last member handed in.
    complete_at: Option<Instant>,
    missing: BTreeSet<NodeId>,
    own: Option<Vec<u8>>,
    opened: bool,
}

impl Sessions {
    pub(super) fn new(settings: Settings, now: Instant) -> Self {
        Self {
            settings,
            began: now,
            generation: 0,
            expired_at: now,
            complete_at: None,
            missing: BTreeSet::new(),
            own: None,
            opened: false,
        }
    }

    /// A generation was learned of.
    pub(super) fn begin(&mut self, generation: u64, members: &BTreeSet<NodeId>, now: Instant) {
        self.generation = generation;
        self.own = None;
        self.opened = false;
        self.complete_at = None;
        // Before the first there were none.
        let first = generation <= 1;
        self.missing = if first { BTreeSet::new() } else { members.clone() };
        self.expired_at = if first || self.settings.faults.no_wait { now } else { now + self.settings.session_max };
    }

    pub(super) fn may_grant_from(&self) -> Instant {
        self.complete_at.map_or(self.expired_at, |complete| complete.min(self.expired_at))
    }

    /// A leader of this generation has waited, and its log says so.
    pub(super) fn open(&mut self, generation: u64, now: Instant) {
        if generation == self.generation && !self.opened {
            self.opened = true;
            self.complete_at = Some(self.complete_at.map_or(now, |at| at.min(now)));
            self.missing.clear();
        }
    }

    /// No session of an earlier generation can be valid any more, and the log does not say so yet. That all members have
    /// handed in is not enough: what they handed in is in the memory of who got it, and a later leader may have got none.
    pub(super) fn wants_to_open(&self, now: Instant) -> bool {
        !self.opened && self.expired_at <= now
    }

    pub(super) fn missing(&self) -> BTreeSet<NodeId> {
        self.missing.clone()
    }

    /// What this process keeps itself.
    pub(super) fn keep(&mut self, generation: u64, sessions: Vec<u8>) {
        if generation == self.generation {
            self.own = Some(sessions);
        }
    }

    /// Whether what this process keeps is still said.
    pub(super) fn are_to_be_told(&self) -> bool {
        self.own.is_some()
    }

    /// What is said to the voters, as long as it can help.
    pub(super) fn message(&mut self, now: Instant) -> Option<Message> {
        if now >= self.expired_at {
            self.own = None;
        }
        let sessions = self.own.clone()?;
        // Counted to the moment at which the generation was learned of: what was kept then is what counts.
        let learned = self.expired_at - self.settings.session_max;
        let whole = learned.since(self.began) >= self.settings.session_max;
        Some(Message::Sessions { generation: self.generation, whole, sessions })
    }

    /// A member handed in; whether that is news for the lock room.
    pub(super) fn take(&mut self, generation: u64, from: NodeId, whole: bool, now: Instant) -> bool {
        if generation != self.generation || !self.missing.contains(&from) {
            return false;
        }
        if whole {
            self.missing.remove(&from);
            if self.missing.is_empty() {
                self.complete_at = Some(now);
            }
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use core::time::Duration;

    use super::*;
    use crate::volatile::Faults;

    const NODES: [NodeId; 2] = [NodeId::from_u128(1), NodeId::from_u128(2)];

    fn at(seconds: u64) -> Instant {
        Instant::ZERO + Duration::from_secs(seconds)
    }

    /// A process of that age learns of generation 2 at 100 s.
    fn sessions(age: u64) -> Sessions {
        let settings = Settings { session_max: Duration::from_secs(60), faults: Faults::default() };
        let mut sessions = Sessions::new(settings, at(100 - age));
        sessions.begin(2, &NODES.into(), at(100));
        sessions
    }

    #[test]
    fn the_wait_ends_early_only_when_every_member_has_handed_in_all_that_it_kept() {
        let mut sessions = sessions(90);
        assert_eq!(sessions.may_grant_from(), at(160));
        assert!(sessions.take(2, NODES[0], true, at(101)));
        assert!(sessions.take(2, NODES[1], false, at(102)), "it is news, and not everything");
        assert_eq!(sessions.may_grant_from(), at(160));
        assert!(!sessions.take(1, NODES[1], true, at(103)), "of another generation");
        assert!(sessions.take(2, NODES[1], true, at(104)));
        assert_eq!((sessions.may_grant_from(), sessions.missing().len()), (at(104), 0));
        assert!(!sessions.wants_to_open(at(159)), "a later leader may know nothing of what was handed in here");
        assert!(sessions.wants_to_open(at(160)));
        sessions.open(2, at(161));
        assert!(!sessions.wants_to_open(at(161)));
    }

    #[test]
    fn a_process_that_began_a_moment_ago_does_not_vouch_for_the_one_before() {
        for (age, vouches) in [(59, false), (60, true)] {
            let mut sessions = sessions(age);
            sessions.keep(2, Vec::new());
            let message = sessions.message(at(110));
            assert!(
                matches!(message, Some(Message::Sessions { whole, .. }) if whole == vouches),
                "{age} s: {message:?}"
            );
            assert_eq!(sessions.message(at(160)), None, "it helps nobody any more");
        }
    }

    #[test]
    fn before_the_first_generation_there_was_no_session() {
        let mut sessions = sessions(0);
        sessions.begin(1, &NODES.into(), at(200));
        assert_eq!((sessions.may_grant_from(), sessions.missing().len()), (at(200), 0));
    }
}
