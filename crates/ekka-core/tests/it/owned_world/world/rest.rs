//! Rest: nothing goes wrong any more, all is delivered, and then all must be equal.

use super::World;

impl World {
    /// Mends everything, and starts all that are down.
    fn calm(&mut self) {
        self.broken.clear();
        self.unite();
        for i in 0..self.nodes.len() {
            if self.nodes[i].table.is_none() {
                self.start(i);
            }
            self.hear_of_own_end(i);
            self.commit_start(i);
        }
        for i in 0..self.nodes.len() {
            self.follow(i, true);
        }
        self.relink();
        for i in 0..self.nodes.len() {
            self.look_around(i, true);
        }
    }

    pub(super) fn rest(&mut self) -> Result<(), String> {
        self.calm();
        let mut moves = 0;
        loop {
            let mut moved = false;
            for i in 0..self.nodes.len() {
                for j in 0..self.nodes.len() {
                    moved |= self.pump(i, j);
                    moved |= self.deliver(i, j);
                }
            }
            moves += 1;
            if !moved || self.violation.is_some() {
                break;
            }
            if moves > 10_000 {
                return Err("it does not come to rest".into());
            }
        }
        for i in 0..self.nodes.len() {
            self.watch(i);
        }
        match self.violation.take() {
            Some(violation) => Err(violation),
            None => self.judge(),
        }
    }
}
