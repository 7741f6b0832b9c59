//! Full copies, for a peer that is behind the tail of the log, and for newcomers.
//!
//! The giver takes one clone: rows, tombstones, vector, journal, folded numbers, the floor of dropped tombstones. It goes
//! over in parts, in the order of the keys, and is gone on with where a connection ended. Nothing of it counts before all
//! of it is in; then it is merged *by vectors*, both ways: a version that the other side covers and no longer has was
//! replaced or dropped there, and only what neither side covers is compared by stamp (schedule M4).

use alloc::sync::Arc;
use alloc::vec::Vec;
use core::ops::Bound;

use super::available::Table;
use super::event::Event;
use super::journal::Loser;
use super::log::{Log, Record};
use super::map::{Entry, Map};
use super::message::{CopyHead, CopyPlace, Message};
use super::stamp::StampError;
use super::vector::{Dot, Numbers};
use super::version::{Batch, BatchBuilder, Malformed, Version};
use crate::id::Incarnation;
use crate::limits::{TABLE_COPY_BYTES, TABLE_COPY_KEPT, TABLE_PULL_TIMEOUT};
use crate::time::{Instant, Now, Wall};

#[derive(Clone, Debug)]
enum Stage {
    Head,
    Rows { after: Option<Vec<u8>>, sent: u64 },
    Journal { after: Option<Vec<u8>>, rows: u64, sent: u64 },
    Done,
}

/// A clone of a table on its way to a peer, or to disc.
#[derive(Clone, Debug)]
pub struct Giving {
    head: CopyHead,
    rows: Map<Version>,
    journal: Map<Loser>,
    origins: Arc<[Incarnation]>,
    stage: Stage,
    /// When something of it was last asked for.
    last: Instant,
    /// The position of the log that the clone was taken at.
    position: u64,
}

impl Giving {
    /// The next message of it; `None` when all were given.
    pub fn next_message(&mut self) -> Option<Message> {
        let copy = self.head.copy;
        match &mut self.stage {
            Stage::Head => {
                self.stage = Stage::Rows { after: None, sent: 0 };
                Some(Message::CopyHead(self.head.clone()))
            }
            Stage::Rows { after, sent } => {
                let batch = part(&self.rows, &self.origins, after, |row| row);
                if batch.is_empty() {
                    self.stage = Stage::Journal { after: None, rows: *sent, sent: 0 };
                    return self.next_message();
                }
                *sent += batch.len() as u64;
                Some(Message::CopyRows { copy, rows: batch })
            }
            Stage::Journal { after, rows, sent } => {
                let entries = part(&self.journal, &self.origins, after, |loser| &loser.version);
                if entries.is_empty() {
                    let (rows, entries) = (*rows, *sent);
                    self.stage = Stage::Done;
                    return Some(Message::CopyEnd { copy, rows, entries });
                }
                *sent += entries.len() as u64;
                Some(Message::CopyJournal { copy, entries })
            }
            Stage::Done => None,
        }
    }

    /// The position of the log at which the clone was taken: for [`Table::checkpointed`].
    #[must_use]
    pub fn position(&self) -> u64 {
        self.position
    }
}

/// The next part of a map, as a batch.
fn part<E: Entry>(
    map: &Map<E>,
    origins: &[Incarnation],
    after: &mut Option<Vec<u8>>,
    version: impl Fn(&E) -> &Version,
) -> Batch {
    let mut batch = BatchBuilder::new(origins);
    let start = after.as_deref().map_or(Bound::Unbounded, Bound::Excluded);
    let mut last = None;
    for entry in map.from(start) {
        if batch.size() >= TABLE_COPY_BYTES {
            break;
        }
        batch.push(version(entry));
        last = Some(entry.key());
    }
    if let Some(last) = last {
        *after = Some(last.to_vec());
    }
    batch.finish()
}

/// A full copy that is coming in.
#[derive(Clone, Debug)]
pub(super) struct Taking {
    giver: Incarnation,
    head: Option<CopyHead>,
    rows: Map<Version>,
    came: u64,
    bytes: usize,
    last_key: Option<Vec<u8>>,
    journal: Vec<Version>,
    /// All has come.
    complete: bool,
    /// When something last came.
    since: Instant,
}

impl Taking {
    pub(super) fn new(giver: Incarnation, now: Instant) -> Self {
        Self {
            giver,
            head: None,
            rows: Map::default(),
            came: 0,
            bytes: 0,
            last_key: None,
            journal: Vec::new(),
            complete: false,
            since: now,
        }
    }

    pub(super) fn giver(&self) -> Incarnation {
        self.giver
    }

