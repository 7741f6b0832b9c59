//! What happens by chance.

use super::{LONG, World};

impl World {
    /// The whole run: chance, then rest, then the checks.
    pub(crate) fn run(&mut self) -> Result<(), String> {
        for _ in 0..self.plan.steps {
            self.step();
            if let Some(violation) = self.violation.take() {
                return Err(violation);
            }
        }
        self.rest()
    }

    fn step(&mut self) {
        let i = self.some();
        match self.rng.below(100) {
            0..=14 => self.write_by_chance(i),
            15..=69 => self.move_by_chance(i),
            70..=76 => self.watch(i),
            77..=80 => self.follow(i, false),
            81..=83 => self.look_around(i, false),
            84..=85 if self.plan.cuts => self.end_connection(i),
            86..=87 => self.mend_one(),
            88 if self.plan.cuts => self.part(i),
            89 if self.plan.cuts => self.unite(),
            90 if self.plan.kills => self.kill_by_chance(i),
            91..=92 => self.start_by_chance(i),
            93..=95 => self.commit_by_chance(i),
            96 if self.plan.ends => self.end_by_chance(i),
            97 => self.hear_of_own_end(i),
            98..=99 if self.plan.short_logs => {
                if let Some(table) = self.nodes[i].table.as_mut() {
                    table.drop_log();
                }
            }
            _ => {}
        }
    }

    fn some_key(&mut self) -> Vec<u8> {
        vec![b'a' + u8::try_from(self.rng.below(self.plan.keys)).unwrap()]
    }

    /// An operation of an owner, of one row or of several; also such that change nothing.
    fn write_by_chance(&mut self, i: usize) {
        let rows = if self.plan.bulk && self.rng.below(3) == 0 { self.rng.index(5) } else { 1 };
        let mut keys: Vec<Vec<u8>> = (0..rows).map(|_| self.some_key()).collect();
        let delete = self.plan.deletes && self.rng.below(3) == 0;
        let id = self.nodes[i].id;
        let Some(table) = self.nodes[i].table.as_mut() else { return };
        if delete {
            if self.plan.bulk && self.rng.below(4) == 0 {
                keys = self.truth.story(id).rows.keys().cloned().collect();
            }
            table.delete_many(keys.iter().map(Vec::as_slice));
            self.truth.story_mut(id).delete(&keys);
        } else {
            let rows: Vec<_> = keys.into_iter().map(|key| (key, self.truth.new_value(id))).collect();
            let mut values: Vec<Vec<u8>> = rows.iter().map(|(_, value)| value.to_le_bytes().to_vec()).collect();
            if self.plan.long {
                for value in &mut values {
                    value.resize(LONG, 7);
                }
            }
            let packed = rows.iter().zip(&values).map(|((key, _), value)| (key.as_slice(), value.as_slice()));
            table.put_many(packed).unwrap();
            self.truth.story_mut(id).put(&rows);
        }
        if table.sequence() != self.truth.story(id).sequence {
            self.violation.get_or_insert(format!("{id:?} has done {} operations", table.sequence()));
        }
        self.tried.writes += 1;
        self.settle(i);
    }

    fn move_by_chance(&mut self, from: usize) {
        let to = self.some();
        self.pump(from, to);
        if self.rng.below(3) != 0 {
            self.deliver(from, to);
        }
    }

    fn end_connection(&mut self, i: usize) {
        let j = self.some();
        if i == j || !self.links.contains_key(&(i, j)) {
            return;
        }
        self.close(i, j);
        // Often the next one is there at once.
        if self.rng.below(2) == 0 {
            self.broken.insert((i.max(j), i.min(j)));
        }
        self.relink();
    }

    fn mend_one(&mut self) {
        self.broken.pop_first();
        self.relink();
    }

    fn part(&mut self, i: usize) {
        if self.side.iter().all(|side| *side == 0) {
            self.side[i] = 1;
            self.relink();
        }
    }

    pub(super) fn unite(&mut self) {
        self.side.fill(0);
        self.relink();
    }

    fn kill_by_chance(&mut self, i: usize) {
        if self.nodes[i].table.is_some() {
            self.kill(i);
        }
    }

    /// A node that is down starts; one that is no member yet is admitted.
    fn start_by_chance(&mut self, i: usize) {
        if self.nodes[i].table.is_none() && self.side[i] == 0 {
            self.start(i);
            self.nodes[i].known = true;
        }
    }

    fn commit_by_chance(&mut self, i: usize) {
        if self.side[i] == 0 {
            self.commit_start(i);
        }
    }

    /// The majority ends a start, whether or not it runs, and wherever it is.
    fn end_by_chance(&mut self, i: usize) {
        let removed = self.rng.below(2) == 0;
        self.commit_end(i, removed);
    }
}
