//! The return of a member that was cleaned: what only it may have is given to one node, which decides for all.
//!
//! It takes a new guid, is admitted, and gives every operation, of any origin, above the vector of *one* node. What wins
//! there is passed on as an operation of that node, with its first identity and stamp; what loses, or has no row and is
//! not above all that was ever dropped, as an entry for the journals. Then the member takes a full copy from that same
//! incarnation, merged with what came meanwhile. Until it is in, what it held before is kept: should the judge end, the
//! estate is given to another (schedules S1-10, M2, M3).

use alloc::collections::{BTreeSet, VecDeque};

use super::available::Table;
use super::batch::{Batch, BatchBuilder};
use super::event::Event;
use super::log::Record;
use super::merge::stamp;
use super::message::Message;
use super::stamp::StampError;
use super::vector::{Dot, Vector};
use super::version::{Malformed, Version};
use crate::id::Incarnation;
use crate::limits::TABLE_COPY_BYTES;
use crate::time::Now;

/// What a member held when it was cleaned.
#[derive(Clone, Debug)]
pub struct Estate {
    old: Table,
    judge: Option<Incarnation>,
    /// What is left to give, and whether it is of the journal.
    left: VecDeque<(Version, bool)>,
    /// Messages given; `None` until the judge has said what it wants.
    given: Option<u64>,
    ended: bool,
    /// The judge has decided on all of it; what is left to do is the copy.
    judged: bool,
}

impl Estate {
    /// The estate is the table as it was.
    #[must_use]
    pub fn new(old: Table) -> Self {
        Self { old, judge: None, left: VecDeque::new(), given: None, ended: false, judged: false }
    }

    /// Offers it to a node; also when an earlier judge has ended.
    pub fn offer(&mut self, judge: Incarnation) -> Message {
        self.judge = Some(judge);
        self.left.clear();
        (self.given, self.ended, self.judged) = (None, false, false);
        Message::EstateOffer
    }

    /// Who judges it.
    #[must_use]
    pub fn judge(&self) -> Option<Incarnation> {
        self.judge
    }

    /// The table as it was.
    #[must_use]
    pub fn old(&self) -> &Table {
        &self.old
    }

    /// An answer of the judge; once all is judged, the new table of this node asks it for a full copy.
    pub fn receive(&mut self, from: Incarnation, message: &Message, table: &mut Table, now: Now) {
        if self.judge != Some(from) {
            return;
        }
        match message {
            Message::EstateWanted { have } if self.given.is_none() => self.choose(have),
            Message::EstateTaken if self.ended => {
                self.judged = true;
                // A copy that began before may lack what was given.
                table.abandon_copy(now);
                table.ask_copy(from, now);
            }
            _ => {}
        }
    }

    /// Asks again for the copy, or for the judgement, where that came to nothing; called with each tick. What has to be
    /// sent to the judge comes out.
    pub fn tick(&mut self, table: &mut Table, now: Now) -> Option<Message> {
        let judge = self.judge?;
        if self.judged {
            table.ask_copy(judge, now);
        }
        (self.given.is_none()).then(|| self.offer(judge))
    }

    /// Whether this event says that all is done, and what was held before can be discarded.
    #[must_use]
    pub fn is_done_by(&self, event: &Event) -> bool {
        self.judged && matches!(event, Event::CopyTaken { giver } if Some(*giver) == self.judge)
    }

    /// Chooses what is to be given: the rows and the journal, and in between what the log still has, so that the judge
    /// sees who replaced what. What was overwritten by a writer that had seen it, and left the log, needs no judge.
    fn choose(&mut self, have: &Vector) {
        let old = &self.old;
        let wanted = |version: &Version| {
            let own = old.origins.get(version.id().origin).node_id == old.me.node_id;
            !have.covers(old.origins.id(version.carrier()))
                && !have.covers(old.origins.id(version.id()))
                && (own || !old.faults.gives_own_only)
        };
        let records = (old.log.start()..old.log.end()).filter_map(|at| match old.log.get(at) {
            Some(Record::Op(version)) => Some(version),
            Some(Record::Gap(_)) | None => None,
        });
        let logged: BTreeSet<Dot> = records.clone().map(Version::id).collect();
        let older = old.rows.iter().chain(old.journal.versions()).filter(|version| !logged.contains(&version.id()));
        let all = older.chain(records).filter(|version| wanted(version));
        self.left = all.map(|version| (version.clone(), version.is_aside() || old.journal.has(version.id()))).collect();
        self.given = Some(0);
    }

    /// The next message of it for the judge; for the lane of bulk data.
    pub fn poll(&mut self) -> Option<Message> {
        let given = self.given.as_mut().filter(|_| !self.ended)?;
        let Some((_, journal)) = self.left.front() else {
            self.ended = true;
            return Some(Message::EstateEnd { messages: *given });
        };
        let journal = *journal;
        let mut batch = BatchBuilder::new(self.old.origins.list());
        while batch.size() < TABLE_COPY_BYTES
            && let Some((version, _)) = self.left.pop_front_if(|(_, of_journal)| *of_journal == journal)
        {
            batch.push(&version);
        }
        *given += 1;
        Some(Message::Estate { number: *given - 1, versions: batch.finish(), journal })
    }
}

impl Table {
    pub(super) fn on_estate(
        &mut self,
        from: Incarnation,
        versions: &Batch,
        journal: bool,
        now: Now,
    ) -> Result<(), Malformed> {
        let origins = &mut self.origins;
        for version in versions.unpack(|origin| origins.place(origin))? {
            self.judge(from, &version, journal, now);
        }
        Ok(())
    }

    /// Decides for all what becomes of a version that a member gives which was cleaned.
    fn judge(&mut self, from: Incarnation, version: &Version, in_journal: bool, now: Now) {
        let closed = self.faults.fold_is_closed && self.over.is_folded(version.carrier().origin);
        let covered = self.is_accounted(version.carrier()) || self.is_accounted(version.id());
        if closed || covered || self.journal.has(version.id()) {
            return;
        }
        let stamped = stamp(&self.origins, version);
        let held = self.rows.get(version.key());
        let lost = held.is_some_and(|held| stamp(&self.origins, held) > stamped);
        let seen = held.is_some_and(|held| {
            held.id() == version.id() || lost && held.replaced().is_some_and(|old| old.id == version.id())
        });
        if seen {
            return;
        }
        let unknown = held.is_none() && stamped <= self.gc_floor;
        let accepted = self.clock.accept(version.hlc(), now.wall);
        if let Err(error) = accepted {
            // The clock of this node was compared with that one's before it was let in; what it wrote long ago, with a
            // clock that was wrong then, is kept where people can look at it.
            self.events.push(Event::StampRefused { from, error });
        }
        // As a row it would win over all that is written, and no other node would take it, nor what this one writes next.
        let unfit = matches!(accepted, Err(StampError::TooFarAhead { .. }));
        let aside = in_journal || lost || unknown || unfit;
        if aside {
            let id = self.id_of(version);
            self.events.push(Event::SetAside { from, id, lost: lost || in_journal });
        }
        let carrier = Dot { origin: self.here, number: self.held.get(self.here) + 1 };
        let passed_on = version.carried_by(carrier, aside && !self.faults.verdict_local, &mut self.scratch);
        if aside && self.faults.verdict_local {
            self.journal.add(version.clone());
            self.append(passed_on);
        } else {
            self.take(passed_on, now.wall);
        }
    }
}
