//! What happens by chance.

use super::World;
use crate::table_world::plan::Rule;

impl World {
    /// The whole run: chance, then rest, then the checks.
    pub(crate) fn run(&mut self) -> Result<(), String> {
        for _ in 0..self.plan.steps {
            self.step();
            if let Some(violation) = self.violation.take() {
                return Err(violation);
            }
        }
        self.calm();
        self.rest()
    }

    fn some(&mut self) -> usize {
        self.rng.index(self.nodes.len())
    }

    fn step(&mut self) {
        self.ms += self.rng.below(20);
        match self.rng.below(100) {
            0..=9 => self.write_by_chance(),
            10..=76 => self.move_by_chance(),
            77..=79 => self.compare_by_chance(),
            80..=87 => {
                self.ms += self.rng.below(300);
                let i = self.some();
                self.tick(i);
            }
            88..=91 => {
                let i = self.some();
                self.nodes[i].sync(self.ms);
                self.settle(i);
            }
            92 if self.plan.cuts => self.cut(),
            93 if self.plan.cuts => self.mend(),
            94 if self.plan.kills => self.kill(),
            95 => self.start_all(),
            96 if self.plan.short_logs => {
                let i = self.some();
                if let Some(table) = self.nodes[i].table.as_mut() {
                    table.drop_log();
                }
            }
            97 if self.plan.cleans => self.clean(),
            98 if self.plan.newcomer => self.admit_newcomer(),
            99 if self.plan.cuts => self.declare_gone(),
            _ => {}
        }
    }

    fn write_by_chance(&mut self) {
        let i = self.some();
        if !(self.nodes[i].member || self.nodes[i].cleaned) {
            return;
        }
        let key = [b'a' + u8::try_from(self.rng.below(self.plan.keys)).unwrap()];
        if self.plan.rule != Rule::Last {
            return self.write_part_by_chance(i, &key);
        }
        let delete = self.plan.deletes && self.rng.below(3) == 0;
        let ttl = (self.plan.expiry && self.rng.below(3) == 0).then(|| 1 + self.rng.below(3_000));
        self.write(i, &key, delete, ttl);
    }

    fn move_by_chance(&mut self) {
        let (from, to) = (self.some(), self.some());
        // Bulk data is slower.
        let lane = usize::from(self.rng.below(3) == 0);
        self.pump(from, to, lane);
        if self.rng.below(3) != 0 {
            self.deliver(from, to, lane);
        }
        self.merge(from, 1);
    }

    /// Cuts one node off, or two of four.
    fn cut(&mut self) {
        if self.side.iter().any(|side| *side != 0) {
            return;
        }
        let away = 1 + self.rng.index((self.nodes.len() - 1) / 2 + usize::from(self.nodes.len() == 4));
        for _ in 0..away.min(self.nodes.len() / 2) {
            let i = self.some();
            if self.nodes[i].member {
                self.side[i] = 1;
            }
        }
        self.relink();
    }

    pub(crate) fn mend(&mut self) {
        if self.side.iter().all(|side| *side == 0) {
            return;
        }
        self.side.fill(0);
        for i in 0..self.nodes.len() {
            if self.nodes[i].cleaned {
                self.come_back(i);
            } else if self.nodes[i].declared {
                self.renew(i);
            }
        }
        self.tell_roster();
        self.relink();
    }

    /// Its incarnation was declared over while it ran: it goes on under the next.
    fn renew(&mut self, i: usize) {
        for j in 0..self.nodes.len() {
            if self.links.contains_key(&(i, j)) {
                self.close(i, j);
            }
        }
        self.nodes[i].declared = false;
        self.nodes[i].waiting.clear();
        self.nodes[i].next_guid();
        let (id, now) = (self.nodes[i].id, self.nodes[i].now(self.ms));
        if let Some(table) = self.nodes[i].table.as_mut() {
            table.renew(id, now);
        }
    }

    /// A node that was cleaned comes back, and gives to somebody.
    fn come_back(&mut self, i: usize) {
        for j in 0..self.nodes.len() {
            if self.links.contains_key(&(i, j)) {
                self.close(i, j);
            }
        }
        if self.nodes[i].table.is_none() && self.nodes[i].estate.is_none() {
            self.nodes[i].start(self.ms);
        }
        self.nodes[i].come_back(self.ms);
        self.tell_roster();
        self.relink();
        self.find_judge(i);
    }

