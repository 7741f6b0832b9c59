//! The leases of all, in the memory of whoever leads the durable group.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;
use core::time::Duration;

use super::{Cause, Faults, GoneEntry, GoneTable, Message, Terms};
use crate::consensus::rounds::Rounds;
use crate::id::{Incarnation, NodeId};
use crate::limits::{DOWN_REPORT_KEPT, LEASE_INTERVAL, MEMBERS_MAX};
use crate::machine::Machine;
use crate::time::{Instant, Now};

/// How often leases are looked at.
const LOOK_INTERVAL: Duration = Duration::from_millis(500);
/// A process that was not called for so long was stopped: what was sent to it lies unread.
const STOPPED: Duration = Duration::from_secs(2);

/// How a proposal ended that was not applied.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Outcome {
    /// It was given to no log.
    Failed,
    /// It may be in a log, now or later.
    Unknown,
}

/// What a keeper is told.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum KeeperInput {
    /// What the replica of the durable group on this node knows.
    Standing {
        /// The term it is in.
        term: u64,
        /// Who leads it.
        leader: Option<NodeId>,
        /// This node leads it, and has *applied* an entry of that term; every [`KeeperInput::Gone`] up to that entry was
        /// handed in before.
        ready: bool,
    },
    /// How long leases last from now on, and how long an incarnation must be unheard before it may be gone.
    Terms {
        /// Of leases that are given.
        given: Terms,
        /// Not less than that.
        waited: Duration,
    },
    /// Who votes in the durable group: one set, or two while a joint change is under way.
    Voters(Vec<BTreeSet<NodeId>>),
    /// The incarnations that the durable group knows and that are not over, as committed.
    Starts {
        /// Of members: their leases are renewed.
        present: BTreeSet<Incarnation>,
        /// Of members that were taken out while they may have lived: no lease of theirs is renewed, and they are over once
        /// the last one has run out.
        removed: BTreeSet<Incarnation>,
    },
    /// The durable group applied that this incarnation is over.
    Gone(Incarnation),
    /// It ended for certain: it said goodbye, or its directory was started again.
    Ended(Incarnation, Cause),
    /// A message came.
    Message {
        /// From whom; it may be this node.
        from: NodeId,
        /// What.
        message: Message,
    },
    /// Whom a voter sees down, this one included. Said at least once a second.
    Report {
        /// Which voter.
        voter: NodeId,
        /// Whom.
        down: BTreeSet<Incarnation>,
    },
    /// The answer to [`KeeperOutput::Confirm`].
    Confirmed {
        /// Which round.
        round: u64,
        /// A majority of the voters had seen no higher term *after* the round began.
        ok: bool,
    },
    /// A proposal ended in another way than by being applied.
    Proposed {
        /// Which incarnation it was about.
        id: Incarnation,
        /// The term that it named.
        term: u64,
        /// How.
        outcome: Outcome,
    },
}

/// What a keeper wants.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum KeeperOutput {
    /// Send this; it may be to this node itself.
    Send {
        /// To whom.
        to: NodeId,
        /// What.
        message: Message,
    },
    /// Have a majority confirm that this node still leads this term, by questions that are sent from now on.
    Confirm {
        /// Comes back with the answer.
        round: u64,
        /// Which term. A round that another term answered is not confirmed.
        term: u64,
    },
    /// Propose this to the durable group.
    Propose(GoneEntry),
}

/// A renewal that waits for its term to be confirmed.
#[derive(Clone, Copy, Debug)]
struct Waiting {
    from: NodeId,
    ask: u64,
}

#[derive(Clone, Debug)]
struct Proposal {
    cause: Cause,
    /// An answer was lost once, so it may be in the log.
    unknown: bool,
    /// When to propose it again.
    again_at: Option<Instant>,
}

