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

    /// The wait is over, and the log does not say so yet.
    pub(super) fn wants_to_open(&self, now: Instant) -> bool {
        !self.opened && self.may_grant_from() <= now
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

    /// What is said to the voters, as long as it can help.
    pub(super) fn message(&self, now: Instant) -> Option<Message> {
        let sessions = self.own.clone().filter(|_| now < self.expired_at)?;
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
