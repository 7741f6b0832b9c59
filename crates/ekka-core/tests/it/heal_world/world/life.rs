//! Starts and ends of nodes.

use ekka_core::autoheal::{Carried, Healing, Start};
use ekka_core::id::{Guid, Incarnation};
use ekka_core::time::Wall;

use super::{Event, World};
use crate::heal_world::node::Eye;
use crate::heal_world::plan::{MS, SECOND, Us};

impl World {
    fn guid(&mut self, n: usize) -> Guid {
        let wall = Wall::from_millis(1_800_000_000_000 + self.now / 1_000);
        let last = self.nodes[n].id.guid;
        Guid::next(wall, self.rng.next_u128(), (last != Guid::MIN).then_some(last))
    }

    /// The cluster as it is at first.
    pub(super) fn found(&mut self) {
        for n in 0..self.nodes.len() {
            self.begin(n, None);
        }
        let all: Vec<(Incarnation, Guid)> = self.nodes.iter().map(|node| (node.id, node.process)).collect();
        for n in 0..all.len() {
            self.nodes[n].eyes = all.iter().map(|(id, process)| self.eye(*id, *process, true)).collect();
            self.tell_contacts(n);
        }
    }

    fn eye(&mut self, id: Incarnation, process: Guid, running: bool) -> Eye {
        Eye {
            id,
            process,
            running,
            goodbye: false,
            heard: self.now,
            again: None,
            limit: 2 * SECOND + self.rng.below(SECOND),
            back: self.rng.below(900 * MS),
            fell: None,
        }
    }

    /// A new start: of a new process, or of the one that runs and carries something over.
    fn begin(&mut self, n: usize, carried: Option<Carried>) {
        let guid = self.guid(n);
        let in_process = carried.is_some();
        self.nodes[n].id.guid = guid;
        if !in_process {
            self.nodes[n].process = guid;
            self.nodes[n].origin = self.origins;
            self.origins += 1;
        }
        let node = &mut self.nodes[n];
        node.inbox.clear();
        node.given = None;
        node.goodbye = false;
        node.wake = Us::MAX;
        let start = Start {
            id: node.id,
            process: node.process,
            seen: node.disc,
            autoheal: self.plan.autoheal,
            carried,
            options: self.plan.options,
        };
        node.room = Some(Healing::new(start, node.clock(self.now)));
        if !in_process {
            node.request += 1;
            node.exchange = None;
        }
        self.judge.started(self.nodes[n].process);
    }

    /// A node that was killed or stopped starts again.
    pub(crate) fn rise(&mut self, n: usize) {
        if self.nodes[n].runs() {
            return;
        }
        let known: Vec<(Incarnation, Guid)> = self.nodes[n].eyes.iter().map(|eye| (eye.id, eye.process)).collect();
        self.begin(n, None);
        self.nodes[n].eyes = known.into_iter().map(|(id, process)| self.eye(id, process, false)).collect();
        let after = self.rng.below(SECOND);
        self.nodes[n].active_at = self.now + after;
        self.line(&format!("{n} starts as {:?}", self.nodes[n].id.guid));
        self.tell_contacts(n);
    }

    /// Its process ends: what nobody else has is lost, and what was not on disc.
    pub(crate) fn kill(&mut self, n: usize, goodbye: bool) {
        if !self.nodes[n].runs() {
            return;
        }
        self.line(&format!("{n} {}", if goodbye { "stops" } else { "is killed" }));
        self.tried.kills += 1;
        let now = self.now;
        let node = &mut self.nodes[n];
        node.room = None;
        node.paused = false;
        node.inbox.clear();
        node.exchange = None;
        node.have.clear();
        node.died = now;
        node.goodbye = goodbye;
    }

    pub(crate) fn pause(&mut self, n: usize, time: Us) {
        if !self.nodes[n].acts() {
            return;
        }
        self.line(&format!("{n} is frozen"));
        self.tried.pauses += 1;
        self.nodes[n].paused = true;
        self.later(time, Event::Resume(n));
    }

    /// It goes on: for itself no time has passed in silence.
    pub(super) fn resume(&mut self, n: usize) {
        let now = self.now;
        let node = &mut self.nodes[n];
        if !node.runs() || !node.paused {
            return;
        }
        node.paused = false;
        node.wake = Us::MAX;
        for eye in node.eyes.iter_mut().filter(|eye| eye.running) {
            eye.heard = now;
        }
        let due = std::mem::take(&mut node.inbox);
        self.line(&format!("{n} goes on"));
        // What is first, its timers or what came meanwhile, is chance.
        let timers = self.rng.below(2) == 0;
        if timers {
            self.step(n, None);
        }
        for due in due {
            self.give(n, due);
        }
        if !timers && self.nodes[n].acts() {
            self.step(n, None);
        }
    }

    /// Its start was declared gone while it ran: it takes a new guid and goes on in its process.
    pub(crate) fn renew(&mut self, n: usize) {
        if !self.nodes[n].acts() {
            return;
        }
        let carried = self.nodes[n].room.as_ref().expect("it runs").carry();
        self.tried.gone += 1;
        self.begin(n, Some(carried));
        self.line(&format!("{n} goes on as {:?}", self.nodes[n].id.guid));
        self.tell_contacts(n);
    }
}
