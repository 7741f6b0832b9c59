//! The proposer of the vote: when it begins, and its two phases.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec;
use alloc::vec::Vec;
use core::time::Duration;

use super::room::{Autocluster, Known, Then};
use super::{Ballot, Message, NackReason, Output, Peer, Proposal, Saved};
use crate::durable::Founder;
use crate::id::{ClusterId, Incarnation, NodeId, StoreId};
use crate::membership::{Record, Roster, Seat};
use crate::time::{Instant, Now, Wall};
use crate::view::Status;

/// How long a ballot may take before it is given up.
const BALLOT_TIMEOUT: Duration = Duration::from_secs(2);
/// How long a proposer that has enough promises waits for the rest, so that they are among the first voters.
const LATE_PROMISES: Duration = Duration::from_millis(200);
/// The delay of those who are not the oldest, and of every further try: it grows with each.
const RETRY_STEP: Duration = Duration::from_millis(700);
/// A node that is to form alone by the default rule waits so long for anybody to be listed.
const ALONE_AFTER: Duration = Duration::from_secs(30);

#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) enum Phase {
    #[default]
    Idle,
    /// An offer is on its way to the backend that decides.
    Claiming {
        until: Instant,
    },
    /// The ballot's number is on its way to the disc.
    Saving {
        ballot: Ballot,
    },
    Preparing {
        ballot: Ballot,
        since: Instant,
        promises: BTreeMap<NodeId, Option<(Ballot, Proposal)>>,
    },
    Accepting {
        ballot: Ballot,
        since: Instant,
        proposal: Proposal,
        accepted: BTreeSet<NodeId>,
    },
}

/// The proposer's state. Nothing of it needs to survive: the ballot's number does, in [`Saved`].
#[derive(Clone, Debug, Default)]
pub(super) struct Proposer {
    phase: Phase,
    answering: BTreeSet<Incarnation>,
    same_since: Option<Instant>,
    propose_at: Option<Instant>,
    tries: u32,
    /// A peer refused for a reason that a person must hear.
    pub(super) seen_round: u64,
}

impl Proposer {
    fn ballot(&self) -> Option<Ballot> {
        match &self.phase {
            Phase::Idle | Phase::Claiming { .. } => None,
            Phase::Saving { ballot } | Phase::Preparing { ballot, .. } | Phase::Accepting { ballot, .. } => {
                Some(*ballot)
            }
        }
    }

    /// Somebody else's higher ballot was promised: this one cannot win any more.
    pub(super) fn outbid(&mut self, by: Ballot) {
        self.seen_round = self.seen_round.max(by.round);
        if self.ballot().is_some_and(|mine| mine < by) {
            self.abandon();
        }
    }

    pub(super) fn abandon(&mut self) {
        self.phase = Phase::Idle;
        self.propose_at = None;
    }

    pub(super) fn phase(&self) -> &Phase {
        &self.phase
    }

    /// An offer is on its way; given up then.
    pub(super) fn offering(&mut self, until: Instant) {
        self.tries += 1;
        self.propose_at = None;
        self.phase = Phase::Claiming { until };
    }

    pub(super) fn check(&self, saved: &Saved, me: NodeId) {
        if let Some(ballot) = self.ballot() {
            assert_eq!(ballot.node_id, me, "a proposer uses its own ballots");
            assert!(ballot.round <= saved.last_round, "a ballot's round is kept before its use");
        }
    }
}

impl Autocluster {
    /// Connected peers that would vote with this node.
    pub(super) fn eligible(&self) -> impl Iterator<Item = &Known> {
        self.peers.values().filter(|known| {
            let Some(said) = &known.said else { return false };
            let listed = self.settings.electorate.as_ref().is_none_or(|list| list.contains(&known.peer.name));
            let same = said.electorate == self.settings.electorate && said.decider == self.settings.decider;
            said.cluster_id.is_none() && !said.idle && listed && same
        })
    }

    /// How many distinct nodes must vote.
    pub(super) fn expect(&self, started: Instant, now: Instant) -> usize {
        let known = self.candidates.expect().filter(|_| !self.settings.faults.ignore_replicas);
        if let Some(expect) = self.settings.expect.or(known) {
            return usize::try_from(expect).unwrap_or(usize::MAX);
        }
        let alone = self.candidates.alone_since().is_some_and(|since| now.since(since.max(started)) >= ALONE_AFTER);
        if alone && self.peers.is_empty() {
            return 1;
        }
        let listed = self.candidates.count().max(self.peers.len()) + 1;
        (listed / 2 + 1).max(2)
    }

