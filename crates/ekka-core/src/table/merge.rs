//! How a foreign operation gets into the rows: when it may be counted, which version stays, what goes to the journal.

use super::available::Table;
use super::log::Record;
use super::stamp::{Stamp, StampError};
use super::vector::{Dot, Numbers, Origins};
use super::version::Version;
use crate::time::Wall;

/// Why an operation was not applied.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Refused {
    /// An earlier one of its origin, or the version that it replaced, is not held.
    TooEarly,
    /// Its origin is over, and nobody who counts has reported so much of it.
    Over,
    /// Its stamp cannot be accepted now.
    Stamp(StampError),
    /// What would lose could be kept nowhere.
    Stuck,
}

pub(super) fn stamp(origins: &Origins, version: &Version) -> Stamp {
    Stamp { hlc: version.hlc(), origin: Some(origins.get(version.id().origin)) }
}

impl Table {
    /// Applies an operation of another node; whether it is new here.
    pub(super) fn apply(&mut self, version: Version, wall: Wall) -> Result<bool, Refused> {
        let carrier = version.carrier();
        let held = self.held.get(carrier.origin);
        if carrier.number <= held {
            return Ok(false);
        }
        // Rows of a full copy are in that are not counted yet: this is asked for again when they are.
        if self.is_merging() {
            return Err(Refused::TooEarly);
        }
        if carrier.number != held + 1 && !self.faults.gap_counts {
            return Err(Refused::TooEarly);
        }
        if !self.over.allows(&self.origins, carrier) {
            return Err(Refused::Over);
        }
        if !self.holds_replaced(&version) {
            return Err(Refused::TooEarly);
        }
        if self.journal.is_stuck() {
            return Err(Refused::Stuck);
        }
        // One that counts for the journal only orders nothing: whatever stamp it has, those that follow are not held up.
        if !version.is_aside() {
            self.clock.accept(version.hlc(), wall).map_err(Refused::Stamp)?;
        }
        if self.faults.counts_unmerged {
            self.append(version);
            return Ok(true);
        }
        self.take(version, wall);
        Ok(true)
    }

    /// Whether the version that it replaced is held. One that is passed on for a node that came back is exempt: what it
    /// replaced may be nowhere any more, and its fate was decided by who passes it on.
    fn holds_replaced(&self, version: &Version) -> bool {
        if version.carrier() != version.id() || self.faults.replaced_unseen {
            return true;
        }
        version.waits_for().is_none_or(|dot| self.held.covers(dot))
    }

    /// Merges and appends an operation that may be counted.
    pub(super) fn take(&mut self, version: Version, wall: Wall) {
        if version.is_aside() {
            self.journal.add(version.clone());
        } else {
            self.merge(&version, wall);
        }
        let origin = version.carrier().origin;
        self.append(version);
        self.count_folded(origin);
    }

    /// Merges a version into the rows: the later one stays, and of two concurrent ones the other goes to the journal.
    pub(super) fn merge(&mut self, version: &Version, wall: Wall) {
        let (origins, mut loses) = (&self.origins, None);
        let mut wins = false;
        let old = self.rows.update(version.key(), |held| {
            let Some(held) = held else {
                wins = true;
                return Some(version.clone());
            };
            if held.id() == version.id() {
                return None;
            }
            if stamp(origins, version) > stamp(origins, held) {
                wins = true;
                return Some(version.clone());
            }
            loses = Some(held.clone());
            None
        });
        if let Some(winner) = loses {
            self.lose(&winner, version);
        }
        if wins {
            if let Some(old) = &old {
                self.lose(version, old);
            }
            self.changed(old.as_ref(), Some(version), wall);
        }
    }

    /// A version lost to another: it goes to the journal, unless who wrote the other had seen it.
    pub(super) fn lose(&mut self, winner: &Version, loser: &Version) {
        let seen = winner.replaced().is_some_and(|replaced| replaced.id == loser.id());
        if !seen && !self.faults.no_journal {
            self.journal.add(loser.clone());
        }
    }

    /// Everything in front of a position of the log is synced.
    pub fn synced(&mut self, position: u64) {
        while self.synced < position {
            match self.log.get(self.synced) {
                Some(Record::Op(version)) => {
                    let Dot { origin, number } = version.carrier();
                    self.stored.raise(origin, number);
                }
                // What a full copy brought is stored when a checkpoint is.
                Some(Record::Gap(_)) | None => break,
            }
            self.synced += 1;
        }
        self.log.trim(self.synced);
    }

    /// A checkpoint of this table, with everything in front of a position of the log, is synced.
    pub fn checkpointed(&mut self, position: u64) {
        let start = self.log.start();
        if self.synced < start && start <= position {
            self.stored.raise_all(self.log.before());
            self.synced = start;
        }
        while self.synced < position.min(self.log.end()) {
            match self.log.get(self.synced) {
                Some(Record::Op(version)) => {
                    let Dot { origin, number } = version.carrier();
                    self.stored.raise(origin, number);
                }
                Some(Record::Gap(held)) => self.stored.raise_all(&Numbers::clone(held)),
                None => {}
            }
            self.synced += 1;
        }
        self.log.trim(self.synced);
    }

    /// Whether something counts as stored only after a checkpoint, and one can be made: a full copy was merged, or the log
    /// has dropped what was not synced yet.
    #[must_use]
    pub fn wants_checkpoint(&self) -> bool {
        let dropped = self.synced < self.log.start();
        (dropped || matches!(self.log.get(self.synced), Some(Record::Gap(_)))) && !self.is_merging()
    }
}