    /// The question after a connection ended: for what has not come yet.
    pub(super) fn ask_again(&mut self, now: Instant) -> Message {
        self.journal.clear();
        (self.since, self.complete) = (now, false);
        let resume =
            self.head.as_ref().map(|head| CopyPlace { copy: head.copy, rows: self.came, after: self.last_key.clone() });
        Message::CopyAsk { resume }
    }

    fn is(&self, giver: Incarnation, copy: u64) -> bool {
        self.giver == giver && !self.complete && self.head.as_ref().is_some_and(|head| head.copy == copy)
    }
}

impl Table {
    /// A clone of this table, to be written to disc or given to a peer while this one goes on.
    pub fn clone_to_give(&mut self, now: Now) -> Giving {
        self.copies_given += 1;
        let head = CopyHead {
            copy: self.copies_given,
            giver: self.me,
            held: self.held(),
            folded: self.folded(),
            gc_floor: self.gc_floor,
            clock: self.clock(),
        };
        Giving {
            head,
            rows: self.rows.clone(),
            journal: if self.faults.copy_without_journal { Map::default() } else { self.journal.map().clone() },
            origins: self.origins.list().into(),
            stage: Stage::Head,
            last: now.mono,
            position: self.log.end(),
        }
    }

    /// Bytes of the rows of a full copy that is coming in, as far as they have come.
    #[must_use]
    pub fn arriving(&self) -> usize {
        self.taking.as_ref().map_or(0, |taking| taking.bytes)
    }

    /// The next message of a full copy for a peer; for the lane of bulk data.
    pub fn poll_copy(&mut self, id: Incarnation, now: Now) -> Option<Message> {
        if !self.peers.map.contains_key(&id) {
            return None;
        }
        let giving = self.giving.get_mut(&id)?;
        let message = giving.next_message();
        if message.is_some() {
            giving.last = now.mono;
        }
        message
    }

    pub(super) fn on_copy_ask(&mut self, id: Incarnation, resume: Option<&CopyPlace>, now: Now) {
        if self.taking.is_some() && self.judged.contains(&id) {
            // Who gave its estate keeps nothing else: what it gets must not be in the middle of a change.
            self.tell(id, Message::NotNow);
            return;
        }
        if let Some(place) = resume
            && let Some(giving) = self.giving.get_mut(&id)
            && giving.head.copy == place.copy
        {
            giving.stage = Stage::Rows { after: place.after.clone(), sent: place.rows };
            giving.last = now.mono;
            return;
        }
        let giving = self.clone_to_give(now);
        self.giving.insert(id, giving);
    }

    pub(super) fn on_copy_head(&mut self, id: Incarnation, head: CopyHead, now: Now) {
        if head.giver == id && self.taking.as_ref().is_some_and(|taking| taking.giver == id && !taking.complete) {
            let mut taking = Taking::new(id, now.mono);
            if self.faults.copy_counts_early {
                let held = self.numbers(&head.held);
                self.held.raise_all(&held);
                self.stored.raise_all(&held);
            }
            taking.head = Some(head);
            self.taking = Some(taking);
        }
    }

    pub(super) fn on_copy_rows(&mut self, id: Incarnation, copy: u64, rows: &Batch, now: Now) -> Result<(), Malformed> {
        let origins = &mut self.origins;
        let Some(taking) = self.taking.as_mut().filter(|taking| taking.is(id, copy)) else { return Ok(()) };
        let versions = rows.unpack(|origin| origins.place(origin))?;
        taking.since = now.mono;
        taking.came += versions.len() as u64;
        if let Some(last) = versions.last() {
            taking.last_key = Some(last.key().to_vec());
        }
        for version in versions {
            taking.bytes += version.size();
            taking.rows.insert(version);
        }
        Ok(())
    }

    pub(super) fn on_copy_journal(
        &mut self,
        id: Incarnation,
        copy: u64,
        entries: &Batch,
        now: Now,
    ) -> Result<(), Malformed> {
        let origins = &mut self.origins;
        let Some(taking) = self.taking.as_mut().filter(|taking| taking.is(id, copy)) else { return Ok(()) };
        taking.since = now.mono;
        taking.journal.extend(entries.unpack(|origin| origins.place(origin))?);
        Ok(())
    }

    pub(super) fn on_copy_end(&mut self, id: Incarnation, copy: u64, counts: (u64, u64), now: Now) {
        let Some(taking) = self.taking.as_mut().filter(|taking| taking.is(id, copy)) else { return };
        taking.since = now.mono;
        if counts == (taking.rows.len() as u64, taking.journal.len() as u64) {
            taking.complete = true;
            self.finish_copy(now);
        } else {
            // A part is missing: all of it is asked for again.
            self.taking = None;
            self.ask_copy(id, now);
        }
    }

