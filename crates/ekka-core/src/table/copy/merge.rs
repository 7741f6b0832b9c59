//! How a full copy that is in gets into the rows: in steps, between which writers have the lock.
//!
//! A million rows take about a second, and a writer that waits for the lock is a write that stands still. So the rows are
//! gone through in the order of their keys, some at a time, with both vectors as they were at the beginning. *What is
//! visible between two steps* is a table in which some keys are as they will be and some as they were. That is no new
//! state for a reader: each key is its own, and operations come one by one too. *What counts* does not change before the
//! end: the vector is raised once, with the last step, so nothing is acknowledged, reported or given on before all of it
//! is in, and a process that ends in the middle leaves a disc on which the copy never was. What follows from this:
//!
//! - Rows that are in and not counted yet must not meet operations that the copy covers: an operation that was overwritten,
//!   by somebody who had seen it, with others in between would look as if it had lost. So operations of others are put off
//!   until the end ([`super::super::merge::Refused::TooEarly`]), and pulled then; links and logs hold them meanwhile.
//! - This node's own writes go on. One that replaces a row which is not counted yet stands in the log behind the gap of the
//!   copy, which is put there at the beginning: no peer is sent it as something that follows what it does not hold, and a
//!   keeper on disc does not write it before the checkpoint that covers the copy. Where the copy has not come to its key
//!   yet the two are concurrent, and the loser is in the journal, as it would be had it been written a moment earlier.
//! - A clone of such a table would not add up: no full copy is given ([`Message::NotNow`]) and no checkpoint begun.
//! - What is reported of an origin that ends meanwhile is what the copy covers: all of it is here.
//!
//! It is not given up once it has begun: what it needs is here.

use alloc::sync::Arc;
use alloc::vec::{self, Vec};
use core::ops::Bound;

use super::super::available::Table;
use super::super::event::Event;
use super::super::log::Record;
use super::super::map::Map;
use super::super::message::Message;
use super::super::stamp::StampError;
use super::super::vector::{Dot, Numbers, OpId};
use super::super::version::{Malformed, Version};
use super::take::Taking;
use crate::id::Incarnation;
use crate::schema::Storage;
use crate::time::{Now, Wall};

/// A copy that is being merged.
#[derive(Clone, Debug)]
pub(in super::super) struct Merging {
    /// What was held when it began.
    mine: Arc<Numbers>,
    /// What the copy accounts for.
    theirs: Arc<Numbers>,
    folded: Vec<OpId>,
    /// The rows up to this key are merged.
    after: Option<Vec<u8>>,
    rows_done: bool,
    journal: vec::IntoIter<Version>,
}

impl Merging {
    pub(in super::super) fn theirs(&self) -> &Numbers {
        &self.theirs
    }
}

impl Table {
    /// Whether a full copy is being merged: then [`Table::merge_some`] is to be called until it is not.
    #[must_use]
    pub fn is_merging(&self) -> bool {
        self.taking.as_ref().is_some_and(|taking| taking.merging.is_some())
    }

    /// Whether an operation is held, or accounted for by a copy that is being merged.
    pub(in super::super) fn is_accounted(&self, dot: Dot) -> bool {
        let merging = self.taking.as_ref().and_then(Taking::merging);
        self.held.covers(dot) || merging.is_some_and(|merging| merging.theirs.covers(dot))
    }

    /// Begins to merge the copy that has come, if it may be.
    pub(super) fn begin_merge(&mut self, now: Now) {
        let Some(mut taking) = self.taking.take() else { return };
        let Some(head) = &taking.head else { return };
        let theirs = self.numbers(&head.held);
        let above = |(origin, number): (_, _)| {
            number > self.held.get(origin) && !self.over.allows(&self.origins, Dot { origin, number })
        };
        let over = theirs.iter().any(above);
        // A row from a time that is far ahead would win over all that is written; so would such a floor.
        let newest = taking.newest.max(head.clock).max(head.gc_floor.hlc);
        match self.clock.accept(newest, now.wall) {
            // Reports, or the bound on disc, may still be on their way.
            Err(StampError::BoundReached) => return self.taking = Some(taking),
            Ok(()) if over || self.journal.is_stuck() => return self.taking = Some(taking),
            Err(error) => {
                self.events.push(Event::StampRefused { from: taking.giver, error });
                self.peers.put_off.copy_refused(taking.giver, now.mono);
                self.waste.taken.push(taking.rows);
                return;
            }
            Ok(()) => {}
        }
        self.peers.put_off.copy_taken(taking.giver);
        self.gc_floor = self.gc_floor.max(head.gc_floor);
        let folded = head.folded.clone();
        taking.merging = Some(self.prepare(&mut taking.journal, theirs, folded));
        self.taking = Some(taking);
    }

