//! Changes of voters while the group runs: a restarted node becomes a voter again, under its new start.
//!
//! First the record names the new set beside the old one, then the running group changes, then the record drops what
//! the group cannot count in any more. Whoever leads goes on where a dead leader stopped: each step is read from the
//! record and from the configuration in force.

use alloc::collections::BTreeSet;
use alloc::vec::Vec;

use super::room::{Generations, Serving};
use super::{Generation, Order, Output, Proposal, Version};
use crate::id::Incarnation;
use crate::limits::VOTER_SETS_MAX;

impl Generations {
    /// Takes the next step of a change, where this process leads.
    pub(super) fn lead(&self, out: &mut Vec<Output>) {
        let record = &self.facts.generation;
        let leads = self.standing.leads && self.serving == Serving::Runs(record.number());
        let (true, Some(latest)) = (leads, record.sets.last()) else { return };
        let in_force = self.standing.voters.as_ref().is_some_and(|sets| sets.len() == 1 && sets[0] == *latest);
        if !in_force {
            let voters = latest.clone();
            out.push(Output::Order(Order::ChangeVoters { generation: record.number(), voters }));
        } else if record.sets.len() > 1 {
            self.amend(Vec::from([latest.clone()]), out);
            return;
        }
        let target = if in_force { self.target(latest) } else { self.still_possible(latest) };
        if target == *latest || record.sets.len() >= VOTER_SETS_MAX {
            return;
        }
        if self.settings.faults.unrecorded {
            out.push(Output::Order(Order::ChangeVoters { generation: record.number(), voters: target }));
            return;
        }
        let mut sets = record.sets.clone();
        sets.push(target);
        self.amend(sets, out);
    }

    /// Whether this process leads, and no change of voters can come to anything: the latest set names a start that is over,
    /// and the record has no room for another one. A node that restarts again and again where the leader does not reach it
    /// fills it.
    pub(super) fn is_stuck(&self) -> bool {
        let record = &self.facts.generation;
        let leads = self.standing.leads && self.serving == Serving::Runs(record.number());
        let full = record.sets.len() >= VOTER_SETS_MAX;
        leads && full && record.sets.last().is_some_and(|latest| self.still_possible(latest) != *latest)
    }

    fn amend(&self, sets: Vec<BTreeSet<Incarnation>>, out: &mut Vec<Output>) {
        let record = &self.facts.generation;
        let version = Version { revision: record.version.revision + 1, ..record.version };
        let next = Generation { version, sets, ..record.clone() };
        out.push(Output::Propose(Proposal { expected: record.version, next }));
    }

    /// The same set without those of its new voters that ended before they counted: the group would wait for them for
    /// ever. Nobody else is added meanwhile, or the record is full of sets before one of them is in force.
    fn still_possible(&self, set: &BTreeSet<Incarnation>) -> BTreeSet<Incarnation> {
        let mut target = set.clone();
        let Some(in_force) = &self.standing.voters else { return target };
        for voter in set.iter().filter(|voter| !in_force.iter().any(|set| set.contains(voter))) {
            let living = self.facts.living(voter.node_id);
            if living != Some(*voter) {
                target.remove(voter);
                target.extend(living.filter(|_| self.facts.wanted.contains(&voter.node_id)));
            }
        }
        target
    }

    /// The voters that there should be, at most one node away from those that there are.
    fn target(&self, now: &BTreeSet<Incarnation>) -> BTreeSet<Incarnation> {
        let mut target = now.clone();
        for node_id in &self.facts.wanted {
            // Who is gone and has not come back keeps its place, and counts as a voter that is silent.
            let Some(living) = self.facts.living(*node_id) else { continue };
            if !now.contains(&living) {
                target.retain(|voter| voter.node_id != *node_id);
                target.insert(living);
                return target;
            }
        }
        let unwanted = now.iter().find(|voter| !self.facts.wanted.contains(&voter.node_id)).copied();
        if let Some(voter) = unwanted {
            target.remove(&voter);
        }
        target
    }
}
