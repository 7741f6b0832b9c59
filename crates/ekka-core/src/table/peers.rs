//! Replication: each peer has a cursor in the op log, and says cumulatively how much it holds.
//!
//! A node pushes its own operations to everybody that it is connected to. What does not come in that way (its origin is
//! down, or out of reach of the receiver only) is *pulled* from whoever reports to hold it, with the receiver's vector;
//! then the log is gone through once from its tail. A connection delivers in order or ends; what is sent on one counts as
//! known to the peer until it says otherwise.

use alloc::collections::{BTreeMap, BTreeSet, VecDeque};
use alloc::vec::Vec;

use super::available::Table;
use super::batch::{Batch, BatchBuilder};
use super::log::Record;
use super::message::{Message, Report};
use super::put_off::PutOff;
use super::vector::{Dot, Numbers, OpId, OpNumber, OriginIndex, Vector};
use super::version::Malformed;
use crate::id::Incarnation;
use crate::limits::{TABLE_LOG_STEP, TABLE_REPORT_INTERVAL};
use crate::time::{Instant, Now};

/// What a connected peer holds and is owed.
#[derive(Clone, Debug, Default)]
pub(super) struct Peer {
    /// The position in the log that comes next; `None` until it has said what it holds, or while it is too far behind.
    cursor: Option<u64>,
    /// In front of this position all operations are for it, after it only this node's own.
    relay_until: u64,
    known: Numbers,
    /// How much it holds of this incarnation's operations.
    pub(super) applied: OpNumber,
    pub(super) stored: OpNumber,
    /// What it reported to hold: the latest, and the oldest of which something is missing here, with when that came.
    pub(super) held: Numbers,
    pub(super) awaited: Numbers,
    pub(super) heard: Option<Instant>,
    /// What it says of the origins that it has folded, and what it said when all that it had was taken.
    pub(super) digest: u64,
    pub(super) digest_pulled: Option<u64>,
    /// Origins that it names in its vector, or as closing.
    named: BTreeSet<OriginIndex>,
    /// Origins of those that are named to it which it has folded, with their last numbers.
    pub(super) folded: Vec<OpId>,
    /// Something from it could not be applied; all that it has is wanted.
    pub(super) needs_pull: bool,
    pub(super) owes_pull: bool,
    owes_report: bool,
    serving: bool,
    told: (OpNumber, OpNumber),
    reported: Option<Report>,
    pub(super) outbox: VecDeque<Message>,
}

/// The connected peers, and from whom something is being pulled since when.
#[derive(Clone, Debug, Default)]
pub(super) struct Peers {
    pub(super) map: BTreeMap<Incarnation, Peer>,
    pub(super) pulling: Option<(Incarnation, Instant)>,
    /// What is not asked for now, whoever has it.
    pub(super) put_off: PutOff,
}

impl Table {
    /// There is a connection to a peer.
    pub fn connect(&mut self, id: Incarnation, now: Now) {
        let mut peer = Peer { owes_report: true, ..Peer::default() };
        if let Some(taking) = self.taking.as_mut().filter(|taking| taking.giver() == id) {
            peer.outbox.extend(taking.ask_again(now.mono));
        }
        self.peers.map.insert(id, peer);
    }

    /// The connection to a peer has ended.
    pub fn disconnect(&mut self, id: Incarnation, now: Now) {
        self.peers.map.remove(&id);
        if self.peers.pulling.is_some_and(|(from, _)| from == id) {
            self.peers.pulling = None;
        }
        self.want(now.mono);
    }

    /// The next message for a peer, with about so many bytes of operations; `None` where there is nothing to say now.
    pub fn poll(&mut self, id: Incarnation, budget: usize) -> Option<Message> {
        let peer = self.peers.map.get_mut(&id)?;
        if let Some(message) = peer.outbox.pop_front() {
            return Some(message);
        }
        if core::mem::take(&mut peer.owes_report)
            && let Some(report) = self.report_for(id)
        {
            return Some(Message::Report(report));
        }
        let theirs = self.origins.find(id).map_or((0, 0), |place| (self.held.get(place), self.stored.get(place)));
        let peer = self.peers.map.get_mut(&id)?;
        if theirs != peer.told {
            peer.told = theirs;
            return Some(Message::Held { applied: theirs.0, stored: theirs.1 });
        }
        if core::mem::take(&mut peer.owes_pull) {
            return Some(Message::Pull { have: self.all_held() });
        }
        self.poll_ops(id, budget)
    }