    /// Whether a backend that may know how many nodes there are to be has not been heard: to go by those listed could be
    /// too few.
    pub(super) fn must_hear_number(&self) -> bool {
        let unheard = |backend: &String| !self.candidates.has_told_number(backend);
        self.settings.expect.is_none() && self.settings.counts.as_ref().is_some_and(unheard)
    }

    /// How many distinct nodes must vote, as of now.
    #[must_use]
    pub fn needed(&self, now: Now) -> usize {
        self.expect(self.started.unwrap_or(now.mono), now.mono)
    }

    /// Begins, hurries or gives up a ballot.
    pub(super) fn vote_step(&mut self, started: Instant, now: Now, out: &mut Vec<Output>) {
        self.finish_phase(now, out);
        let formed = self.peers.values().any(|k| k.said.as_ref().is_some_and(|s| s.cluster_id.is_some()));
        if formed || self.is_idle() || self.joining.is_some() || self.operator.is_some() || self.clock_refused {
            self.proposer.propose_at = None;
            return;
        }
        let answering: BTreeSet<Incarnation> = self.eligible().map(|known| known.peer.id).collect();
        let count = answering.len() + 1;
        if answering != self.proposer.answering {
            self.proposer.answering = answering;
            self.proposer.same_since = Some(now.mono);
            self.proposer.propose_at = None;
        }
        let same_since = *self.proposer.same_since.get_or_insert(now.mono);
        if self.settings.faults.form_alone && now.mono.since(same_since) >= self.settings.settle {
            self.form_alone(now, out);
            return;
        }
        if count < self.expect(started, now.mono) || self.proposer.phase != Phase::Idle || self.must_hear_number() {
            return;
        }
        let all = self.settings.electorate.as_ref().is_some_and(|list| count >= list.len());
        // A backend that decides is asked only once others had the time to show: it may have been emptied just now.
        let alone = self.settings.expect == Some(1) && self.settings.decider.is_none() && !self.candidates.any();
        if !all && !alone && now.mono.since(same_since) < self.settings.settle {
            return;
        }
        if self.settings.decider.is_some() && !self.may_offer(now.mono) {
            return;
        }
        match self.proposer.propose_at {
            Some(at) if now.mono >= at => self.propose(now, out),
            Some(_) => {}
            None => {
                let me = self.me();
                let oldest = self.proposer.answering.iter().all(|other| other.guid > me.guid);
                let turns = self.proposer.tries + u32::from(!oldest);
                let delay = if turns == 0 {
                    Duration::ZERO
                } else {
                    RETRY_STEP * turns.min(8) / 2 + self.rng.up_to(RETRY_STEP * turns.min(8))
                };
                self.proposer.propose_at = Some(now.mono + delay);
                if delay.is_zero() {
                    self.propose(now, out);
                }
            }
        }
    }

    fn propose(&mut self, now: Now, out: &mut Vec<Output>) {
        if self.settings.decider.is_some() { self.offer(now, out) } else { self.begin_ballot(out) }
    }

    fn begin_ballot(&mut self, out: &mut Vec<Output>) {
        self.proposer.propose_at = None;
        self.proposer.tries += 1;
        let highest =
            [self.saved.last_round, self.saved.promised.map_or(0, |ballot| ballot.round), self.proposer.seen_round];
        let round = highest.into_iter().max().unwrap_or(0).saturating_add(1);
        let ballot = Ballot { round, node_id: self.me().node_id };
        self.saved.last_round = round;
        self.saved.promised = Some(ballot);
        self.proposer.phase = Phase::Saving { ballot };
        self.persist_then(vec![Then::Prepare { ballot }], out);
    }

    /// The ballot's number and this node's own promise are on disc.
    pub(super) fn prepare(&mut self, saved: Ballot, now: Now, out: &mut Vec<Output>) {
        let Phase::Saving { ballot } = self.proposer.phase else { return };
        // The write of an earlier ballot, which was given up, says nothing of this one.
        if ballot != saved {
            return;
        }
        let promises = BTreeMap::from([(self.me().node_id, self.saved.accepted.clone())]);
        self.proposer.phase = Phase::Preparing { ballot, since: now.mono, promises };
        let electorate = self.settings.electorate.clone();
        let to: Vec<NodeId> = self.eligible().map(|known| known.peer.id.node_id).collect();
        for to in to {
            out.push(Output::Send { to, message: Message::Prepare { ballot, electorate: electorate.clone() } });
        }
        self.finish_phase(now, out);
    }

