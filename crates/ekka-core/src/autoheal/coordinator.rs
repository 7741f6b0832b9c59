//! The coordinator's part: asks every node of a plan for its share until all have done it.

use alloc::collections::BTreeSet;
use alloc::vec::Vec;

use super::room::Healing;
use super::{HealId, Message, Output, Plan, Side, Told};
use crate::id::{Incarnation, NodeId};
use crate::limits::HEAL_RETRY;
use crate::time::{Instant, Now};

/// Who has its order is asked again in one of so many rounds.
const ROUNDS: u32 = 8;

/// A heal that this node carries out.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Coordinating {
    pub(super) plan: Plan,
    leader: Incarnation,
    done: BTreeSet<NodeId>,
    /// Who has its order, and is on its way.
    taken: BTreeSet<NodeId>,
    rounds: u32,
    began: Instant,
    again: Instant,
    over: bool,
}

impl Coordinating {
    pub(super) fn is_over(&self) -> bool {
        self.over
    }

    pub(super) fn deadline(&self) -> Option<Instant> {
        (!self.over).then_some(self.again)
    }
}

impl Healing {
    pub(super) fn lead(&mut self, from: Incarnation, plan: Plan, now: Now, out: &mut Vec<Output>) {
        let (id, seen) = (plan.id, self.seen);
        let known = self.coordinating.as_ref().filter(|known| known.plan.id == id);
        if let Some(done) = known.map(|known| known.over) {
            self.send(from, Message::Led { id, done }, now, out);
            return;
        }
        let older = id <= seen && !self.options.id_ignored;
        if older || plan.coordinator != self.id || !self.active {
            self.send(from, Message::Outdated { id, seen }, now, out);
            return;
        }
        out.push(Output::Told(Told::Started { plan: plan.clone() }));
        let (began, again) = (now.mono, now.mono);
        self.coordinating = Some(Coordinating {
            plan,
            leader: from,
            done: BTreeSet::new(),
            taken: BTreeSet::new(),
            rounds: 0,
            began,
            again,
            over: false,
        });
        self.send(from, Message::Led { id, done: false }, now, out);
    }

    /// What a coordinator does next.
    pub(super) fn coordinate_on(&mut self, now: Now, out: &mut Vec<Output>) {
        let Some(coordinating) = self.coordinating.as_ref().filter(|c| !c.over && c.again <= now.mono) else { return };
        let plan = coordinating.plan.clone();
        // Whoever is on its way says when it is done; that may be lost as well, and is asked for now and then.
        let all = coordinating.rounds.is_multiple_of(ROUNDS);
        let wanted = |id: &Incarnation| {
            !coordinating.done.contains(&id.node_id) && (all || !coordinating.taken.contains(&id.node_id))
        };
        let left: Vec<Incarnation> = plan.nodes.iter().map(|side| side.id).filter(wanted).collect();
        if let Some(coordinating) = &mut self.coordinating {
            coordinating.again = now.mono + HEAL_RETRY;
            coordinating.rounds += 1;
        }
        for id in left {
            self.send(id, Message::Order(plan.clone()), now, out);
        }
        self.end_if_done(now, out);
    }

    pub(super) fn obeyed(&mut self, from: Incarnation, id: HealId, done: bool, now: Now, out: &mut Vec<Output>) {
        let Some(coordinating) = self.coordinating.as_mut().filter(|c| c.plan.id == id) else { return };
        if coordinating.plan.side(from).is_none() {
            return;
        }
        if !done {
            coordinating.taken.insert(from.node_id);
            return;
        }
        coordinating.done.insert(from.node_id);
        if !coordinating.over {
            self.end_if_done(now, out);
        }
    }

    /// Ends it once all that are left have done their share. Who is not there any more is not waited for: it has parted
    /// anew, or returns as another start.
    fn end_if_done(&mut self, now: Now, out: &mut Vec<Output>) {
        let Some(coordinating) = self.coordinating.as_ref().filter(|c| !c.over) else { return };
        let waits = |id: Incarnation| !coordinating.done.contains(&id.node_id) && self.runs(id);
        if coordinating.plan.nodes.iter().any(|side| waits(side.id)) {
            return;
        }
        let (plan, leader) = (coordinating.plan.clone(), coordinating.leader);
        let after = now.mono.since(coordinating.began);
        let done: Vec<Side> =
            plan.nodes.iter().filter(|side| coordinating.done.contains(&side.id.node_id)).copied().collect();
        let came = done.iter().filter(|side| !side.stays()).count();
        if let Some(coordinating) = &mut self.coordinating {
            coordinating.over = true;
        }
        let count = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        let (healed, away) = (count(came), count(plan.outside().count() - came));
        out.push(Output::Told(Told::Finished { id: plan.id, after, healed, away }));
        self.send(leader, Message::Led { id: plan.id, done: true }, now, out);
        // Not those that are not there any more: another start of one may be, for which nothing is over.
        for side in done {
            self.send(side.id, Message::Over { id: plan.id, upto: side.upto }, now, out);
        }
    }

    /// Somebody has seen a later heal: this one is given up, and its leader begins above it.
    pub(super) fn outdated(&mut self, id: HealId, seen: HealId, now: Now, out: &mut Vec<Output>) {
        if let Some(coordinating) = self.coordinating.take_if(|c| c.plan.id == id && !c.over) {
            self.send(coordinating.leader, Message::Outdated { id, seen }, now, out);
        }
        self.overtaken(id, seen, now);
    }
}