    fn poll_ops(&mut self, id: Incarnation, budget: usize) -> Option<Message> {
        let (here, log) = (self.here, &self.log);
        let peer = self.peers.map.get_mut(&id)?;
        let mut at = peer.cursor?;
        if at < log.start() {
            let behind = if at < peer.relay_until {
                !peer.known.covers_all(log.before())
            } else {
                peer.known.get(here) < log.before().get(here)
            };
            if behind {
                return Some(peer.halt());
            }
            at = log.start();
        }
        let mut batch = BatchBuilder::new(self.origins.list());
        let stop = log.end().min(at.saturating_add(TABLE_LOG_STEP as u64));
        while at < stop && batch.size() < budget {
            match log.get(at) {
                Some(Record::Op(version)) => {
                    let dot = version.carrier();
                    if (at < peer.relay_until || dot.origin == here) && !peer.known.covers(dot) {
                        batch.push(version);
                        peer.known.raise(dot.origin, dot.number);
                    }
                }
                Some(Record::Gap(held)) if at < peer.relay_until && !peer.known.covers_all(held) => {
                    if batch.is_empty() {
                        return Some(peer.halt());
                    }
                    break;
                }
                Some(Record::Gap(_)) | None => {}
            }
            at += 1;
        }
        peer.cursor = Some(at);
        if !batch.is_empty() {
            return Some(Message::Ops(batch.finish()));
        }
        if peer.serving && at >= peer.relay_until {
            peer.serving = false;
            return Some(Message::Served);
        }
        None
    }

    /// Whether [`Table::poll`] may have something for a peer: it passes over a part of a long log at a time.
    #[must_use]
    pub fn has_more_for(&self, id: Incarnation) -> bool {
        self.peers.map.get(&id).is_some_and(|peer| {
            let theirs = self.origins.find(id).map_or((0, 0), |at| (self.held.get(at), self.stored.get(at)));
            peer.cursor.is_some_and(|at| at < self.log.end())
                || !peer.outbox.is_empty()
                || (peer.owes_report || peer.owes_pull || peer.serving)
                || theirs != peer.told
        })
    }

    /// What a peer is to be told, unless that is what it was told last.
    fn report_for(&mut self, id: Incarnation) -> Option<Report> {
        let closing = self.closing();
        let (held, stored) = (self.held(), self.stored());
        let named = self.peers.map.get(&id)?.named.iter().copied();
        let folded = named.filter(|place| self.over.is_folded(*place));
        let folded =
            folded.map(|place| OpId { origin: self.origins.get(place), number: self.held.get(place) }).collect();
        let stored = (stored != held).then_some(stored);
        let (clock, folded_digest) = (self.clock(), self.over.digest());
        let report = Report { held, stored, closing, folded, folded_digest, clock };
        let peer = self.peers.map.get_mut(&id)?;
        let same = peer.reported.as_ref().is_some_and(|last| *last == Report { clock: last.clock, ..report.clone() });
        peer.reported = Some(report.clone());
        (!same).then_some(report)
    }

    /// Takes a message of a peer that is connected.
    ///
    /// # Errors
    /// Where it is not what it should be; then the connection is to be ended.
    pub fn receive(&mut self, id: Incarnation, message: Message, now: Now) -> Result<(), Malformed> {
        if !self.peers.map.contains_key(&id) {
            return Ok(());
        }
        self.check_message(id, &message)?;
        match message {
            Message::Report(report) => self.on_report(id, &report, now),
            Message::Ops(batch) => self.on_ops(id, &batch, now)?,
            Message::Held { applied, stored } => self.on_held(id, applied, stored),
            Message::Pull { have } => self.on_pull(id, &have),
            Message::Served => self.on_served(id, now),
            Message::TooFarBehind => {
                self.on_served(id, now);
                self.ask_copy(id, now);
            }
            Message::CopyAsk { resume } => self.on_copy_ask(id, resume.as_ref(), now),
            Message::CopyHead(head) => self.on_copy_head(id, head, now),
            Message::CopyAgain { of, copy } => self.on_copy_again(id, of, copy, now),
            Message::CopyRows { copy, rows } => self.on_copy_rows(id, copy, &rows, now)?,
            Message::CopyJournal { copy, entries } => self.on_copy_journal(id, copy, &entries, now)?,
            Message::CopyEnd { copy, rows, entries } => self.on_copy_end(id, copy, (rows, entries), now),
            Message::EstateOffer => self.on_estate_offer(id, false),
            Message::AbsorbedOffer => self.on_estate_offer(id, true),
            Message::Estate { number, versions, journal } => self.on_estate(id, (number, journal), &versions, now)?,
            Message::EstateEnd { messages } => self.on_estate_end(id, messages),
            // For the estate of this node, if it has one: `Estate::receive`.
            Message::EstateWanted { .. } | Message::EstateTaken { .. } => {}
            Message::NotNow => self.on_not_now(id, now),
        }
        Ok(())
    }

    pub(super) fn tell(&mut self, id: Incarnation, message: Message) {
        if let Some(peer) = self.peers.map.get_mut(&id) {
            peer.outbox.push_back(message);
        }
    }

