//! The ideal group: what it promises, and every way in which an answer can fail to say so.

use std::collections::BTreeSet;

use ekka_core::consensus::{Configuration, StateMachine, VoterId};
use ekka_core::durable::{Change, Command, Entry, Failure, Input, Outcome};
use ekka_core::id::Guid;

use super::{Flight, Item, World};

impl World {
    /// Whether a majority of every set of voters answers.
    pub(crate) fn has_majority(&self, configuration: &Configuration) -> bool {
        let here = self.answering();
        let holds = |set: &Vec<VoterId>| set.iter().filter(|voter| here.contains(voter)).count() * 2 > set.len();
        !configuration.voters.is_empty() && configuration.voters.iter().all(holds)
    }

    /// Somebody else leads, or nobody can.
    pub(crate) fn elect(&mut self) {
        let configuration = self.truth.configuration().clone();
        let here = self.answering();
        let able: Vec<VoterId> = configuration.voters.concat().into_iter().filter(|v| here.contains(v)).collect();
        self.leader = None;
        if self.has_majority(&configuration) {
            self.term += 1;
            let pick = able[self.rng.index(able.len())];
            self.leader = Some(self.index(pick.node_id));
        }
        self.tell_standing();
    }

    /// Another voter leads, unless it comes to nothing.
    pub(super) fn hand_over(&mut self, n: usize, among: &BTreeSet<VoterId>) {
        if self.leader != Some(n) || !self.calm && self.rng.below(3) == 0 {
            return;
        }
        let here = self.answering();
        assert!(among.is_subset(&self.truth.voters()) || self.leader != Some(n), "it hands over to voters");
        let able: Vec<VoterId> = among.iter().copied().filter(|voter| here.contains(voter)).collect();
        if !able.is_empty() && self.has_majority(&self.truth.configuration().clone()) {
            self.term += 1;
            let pick = able[self.rng.index(able.len())];
            self.leader = Some(self.index(pick.node_id));
        }
    }

    pub(super) fn propose(&mut self, n: usize, token: u64, command: Vec<u8>) {
        let from = (n, self.nodes[n].id.guid, token);
        let luck = if self.calm { 0 } else { self.rng.below(10) };
        match luck {
            // Lost on the way there, or done and the answer lost, or given up and done much later.
            1 => self.answer(n, token, Err(Failure::Unknown("lost".into()))),
            2 => self.fly(Flight::Propose(None, command), 200),
            3 => {
                self.answer(n, token, Err(Failure::Unknown("late".into())));
                self.fly(Flight::Propose(None, command), 20_000);
                return;
            }
            4 => return self.answer(n, token, Err(Failure::NoQuorum("nobody leads".into()))),
            _ => return self.fly(Flight::Propose(Some(from), command), 200),
        }
        if luck == 2 {
            self.answer(n, token, Err(Failure::Unknown("done perhaps".into())));
        }
    }

    fn answer(&mut self, n: usize, token: u64, result: Result<Vec<u8>, Failure>) {
        let guid = self.nodes[n].id.guid;
        self.fly(Flight::Answer(n, guid, Box::new(Input::Answered { token, result })), 300);
    }

    pub(super) fn arrive(&mut self, flight: Flight) {
        match flight {
            Flight::Answer(n, guid, input) => {
                if self.nodes[n].up && self.nodes[n].id.guid == guid {
                    self.give(n, *input);
                }
            }
            Flight::Propose(from, command) => {
                let configuration = self.truth.configuration().clone();
                let result = if self.has_majority(&configuration) {
                    Ok(self.append(command))
                } else {
                    Err(Failure::NoQuorum("no majority of the voters answers".into()))
                };
                if let Some((n, guid, token)) = from {
                    let input = Input::Answered { token, result };
                    self.fly(Flight::Answer(n, guid, Box::new(input)), 100);
                }
            }
        }
    }

    /// Commits a command: the truth moves, and what must hold after every entry is asserted.
    fn append(&mut self, command: Vec<u8>) -> Vec<u8> {
        let at = self.place();
        let before = (self.truth.number(), self.truth.token_ceiling());
        let seniority: Vec<_> = self.truth.members().iter().map(|(id, member)| (*id, member.seniority)).collect();
        let (outcome, changes, entry) = self.truth.commit_bytes(at, &command);
        self.log.push((at, Item::Command(command)));
        self.truth.check();
        assert!(self.truth.number() > before.0 && self.truth.token_ceiling() >= before.1, "places and tokens grow");
        for (id, was) in seniority {
            assert!(self.truth.member(id).is_none_or(|member| member.seniority >= was), "seniority only grows");
        }
        for voter in self.truth.voters() {
            let founded = self.truth.cluster().is_some();
            assert!(!founded || self.truth.member(voter.node_id).is_some(), "{voter} votes and is no member");
        }
        let entry = entry.expect("what this version writes it reads");
        if let Outcome::Refused { code, .. } = &outcome {
            self.count(&format!("{code:?}"));
        }
        for change in &changes {
            let words = format!("{change:?}");
            self.count(words.split([' ', '(']).next().unwrap_or_default());
            self.judge(&entry, change);
        }
        self.history.push(self.truth.to_snapshot());
        outcome.encode()
    }