    /// The log gets its gap, and the vectors are kept as they are.
    fn prepare(&mut self, journal: &mut Vec<Version>, mut theirs: Numbers, folded: Vec<OpId>) -> Merging {
        for last in &folded {
            let place = self.origins.place(last.origin);
            theirs.raise(place, last.number);
        }
        let (mine, theirs) = (Arc::new(self.held.clone()), Arc::new(theirs));
        self.log.push(Record::Gap(theirs.clone()));
        if self.storage == Storage::Ram {
            self.synced = self.log.end();
        }
        let journal = core::mem::take(journal).into_iter();
        Merging { mine, theirs, folded, after: None, rows_done: false, journal }
    }

    /// Merges so many rows and entries of a copy that has come, about. With the last of them all of it counts.
    pub fn merge_some(&mut self, most: usize, now: Now) {
        if let Some(giver) = self.merge_step(most, now) {
            self.pull_from(giver);
            self.events.push(Event::CopyTaken { giver });
            self.want(now.mono);
        }
    }

    /// One step; who gave the copy, where it was the last one.
    pub(super) fn merge_step(&mut self, most: usize, now: Now) -> Option<Incarnation> {
        if !self.is_merging() || self.journal.is_stuck() && most < usize::MAX {
            return None;
        }
        // It is taken out while it is gone through: nothing in between asks for it.
        let mut taking = self.taking.take()?;
        let merging = taking.merging.as_mut()?;
        if !merging.rows_done {
            self.merge_rows(merging, &mut taking.rows, most, now.wall);
            self.taking = Some(taking);
            return None;
        }
        for version in merging.journal.by_ref().take(most) {
            self.journal.add(version);
        }
        if merging.journal.len() > 0 {
            self.taking = Some(taking);
            return None;
        }
        let Taking { giver, rows, merging, .. } = taking;
        self.waste.taken.push(rows);
        self.count_copy(&merging?);
        Some(giver)
    }

    /// All of a copy is in, and counts.
    fn count_copy(&mut self, merging: &Merging) {
        self.held.raise_all(&merging.theirs);
        self.adopt_folded(&merging.folded);
        if self.storage == Storage::Ram {
            self.stored.raise_all(&merging.theirs);
        }
    }

    /// Into an empty table the rows come as a whole, and watchers begin anew.
    fn adopt_rows(&mut self, rows: Map<Version>, wall: Wall) {
        self.graves.clear();
        self.bytes = 0;
        self.expiring.clear();
        for index in &mut self.indexes {
            index.clear();
        }
        self.rows = rows;
        let rows = self.rows.clone();
        for version in &rows {
            self.hang(version, wall);
        }
        self.changes.cut();
    }

    /// The next keys, of both sides.
    fn merge_rows(&mut self, merging: &mut Merging, copied: &mut Map<Version>, most: usize, wall: Wall) {
        if self.faults.copy_replaces {
            merging.rows_done = true;
            return self.adopt_rows(core::mem::take(copied), wall);
        }
        let pairs = next_pairs(&self.rows, copied, merging.after.as_deref(), most);
        merging.rows_done = pairs.len() < most;
        for (held, version) in &pairs {
            self.merge_pair(held.as_ref(), version.as_ref(), merging, wall);
        }
        if let Some((held, version)) = pairs.last() {
            merging.after = held.as_ref().or(version.as_ref()).map(|row| row.key().to_vec());
        }
    }