    fn on_report(&mut self, id: Incarnation, report: &Report, now: Now) {
        let mut held = self.numbers(&report.held);
        let mut stored = self.numbers(report.stored.as_ref().unwrap_or(&report.held));
        let mut named: BTreeSet<OriginIndex> = held.iter().map(|(place, _)| place).collect();
        for OpId { origin, number } in &report.closing {
            let place = self.origins.place(*origin);
            named.insert(place);
            self.over.report(id, place, *number);
        }
        for OpId { origin, number } in &report.folded {
            let place = self.origins.place(*origin);
            held.raise(place, *number);
            stored.raise(place, *number);
            self.over.report(id, place, *number);
        }
        // A clock that is too far ahead is not followed; what it stamped will be refused, and said.
        let _ = self.clock.accept(report.clock, now.wall);
        self.members.report(id, held.clone(), stored, report.folded_digest);
        let (here, start, before) = (self.here, self.log.start(), self.log.before().get(self.here));
        let Some(peer) = self.peers.map.get_mut(&id) else { return };
        peer.known.raise_all(&held);
        if peer.cursor.is_none() && peer.known.get(here) >= before {
            peer.cursor = Some(start);
        }
        // Reports of a table that is written to come all the time: what an earlier one named is waited for first.
        let awaited = peer.awaited.iter().any(|(origin, number)| number > self.held.get(origin));
        if !awaited || peer.heard.is_none() {
            (peer.awaited, peer.heard) = (held.clone(), Some(now.mono));
        }
        (peer.named, peer.held, peer.digest) = (named, held, report.folded_digest);
        peer.folded.clone_from(&report.folded);
        self.want(now.mono);
    }

    fn on_held(&mut self, id: Incarnation, applied: OpNumber, stored: OpNumber) {
        // Nobody holds more than there is.
        let last = self.held.get(self.here);
        let (here, applied, stored) = (self.here, applied.min(last), stored.min(applied).min(last));
        if let Some(peer) = self.peers.map.get_mut(&id) {
            peer.applied = peer.applied.max(applied);
            peer.stored = peer.stored.max(stored);
            peer.known.raise(here, applied);
        }
    }

    fn on_pull(&mut self, id: Incarnation, have: &Vector) {
        let known = self.numbers(have);
        let (start, end) = (self.log.start(), self.log.end());
        let far = !known.covers_all(self.log.before());
        let Some(peer) = self.peers.map.get_mut(&id) else { return };
        peer.known = known;
        if far {
            let message = peer.halt();
            peer.outbox.push_back(message);
        } else {
            (peer.cursor, peer.relay_until, peer.serving) = (Some(start), end, true);
        }
    }

    /// Does what is due.
    pub fn tick(&mut self, now: Now) {
        self.expire(now.wall);
        self.tick_copy(now);
        self.want(now.mono);
        if now.mono < self.next_report {
            return;
        }
        self.report_now(now);
        self.sweep(now.wall);
        self.fold_all();
    }

    /// Every peer is to be told what is held, where that has changed.
    pub fn report_now(&mut self, now: Now) {
        self.next_report = now.mono + TABLE_REPORT_INTERVAL;
        for peer in self.peers.map.values_mut() {
            peer.owes_report = true;
        }
    }

    /// When [`Table::tick`] is wanted next.
    #[must_use]
    pub fn deadline(&self) -> Instant {
        self.next_report
    }

    /// The bytes of operations in the log, and the records.
    #[must_use]
    pub fn log_size(&self) -> (usize, u64) {
        (self.log.bytes(), self.log.end() - self.log.start())
    }

    /// Forgets the log: whoever is behind its end needs a full copy. The log does this by itself at its bounds.
    pub fn drop_log(&mut self) {
        self.log.drop_before(self.synced);
    }

    /// The operations of the log from a position on, for the shell that writes them to disc, and the position behind
    /// them. It stops at a place where a full copy came in ([`Table::wants_checkpoint`]).
    #[must_use]
    pub fn records(&self, from: u64, budget: usize) -> (Batch, u64) {
        let mut batch = BatchBuilder::new(self.origins.list());
        let mut at = from;
        while let Some(Record::Op(version)) = self.log.get(at)
            && batch.size() < budget
        {
            batch.push(version);
            at += 1;
        }
        (batch.finish(), at)
    }

    /// Applies operations that this node had written to disc, after the checkpoint that they follow.
    ///
    /// # Errors
    /// Where they are malformed, or do not follow.
    pub fn recover(&mut self, batch: &Batch, now: Now) -> Result<(), Malformed> {
        let origins = &mut self.origins;
        let versions: Vec<_> = batch.unpack(|origin| origins.place(origin))?;
        for version in versions {
            let Dot { origin, number } = version.carrier();
            if number <= self.held.get(origin) {
                continue;
            }
            if number != self.held.get(origin) + 1 {
                return Err(Malformed("a record on disc does not follow the one before it"));
            }
            self.take(version, now.wall);
        }
        self.checkpointed(self.log.end());
        Ok(())
    }
}

impl Peer {
    /// It needs a full copy; until it says what it holds nothing is sent to it.
    fn halt(&mut self) -> Message {
        (self.cursor, self.serving) = (None, false);
        Message::TooFarBehind
    }
}