    fn count(&mut self, what: &str) {
        *self.seen.entry(what.to_owned()).or_default() += 1;
    }

    /// What an oracle outside says of a change.
    fn judge(&mut self, entry: &Entry, change: &Change) {
        match change {
            Change::Removed { node_id, cause, .. } => {
                self.removed.insert(*node_id, (self.log.len(), *cause));
            }
            Change::Admitted { id, .. } => {
                let Command::Admit(who) = &entry.command else { return };
                let Some((at, cause)) = self.removed.get(&id.node_id).copied() else { return };
                self.count("Back");
                let wished = &self.wishes[&entry.why.decision()];
                assert!(wished.at >= at, "{} was taken out after somebody wanted it in", who.name);
                let by_itself = cause == ekka_core::membership::RemovalCause::Autoclean;
                assert!(who.asked || by_itself, "{} comes back and nobody asked", who.name);
            }
            _ => {}
        }
    }

    pub(super) fn append_configuration(&mut self, configuration: Configuration) {
        let at = self.place();
        let configuration = Configuration { at, committed: true, ..configuration };
        self.truth.reconfigured(&configuration);
        self.log.push((at, Item::Configuration(configuration)));
        self.history.push(self.truth.to_snapshot());
    }

    pub(super) fn change_voters(&mut self, n: usize, token: u64, voters: &BTreeSet<VoterId>) {
        if let Some(failure) = self.refuses(n) {
            return self.reconfigured(n, token, Err(failure));
        }
        let old = self.truth.configuration().clone();
        let learned: BTreeSet<VoterId> = old.learners.iter().copied().chain(self.truth.voters()).collect();
        assert!(voters.is_subset(&learned), "who is to vote learned first: {voters:?} of {learned:?}");
        assert!(!voters.is_empty() && !voters.is_disjoint(&self.truth.voters()), "sets overlap");
        let new = vec![voters.iter().copied().collect::<Vec<_>>()];
        // The joint change needs a majority of both.
        let both = Configuration { voters: [old.voters, new.clone()].concat(), ..Configuration::default() };
        if !self.has_majority(&both) {
            return self.reconfigured(n, token, Err(Failure::NoQuorum("no majority of both sets".into())));
        }
        self.count(if self.truth.voters().is_subset(voters) { "More" } else { "Replaced" });
        let learners = old.learners.into_iter().filter(|learner| !voters.contains(learner)).collect();
        self.append_configuration(Configuration { voters: new, learners, ..Configuration::default() });
        let lost = !self.calm && self.rng.below(4) == 0;
        self.reconfigured(n, token, if lost { Err(Failure::Unknown("lost".into())) } else { Ok(()) });
        if self.leader.is_some_and(|leader| !self.has_vote(leader)) {
            self.leader = None;
        }
    }

    fn has_vote(&self, n: usize) -> bool {
        let me = VoterId { node_id: self.nodes[n].id.node_id, start: self.nodes[n].store };
        self.truth.voters().contains(&me)
    }

    pub(super) fn set_learners(&mut self, n: usize, token: u64, learners: &BTreeSet<VoterId>) {
        if let Some(failure) = self.refuses(n) {
            return self.reconfigured(n, token, Err(failure));
        }
        assert!(learners.is_disjoint(&self.truth.voters()), "who votes does not learn beside");
        let voters = self.truth.configuration().voters.clone();
        let learners = learners.iter().copied().collect();
        self.append_configuration(Configuration { voters, learners, ..Configuration::default() });
        self.reconfigured(n, token, Ok(()));
    }

    fn refuses(&self, n: usize) -> Option<Failure> {
        let leads = self.leader == Some(n) && self.has_majority(self.truth.configuration());
        (!leads).then(|| Failure::Refused("this replica does not lead".into()))
    }

    fn reconfigured(&mut self, n: usize, token: u64, result: Result<(), Failure>) {
        let guid: Guid = self.nodes[n].id.guid;
        let latest = self.truth.configuration().at;
        self.fly(Flight::Answer(n, guid, Box::new(Input::Reconfigured { token, result, latest })), 300);
    }
}
