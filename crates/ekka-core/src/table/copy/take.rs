//! The side that takes: parts are put together until all are there.

use alloc::vec::Vec;

use super::super::available::Table;
use super::super::batch::Batch;
use super::super::map::Map;
use super::super::message::{CopyHead, CopyPlace, Message};
use super::super::stamp::Hlc;
use super::super::vector::Numbers;
use super::super::version::{Malformed, Version};
use super::merge::Merging;
use crate::id::Incarnation;
use crate::limits::{TABLE_COPY_KEPT, TABLE_MERGE_STEP, TABLE_PULL_TIMEOUT};
use crate::time::{Instant, Now};

/// A full copy that is coming in.
#[derive(Clone, Debug)]
pub(in super::super) struct Taking {
    pub(super) giver: Incarnation,
    pub(super) head: Option<CopyHead>,
    /// The number of the try whose parts are taken; `None` until the question is answered.
    turn: Option<u64>,
    /// Tries of copies up to this number are of no use.
    least: u64,
    /// What the head accounts for.
    theirs: Numbers,
    /// The highest stamp of a row.
    pub(super) newest: Hlc,
    /// Of the rows that have come.
    bytes: usize,
    pub(super) rows: Map<Version>,
    pub(super) journal: Vec<Version>,
    /// All has come.
    pub(super) complete: bool,
    /// It is being merged, and is not given up any more.
    pub(super) merging: Option<Merging>,
    /// When something last came.
    since: Instant,
}

impl Taking {
    pub(in super::super) fn new(giver: Incarnation, now: Instant) -> Self {
        Self {
            giver,
            head: None,
            turn: None,
            least: 0,
            theirs: Numbers::default(),
            newest: Hlc::ZERO,
            bytes: 0,
            rows: Map::default(),
            journal: Vec::new(),
            complete: false,
            merging: None,
            since: now,
        }
    }

    /// Only a try that was begun after this number is taken.
    pub(in super::super) fn later_than(self, least: u64) -> Self {
        Self { least, ..self }
    }

    pub(in super::super) fn giver(&self) -> Incarnation {
        self.giver
    }

    pub(in super::super) fn merging(&self) -> Option<&Merging> {
        self.merging.as_ref()
    }

    /// The question after a connection ended, for what has not come yet; none where nothing is missing.
    pub(in super::super) fn ask_again(&mut self, now: Instant) -> Option<Message> {
        if self.complete {
            return None;
        }
        self.journal.clear();
        (self.since, self.turn) = (now, None);
        let resume = self.head.as_ref().map(|head| CopyPlace {
            copy: head.copy,
            rows: self.rows.len() as u64,
            after: self.rows.last().map(|row| row.key().to_vec()),
        });
        Some(Message::CopyAsk { resume })
    }

    /// Takes a row in.
    pub(super) fn insert(&mut self, version: Version) -> Result<(), Malformed> {
        if !self.theirs.covers(version.carrier()) {
            return Err(Malformed("a full copy has a row that it does not account for"));
        }
        self.newest = self.newest.max(version.hlc());
        self.bytes += version.size();
        self.rows.insert(version);
        Ok(())
    }

    /// The copy begins with this.
    pub(super) fn begins(&mut self, head: CopyHead, theirs: Numbers) {
        (self.head, self.theirs) = (Some(head), theirs);
    }

    /// Whether a part belongs to the try that is under way.
    fn is(&self, giver: Incarnation, copy: u64) -> bool {
        self.giver == giver && !self.complete && self.turn == Some(copy)
    }

    /// Whether a try is a later one than all that was heard of.
    fn is_news(&self, giver: Incarnation, copy: u64) -> bool {
        let heard = self.head.as_ref().map(|head| head.copy).max(self.turn).max(Some(self.least));
        self.giver == giver && !self.complete && Some(copy) > heard
    }
}

impl Table {
    pub(in super::super) fn on_copy_head(&mut self, id: Incarnation, head: CopyHead, now: Now) {
        if head.giver != id || !self.taking.as_ref().is_some_and(|taking| taking.is_news(id, head.copy)) {
            return;
        }
        let mut taking = Taking::new(id, now.mono);
        if self.faults.copy_counts_early {
            let held = self.numbers(&head.held);
            self.held.raise_all(&held);
            self.stored.raise_all(&held);
        }
        taking.turn = Some(head.copy);
        let theirs = self.accounted_by(&head);
        taking.begins(head, theirs);
        let before = self.taking.replace(taking);
        self.waste.taken.extend(before.map(|before| before.rows));
    }

