//! The network between hosts: what is cut or held, and since when it is whole again.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::World;

/// What is wrong between hosts.
#[derive(Debug, Default)]
pub(super) struct Links {
    /// Directions that are cut; a pair that is held has both.
    broken: BTreeSet<(usize, usize)>,
    mended: BTreeMap<(usize, usize), Duration>,
}

impl Links {
    fn break_way(&mut self, from: usize, to: usize) {
        self.broken.insert((from, to));
    }

    fn mend(&mut self, now: Duration) {
        for (a, b) in std::mem::take(&mut self.broken) {
            self.mended.insert((a.min(b), a.max(b)), now);
        }
    }

    /// Pairs that do not reach each other now, or since when they do again.
    pub(super) fn pairs(&self) -> BTreeMap<(usize, usize), Option<Duration>> {
        let mended = self.mended.iter().map(|(pair, at)| (*pair, Some(*at)));
        mended.chain(self.broken.iter().map(|(a, b)| ((*a.min(b), *a.max(b)), None))).collect()
    }
}

impl World {
    /// Drops everything from one host to another from now on.
    pub fn cut(&mut self, from: usize, to: usize) {
        self.note(&format!("cut {from}->{to}"));
        self.links.break_way(from, to);
        let (from, to) = (self.addr(from), self.addr(to));
        self.sim.partition_oneway(from, to);
    }

    /// Drops everything between one host and all others from now on.
    pub fn isolate(&mut self, i: usize) {
        for other in (0..self.hosts()).filter(|other| *other != i) {
            self.cut(i, other);
            self.cut(other, i);
        }
    }

    /// Lets everything pass again.
    pub fn mend_all(&mut self) {
        self.note("mend all");
        self.links.mend(self.elapsed);
        for a in 0..self.hosts() {
            for b in 0..a {
                let (a, b) = (self.addr(a), self.addr(b));
                self.sim.release(a, b);
                self.sim.repair(a, b);
            }
        }
    }

    /// Keeps everything between two hosts back until [`World::mend_all`]: a stall, not a loss.
    pub fn hold(&mut self, a: usize, b: usize) {
        self.note(&format!("hold {a}-{b}"));
        self.links.break_way(a, b);
        let (a, b) = (self.addr(a), self.addr(b));
        self.sim.hold(a, b);
    }
}
