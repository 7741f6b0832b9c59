//! The return of a member that was cleaned: what only it may have is given to one node, which decides for all.
//!
//! It takes a new guid, is admitted, and gives every operation, of any origin, above the vector of *one* node. What wins
//! there is passed on as an operation of that node, with its first identity and stamp; what loses, or has no row and is
//! not above all that was ever dropped, as an entry for the journals. Then the member takes a full copy from that same
//! incarnation, merged with what came meanwhile. Until it is in, what it held before is kept: should the judge end, the
//! estate is given to another (schedules S1-10, M2, M3).
//!
//! The members of a cluster that went into this one bring what they hold in the same way. A start goes over with the guid
//! that it had, and numbers its operations anew: so what was written over there is given under other names. Nothing that
//! was deleted here can have come from there, until something that came from there is deleted: as long as nothing was
//! dropped since the two met, what is as old as that is no older than it was over there.

use alloc::collections::{BTreeSet, VecDeque};
use alloc::vec::Vec;

use super::available::Table;
use super::batch::{Batch, BatchBuilder};
use super::event::Event;
use super::log::Record;
use super::merge::stamp;
use super::message::Message;
use super::parts::part_renamed;
use super::stamp::StampError;
use super::vector::{Dot, Vector};
use super::version::{Malformed, Version};
use crate::id::{Guid, Incarnation};
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
    judged: Option<u64>,
    absorbed: bool,
    /// Keys hold who wrote them.
    parts: bool,
    /// Names of operations that were changed, as the new key of a part needs them.
    names: Option<Names>,
}

/// Under which other names operations are given.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Names {
    /// Those of one start only.
    start: Option<Incarnation>,
    salt: u128,
}

impl Names {
    fn name(self, origin: Incarnation) -> Incarnation {
        if self.start.is_some_and(|start| start != origin) {
            return origin;
        }
        // The random bits only: time and version of the guid stay, and so does whose it is.
        let salt = self.salt.wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835) >> 66;
        Incarnation { guid: Guid::from_u128(origin.guid.as_u128() ^ salt), ..origin }
    }
}

/// What came of an estate so far, at its judge.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Given {
    absorbed: bool,
    messages: u64,
    /// One of them did not come.
    torn: bool,
    taken: u64,
    aside: u64,
}

impl Estate {
    /// The estate is the table as it was.
    #[must_use]
    pub fn new(old: Table) -> Self {
        Self {
            old,
            judge: None,
            left: VecDeque::new(),
            given: None,
            ended: false,
            judged: None,
            absorbed: false,
            parts: false,
            names: None,
        }
    }

    /// It is of another cluster, which went into this one. All that was written there is given under other names, the same
    /// ones by all that come from there; `cluster` is the number of that cluster, `parts` whether keys hold who wrote them.
    #[must_use]
    pub fn absorbed(mut self, cluster: u128, parts: bool) -> Self {
        self.absorbed = true;
        self.rename(Names { start: None, salt: cluster }, parts)
    }

    /// This start goes on under the guid that it had, and numbers its operations anew: what it wrote before is given under
    /// another name, which the place of its admission makes.
    #[must_use]
    pub fn renaming(self, start: Incarnation, admission: u64, parts: bool) -> Self {
        self.rename(Names { start: Some(start), salt: u128::from(admission) }, parts)
    }

    fn rename(mut self, names: Names, parts: bool) -> Self {
        self.old.origins.rename(|origin| names.name(origin));
        (self.names, self.parts) = (Some(names), parts);
        self
    }

    /// Offers it to a node; also when an earlier judge has ended.
    pub fn offer(&mut self, judge: Incarnation) -> Message {
        self.judge = Some(judge);
        self.begin_again();
        if self.absorbed { Message::AbsorbedOffer } else { Message::EstateOffer }
    }