    pub(super) fn on_promise(
        &mut self,
        from: NodeId,
        ballot: Ballot,
        accepted: Option<(Ballot, Proposal)>,
        now: Now,
        out: &mut Vec<Output>,
    ) {
        if let Phase::Preparing { ballot: mine, promises, .. } = &mut self.proposer.phase
            && *mine == ballot
        {
            promises.insert(from, accepted);
            self.finish_phase(now, out);
        }
    }

    pub(super) fn on_accepted(&mut self, from: NodeId, ballot: Ballot, now: Now, out: &mut Vec<Output>) {
        if let Phase::Accepting { ballot: mine, accepted, .. } = &mut self.proposer.phase
            && *mine == ballot
        {
            accepted.insert(from);
            self.finish_phase(now, out);
        }
    }

    pub(super) fn self_accepted(&mut self, saved: Ballot, now: Now, out: &mut Vec<Output>) {
        let me = self.me().node_id;
        if let Phase::Accepting { ballot, accepted, .. } = &mut self.proposer.phase
            && *ballot == saved
        {
            accepted.insert(me);
            self.finish_phase(now, out);
        }
    }

    pub(super) fn proposer_refused(&mut self, ballot: Ballot, why: &NackReason, _now: Now) {
        if let NackReason::Promised(higher) = why {
            self.proposer.seen_round = self.proposer.seen_round.max(higher.round);
        }
        if self.proposer.ballot() == Some(ballot) && !matches!(why, NackReason::ListDiffers(_) | NackReason::Idle) {
            self.proposer.abandon();
        }
    }

    fn finish_phase(&mut self, now: Now, out: &mut Vec<Output>) {
        let expect = self.needed(now);
        match core::mem::take(&mut self.proposer.phase) {
            Phase::Preparing { ballot, since, promises } => {
                let all = self.eligible().all(|known| promises.contains_key(&known.peer.id.node_id));
                let enough = promises.len() >= expect;
                let waited = now.mono.since(since);
                if enough && (all || waited >= LATE_PROMISES) {
                    self.ask_to_accept(ballot, &promises, now, out);
                } else if waited < BALLOT_TIMEOUT {
                    self.proposer.phase = Phase::Preparing { ballot, since, promises };
                } else {
                    self.proposer.abandon();
                }
            }
            Phase::Accepting { ballot, since, proposal, accepted } => {
                if accepted.len() >= expect {
                    self.chosen(&proposal, &accepted, out);
                } else if now.mono.since(since) < BALLOT_TIMEOUT {
                    self.proposer.phase = Phase::Accepting { ballot, since, proposal, accepted };
                } else {
                    self.proposer.abandon();
                }
            }
            Phase::Claiming { until } if now.mono >= until => self.proposer.abandon(),
            other => self.proposer.phase = other,
        }
    }

    /// Phase 2: the value that was accepted with the highest ballot, or else a new one.
    fn ask_to_accept(
        &mut self,
        ballot: Ballot,
        promises: &BTreeMap<NodeId, Option<(Ballot, Proposal)>>,
        now: Now,
        out: &mut Vec<Output>,
    ) {
        let expect = self.needed(now);
        let taken = promises.values().flatten().max_by_key(|(ballot, _)| *ballot).map(|(_, proposal)| proposal.clone());
        let fresh = || {
            // Who promised and is gone already would be a founder that the others wait for.
            let mut founders: Vec<Peer> = promises.keys().filter_map(|id| self.founder(*id)).collect();
            founders.sort_by_key(|founder| founder.id.guid);
            (founders.len() >= expect).then_some(founders)
        };
        let proposal = match (taken, fresh()) {
            (Some(proposal), _) => proposal,
            (None, Some(founders)) => {
                Proposal { cluster_id: ClusterId::mint(now.wall, self.rng.next_u128()), founders }
            }
            (None, None) => {
                self.proposer.abandon();
                return;
            }
        };
        self.saved.accepted = Some((ballot, proposal.clone()));
        let electorate = self.settings.electorate.clone();
        for to in promises.keys().filter(|id| **id != self.me().node_id) {
            let (proposal, electorate) = (proposal.clone(), electorate.clone());
            out.push(Output::Send { to: *to, message: Message::Accept { ballot, proposal, electorate } });
        }
        self.proposer.phase = Phase::Accepting { ballot, since: now.mono, proposal, accepted: BTreeSet::new() };
        self.persist_then(vec![Then::SelfAccepted { ballot }], out);
    }

