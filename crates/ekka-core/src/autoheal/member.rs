//! A node's own part in a heal: `prepare`, exchange, `reboot`.

use alloc::format;
use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;
use core::mem;
use core::time::Duration;

use super::partings::Partings;
use super::room::{Carried, Healing};
use super::{HealId, HealRequest, Message, Output, Plan, Told};
use crate::id::Incarnation;
use crate::limits::{HEAL_DAMPING_MAX, HEAL_DAMPING_WINDOW};
use crate::time::{Instant, Now};

/// The heal under which this node is on its way back.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Under {
    pub(super) plan: Plan,
    pub(super) step: Step,
    /// For which heal the shell was asked last.
    pub(super) asked: HealId,
    /// What the shell waits for.
    pub(super) waits: String,
    began: Instant,
    /// Rows that came, and versions that lost.
    came: (u64, u64),
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Step {
    /// It came back so lately that it waits, up to here.
    Damped(Instant),
    /// `prepare` callbacks run.
    Preparing,
    /// Tables are exchanged and compared.
    Exchanging,
    /// `reboot` callbacks run.
    Rebooting,
    /// The start before this one in the same process was prepared; nobody has ordered this one yet.
    Adrift,
}

impl Under {
    /// The next start of a process that was on its way.
    pub(super) fn adrift(id: HealId, own: Incarnation, now: Instant) -> Self {
        let plan = Plan { id, leader: own, coordinator: own, nodes: Vec::new() };
        Self { plan, step: Step::Adrift, asked: HealId::NONE, waits: String::new(), began: now, came: (0, 0) }
    }

    /// Whether `prepare` was called, and `reboot` has not ended.
    pub(super) fn was_prepared(&self) -> bool {
        !matches!(self.step, Step::Damped(_))
    }

    pub(super) fn deadline(&self) -> Option<Instant> {
        match self.step {
            Step::Damped(until) => Some(until),
            _ => None,
        }
    }

    pub(super) fn waits(&self) -> String {
        let id = self.plan.id;
        match self.step {
            Step::Damped(_) => format!("heal {id}: this node came back lately, and waits before it does again"),
            Step::Preparing => format!("heal {id}: `prepare` callbacks run"),
            Step::Exchanging if self.waits.is_empty() => format!("heal {id}: tables are exchanged and compared"),
            Step::Exchanging => format!("heal {id}: {}", self.waits),
            Step::Rebooting => format!("heal {id}: `reboot` callbacks run"),
            Step::Adrift => format!("after heal {id}, which ended early, for the next one"),
        }
    }
}

impl Healing {
    pub(super) fn ordered(&mut self, from: Incarnation, plan: Plan, now: Now, out: &mut Vec<Output>) {
        let id = plan.id;
        if self.finished.as_ref().is_some_and(|done| done.id == id) && self.under.is_none() {
            self.send(from, Message::Obeyed { id, done: true }, now, out);
            return;
        }
        if self.under.as_ref().is_some_and(|under| under.plan.id == id) {
            self.send(from, Message::Obeyed { id, done: false }, now, out);
            return;
        }
        if id < self.seen && !self.options.id_ignored {
            let seen = self.seen;
            self.send(from, Message::Outdated { id, seen }, now, out);
            return;
        }
        let Some(side) = plan.side(self.id).copied() else { return };
        // What is nearly done is ended first; the order comes again.
        if self.under.as_ref().is_some_and(|under| under.step == Step::Rebooting) {
            return;
        }
        self.seen = self.seen.max(id);
        // Whoever looked has planned: what changes from now on is for the next heal.
        self.watched.clear();
        let before = self.under.take();
        if before.as_ref().is_some_and(|under| under.step == Step::Exchanging) {
            out.push(Output::Request(HealRequest::Drop));
        }
        if side.stays() && !before.as_ref().is_some_and(Under::was_prepared) {
            self.done(plan);
            self.send(from, Message::Obeyed { id, done: true }, now, out);
            return;
        }
        let fresh = Under {
            step: Step::Damped(now.mono + self.damping(now.mono)),
            asked: HealId::NONE,
            waits: String::new(),
            began: self.since.unwrap_or(now.mono),
            came: (0, 0),
            plan: plan.clone(),
        };
        let under = match before {
            // It was prepared once, and is not again.
            Some(under) if under.step == Step::Preparing && under.asked != HealId::NONE => Under { plan, ..under },
            Some(under) if under.was_prepared() => Under { step: Step::Adrift, plan, ..under },
            _ => fresh,
        };
        let adrift = under.step == Step::Adrift;
        self.under = Some(under);
        if adrift {
            self.exchange(out);
        }
        self.send(from, Message::Obeyed { id, done: false }, now, out);
    }

    /// How long a node that came back lately waits before it is prepared again.
    fn damping(&mut self, now: Instant) -> Duration {
        while self.history.front().is_some_and(|at| *at + HEAL_DAMPING_WINDOW <= now) {
            self.history.pop_front();
        }
        let times = u32::try_from(self.history.len()).unwrap_or(u32::MAX);
        match times {
            0 => Duration::ZERO,
            times => (self.autoheal.unwrap_or_default() * (1 << times.min(16))).min(HEAL_DAMPING_MAX),
        }
    }