    fn begin_again(&mut self) {
        self.left.clear();
        (self.given, self.ended, self.judged) = (None, false, None);
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
            Message::EstateTaken { after } if self.ended => {
                self.judged = Some(*after);
                // A copy that began before may lack what was given.
                table.abandon_copy(now);
                table.ask_later_copy(from, *after, now);
            }
            Message::NotNow if self.judged.is_none() => self.begin_again(),
            _ => {}
        }
    }

    /// Asks again for the copy, or for the judgement, where that came to nothing; called with each tick. What has to be
    /// sent to the judge comes out.
    pub fn tick(&mut self, table: &mut Table, now: Now) -> Option<Message> {
        let judge = self.judge?;
        if let Some(after) = self.judged {
            table.ask_later_copy(judge, after, now);
        }
        (self.given.is_none()).then(|| self.offer(judge))
    }

    /// Whether this event says that all is done, and what was held before can be discarded.
    #[must_use]
    pub fn is_done_by(&self, event: &Event) -> bool {
        self.judged.is_some() && matches!(event, Event::CopyTaken { giver } if Some(*giver) == self.judge)
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
        let mut scratch = Vec::new();
        let renamed = |version: &Version, scratch: &mut Vec<u8>| match self.names.filter(|_| self.parts) {
            Some(names) => under_names(version, names, scratch),
            None => version.clone(),
        };
        let journaled = |version: &Version| version.is_aside() || old.journal.has(version.id());
        self.left = all.map(|version| (renamed(version, &mut scratch), journaled(version))).collect();
        self.given = Some(0);
    }

    /// How many versions of rows it has, those that lost included.
    #[must_use]
    pub fn versions(&self) -> usize {
        self.old.rows.len() + self.old.journal.len()
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

/// A version of a part whose writer has another name.
fn under_names(version: &Version, names: Names, scratch: &mut Vec<u8>) -> Version {
    let key = part_renamed(version.key(), |origin| names.name(origin));
    key.map_or_else(|| version.clone(), |key| version.with_key(&key, scratch))
}

impl Table {
    pub(super) fn on_estate_offer(&mut self, from: Incarnation, absorbed: bool) {
        if self.taking.is_some() {
            return self.tell(from, Message::NotNow);
        }
        let have = self.all_held();
        self.judged.insert(from, Given { absorbed, ..Given::default() });
        self.tell(from, Message::EstateWanted { have });
    }

    pub(super) fn on_estate(
        &mut self,
        from: Incarnation,
        (number, journal): (u64, bool),
        versions: &Batch,
        now: Now,
    ) -> Result<(), Malformed> {
        let Some(given) = self.judged.get_mut(&from) else { return Ok(()) };
        given.torn |= given.messages != number;
        given.messages += 1;
        if given.torn || versions.is_empty() {
            return Ok(());
        }
        let origins = &mut self.origins;
        for version in versions.unpack(|origin| origins.place(origin))? {
            self.judge(from, &version, journal, now);
        }
        Ok(())
    }

    pub(super) fn on_estate_end(&mut self, from: Incarnation, messages: u64) {
        match self.judged.get_mut(&from) {
            Some(given) if !given.torn && given.messages == messages => {
                let Given { taken, aside, .. } = *given;
                self.events.push(Event::EstateJudged { from, taken, aside });
                self.tell(from, Message::EstateTaken { after: self.copies_given });
            }
            // A part of it has not come: all of it is given again.
            Some(_) | None => self.tell(from, Message::NotNow),
        }
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
        let given = self.judged.get(&from).copied().unwrap_or_default();
        let new_here = given.absorbed && self.floor_before == Some(self.gc_floor);
        let unknown = held.is_none() && stamped <= self.gc_floor && !new_here;
        let accepted = self.clock.accept(version.hlc(), now.wall);
        if let Err(StampError::BoundReached) = accepted {
            // What this node writes next could lie below it: the estate is given again once the bound is raised.
            if let Some(given) = self.judged.get_mut(&from) {
                given.torn = true;
            }
            return;
        }
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
        if let Some(given) = self.judged.get_mut(&from) {
            given.aside += u64::from(aside);
            given.taken += u64::from(!aside);
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