/// See the module's head. One at each voter of the durable group.
#[derive(Clone, Debug)]
pub struct Keeper {
    me: NodeId,
    given: Terms,
    waited: Duration,
    term: u64,
    leader: Option<NodeId>,
    ready: bool,
    voters: Vec<BTreeSet<NodeId>>,
    present: BTreeSet<Incarnation>,
    removed: BTreeSet<Incarnation>,
    gone: GoneTable,
    /// Who ended for certain, and is not gone yet.
    ended: BTreeMap<Incarnation, Cause>,
    /// When each lease was last renewed, or its holder admitted.
    renewed: BTreeMap<Incarnation, Instant>,
    /// No lease counts as renewed before this: the election, or when this process woke up.
    since: Instant,
    reports: BTreeMap<NodeId, (Instant, BTreeSet<Incarnation>)>,
    renewals: Rounds<Incarnation, Waiting>,
    /// Proposals of this term that are not settled.
    proposed: BTreeMap<Incarnation, Proposal>,
    look_at: Instant,
    called_at: Instant,
    faults: Faults,
}

impl Keeper {
    /// A keeper of a node that does not lead yet, with how long leases last and what its replica holds for gone.
    #[must_use]
    pub fn new(me: NodeId, terms: Terms, gone: GoneTable, faults: Faults) -> Self {
        Self {
            me,
            given: terms,
            waited: terms.gone_after(),
            term: 0,
            leader: None,
            ready: false,
            voters: Vec::new(),
            present: BTreeSet::new(),
            removed: BTreeSet::new(),
            gone,
            ended: BTreeMap::new(),
            renewed: BTreeMap::new(),
            since: Instant::ZERO,
            reports: BTreeMap::new(),
            renewals: Rounds::default(),
            proposed: BTreeMap::new(),
            look_at: Instant::ZERO,
            called_at: Instant::ZERO,
            faults,
        }
    }

    /// The same node, over another replica. Its rounds go on being counted, so that a late answer to an old one is none to a
    /// new one.
    #[must_use]
    pub fn anew(&self) -> Self {
        Self { renewals: self.renewals.anew(), ..Self::new(self.me, self.given, GoneTable::default(), self.faults) }
    }

    /// Whether this node leads, as far as it knows.
    #[must_use]
    pub fn leads(&self) -> bool {
        self.leader == Some(self.me)
    }

    fn may_answer(&self) -> bool {
        self.leads() && (self.ready || self.faults.unready)
    }

    /// When a lease was last renewed, as it counts here.
    fn renewed_at(&self, id: Incarnation) -> Instant {
        self.renewed.get(&id).copied().unwrap_or_default().max(self.since)
    }

    fn standing(&mut self, term: u64, leader: Option<NodeId>, ready: bool, now: Instant) {
        let was_leader = self.leads() && term == self.term;
        (self.term, self.leader, self.ready) = (term, leader, ready);
        if was_leader && self.leads() {
            return;
        }
        // Whatever waits belongs to a term that is over. Proposals of earlier terms are applied by the time this node is
        // ready, or void.
        self.renewals.clear();
        self.proposed.clear();
        self.look_at = now;
        if self.leads() && !self.faults.remembers {
            self.since = now;
        }
    }

    fn starts(&mut self, present: BTreeSet<Incarnation>, removed: BTreeSet<Incarnation>, now: Instant) {
        for id in present.difference(&self.present) {
            self.renewed.insert(*id, now);
        }
        for id in &removed {
            self.renewed.entry(*id).or_insert(now);
        }
        self.renewed.retain(|id, _| present.contains(id) || removed.contains(id));
        (self.present, self.removed) = (present, removed);
    }

    fn gone(&mut self, id: Incarnation) {
        self.gone.insert(id);
        let gone = &self.gone;
        self.ended.retain(|id, _| !gone.is_gone(*id));
        self.proposed.retain(|id, _| !gone.is_gone(*id));
    }

    fn renew(&mut self, from: NodeId, id: Incarnation, ask: u64, now: Instant, out: &mut Vec<KeeperOutput>) {
        if !self.leads() {
            out.push(KeeperOutput::Send { to: from, message: Message::NotLeading { leader: self.leader } });
            // Whoever asks here had no answer from the leader: the link between those two alone may be cut.
            if let Some(leader) = self.leader.filter(|leader| from == id.node_id && *leader != from) {
                out.push(KeeperOutput::Send { to: leader, message: Message::Renew { id, ask } });
            }
            return;
        }
        if self.gone.is_gone(id) && !self.faults.log_unseen {
            return out.push(KeeperOutput::Send { to: from, message: Message::Gone { id } });
        }
        // A node renews for itself, or a voter passes on what it was asked.
        let passed_on = self.voters.iter().any(|set| set.contains(&from));
        if (from != id.node_id && !passed_on) || !self.present.contains(&id) {
            return;
        }
        let waiting = Waiting { from, ask };
        if self.faults.unconfirmed {
            return self.answer(id, waiting, now, out);
        }
        self.renewals.wait(id, waiting);
        self.confirm(now, out);
    }