    /// Gives the estate of a node to somebody, where it has no judge, or that one is no more.
    pub(crate) fn find_judge(&mut self, i: usize) {
        let Some(estate) = &self.nodes[i].estate else { return };
        if estate.judge().is_some_and(|judge| self.find(judge).is_some_and(|j| self.linked(i, j))) {
            return;
        }
        let fit = |j: &usize| self.linked(i, *j) && self.nodes[*j].estate.is_none();
        let judges: Vec<usize> = (0..self.nodes.len()).filter(fit).collect();
        if judges.is_empty() {
            return;
        }
        let j = judges[self.rng.index(judges.len())];
        // A newcomer's clock is above that of who admits it, before it writes, gives or copies.
        let (clock, judge, now) = (self.table(j).clock(), self.nodes[j].id, self.nodes[i].now(self.ms));
        if self.table_mut(i).raise_clock(clock, now.wall).is_err() {
            return;
        }
        let offer = self.nodes[i].estate.as_mut().map(|estate| estate.offer(judge));
        if let Some(offer) = offer {
            self.send(i, j, 1, offer);
        }
    }

    /// At most one node is down at a time, and in memory the next only goes when all have everything.
    fn kill(&mut self) {
        let i = self.some();
        let down = self.nodes.iter().any(|node| node.table.is_none() && node.member);
        let disc = self.plan.storage == ekka_core::table::Storage::Disc;
        if !self.nodes[i].member || down || self.nodes[i].estate.is_some() {
            return;
        }
        if !disc && self.tried.kills > 0 && !self.is_at_rest() {
            return;
        }
        self.tried.kills += 1;
        for j in 0..self.nodes.len() {
            if self.links.contains_key(&(i, j)) {
                self.close(i, j);
            }
        }
        self.nodes[i].kill();
        for j in 0..self.nodes.len() {
            self.find_judge(j);
        }
    }

    pub(crate) fn start_all(&mut self) {
        for i in 0..self.nodes.len() {
            if self.nodes[i].table.is_none() && self.nodes[i].member {
                self.nodes[i].next_guid();
                self.nodes[i].declared = false;
                self.nodes[i].start(self.ms);
            }
        }
        self.tell_roster();
        self.relink();
        for i in 0..self.nodes.len() {
            self.find_judge(i);
        }
    }

    /// A node that is cut off is removed from the cluster.
    fn clean(&mut self) {
        let i = self.some();
        if self.side[i] == 0 || !self.nodes[i].member || self.nodes[i].table.is_none() || self.nodes[i].estate.is_some()
        {
            return;
        }
        // Somebody is left who can judge what the others bring back.
        let whole = |j: &usize| *j != i && self.nodes[*j].member && self.nodes[*j].estate.is_none();
        if (0..self.nodes.len()).filter(whole).count() < 2 {
            return;
        }
        (self.nodes[i].member, self.nodes[i].cleaned) = (false, true);
        self.cleaned_any = true;
        self.tell_roster();
    }

    /// The majority declares the incarnation of a node over which it does not hear.
    fn declare_gone(&mut self) {
        let i = self.some();
        if self.side[i] != 0 && self.nodes[i].member && self.nodes[i].table.is_some() {
            self.nodes[i].declared = true;
            self.tell_roster();
        }
    }

    pub(crate) fn admit_newcomer(&mut self) {
        let i = self.nodes.len() - 1;
        let Some(admits) = (0..i).find(|j| self.side[*j] == 0 && self.nodes[*j].table.is_some()) else { return };
        if self.nodes[i].member || self.nodes[i].cleaned || self.nodes[i].table.is_some() {
            return;
        }
        let clock = self.table(admits).clock();
        self.nodes[i].member = true;
        self.nodes[i].start(self.ms);
        let now = self.nodes[i].now(self.ms);
        // Clocks in this world differ by far less than a minute.
        self.table_mut(i).raise_clock(clock, now.wall).ok();
        self.tell_roster();
        self.relink();
    }
}
