//! Changes of voters while the group runs: a restarted node becomes a voter again, under its new start.
//!
//! First the record names the new set beside the old one, then the running group changes, then the record drops what
//! the group cannot count in any more. Whoever leads goes on where a dead leader stopped: each step is read from the
//! record and from the configuration in force.

use alloc::collections::BTreeSet;
use alloc::vec::Vec;

use super::room::{Generations, Serving};
use super::{Generation, Order, Output, Proposal, Version};
use crate::id::{Incarnation, NodeId};
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
        let target = if in_force { self.target(latest) } else { self.instead_of(latest) };
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

    /// Whether this process leads, and no change of voters can come to anything: the latest set cannot come into force any
    /// more, and there is no other one, or no room in the record for it. A node that restarts again and again where the
    /// leader does not reach it fills it.
    pub(super) fn is_stuck(&self) -> bool {
        let record = &self.facts.generation;
        let leads = self.standing.leads && self.serving == Serving::Runs(record.number());
        let (Some(latest), Some(sets)) = (record.sets.last(), self.standing.voters.as_deref()) else { return false };
        if !leads || matches!(sets, [now] if now == latest) {
            return false;
        }
        let full = record.sets.len() >= VOTER_SETS_MAX && self.instead_of(latest) != *latest;
        full || self.is_given_up(latest)
    }

    /// Whether this set is the one in force and somebody more, who is over: nothing is to come of it, and it is not taken back.
    fn is_given_up(&self, latest: &BTreeSet<Incarnation>) -> bool {
        let Some([now]) = self.standing.voters.as_deref() else { return false };
        let possible = self.still_possible(latest);
        possible == *now && possible != *latest && self.target(now) == *now
    }

    fn amend(&self, sets: Vec<BTreeSet<Incarnation>>, out: &mut Vec<Output>) {
        let record = &self.facts.generation;
        let version = Version { revision: record.version.revision + 1, ..record.version };
        let next = Generation { version, sets, ..record.clone() };
        out.push(Output::Propose(Proposal { expected: record.version, next }));
    }

    /// What is to come into force in place of a set that is not: the set itself as long as it can.
    fn instead_of(&self, latest: &BTreeSet<Incarnation>) -> BTreeSet<Incarnation> {
        let possible = self.still_possible(latest);
        let lives = possible.iter().filter(|voter| self.facts.living(voter.node_id) == Some(**voter)).count();
        let now = match self.standing.voters.as_deref() {
            Some([now]) => now,
            Some(sets) if sets.contains(&possible) => return latest.clone(),
            _ => return possible,
        };
        if lives * 2 > possible.len() && possible != *now {
            return possible;
        }
        // Its voters have ended since it was recorded. Another one goes beside it, never the one in force: the running group
        // may be about to count in the set that is given up, and only a later change is certain to end that.
        let target = self.target(now);
        if target == *now { latest.clone() } else { target }
    }

    /// Whether a majority of this set is heard, as far as this process is told: one that cannot have its majority now would
    /// stop the group.
    fn can_count(&self, set: &BTreeSet<Incarnation>) -> bool {
        set.iter().filter(|voter| self.hears(**voter)).count() * 2 > set.len()
    }

    /// The living start of a node that can be a voter. One that was taken out has stopped, and would never count: the group
    /// would wait for it for ever.
    fn may_come(&self, node_id: NodeId) -> Option<Incarnation> {
        self.facts.living(node_id).filter(|id| !self.is_past(*id))
    }

    /// Whether a start is there, as far as this process is told.
    fn hears(&self, id: Incarnation) -> bool {
        let heard = || self.up.as_ref().is_none_or(|up| up.contains(&id));
        self.facts.living(id.node_id) == Some(id) && (id == self.me || heard())
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
                target.extend(self.may_come(voter.node_id).filter(|_| self.facts.wanted.contains(&voter.node_id)));
            }
        }
        target
    }

    /// The voters that there should be, at most one node away from those that there are, as far as a majority of them can be
    /// had.
    fn target(&self, now: &BTreeSet<Incarnation>) -> BTreeSet<Incarnation> {
        let moved = |goes: NodeId, comes: Option<Incarnation>| {
            let mut target = now.clone();
            target.retain(|voter| voter.node_id != goes);
            target.extend(comes);
            target
        };
        // Who is gone and has not come back keeps its place, and counts as a voter that is silent.
        let living = self.facts.wanted.iter().filter_map(|node_id| self.may_come(*node_id));
        let (heard, unheard): (Vec<Incarnation>, Vec<Incarnation>) =
            living.filter(|id| !now.contains(id)).partition(|id| self.hears(*id));
        let awaited = !unheard.is_empty();
        let comes = heard.into_iter().map(|id| moved(id.node_id, Some(id)));
        let leaves = now.iter().any(|voter| self.leaving.contains(voter));
        let waits = |voter: &Incarnation| leaves && !self.leaving.contains(voter) && self.hears(*voter);
        let unwanted = now.iter().filter(|voter| !self.facts.wanted.contains(&voter.node_id) && !waits(voter));
        let (mut heard, silent): (Vec<&Incarnation>, Vec<&Incarnation>) =
            unwanted.partition(|voter| self.hears(**voter));
        // Whoever comes in its place may be heard in a moment.
        if awaited && now.len() <= self.facts.wanted.len() {
            heard.clear();
        }
        let goes = silent.into_iter().chain(heard).map(|voter| moved(voter.node_id, None));
        comes.chain(goes).find(|target| self.can_count(target)).unwrap_or_else(|| now.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::Guid;
    use crate::limits::GENERATION_RETRY;
    use crate::machine::Machine;
    use crate::time::{Instant, Now};
    use crate::volatile::{Facts, Faults, Input, Message, Report, Settings, Standing};

    fn id(n: u128, guid: u128) -> Incarnation {
        Incarnation { node_id: NodeId::from_u128(n), guid: Guid::from_u128(guid) }
    }

    fn set(of: &[(u128, u128)]) -> BTreeSet<Incarnation> {
        of.iter().map(|(n, guid)| id(*n, *guid)).collect()
    }

    /// The room of node 1, which leads a group of five, and hears these nodes.
    struct Leader {
        room: Generations,
        facts: Facts,
        now: Now,
    }

    impl Leader {
        fn new(up: &[(u128, u128)]) -> Self {
            let five = set(&[(1, 1), (2, 1), (3, 1), (4, 1), (5, 1)]);
            let settings = Settings { session_max: GENERATION_RETRY, faults: Faults::default() };
            let mut room = Generations::new(id(1, 1), settings, Instant::default());
            let generation = Generation {
                version: Version { number: 1, revision: 0 },
                founders: five.clone(),
                sets: Vec::from([five.clone()]),
                from: None,
                lost: false,
            };
            let present = five.iter().map(|id| (id.node_id, id.guid)).collect();
            let wanted: BTreeSet<NodeId> = five.iter().map(|id| id.node_id).collect();
            let facts = Facts { generation, present, wanted: wanted.clone(), members: wanted, ..Facts::default() };
            let now = Now::default();
            let mut out = Vec::new();
            room.handle(Input::Facts(facts.clone()), now, &mut out);
            room.handle(Input::Up(set(up)), now, &mut out);
            let voters = Some(Vec::from([five]));
            let standing = Standing { generation: 1, led: true, leads: true, voters, ..Standing::default() };
            room.handle(Input::Standing(standing), now, &mut out);
            Self { room, facts, now }
        }

        /// This set is in force from now on; the record that it proposes then.
        fn in_force(&mut self, voters: &BTreeSet<Incarnation>) -> Option<Vec<BTreeSet<Incarnation>>> {
            let voters = Some(Vec::from([voters.clone()]));
            let standing = Standing { generation: 1, led: true, leads: true, voters, ..Standing::default() };
            let mut out = Vec::new();
            self.room.handle(Input::Standing(standing), self.now, &mut out);
            self.next(|_| ())
        }

        /// What it proposes next, where it proposes something; the record is that then.
        fn next(&mut self, change: impl FnOnce(&mut Facts)) -> Option<Vec<BTreeSet<Incarnation>>> {
            let mut out = Vec::new();
            change(&mut self.facts);
            self.room.handle(Input::Facts(self.facts.clone()), self.now, &mut out);
            let proposed = out.iter().rev().find_map(|output| match output {
                Output::Propose(proposal) => Some(proposal.next.clone()),
                _ => None,
            })?;
            self.facts.generation = proposed;
            Some(self.facts.generation.sets.clone())
        }
    }

    fn wants(facts: &mut Facts, nodes: &[u128]) {
        facts.wanted = nodes.iter().map(|n| NodeId::from_u128(*n)).collect();
    }

    #[test]
    fn of_two_that_go_the_one_that_is_silent_goes_first() {
        // Two of five are silent; one of these and one that is up are wanted no more. Without the one that is up there would
        // be two of four.
        let mut leader = Leader::new(&[(1, 1), (4, 1), (5, 1)]);
        let sets = leader.next(|facts| wants(facts, &[1, 3, 5])).expect("a change");
        assert_eq!(sets.last(), Some(&set(&[(1, 1), (3, 1), (4, 1), (5, 1)])));
        let mut leader = Leader::new(&[(1, 1), (2, 1), (3, 1), (4, 1)]);
        let sets = leader.next(|facts| wants(facts, &[1, 2, 4])).expect("a change");
        assert_eq!(sets.last(), Some(&set(&[(1, 1), (2, 1), (3, 1), (4, 1)])), "one more failure stops nothing");
    }

    #[test]
    fn no_set_is_recorded_of_which_no_majority_is_heard() {
        let mut leader = Leader::new(&[(1, 1), (4, 1), (5, 1)]);
        assert_eq!(leader.next(|facts| wants(facts, &[1, 2, 3, 4])), None);
        // It leads on, and the change is made once there is somebody for it.
        let mut out = Vec::new();
        let up = set(&[(1, 1), (2, 1), (4, 1), (5, 1)]);
        leader.room.handle(Input::Up(up), leader.now, &mut out);
        let sets = leader.next(|_| ()).expect("a change");
        assert_eq!(sets.last(), Some(&set(&[(1, 1), (2, 1), (3, 1), (4, 1)])));
    }

    #[test]
    fn a_set_that_cannot_come_into_force_any_more_is_given_up_for_another() {
        let mut leader = Leader::new(&[(1, 1), (2, 1), (3, 1), (4, 1), (5, 1)]);
        let sets = leader.next(|facts| wants(facts, &[1, 2, 3, 4])).expect("a change");
        assert_eq!(sets.last(), Some(&set(&[(1, 1), (2, 1), (3, 1), (4, 1)])));
        // Before it was in force two of it have started again: of what they were nobody is left.
        let mut out = Vec::new();
        leader.room.handle(Input::Up(set(&[(1, 1), (2, 2), (3, 2), (4, 1), (5, 1)])), leader.now, &mut out);
        let sets =
            leader.next(|facts| facts.present.extend([2, 3].map(|n| (NodeId::from_u128(n), Guid::from_u128(2)))));
        let sets = sets.expect("another set");
        assert_eq!(sets.len(), 3, "none is taken back: the group may be about to count in it");
        assert_eq!(sets.last(), Some(&set(&[(1, 1), (2, 2), (3, 1), (4, 1), (5, 1)])));
    }

    #[test]
    fn the_set_in_force_does_not_take_the_place_of_one_that_the_group_may_be_about_to_count_in() {
        let mut leader = Leader::new(&[(1, 1), (2, 1), (3, 1), (4, 1), (5, 1), (6, 1)]);
        let six = NodeId::from_u128(6);
        let sets = leader.next(|facts| {
            facts.present.insert(six, Guid::from_u128(1));
            wants(facts, &[1, 2, 3, 4, 5, 6]);
        });
        assert_eq!(sets.expect("a change").last().map(BTreeSet::len), Some(6));
        // Whoever was to come is gone by an entry, and may live behind a cut: it may have caught up all the same.
        assert_eq!(leader.next(|facts| facts.gone.extend([(six, Guid::from_u128(1))])), None);
        assert!(leader.room.is_stuck(), "after a while it insists on the next generation");
        // Once it is back under a new start, that takes its place.
        let mut out = Vec::new();
        let up = set(&[(1, 1), (2, 1), (3, 1), (4, 1), (5, 1), (6, 2)]);
        leader.room.handle(Input::Up(up), leader.now, &mut out);
        let sets = leader.next(|facts| facts.present.extend([(six, Guid::from_u128(2))])).expect("another set");
        assert!(sets.last().is_some_and(|latest| latest.contains(&id(6, 2))), "{sets:?}");
        assert!(!leader.room.is_stuck());
    }

    #[test]
    fn who_is_heard_stays_until_whoever_comes_in_its_place_is_heard_too() {
        let mut leader = Leader::new(&[(1, 1), (2, 1), (3, 1), (4, 1), (5, 1)]);
        let six = NodeId::from_u128(6);
        let sets = leader.next(|facts| {
            facts.present.insert(six, Guid::from_u128(1));
            wants(facts, &[1, 2, 3, 4, 6]);
        });
        assert_eq!(sets, None);
        let mut out = Vec::new();
        let up = set(&[(1, 1), (2, 1), (3, 1), (4, 1), (5, 1), (6, 1)]);
        leader.room.handle(Input::Up(up), leader.now, &mut out);
        assert_eq!(leader.next(|_| ()).expect("a change").last().map(BTreeSet::len), Some(6));
    }

    /// A start that was taken out has stopped: named once more it would never count, and the set not come into force.
    #[test]
    fn a_start_that_was_taken_out_is_not_brought_in_again() {
        let mut leader = Leader::new(&[(1, 1), (2, 1), (3, 1), (4, 1), (5, 1)]);
        leader.next(|facts| wants(facts, &[1, 2, 3, 4])).expect("a change");
        let four = set(&[(1, 1), (2, 1), (3, 1), (4, 1)]);
        assert_eq!(leader.in_force(&four), Some(Vec::from([four.clone()])));
        assert_eq!(leader.next(|facts| wants(facts, &[1, 2, 3, 4, 5])), None);
        assert_eq!(leader.next(|facts| wants(facts, &[1, 2, 3, 5])).map(|sets| sets.len()), Some(2), "others go");
        let three = set(&[(1, 1), (2, 1), (3, 1)]);
        assert_eq!(leader.in_force(&three), Some(Vec::from([three.clone()])));
        // Under its next start it comes.
        let mut out = Vec::new();
        leader.room.handle(Input::Up(set(&[(1, 1), (2, 1), (3, 1), (5, 2)])), leader.now, &mut out);
        let five = NodeId::from_u128(5);
        let sets = leader.next(|facts| facts.present.extend([(five, Guid::from_u128(2))])).expect("a change");
        assert_eq!(sets.last(), Some(&set(&[(1, 1), (2, 1), (3, 1), (5, 2)])));
    }

    /// The leader of the durable group has not heard who leaves, so that the newest voter is one too many for a moment.
    #[test]
    fn whoever_leaves_goes_first_and_nobody_in_its_place() {
        let mut leader = Leader::new(&[(1, 1), (2, 1), (3, 1), (4, 1), (5, 1)]);
        let mut out = Vec::new();
        leader.room.handle(Input::Leaving(set(&[(2, 1)])), leader.now, &mut out);
        assert_eq!(leader.next(|facts| wants(facts, &[1, 2, 3, 4])), None, "the fifth stays");
        let sets = leader.next(|facts| wants(facts, &[1, 3, 4, 5])).expect("the second goes");
        let four = set(&[(1, 1), (3, 1), (4, 1), (5, 1)]);
        assert_eq!(sets.last(), Some(&four));
        // Nobody else is waited for.
        assert_eq!(leader.in_force(&four), Some(Vec::from([four.clone()])));
        let sets = leader.next(|facts| wants(facts, &[1, 3, 4])).expect("the fifth goes");
        assert_eq!(sets.last(), Some(&set(&[(1, 1), (3, 1), (4, 1)])));
    }

    /// What was taken out and is wanted again serves only the next generation, and insists on it: also a start that learned
    /// of its vote and of the end of it at once, and has nothing to stop (seed 2,742 of the world of generations).
    #[test]
    fn a_start_that_was_taken_out_and_is_wanted_again_insists_on_the_next_generation() {
        let (me, settings) = (id(5, 1), Settings { session_max: GENERATION_RETRY, faults: Faults::default() });
        for saw_it in [true, false] {
            let Leader { mut facts, .. } = Leader::new(&[]);
            let mut room = Generations::new(me, settings, Instant::default());
            let mut out = Vec::new();
            if saw_it {
                room.handle(Input::Facts(facts.clone()), Now::default(), &mut out);
            }
            for revision in 1..3 {
                facts.generation.version.revision = revision;
                facts.generation.sets = Vec::from([set(&[(1, 1), (2, 1), (3, 1), (4, 1)])]);
                wants(&mut facts, if revision == 1 { &[1, 2, 3, 4] } else { &[1, 2, 3, 4, 5] });
                if saw_it || revision == 2 {
                    room.handle(Input::Facts(facts.clone()), Now::default(), &mut out);
                }
            }
            let input = if saw_it {
                Input::Report(Report::Stopped { generation: 1, log: None })
            } else {
                Input::Message { from: id(1, 1).node_id, message: Message::TakenOut { generation: 1 } }
            };
            room.handle(input, Now::default(), &mut out);
            let insists = |out: &[Output]| {
                let insists = |output: &Output| {
                    matches!(output, Output::Send { message: Message::Seal { insists: true, .. }, .. })
                };
                out.iter().any(insists)
            };
            let after = |seconds: u64| {
                let mono = Instant::default() + core::time::Duration::from_secs(seconds);
                Now { mono, ..Now::default() }
            };
            room.tick(after(1), &mut out);
            room.tick(after(10), &mut out);
            assert!(!insists(&out), "{saw_it}");
            room.tick(after(30), &mut out);
            assert!(insists(&out), "{saw_it}");
        }
    }

    /// Whoever asks for the end of a generation that runs, and was taken out of it, is told so.
    #[test]
    fn who_was_taken_out_is_told() {
        let mut leader = Leader::new(&[(1, 1), (2, 1), (3, 1), (4, 1), (5, 1)]);
        leader.next(|facts| wants(facts, &[1, 2, 3, 4])).expect("a change");
        leader.in_force(&set(&[(1, 1), (2, 1), (3, 1), (4, 1)])).expect("the record follows");
        assert_eq!(leader.next(|_| ()), None);
        let mut told = |from: u128| {
            let mut out = Vec::new();
            let message = Message::Seal { generation: 1, insists: false };
            let from = id(from, 1).node_id;
            leader.room.handle(Input::Message { from, message }, leader.now, &mut out);
            out.contains(&Output::Send { to: from, message: Message::TakenOut { generation: 1 } })
        };
        assert!(told(5) && !told(4));
    }
}