    /// Enough have accepted: the id is chosen, for ever.
    fn chosen(&mut self, proposal: &Proposal, accepted: &BTreeSet<NodeId>, out: &mut Vec<Output>) {
        let name = |id: &NodeId| {
            self.peers.get(id).map_or_else(|| self.own.name.to_string(), |known| known.peer.name.to_string())
        };
        let lines: Vec<String> = accepted.iter().map(|id| format!("accepted by {}", name(id))).collect();
        self.enter_decided(proposal, lines, out);
        self.proposer.abandon();
    }

    /// The value holds, by the vote or by the backend: tells everybody, and enters where this node is a founder.
    /// Otherwise it finished the vote of others, and joins them.
    pub(super) fn enter_decided(&mut self, proposal: &Proposal, lines: Vec<String>, out: &mut Vec<Output>) {
        let roster = self.first_roster(proposal);
        for to in self.peers.keys() {
            let message = Message::Chosen { proposal: proposal.clone(), roster: roster.clone() };
            out.push(Output::Send { to: *to, message });
        }
        if proposal.names(self.me().node_id) {
            self.enter_chosen(proposal, roster, lines, out);
        }
    }

    /// The roster with which a cluster starts: its first voters, by age.
    fn first_roster(&self, proposal: &Proposal) -> Roster {
        let mut roster = Roster { cluster_id: Some(proposal.cluster_id), ..Roster::default() };
        let by = proposal.founders.first().map_or(self.me().node_id, |founder| founder.id.node_id);
        for (number, founder) in (1u64..).zip(&proposal.founders) {
            let node_id = founder.id.node_id;
            roster.seats.insert(node_id, Seat { number, by, removed: None });
            let own = node_id == self.me().node_id;
            let record = if own { self.own.clone() } else { founder.first_record(self.own.started) };
            roster.records.insert(node_id, record);
        }
        roster
    }

    /// What the others must know of a node that is here.
    pub(super) fn founder(&self, node_id: NodeId) -> Option<Peer> {
        if node_id == self.me().node_id {
            let Record { id, name, endpoint, role, software, store, .. } = self.own.clone();
            return Some(Peer { id, name, endpoint, role, software, store });
        }
        // Who has not said with which store it votes cannot be named as a voter.
        self.peers.get(&node_id).map(|known| known.peer.clone()).filter(|peer| peer.store != StoreId::MIN)
    }

    /// An operator's word: a cluster of this node alone.
    pub(super) fn form(&mut self, now: Now, out: &mut Vec<Output>) {
        let formed = self.peers.values().find(|k| k.said.as_ref().is_some_and(|s| s.cluster_id.is_some()));
        if let Some(known) = formed {
            let why = format!("{} is in a cluster already and can be reached: use `ekka join {0}`", known.peer.name);
            out.push(Output::JoinDone(Err(why)));
            return;
        }
        self.form_alone(now, out);
    }

    fn form_alone(&mut self, now: Now, out: &mut Vec<Output>) {
        let cluster_id = ClusterId::mint(now.wall, self.rng.next_u128());
        let founders = self.founder(self.me().node_id).into_iter().collect();
        let proposal = Proposal { cluster_id, founders };
        let roster = self.first_roster(&proposal);
        self.saved.left = false;
        self.saved.outranked = None;
        self.saved.by_word = true;
        self.proposer.abandon();
        self.enter_chosen(&proposal, roster, vec![String::from("formed alone")], out);
    }
}

impl Peer {
    /// As the first entry of the new cluster names it.
    pub(super) fn as_founder(&self) -> Founder {
        Founder { id: self.id, name: self.name.clone(), role: self.role, store: self.store.as_u128() }
    }

    /// What is known of a founder before its own record arrives; version 0 loses to whatever it says itself.
    fn first_record(&self, started: Wall) -> Record {
        Record {
            id: self.id,
            version: 0,
            name: self.name.clone(),
            endpoint: self.endpoint.clone(),
            role: self.role,
            status: Status::Joining,
            software: self.software.clone(),
            start_counter: 0,
            started,
            tags: BTreeMap::new(),
            store: self.store,
            process: crate::id::Guid::MIN,
        }
    }
}