    /// What a node on its way does next.
    pub(super) fn go_on(&mut self, now: Now, out: &mut Vec<Output>) {
        let Some(under) = self.under.as_mut() else { return };
        if let Step::Damped(until) = under.step
            && until <= now.mono
        {
            let id = under.plan.id;
            (under.step, under.asked) = (Step::Preparing, id);
            out.push(Output::Told(Told::Step { id, step: "prepare" }));
            out.push(Output::Request(HealRequest::Prepare { id }));
        }
    }

    /// The shell is done with what it was asked for in this step.
    fn answers(&mut self, id: HealId, step: Step) -> Option<&mut Under> {
        self.under.as_mut().filter(|under| under.step == step && under.asked == id)
    }

    pub(super) fn prepared(&mut self, id: HealId, failed: Vec<String>, out: &mut Vec<Output>) {
        if self.answers(id, Step::Preparing).is_some() {
            out.extend(failed.into_iter().map(|why| Output::Told(Told::Failed { id, why })));
            self.exchange(out);
        }
    }

    /// Exchanges tables with all of the plan, or nothing more where this node is on the coordinator's side.
    fn exchange(&mut self, out: &mut Vec<Output>) {
        let unverified = self.options.unverified;
        let own = self.id;
        let Some(under) = &mut self.under else { return };
        let id = under.plan.id;
        under.asked = id;
        under.waits = String::new();
        if unverified || under.plan.side(own).is_some_and(super::Side::stays) {
            self.reboot(out);
            return;
        }
        under.step = Step::Exchanging;
        let collected = under.plan.nodes.iter().map(|side| side.id).filter(|id| *id != own).collect();
        let side = under.plan.inside().collect();
        out.push(Output::Told(Told::Step { id, step: "exchange" }));
        out.push(Output::Request(HealRequest::Exchange { id, collected, side }));
    }

    pub(super) fn exchanged(&mut self, id: HealId, came: (u64, u64), out: &mut Vec<Output>) {
        if let Some(under) = self.answers(id, Step::Exchanging) {
            under.came = came;
            self.reboot(out);
        }
    }

    fn reboot(&mut self, out: &mut Vec<Output>) {
        let Some(under) = &mut self.under else { return };
        let id = under.plan.id;
        (under.step, under.asked) = (Step::Rebooting, id);
        out.push(Output::Told(Told::Step { id, step: "reboot" }));
        out.push(Output::Request(HealRequest::Reboot { id }));
    }

    pub(super) fn rebooted(&mut self, id: HealId, failed: Vec<String>, now: Now, out: &mut Vec<Output>) {
        if self.answers(id, Step::Rebooting).is_none() {
            return;
        }
        let Some(under) = self.under.take() else { return };
        let after = now.mono.since(under.began);
        let (rows, overridden) = under.came;
        let coordinator = under.plan.coordinator;
        let mut told = vec![];
        told.extend(failed.into_iter().map(|why| Told::Failed { id, why }));
        let came_back = !under.plan.side(self.id).is_some_and(super::Side::stays);
        if came_back {
            told.push(Told::Healed { id, after, rows, overridden });
            self.history.push_back(now.mono);
        }
        out.extend(told.into_iter().map(Output::Told));
        self.done(under.plan);
        self.send(coordinator, Message::Obeyed { id, done: true }, now, out);
    }

    /// This node did its part.
    fn done(&mut self, plan: Plan) {
        let mut partings = mem::take(&mut self.partings);
        self.answer(&mut partings, &plan);
        self.partings = partings;
        self.healed = self.healed.max(plan.id);
        self.finished = Some(plan);
    }

    /// What is left of the partings when this node has done its part.
    fn answer(&self, partings: &mut Partings, plan: &Plan) {
        let me = self.id.node_id;
        partings.answered(plan, me, self.process);
        if plan.side(self.id).is_some_and(super::Side::stays) {
            return;
        }
        for other in plan.outside().filter(|other| other.node_id != me) {
            if let Some(contact) = self.contacts.get(&other.node_id).filter(|contact| contact.id == other) {
                partings.left_behind(other.node_id, contact.process, plan.id);
            }
        }
    }

    /// Makes of what the next start is given that this one came back, where its `reboot` callbacks run already: they go on
    /// in the process, whichever start it is, and are not called again.
    pub(super) fn carry_back(&self, carried: &mut Carried) {
        let Some(under) = self.under.as_ref().filter(|under| under.step == Step::Rebooting) else { return };
        self.answer(&mut carried.partings, &under.plan);
        carried.healed = carried.healed.max(under.plan.id);
        if !under.plan.side(self.id).is_some_and(super::Side::stays) {
            carried.history.push_back(under.began);
        }
        carried.finished = Some(under.plan.clone());
        carried.prepared = None;
    }
}
