//! What goes wrong: cuts, pauses, kills, elections against living leaders.

use ekka_core::lease::{Cause, HolderInput, Keeper, KeeperInput, Terms};

use super::{Event, SECOND, World, node_id};

impl World {
    pub(super) fn disturb(&mut self) {
        if !self.plan.chaos {
            // Leadership moves once in a while all the same.
            if self.now < self.calm_at {
                let who = self.rng.index(self.plan.voters);
                self.elect(who);
                self.after(12 * SECOND, Event::Disturb);
            }
            return;
        }
        if self.now >= self.calm_at {
            self.side.fill(0);
            for i in 0..self.nodes.len() {
                if self.nodes[i].paused {
                    self.wake(i);
                }
            }
            return;
        }
        let long = u64::try_from(self.plan.gone_after.as_nanos()).expect("short") * 2;
        match self.rng.below(10) {
            0..=2 => {
                for i in 0..self.side.len() {
                    self.side[i] = u8::from(self.rng.below(3) == 0);
                }
            }
            3 | 4 => self.side.fill(0),
            5 => {
                let who = self.rng.index(self.nodes.len());
                if self.runs(who) {
                    self.nodes[who].paused = true;
                    let sleep = self.rng.below(long);
                    self.after(sleep, Event::Wake(who));
                }
            }
            6 => {
                let who = self.rng.index(self.nodes.len());
                if self.runs(who) && self.nodes.iter().all(|node| node.alive) {
                    self.kill(who);
                }
            }
            _ => {
                let who = self.rng.index(self.plan.voters);
                if self.runs(who) {
                    self.elect(who);
                }
            }
        }
        let pause = SECOND / 2 + self.rng.below(4 * SECOND);
        self.after(pause, Event::Disturb);
    }

    pub(super) fn kill(&mut self, i: usize) {
        if self.rng.below(3) == 0 {
            // It stops in good order: the holder first, then the word.
            self.hold(i, HolderInput::Goodbye);
            let id = self.nodes[i].id;
            for v in 0..self.plan.voters {
                if self.linked(i, v) && self.runs(v) {
                    self.keep(v, KeeperInput::Ended(id, Cause::Goodbye));
                }
            }
        }
        let node = &mut self.nodes[i];
        (node.alive, node.held, node.tick_at) = (false, false, u64::MAX);
        node.inbox.clear();
        if let Some(replica) = self.group.replicas.get_mut(i) {
            (replica.leads, replica.leader) = (false, None);
        }
        let away = self.rng.below(20 * SECOND);
        self.after(away, Event::Restart(i));
    }

    pub(super) fn restart(&mut self, i: usize) {
        let (terms, faults) = (Terms::new(self.plan.gone_after), self.plan.faults);
        let gone = self.nodes[i].gone.clone();
        let node = &mut self.nodes[i];
        (node.alive, node.told) = (true, None);
        if node.keeper.is_some() {
            node.keeper = Some(Keeper::new(node_id(i), terms, gone, faults));
            let present = node.members.values().copied().collect();
            self.keep(i, KeeperInput::Starts { present, removed: [].into() });
        }
        self.reborn(i);
    }
}
