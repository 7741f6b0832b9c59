//! What happens by chance, and the rest after it.

use ekka_core::autoheal::Input;

use super::{Event, Tried, World};
use crate::heal_world::node::Due;
use crate::heal_world::plan::{MS, SECOND, Us};

/// After the last fault all must be healed within this: a member that was healed often waits a minute, twice.
const REST: Us = 180 * SECOND;
/// So long nothing may change before it counts as rest.
const CALM: Us = 12 * SECOND;

impl World {
    /// The whole run: chance, then rest, then the checks.
    pub(crate) fn run(&mut self) -> Result<Tried, String> {
        self.later(SECOND, Event::Chance);
        self.pass(self.plan.span);
        if self.violation.is_none() {
            self.calm();
            self.rest();
        }
        match self.violation.take() {
            Some(violation) => Err(format!("{violation}{}", self.story())),
            None => Ok(self.tried),
        }
    }

    fn some(&mut self) -> usize {
        self.rng.index(self.nodes.len())
    }

    pub(super) fn chance(&mut self) {
        let pace = self.plan.pace;
        let next = 50 * MS + self.rng.below(2 * pace);
        self.later(next, Event::Chance);
        if self.now > self.plan.span {
            return;
        }
        let n = self.some();
        let soon = [300 * MS, 3 * SECOND, 15 * SECOND][self.rng.index(3)];
        let time = 50 * MS + self.rng.below(soon);
        match self.rng.below(12) {
            0 | 1 if self.plan.splits => self.split_by_chance(),
            2 if self.plan.splits => {
                // A blip, around the time after which silence counts.
                self.split_by_chance();
                let time = 500 * MS + self.rng.below(4 * SECOND);
                self.later(time, Event::Mend);
            }
            3 if self.plan.one_way => {
                let all = self.rng.below(2) == 0;
                let other = self.some();
                for m in (0..self.nodes.len()).filter(|m| *m != n && (all || *m == other)) {
                    self.net.cut_way(m, n);
                }
                self.line(&format!("{n} does not hear {}", if all { "anybody".into() } else { other.to_string() }));
            }
            4 if self.plan.links => {
                let m = self.some();
                if m != n {
                    self.line(&format!("cut {n} {m}"));
                    self.net.cut(n, m);
                }
            }
            5 | 6 => self.happen(Event::Mend),
            7 | 8 if self.plan.kills => {
                self.kill(n, false);
                self.later(time, Event::Rise(n));
            }
            9 if self.plan.stops => {
                self.kill(n, true);
                self.later(time, Event::Rise(n));
            }
            10 if self.plan.pauses => self.pause(n, time),
            11 if self.plan.gone => self.renew(n),
            _ => {}
        }
    }

    fn split_by_chance(&mut self) {
        let parts = 2 + self.rng.index(self.nodes.len() - 1);
        let part_of: Vec<usize> = (0..self.nodes.len()).map(|_| self.rng.index(parts)).collect();
        self.line(&format!("split {part_of:?}"));
        if self.rng.below(2) == 0 {
            self.net.mend();
        }
        self.net.split(&part_of);
    }

    /// Mends everything; most of those that are down start again.
    fn calm(&mut self) {
        self.line("calm");
        self.net.mend();
        for n in 0..self.nodes.len() {
            if self.nodes[n].paused {
                self.later(SECOND, Event::Resume(n));
            } else if !self.nodes[n].runs() && self.rng.below(4) != 0 {
                let after = self.rng.below(5 * SECOND);
                self.later(after, Event::Rise(n));
            }
        }
    }

    fn rest(&mut self) {
        if self.plan.autoheal.is_none() {
            self.pass(10 * SECOND);
            self.judge.ordered = true;
            let up: Vec<usize> = (0..self.nodes.len()).filter(|n| self.nodes[*n].acts()).collect();
            if !up.is_empty() {
                let n = up[self.rng.index(up.len())];
                self.order_heal(n);
            }
        }
        let (begin, mut quiet) = (self.now, self.now);
        while self.now < begin + REST && self.now < quiet + CALM && self.violation.is_none() {
            self.pass(SECOND);
            if self.restless().is_some() {
                quiet = self.now;
            }
        }
        if let Some(why) = self.restless() {
            self.violates(format!("it does not come to rest: {why}"));
        }
        if self.violation.is_none() {
            let judged = self.judge.end(&self.nodes);
            self.take(judged);
        }
        self.tried.heals = self.judge.plans.len() as u64;
        self.tried.prepared = self.judge.prepared;
    }

    /// An operator at a node wants a heal.
    pub(crate) fn order_heal(&mut self, n: usize) {
        self.line(&format!("an operator at {n} wants a heal"));
        let guid = self.nodes[n].id.guid;
        self.give(n, Due { guid, input: Input::Heal });
    }

    /// Why this is no rest.
    pub(crate) fn restless(&self) -> Option<String> {
        (0..self.nodes.len()).find_map(|n| {
            let node = &self.nodes[n];
            if !node.runs() {
                return None;
            }
            let stand = self.stand(n);
            let blind = (0..self.nodes.len()).find(|m| {
                let eye = &node.eyes[*m];
                *m != n && self.nodes[*m].runs() && (!eye.running || eye.id != self.nodes[*m].id)
            });
            let rests = !stand.pending && !stand.healing && stand.under.is_none() && blind.is_none();
            (!rests).then(|| format!("{n} stands at {stand:?}, does not see {blind:?}"))
        })
    }
}
