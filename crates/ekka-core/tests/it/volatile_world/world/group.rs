//! The volatile group: elections, replication, commits, changes of voters.

use std::collections::BTreeSet;

use ekka_core::id::Incarnation;
use ekka_core::volatile::{Input, Report, Standing};

use super::{Event, MS, Pending, World};
use crate::volatile_world::replica::{Entry, Replica};

impl World {
    pub(super) fn replica(&self, p: usize) -> Option<&Replica> {
        self.procs[p].replica.as_ref().filter(|_| self.procs[p].alive)
    }

    /// Processes that serve that generation and are in reach of `p`.
    pub(super) fn fellows(&self, p: usize, generation: u64) -> Vec<usize> {
        let serves = |q: &usize| self.replica(*q).is_some_and(|replica| replica.generation == generation);
        (0..self.procs.len()).filter(|q| *q != p && self.reaches(p, *q)).filter(serves).collect()
    }

    pub(crate) fn stand(&mut self, p: usize) {
        let Some(replica) = self.replica(p) else { return };
        let recent = replica.heard_at.is_some_and(|at| self.now - at < 1_200 * MS);
        if recent || replica.voters().is_none_or(|(sets, _)| !sets.iter().any(|set| set.contains(&self.procs[p].id))) {
            return;
        }
        self.elect(p);
    }

    pub(crate) fn elect(&mut self, p: usize) {
        let Some(replica) = self.replica(p) else { return };
        let (generation, last) = (replica.generation, replica.last());
        let fellows = self.fellows(p, generation);
        let known = fellows.iter().chain([&p]).filter_map(|q| self.replica(*q)).map(|replica| replica.term).max();
        let term = known.unwrap_or_default() + 1;
        let mut yes = BTreeSet::from([self.procs[p].id]);
        for q in fellows {
            let id = self.procs[q].id;
            let other = self.procs[q].replica.as_mut().expect("a fellow serves");
            (other.term, other.leads) = (term, false);
            if other.last() <= last {
                yes.insert(id);
            }
        }
        let replica = self.procs[p].replica.as_mut().expect("seen above");
        (replica.term, replica.leads) = (term, replica.is_majority(&yes));
        if replica.leads {
            replica.log.push((term, Entry::Blank));
            self.procs[p].pending.clear();
            self.procs[p].session = (0, 0);
        }
        self.beat(p);
    }

    /// The leader brings those in reach up to date and commits; everybody's standing is told.
    pub(crate) fn beat(&mut self, p: usize) {
        if let Some(leader) = self.replica(p).filter(|replica| replica.leads) {
            let (generation, term, committed, last) = (leader.generation, leader.term, leader.committed, leader.last());
            let mut acks = BTreeSet::from([self.procs[p].id]);
            for q in self.fellows(p, generation) {
                if !self.plan.scripted && self.now < self.calm_at && self.rng.below(10) < 2 {
                    continue;
                }
                let (id, now) = (self.procs[q].id, self.now);
                // Logs that agree on their last entry agree on all (log matching).
                let other = self.procs[q].replica.as_ref().expect("a fellow serves");
                let copy =
                    (!other.has_base || other.last() != last).then(|| self.procs[p].replica.clone().expect("it leads"));
                let other = self.procs[q].replica.as_mut().expect("a fellow serves");
                if other.term > term {
                    let higher = other.term;
                    let replica = self.procs[p].replica.as_mut().expect("it leads");
                    (replica.leads, replica.term) = (false, higher);
                    break;
                }
                if let Some(copy) = copy {
                    *other = Replica { committed: other.committed, ..copy };
                }
                (other.term, other.leads, other.heard_at) = (term, false, Some(now));
                other.committed = other.committed.max(committed);
                acks.insert(id);
            }
            self.commit(p, &acks);
        }
        self.told(p);
    }

    pub(super) fn commit(&mut self, p: usize, acks: &BTreeSet<Incarnation>) {
        let now = self.now;
        let Some(replica) = self.procs[p].replica.as_mut().filter(|replica| replica.leads) else { return };
        if !replica.is_majority(acks) {
            return;
        }
        replica.heard_at = Some(now);
        replica.committed = replica.log.len();
        let (generation, term) = (replica.generation, replica.term);
        let history = self.history.entry(generation).or_default();
        let known = history.len().min(replica.log.len());
        if history[..known] != replica.log[..known] {
            self.violation = Some(format!("two groups have committed in generation {generation}"));
            return;
        }
        let fresh = replica.log[known..].to_vec();
        history.extend(fresh.clone());
        if let Some((sets, true)) = replica.voters()
            && let [_, latest] = sets.as_slice()
        {
            let latest = latest.clone();
            replica.log.push((term, Entry::Voters(vec![latest])));
        }
        let decided = self.state.decided.generation().number();
        for (_, entry) in fresh {
            match entry {
                Entry::Write(number) => {
                    if decided > generation {
                        self.violation =
                            Some(format!("{number} is acknowledged by generation {generation}, which is over"));
                    }
                    self.must.insert(number);
                }
                Entry::Grant { token, .. } => {
                    if token <= self.last_token {
                        self.violation = Some(format!("token {token} is issued after {}", self.last_token));
                    }
                    self.last_token = self.last_token.max(token);
                }
                Entry::Blank | Entry::Voters(_) | Entry::Open | Entry::Free(_) => {}
            }
        }
        let committed = self.procs[p].replica.as_ref().map_or(0, |replica| replica.committed);
        let (done, open) = std::mem::take(&mut self.procs[p].pending)
            .into_iter()
            .partition(|pending: &Pending| pending.index <= committed && pending.term == term);
        self.procs[p].pending = open;
        let done: Vec<Pending> = done;
        for Pending { client, asked, via, .. } in done {
            if let Some(delay) = self.delay() {
                self.after(delay, Event::Answer { client, asked, via, generation });
            }
        }
    }

    pub(crate) fn told(&mut self, p: usize) {
        let Some(replica) = self.replica(p) else { return };
        let standing = Standing {
            generation: replica.generation,
            led: replica.heard_at.is_some_and(|at| self.now - at < 1_500 * MS),
            leads: replica.ready(),
            last: replica.last(),
            voters: replica.voters().filter(|(_, committed)| *committed).map(|(sets, _)| sets.clone()),
        };
        let (generation, open) = (replica.generation, replica.open());
        self.give(p, Input::Standing(standing));
        if open {
            self.give(p, Input::Report(Report::Opened { generation }));
        }
    }

    pub(super) fn change_voters(&mut self, p: usize, generation: u64, voters: &BTreeSet<Incarnation>) {
        let Some(replica) = self.replica(p).filter(|replica| replica.ready() && replica.generation == generation)
        else {
            return;
        };
        let Some(([now], true)) = replica.voters().map(|(sets, committed)| (sets.as_slice(), committed)) else {
            return;
        };
        if now == voters {
            return;
        }
        // Who is new has to be there, and to be caught up.
        let fellows: BTreeSet<Incarnation> =
            self.fellows(p, generation).into_iter().map(|q| self.procs[q].id).collect();
        if !voters.difference(now).all(|new| fellows.contains(new)) {
            return;
        }
        let (sets, term) = (vec![now.clone(), voters.clone()], replica.term);
        let replica = self.procs[p].replica.as_mut().expect("it leads");
        replica.log.push((term, Entry::Voters(sets)));
    }
}