    /// The giver goes on with a copy from the place that it was asked for.
    pub(in super::super) fn on_copy_again(&mut self, id: Incarnation, of: u64, copy: u64, now: Now) {
        let is_of = |taking: &&mut Taking| taking.head.as_ref().is_some_and(|head| head.copy == of);
        let Some(taking) = self.taking.as_mut().filter(is_of).filter(|taking| taking.is_news(id, copy)) else { return };
        // The journal comes from its beginning.
        taking.journal.clear();
        (taking.turn, taking.since) = (Some(copy), now.mono);
    }

    pub(in super::super) fn on_copy_rows(
        &mut self,
        id: Incarnation,
        copy: u64,
        rows: &Batch,
        now: Now,
    ) -> Result<(), Malformed> {
        let origins = &mut self.origins;
        let Some(taking) = self.taking.as_mut().filter(|taking| taking.is(id, copy)) else { return Ok(()) };
        taking.since = now.mono;
        let versions = rows.unpack(|origin| origins.place(origin));
        let taken = versions.and_then(|versions| versions.into_iter().try_for_each(|version| taking.insert(version)));
        if taken.is_err() {
            self.give_up_copy();
        }
        taken
    }

    pub(in super::super) fn on_copy_journal(
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

    /// What a copy with this head says that it holds.
    pub(super) fn accounted_by(&mut self, head: &CopyHead) -> Numbers {
        let mut theirs = self.numbers(&head.held);
        for last in &head.folded {
            theirs.raise(self.origins.place(last.origin), last.number);
        }
        theirs
    }

    pub(in super::super) fn on_copy_end(&mut self, id: Incarnation, copy: u64, counts: (u64, u64), now: Now) {
        let Some(taking) = self.taking.as_mut().filter(|taking| taking.is(id, copy)) else { return };
        taking.since = now.mono;
        if counts == (taking.rows.len() as u64, taking.journal.len() as u64) {
            taking.complete = true;
            self.begin_merge(now);
        } else {
            // A part is missing: all of it is asked for again.
            self.give_up_copy();
            self.ask_copy(id, now);
        }
    }

    pub(in super::super) fn on_not_now(&mut self, id: Incarnation, now: Now) {
        if self.taking.as_ref().is_some_and(|taking| taking.giver == id && !taking.complete) {
            self.give_up_copy();
        }
        self.delay(id, now.mono);
    }

    /// A copy whose giver is over is void, unless all of it is in and it is being merged.
    pub(in super::super) fn giver_may_be_gone(&mut self) {
        if self.taking.as_ref().is_some_and(|taking| self.over.is_gone(taking.giver) && taking.merging.is_none()) {
            self.give_up_copy();
        }
    }

    fn give_up_copy(&mut self) {
        let taking = self.taking.take();
        self.waste.taken.extend(taking.map(|taking| taking.rows));
    }

    /// A full copy that is coming in is no longer wanted. What is in the rows of it already is made to count, and nobody
    /// is told of it.
    pub(in super::super) fn abandon_copy(&mut self, now: Now) {
        while self.is_merging() {
            self.merge_step(usize::MAX, now);
        }
        self.give_up_copy();
    }

    /// Goes on with a copy that could not be merged yet, gives up one that does not come, forgets clones nobody asks for.
    pub(in super::super) fn tick_copy(&mut self, now: Now) {
        let is_old = |giving: &super::Giving| now.mono.since(giving.last) >= TABLE_COPY_KEPT;
        let old: Vec<_> = self.giving.iter().filter(|(_, giving)| is_old(giving)).map(|(id, _)| *id).collect();
        self.waste.given.extend(old.iter().filter_map(|id| self.giving.remove(id)));
        if self.taking.as_ref().is_some_and(|taking| taking.complete && taking.merging.is_none()) {
            self.begin_merge(now);
        }
        self.merge_some(TABLE_MERGE_STEP, now);
        let patience = TABLE_PULL_TIMEOUT * 2;
        if let Some(taking) = self.taking.as_ref().filter(|taking| taking.merging.is_none())
            && now.mono.since(taking.since) >= patience
        {
            let giver = taking.giver;
            self.give_up_copy();
            self.delay(giver, now.mono);
        }
    }

    /// Bytes of the rows of a full copy that is coming in, as far as they have come and are not in the table yet.
    #[must_use]
    pub fn arriving(&self) -> usize {
        self.taking.as_ref().filter(|taking| taking.merging.is_none()).map_or(0, |taking| taking.bytes)
    }

    /// Whether a full copy is coming in.
    #[must_use]
    pub fn is_taking_copy(&self) -> bool {
        self.taking.is_some()
    }
}