    pub(super) fn on_not_now(&mut self, id: Incarnation, now: Now) {
        if self.taking.as_ref().is_some_and(|taking| taking.giver == id) {
            self.taking = None;
        }
        self.delay(id, now.mono);
    }

    /// Goes on with a copy that could not be merged yet, gives up one that does not come, forgets clones nobody asks for.
    pub(super) fn tick_copy(&mut self, now: Now) {
        self.giving.retain(|_, giving| now.mono.since(giving.last) < TABLE_COPY_KEPT);
        if self.taking.as_ref().is_some_and(|taking| taking.complete) {
            self.finish_copy(now);
        }
        let patience = TABLE_PULL_TIMEOUT * 2;
        if let Some(taking) = &self.taking
            && now.mono.since(taking.since) >= patience
        {
            let giver = taking.giver;
            self.taking = None;
            self.delay(giver, now.mono);
        }
    }

    /// Whether a full copy is coming in.
    #[must_use]
    pub fn is_taking_copy(&self) -> bool {
        self.taking.is_some()
    }

    /// Merges the copy that has come, if it may be.
    fn finish_copy(&mut self, now: Now) {
        let Some(taking) = self.taking.take() else { return };
        let Some(head) = &taking.head else { return };
        let theirs = self.numbers(&head.held);
        let above = |(origin, number): (_, _)| {
            number > self.held.get(origin) && !self.over.allows(&self.origins, Dot { origin, number })
        };
        let over = theirs.iter().any(above);
        match self.clock.accept(head.clock, now.wall) {
            // Reports, or the bound on disc, may still be on their way.
            Err(StampError::BoundReached) => return self.taking = Some(taking),
            Ok(()) if over || self.journal.is_stuck() => return self.taking = Some(taking),
            Err(error) => {
                self.events.push(Event::StampRefused { from: taking.giver, error });
                return;
            }
            Ok(()) => {}
        }
        let (giver, folded, gc_floor) = (taking.giver, head.folded.clone(), head.gc_floor);
        self.merge_copy(taking, theirs, &folded, now.wall);
        self.gc_floor = self.gc_floor.max(gc_floor);
        self.pull_from(giver);
        self.events.push(Event::CopyTaken { giver });
        self.want(now.mono);
    }

    fn merge_copy(&mut self, taking: Taking, theirs: Numbers, folded: &[super::OpId], wall: Wall) {
        let mut theirs = theirs;
        for last in folded {
            let place = self.origins.place(last.origin);
            theirs.raise(place, last.number);
        }
        let mine = self.held.clone();
        self.held.raise_all(&theirs);
        if self.rows.is_empty() || self.faults.copy_replaces {
            self.adopt_rows(taking.rows, wall);
        } else {
            self.merge_rows(&taking.rows, &mine, &theirs, wall);
        }
        for version in taking.journal {
            self.journal.add(version);
        }
        self.adopt_folded(folded);
        if self.storage == super::Storage::Ram {
            self.stored.raise_all(&theirs);
        }
        if self.log.end() == self.log.start() && mine.iter().next().is_none() {
            self.log = Log::default();
        }
        self.log.push(Record::Gap(Arc::new(theirs)));
        if self.storage == super::Storage::Ram {
            self.synced = self.log.end();
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

    fn merge_rows(&mut self, copied: &Map<Version>, mine: &Numbers, theirs: &Numbers, wall: Wall) {
        let before = self.rows.clone();
        if !self.faults.copy_by_rows {
            for held in &before {
                if theirs.covers(held.carrier()) {
                    self.follow_giver(held, copied.get(held.key()), mine, wall);
                }
            }
        }
        for version in copied {
            let held = before.get(version.key());
            let decided = held.is_some_and(|held| theirs.covers(held.carrier()) || held.id() == version.id());
            if self.faults.copy_by_rows || !(decided || mine.covers(version.carrier())) {
                self.merge(version, wall);
            }
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

    /// A table from what [`Table::clone_to_give`] had given to disc: its messages one after the other.
    ///
    /// # Errors
    /// Where they are malformed, or not all there.
    pub fn restore(&mut self, messages: impl IntoIterator<Item = Message>, now: Now) -> Result<(), Malformed> {
        let mut taking = Taking::new(self.me, now.mono);
        for message in messages {
            let origins = &mut self.origins;
            match message {
                Message::CopyHead(head) => taking.head = Some(head),
                Message::CopyRows { rows, .. } => {
                    for version in rows.unpack(|origin| origins.place(origin))? {
                        taking.rows.insert(version);
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
        self.merge_copy(taking, held, &head.folded, now.wall);
        self.gc_floor = self.gc_floor.max(head.gc_floor);
        self.checkpointed(self.log.end());
        Ok(())
    }
}
