//! What happens after its delay: commands reach the leader, are committed, answers come back; leaders change.

use alloc::borrow::ToOwned;
use alloc::collections::BTreeSet;
use alloc::vec::Vec;
use core::time::Duration;

use super::{Ask, Configuration, Entry, Ideal, LEADERLESS, LogPlace, Output, Refusal, RequestId, VoterId, index};
use crate::limits::{GROUP_ANSWER_TIMEOUT, GROUP_LEADER_WAIT};
use crate::time::Instant;

/// How long a caller waits before it looks for a leader again.
const LOOK_AGAIN: Duration = Duration::from_millis(50);

#[derive(Clone, Debug)]
pub(super) enum Step {
    /// A request reaches the leader, if there is one.
    Arrive(RequestId),
    /// The leader of this term commits a request.
    Commit(RequestId, u64),
    /// The answer reaches the caller, if it still can.
    Answer(RequestId, Result<LogPlace, Refusal>),
    /// The caller waits no longer.
    GiveUp(RequestId),
    /// A leader is elected, if one can be.
    Elect,
    /// Whoever is in reach of the leader gets what it lacks.
    Spread,
    /// The change of the configuration goes on.
    Change,
}

fn unknown(why: &str) -> Refusal {
    Refusal::Unknown(why.to_owned())
}

impl Ideal {
    pub(super) fn step(&mut self, step: Step, now: Instant, out: &mut Vec<Output>) {
        match step {
            Step::Arrive(id) => self.arrive(id, now, out),
            Step::Commit(id, term) => self.commit_request(id, term, now, out),
            Step::Answer(id, result) => self.answer(id, result, now, out),
            Step::GiveUp(id) => {
                let read = self.requests.get(&id).is_some_and(|request| request.ask == Ask::Barrier);
                let behind = || Refusal::NoQuorum("the replica is behind".to_owned());
                let refusal = if read { behind() } else { unknown("no answer in time") };
                self.done(id, Err(refusal), out);
            }
            Step::Elect => self.elect(now, out),
            Step::Spread => self.spread(out),
            Step::Change => self.go_on(now, out),
        }
    }

    fn arrive(&mut self, id: RequestId, now: Instant, out: &mut Vec<Output>) {
        let Some(request) = self.requests.get(&id).cloned() else { return };
        if let Ask::ChangeVoters(_) | Ask::SetLearners(_) = request.ask {
            self.begin(id, &request, now, out);
            return;
        }
        let leader = self.leader_for(request.by).filter(|_| self.heir.is_none());
        if leader.is_none() {
            if !self.is_up(request.by) {
                self.requests.remove(&id);
            } else if now.since(request.since) >= GROUP_LEADER_WAIT {
                self.done(id, Err(Refusal::NoQuorum("no leader is known".to_owned())), out);
            } else {
                self.plan(now + LOOK_AGAIN, Step::Arrive(id));
            }
            return;
        }
        let at = now + self.delay();
        self.plan(at, Step::Commit(id, self.term));
    }

    fn commit_request(&mut self, id: RequestId, term: u64, now: Instant, out: &mut Vec<Output>) {
        let Some(request) = self.requests.get(&id).cloned() else { return };
        let leads = self.leader().is_some() && self.term == term;
        match request.ask {
            Ask::Propose(command) if leads => {
                let at = self.commit(Entry::Command(command), now, out);
                let later = now + self.delay();
                self.plan(later, Step::Answer(id, Ok(at)));
            }
            Ask::Propose(command) => {
                // It was handed to a leader that is none any more: by chance another voter has it.
                if self.rng.below(2) == 0 {
                    self.limbo.push(command);
                }
                self.plan(now + GROUP_ANSWER_TIMEOUT, Step::GiveUp(id));
            }
            Ask::Barrier if leads => {
                self.readers.insert(id, self.log.len() as u64);
                self.answer_readers(request.by, out);
                self.plan(now + GROUP_LEADER_WAIT, Step::GiveUp(id));
            }
            // Reading changes nothing: it looks for the next leader.
            Ask::Barrier => self.plan(now, Step::Arrive(id)),
            Ask::ChangeVoters(_) | Ask::SetLearners(_) => {}
        }
    }

    fn answer(&mut self, id: RequestId, result: Result<LogPlace, Refusal>, now: Instant, out: &mut Vec<Output>) {
        let Some(request) = self.requests.get(&id) else { return };
        match self.leader {
            Some(leader) if self.within_a_hop(request.by, leader) => self.done(id, result, out),
            _ => self.plan(now + GROUP_ANSWER_TIMEOUT, Step::GiveUp(id)),
        }
    }

    /// The voters of a majority that can reach each other agree on one that holds everything.
    fn elect(&mut self, now: Instant, out: &mut Vec<Output>) {
        let heir = self.heir.take();
        if self.log.is_empty() || (heir.is_none() && self.leader().is_some()) {
            return;
        }
        let last = self.log.len() as u64;
        let holds = |voter: &VoterId| self.replicas.get(voter).is_some_and(|replica| replica.stored >= last);
        let can = |voter: &VoterId| holds(voter) && self.can_commit(*voter);
        let voters = self.configuration.all_voters();
        let next = heir.filter(can).or_else(|| voters.into_iter().find(can));
        let Some(next) = next else {
            // Whoever is in reach of a majority may still lack what a voter there holds.
            let at = now + LEADERLESS / 2;
            self.plan(at, Step::Elect);
            return;
        };
        self.term += 1;
        self.leader = Some(next);
        for command in core::mem::take(&mut self.limbo) {
            self.commit(Entry::Command(command), now, out);
        }
        self.tell(next, out);
        self.take_over_change(now);
        let later = now + self.delay();
        self.plan(later, Step::Spread);
    }

    fn spread(&mut self, out: &mut Vec<Output>) {
        let Some(leader) = self.leader().filter(|leader| self.is_up(*leader)) else { return };
        let members =
            |replica: &VoterId| self.configuration.has_voter(*replica) || self.configuration.learners.contains(replica);
        let near: Vec<VoterId> =
            self.replicas.keys().copied().filter(|r| members(r) && self.linked(leader, *r)).collect();
        for replica in near {
            self.tell(replica, out);
        }
    }

    pub(super) fn hand_over(&mut self, by: VoterId, among: &BTreeSet<VoterId>, now: Instant) {
        if self.leader() != Some(by) || self.heir.is_some() {
            return;
        }
        let may = |voter: &VoterId| *voter != by && (among.is_empty() || among.contains(voter));
        let other = |voter: &VoterId| may(voter) && self.linked(by, *voter) && self.can_commit(*voter);
        self.heir = self.configuration.all_voters().into_iter().find(other);
        if self.heir.is_some() {
            let at = now + self.delay() * 4;
            self.plan(at, Step::Elect);
        }
    }

    /// The configuration that an entry, or one before it, has set.
    pub(super) fn configuration_at(&self, told: u64) -> Configuration {
        let before = self.log[..index(told).min(self.log.len())].iter().rev();
        let set = before.filter_map(|(_, entry)| match entry {
            Entry::Configuration(configuration) => Some(configuration.clone()),
            Entry::Command(_) => None,
        });
        set.take(1).next().unwrap_or_default()
    }
}
