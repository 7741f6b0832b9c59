//! Digests, compared in the middle of everything: at their cut two nodes have the same.

use super::World;

impl World {
    /// Compares two nodes as they would do it themselves. One of them goes on between the two questions.
    pub(crate) fn compare_by_chance(&mut self) {
        let (asks, answers) = (self.rng.index(self.nodes.len()), self.rng.index(self.nodes.len()));
        let takes_part = |n: usize| {
            let node = &self.nodes[n];
            node.member && node.estate.is_none() && node.table.is_some()
        };
        if asks == answers || !takes_part(asks) || !takes_part(answers) {
            return;
        }
        let theirs = self.table(answers).all_held();
        let mine = self.table(asks).cut();
        for _ in 0..self.rng.below(3) {
            let other = self.rng.index(self.nodes.len());
            self.pump(other, answers, 0);
            self.deliver(other, answers, 0);
        }
        let wall = self.nodes[asks].now(self.ms).wall;
        let other = self.table(answers).cut();
        let mut without = mine.above(&theirs, usize::MAX).unwrap();
        without.append(&mut other.above(mine.held(), usize::MAX).unwrap());
        let differing = mine.digest(&without, wall).differing(&other.digest(&without, wall));
        self.tried.compared += 1;
        if !differing.is_empty() {
            let (a, b) = (self.nodes[asks].id, self.nodes[answers].id);
            self.violation.get_or_insert(format!("{a:?} and {b:?} differ in the ranges {differing:?}"));
        }
    }
}
