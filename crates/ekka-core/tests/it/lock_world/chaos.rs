//! What goes wrong: cuts, pauses, kills, elections against living leaders.

use ekka_core::lock::{Keeper, KeeperInput};

use super::world::{Event, Node, SECOND, World, node_id};

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
        if self.is_calm() {
            self.side.fill(0);
            for i in 0..self.nodes.len() {
                if self.nodes[i].paused {
                    self.wake(i);
                }
            }
            return;
        }
        let long = u64::try_from(self.plan.ttl.as_nanos()).expect("short") * 2;
        let who = self.rng.index(self.nodes.len());
        match self.rng.below(10) {
            0..=2 => {
                for i in 0..self.side.len() {
                    self.side[i] = u8::from(self.rng.below(3) == 0);
                }
                let sides = self.side.clone();
                self.note(|| format!("cut {sides:?}"));
            }
            3 | 4 => self.side.fill(0),
            5 if self.runs(who) => {
                self.nodes[who].paused = true;
                self.note(|| format!("node {who} is stopped"));
                let sleep = self.rng.below(long);
                self.after(sleep, Event::Wake(who));
            }
            6 if self.runs(who) && self.nodes.iter().all(|node| node.alive) => self.kill(who),
            _ => {
                let who = who % self.plan.voters;
                if self.runs(who) {
                    self.elect(who);
                }
            }
        }
        let pause = SECOND / 2 + self.rng.below(4 * SECOND);
        self.after(pause, Event::Disturb);
    }

    fn kill(&mut self, i: usize) {
        self.note(|| format!("node {i} is killed"));
        self.nodes[i].alive = false;
        self.nodes[i].inbox.clear();
        if let Some(replica) = self.group.replicas.get_mut(i) {
            (replica.leads, replica.leader) = (false, None);
        }
        let away = self.rng.below(20 * SECOND);
        self.after(away, Event::Restart(i));
    }

    /// Another process on the same machine; a voter has what it had applied.
    pub(super) fn restart(&mut self, i: usize) {
        self.note(|| format!("node {i} starts"));
        self.starts += 1;
        let (faults, voters) = (self.plan.faults, self.plan.voters);
        let fresh = Node::new(i, self.starts, voters, self.nodes[i].fast, faults);
        let before = std::mem::replace(&mut self.nodes[i], fresh);
        self.nodes[i].state = before.state;
        if i < voters {
            self.nodes[i].keeper = Some(Keeper::new(node_id(i), faults.keeper));
            let open: Vec<_> = self.nodes[i].state.sessions().collect();
            for session in open {
                let ttl = self.nodes[i].state.ttl_ms(session).map(std::time::Duration::from_millis);
                self.keep(i, KeeperInput::Opened { session, ttl: ttl.unwrap_or_default() });
            }
        }
        self.boot(i);
    }
}