    /// The answer to what was passed on goes to whom it is about. Answers to this node are for its holder.
    fn pass_back(&self, message: Message, out: &mut Vec<KeeperOutput>) {
        if let Message::Renewed { id, .. } | Message::Gone { id } = message
            && id.node_id != self.me
        {
            out.push(KeeperOutput::Send { to: id.node_id, message });
        }
    }

    fn confirm(&mut self, now: Instant, out: &mut Vec<KeeperOutput>) {
        if self.may_answer()
            && let Some(round) = self.renewals.begin(now)
        {
            out.push(KeeperOutput::Confirm { round, term: self.term });
        }
    }

    fn confirmed(&mut self, round: u64, ok: bool, now: Instant, out: &mut Vec<KeeperOutput>) {
        let Some(renewals) = self.renewals.ended(round) else { return };
        if ok {
            for (id, waiting) in renewals {
                self.answer(id, waiting, now, out);
            }
        }
        self.confirm(now, out);
    }

    /// Answers a renewal, by what holds at this moment and not when it came.
    fn answer(&mut self, id: Incarnation, waiting: Waiting, now: Instant, out: &mut Vec<KeeperOutput>) {
        let in_log = self.gone.is_gone(id) || self.proposed.contains_key(&id);
        // A newer start may have been admitted since the renewal came.
        if !self.may_answer() || !self.present.contains(&id) || (in_log && !self.faults.log_unseen) {
            return;
        }
        self.renewed.insert(id, now);
        let message = Message::Renewed { id, ask: waiting.ask, gone_after_ms: self.given.gone_after_ms() };
        out.push(KeeperOutput::Send { to: waiting.from, message });
    }

    /// The voters that see it down, where they are a majority.
    fn seen_down(&self, id: Incarnation, now: Instant) -> Option<Vec<NodeId>> {
        let fresh =
            self.reports.iter().filter(|(_, (at, down))| now.since(*at) <= DOWN_REPORT_KEPT && down.contains(&id));
        let by: BTreeSet<NodeId> = fresh.map(|(voter, _)| *voter).collect();
        let majority = |set: &BTreeSet<NodeId>| set.intersection(&by).count() * 2 > set.len();
        (!self.voters.is_empty() && self.voters.iter().all(majority))
            .then(|| by.into_iter().filter(|voter| self.voters.iter().any(|set| set.contains(voter))).collect())
    }

    /// Why an incarnation should be gone, if it should.
    fn cause(&self, id: Incarnation, now: Instant) -> Option<Cause> {
        if let Some(cause) = self.ended.get(&id) {
            return Some(cause.clone());
        }
        let unheard = now.since(self.renewed_at(id));
        if unheard < self.waited {
            return None;
        }
        let unheard_ms = u64::try_from(unheard.as_millis()).unwrap_or(u64::MAX);
        if self.removed.contains(&id) {
            return Some(Cause::Removed { unheard_ms });
        }
        let seen_down_by = self.seen_down(id, now)?;
        Some(Cause::Silent { unheard_ms, seen_down_by })
    }

    fn propose(&mut self, id: Incarnation, cause: Cause, unknown: bool, out: &mut Vec<KeeperOutput>) {
        out.push(KeeperOutput::Propose(GoneEntry { id, term: self.term, cause: cause.clone() }));
        self.proposed.insert(id, Proposal { cause, unknown, again_at: None });
    }