    fn merge_pair(&mut self, held: Option<&Version>, copied: Option<&Version>, merging: &Merging, wall: Wall) {
        let by_rows = self.faults.copy_by_rows;
        let followed = held.filter(|held| merging.theirs.covers(held.carrier()) && !by_rows);
        if let Some(held) = followed {
            self.follow_giver(held, copied, &merging.mine, wall);
        }
        let Some(version) = copied else { return };
        let decided = held.is_some_and(|held| merging.theirs.covers(held.carrier()) || held.id() == version.id());
        if by_rows || !(decided || merging.mine.covers(version.carrier())) {
            self.merge(version, wall);
        }
    }

    /// A row that the giver of a copy had: where it has another version now, or none, that is what became of this one.
    fn follow_giver(&mut self, held: &Version, copied: Option<&Version>, mine: &Numbers, wall: Wall) {
        match copied {
            Some(version) if version.id() == held.id() || mine.covers(version.carrier()) => {}
            Some(version) => {
                // If it lost there to one that had not seen it, it is in the journal that came with the copy.
                self.rows.insert(version.clone());
                self.changed(Some(held), Some(version), wall);
            }
            None => {
                self.rows.remove(held.key());
                self.changed(Some(held), None, wall);
            }
        }
    }

    /// An empty table becomes what [`Table::clone_to_give`] had given to disc: its messages one after the other.
    ///
    /// # Errors
    /// Where they are malformed, or not all there.
    pub fn restore(&mut self, messages: impl IntoIterator<Item = Message>, now: Now) -> Result<(), Malformed> {
        let mut taking = Taking::new(self.me, now.mono);
        for message in messages {
            message.names()?;
            let origins = &mut self.origins;
            match message {
                Message::CopyHead(head) => {
                    let theirs = self.accounted_by(&head);
                    taking.begins(head, theirs);
                }
                Message::CopyRows { rows, .. } => {
                    for version in rows.unpack(|origin| origins.place(origin))? {
                        taking.insert(version)?;
                    }
                }
                Message::CopyJournal { entries, .. } => {
                    taking.journal.extend(entries.unpack(|origin| origins.place(origin))?);
                }
                Message::CopyEnd { rows, entries, .. } => {
                    taking.complete = (rows, entries) == (taking.rows.len() as u64, taking.journal.len() as u64);
                }
                _ => return Err(Malformed("a checkpoint has a message that is no part of a copy")),
            }
        }
        let (true, Some(head)) = (taking.complete, taking.head.clone()) else {
            return Err(Malformed("a checkpoint is not complete"));
        };
        let held = self.numbers(&head.held);
        self.gc_floor = self.gc_floor.max(head.gc_floor);
        self.adopt_rows(core::mem::take(&mut taking.rows), now.wall);
        if !self.rows.iter().all(|row| self.is_buried_rightly(row)) {
            return Err(Malformed("a checkpoint has two rows of one operation"));
        }
        let merging = self.prepare(&mut taking.journal, held, head.folded);
        taking.merging = Some(Merging { rows_done: true, ..merging });
        self.taking = Some(taking);
        self.abandon_copy(now);
        // A second head may hold less than the first one, by which the rows were let in.
        if !self.rows.iter().all(|row| self.is_accounted(row.carrier())) {
            return Err(Malformed("a checkpoint has a row that it does not count"));
        }
        self.checkpointed(self.log.end());
        Ok(())
    }
}

/// The rows of the next keys after one, as they are here and in a copy.
fn next_pairs(
    here: &Map<Version>,
    copied: &Map<Version>,
    after: Option<&[u8]>,
    most: usize,
) -> Vec<(Option<Version>, Option<Version>)> {
    let start = after.map_or(Bound::Unbounded, Bound::Excluded);
    let (mut here, mut copied) = (here.from(start).peekable(), copied.from(start).peekable());
    let mut pairs = Vec::new();
    while pairs.len() < most {
        let order = match (here.peek(), copied.peek()) {
            (None, None) => break,
            (Some(_), None) => core::cmp::Ordering::Less,
            (None, Some(_)) => core::cmp::Ordering::Greater,
            (Some(held), Some(version)) => held.key().cmp(version.key()),
        };
        let held = if order.is_le() { here.next() } else { None };
        let version = if order.is_ge() { copied.next() } else { None };
        pairs.push((held.cloned(), version.cloned()));
    }
    pairs
}
