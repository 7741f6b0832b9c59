//! What goes wrong: cuts, kills and restarts, twins, verdicts that somebody is gone.

use super::{Event, NODES, SECOND, World, node_id};
use crate::volatile_world::durable::Entry as Durable;

impl World {
    pub(crate) fn kill(&mut self, p: usize) {
        let proc = &mut self.procs[p];
        (proc.alive, proc.replica) = (false, None);
    }

    pub(super) fn disturb(&mut self) {
        if self.now >= self.calm_at {
            for proc in &mut self.procs {
                proc.side = 0;
            }
            return;
        }
        let living: Vec<usize> = (0..self.procs.len()).filter(|p| self.procs[*p].alive).collect();
        if living.is_empty() {
            return self.after(SECOND, Event::Disturb);
        }
        let who = living[self.rng.index(living.len())];
        match self.rng.below(13) {
            0..=2 => {
                // By nodes, so that who restarts stays where its node is.
                for p in living {
                    self.procs[p].side = u8::from(self.rng.below(3) == 0);
                }
            }
            3 | 4 => {
                for p in living {
                    self.procs[p].side = 0;
                }
            }
            5..=7 => self.restart_some(&living),
            8 => {
                if let Some(node) = self.procs[who].node.filter(|_| self.procs[who].side == 1) {
                    self.twin(node);
                }
            }
            9 | 10 => {
                // Gone by a committed entry of the others; it may live.
                let judge = living.iter().copied().find(|p| self.reaches_durable(*p) && !self.reaches(*p, who));
                let dead = (0..self.procs.len()).rev().find(|p| !self.procs[*p].alive && self.procs[*p].node.is_some());
                match (judge, dead) {
                    (Some(by), _) if self.procs[who].node.is_some() => {
                        self.append(by, Durable::Gone(self.procs[who].id));
                    }
                    (_, Some(dead)) => self.append(who, Durable::Gone(self.procs[dead].id)),
                    _ => {}
                }
            }
            11 => {
                if self.procs[who].node.is_some() && !self.procs[who].outside && self.reaches_durable(who) {
                    self.leave(who);
                    let away = self.rng.below(4 * SECOND);
                    self.after(away, Event::Join(who));
                }
            }
            _ => self.elect(who),
        }
        let pause = SECOND / 2 + self.rng.below(5 * SECOND);
        self.after(pause, Event::Disturb);
    }

    pub(super) fn restart_some(&mut self, living: &[usize]) {
        let many = match self.rng.below(6) {
            0 => 3,
            1 | 2 => 2,
            _ => 1,
        };
        let mut nodes: Vec<usize> = living.iter().copied().filter(|p| self.procs[*p].node.is_some()).collect();
        for _ in 0..many.min(nodes.len()) {
            let p = nodes.remove(self.rng.index(nodes.len()));
            self.kill(p);
            let node = self.procs[p].node.expect("filtered");
            let away = self.rng.below(4 * SECOND);
            self.after(away, Event::Restart(node));
        }
    }

    /// A process of the same name on another directory, while the first one runs behind a cut.
    pub(crate) fn twin(&mut self, node: usize) -> usize {
        let count = self.procs.iter().filter(|proc| proc.node.is_none()).count();
        let own = node_id(NODES + count);
        self.boot(None, if self.plan.twin_counts { node_id(node) } else { own }, 0)
    }
}