    fn proposal_ended(&mut self, id: Incarnation, term: u64, outcome: Outcome, now: Instant) {
        if term != self.term {
            return;
        }
        let Some(proposal) = self.proposed.get_mut(&id) else { return };
        match outcome {
            // Nothing of it is in any log, nor was ever on its way there: as if it had not been proposed.
            Outcome::Failed if !proposal.unknown => {
                self.proposed.remove(&id);
            }
            Outcome::Failed => proposal.again_at = Some(now + LEASE_INTERVAL),
            Outcome::Unknown => {
                proposal.unknown = true;
                proposal.again_at = Some(now + LEASE_INTERVAL);
            }
        }
    }

    fn look(&mut self, now: Instant, out: &mut Vec<KeeperOutput>) {
        self.look_at = now + LOOK_INTERVAL;
        if !self.may_answer() {
            return;
        }
        let due = |proposal: &Proposal| proposal.again_at.is_some_and(|at| at <= now);
        let again: Vec<(Incarnation, Proposal)> =
            self.proposed.iter().filter(|(_, proposal)| due(proposal)).map(|(id, old)| (*id, old.clone())).collect();
        for (id, Proposal { cause, unknown, .. }) in again {
            self.propose(id, cause, unknown, out);
        }
        let starts = self.present.iter().chain(&self.removed).chain(self.ended.keys());
        let candidates: Vec<Incarnation> = starts.copied().collect();
        for id in candidates {
            if self.gone.is_gone(id) || self.proposed.contains_key(&id) {
                continue;
            }
            if let Some(cause) = self.cause(id, now) {
                self.propose(id, cause, false, out);
            }
        }
    }

    /// Notices that this process was stopped: renewals that came meanwhile lie unread, so nobody is unheard.
    fn wake(&mut self, now: Instant) {
        if self.leads() && now.since(self.called_at) >= STOPPED {
            self.since = self.since.max(now);
        }
        self.called_at = now;
    }
}

impl Machine for Keeper {
    type Input = KeeperInput;
    type Output = KeeperOutput;

    fn handle(&mut self, input: KeeperInput, now: Now, out: &mut Vec<KeeperOutput>) {
        let now = now.mono;
        self.wake(now);
        match input {
            KeeperInput::Standing { term, leader, ready } => {
                self.standing(term, leader, ready, now);
                self.confirm(now, out);
            }
            KeeperInput::Terms { given, waited } => (self.given, self.waited) = (given, waited.max(given.gone_after())),
            KeeperInput::Voters(voters) => self.voters = voters,
            KeeperInput::Starts { present, removed } => self.starts(present, removed, now),
            KeeperInput::Gone(id) => self.gone(id),
            KeeperInput::Ended(id, cause) => {
                if !self.gone.is_gone(id) && self.ended.len() < MEMBERS_MAX {
                    self.ended.insert(id, cause);
                    self.look_at = now;
                }
            }
            KeeperInput::Message { from, message: Message::Renew { id, ask } } => self.renew(from, id, ask, now, out),
            KeeperInput::Message { message, .. } => self.pass_back(message, out),
            KeeperInput::Report { voter, down } => {
                if self.voters.iter().any(|set| set.contains(&voter)) {
                    self.reports.insert(voter, (now, down));
                }
            }
            KeeperInput::Confirmed { round, ok } => self.confirmed(round, ok, now, out),
            KeeperInput::Proposed { id, term, outcome } => self.proposal_ended(id, term, outcome, now),
        }
    }

    fn tick(&mut self, now: Now, out: &mut Vec<KeeperOutput>) {
        let now = now.mono;
        self.wake(now);
        if !self.leads() {
            return;
        }
        if self.renewals.expire(now) {
            self.confirm(now, out);
        }
        if self.look_at <= now {
            self.look(now, out);
        }
    }

    fn deadline(&self) -> Option<Instant> {
        let round = self.renewals.deadline().unwrap_or(self.look_at);
        self.leads().then(|| round.min(self.look_at))
    }

    fn check(&self) {
        assert!(self.proposed.keys().all(|id| !self.gone.is_gone(*id)), "what is gone is no open proposal");
        assert!(self.leads() || self.renewals.is_idle(), "only a leader lets renewals wait");
        let known = |id: &Incarnation| self.present.contains(id) || self.removed.contains(id);
        assert!(self.renewed.keys().all(known), "leases of incarnations that are not over only");
    }
}
