//! Changes of the configuration: learners, caught up, one joint change, one at a time.

use alloc::borrow::ToOwned;
use alloc::collections::BTreeSet;
use alloc::vec;
use alloc::vec::Vec;
use core::time::Duration;

use super::steps::Step;
use super::{Ask, Configuration, Entry, Ideal, Output, Refusal, Request, RequestId, VoterId};
use crate::time::Instant;

/// Time between two looks at a change.
const PACE: Duration = Duration::from_millis(10);
/// Time for new voters to catch up.
const CATCH_UP: Duration = Duration::from_secs(60);

/// A change under way. One that has lost its leader has no caller any more.
#[derive(Clone, Debug)]
pub(super) struct Change {
    id: Option<RequestId>,
    voters: BTreeSet<VoterId>,
    since: Instant,
    term: u64,
}

impl Ideal {
    pub(super) fn begin(&mut self, id: RequestId, request: &Request, now: Instant, out: &mut Vec<Output>) {
        let refused = |why: &str| Err(Refusal::Refused(why.to_owned()));
        if self.leader() != Some(request.by) {
            return self.done(id, refused("this replica does not lead"), out);
        }
        if self.change.is_some() {
            return self.done(id, refused("another change is under way"), out);
        }
        match &request.ask {
            Ask::ChangeVoters(voters) if voters.is_empty() => self.done(id, refused("a group needs a voter"), out),
            Ask::ChangeVoters(voters) => {
                let known = self.configuration.all_voters();
                let mut learners = self.configuration.learners.clone();
                let new = voters.iter().filter(|voter| !known.contains(voter) && !learners.contains(voter));
                let new: Vec<VoterId> = new.copied().collect();
                if !new.is_empty() {
                    learners.extend(new);
                    self.configure(self.configuration.voters.clone(), learners, now, out);
                }
                self.change = Some(Change { id: Some(id), voters: voters.clone(), since: now, term: self.term });
                self.plan(now + PACE, Step::Change);
            }
            Ask::SetLearners(learners) => {
                if learners.iter().any(|learner| self.configuration.has_voter(*learner)) {
                    return self.done(id, refused("a voter cannot become a learner this way"), out);
                }
                let at =
                    self.configure(self.configuration.voters.clone(), learners.iter().copied().collect(), now, out);
                self.done(id, Ok(at), out);
            }
            Ask::Propose(_) | Ask::Barrier => {}
        }
    }

    fn configure(
        &mut self,
        voters: Vec<Vec<VoterId>>,
        learners: Vec<VoterId>,
        now: Instant,
        out: &mut Vec<Output>,
    ) -> super::LogPlace {
        let configuration = Configuration { voters, learners, ..Configuration::default() };
        self.commit(Entry::Configuration(configuration), now, out)
    }

    /// A joint change that a lost leader has left is ended by the next; one that had not begun is dropped.
    pub(super) fn take_over_change(&mut self, now: Instant) {
        let joint = self.configuration.voters.len() > 1;
        match &mut self.change {
            Some(change) if joint => {
                change.term = self.term;
                self.plan(now + PACE, Step::Change);
            }
            _ => {}
        }
    }

    pub(super) fn go_on(&mut self, now: Instant, out: &mut Vec<Output>) {
        let Some(change) = self.change.clone() else { return };
        let joint = self.configuration.voters.len() > 1;
        if self.term != change.term || self.leader().is_none() {
            if let Some(id) = change.id {
                self.done(id, Err(Refusal::Unknown("leadership was lost during the change".to_owned())), out);
            }
            self.change = if joint { Some(Change { id: None, ..change }) } else { None };
            if joint && self.leader().is_some() {
                self.take_over_change(now);
            } else if joint {
                self.plan(now + PACE, Step::Change);
            }
            return;
        }
        let (old, new) = (self.configuration.voters.clone(), change.voters.iter().copied().collect::<Vec<_>>());
        let learners: Vec<VoterId> =
            self.configuration.learners.iter().copied().filter(|learner| !change.voters.contains(learner)).collect();
        if joint {
            let at = self.configure(vec![new], learners, now, out);
            self.change = None;
            if let Some(id) = change.id {
                self.done(id, Ok(at), out);
            }
            self.look(now);
            return;
        }
        let Some(leader) = self.leader() else { return };
        if change.voters.iter().all(|voter| self.linked(leader, *voter)) {
            let mut sets = old;
            sets.push(new);
            self.configure(sets, learners, now, out);
        } else if now.since(change.since) >= CATCH_UP {
            self.configure(old, learners, now, out);
            self.change = None;
            if let Some(id) = change.id {
                self.done(id, Err(Refusal::NoQuorum("a new voter does not catch up".to_owned())), out);
            }
            return;
        }
        self.plan(now + PACE, Step::Change);
    }
}
