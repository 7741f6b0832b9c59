//! Links between nodes: what is cut, and by which way a message goes.

use std::collections::{BTreeMap, BTreeSet};

use ekka_core::rng::Rng;

use crate::heal_world::plan::{MS, Us};

/// By which way a message goes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Way {
    pub(crate) from: usize,
    pub(crate) to: usize,
    /// Who passes it on, where the direct link is cut.
    pub(crate) via: Option<usize>,
}

#[derive(Default)]
pub(crate) struct Net {
    /// Directions in which nothing passes.
    cut: BTreeSet<(usize, usize)>,
    /// When the last message of a pair arrives: those after it arrive later.
    last: BTreeMap<(usize, usize), Us>,
}

impl Net {
    pub(crate) fn open(&self, from: usize, to: usize) -> bool {
        !self.cut.contains(&(from, to))
    }

    pub(crate) fn both(&self, a: usize, b: usize) -> bool {
        self.open(a, b) && self.open(b, a)
    }

    pub(crate) fn cut_way(&mut self, from: usize, to: usize) {
        self.cut.insert((from, to));
    }

    pub(crate) fn cut(&mut self, a: usize, b: usize) {
        self.cut.extend([(a, b), (b, a)]);
    }

    /// Cuts all between nodes of different parts.
    pub(crate) fn split(&mut self, part_of: &[usize]) {
        for a in 0..part_of.len() {
            for b in 0..a {
                if part_of[a] != part_of[b] {
                    self.cut(a, b);
                }
            }
        }
    }

    pub(crate) fn mend(&mut self) {
        self.cut.clear();
    }

    /// The way from one to another, directly or through one of those who can carry.
    pub(crate) fn way(&self, from: usize, to: usize, carriers: &[usize], rng: &mut Rng) -> Option<Way> {
        if self.open(from, to) {
            return Some(Way { from, to, via: None });
        }
        let fits = |n: &&usize| **n != from && **n != to && self.open(from, **n) && self.open(**n, to);
        let fit: Vec<usize> = carriers.iter().filter(fits).copied().collect();
        (!fit.is_empty()).then(|| Way { from, to, via: Some(fit[rng.index(fit.len())]) })
    }

    /// Whether that way is still open.
    pub(crate) fn stands(&self, way: Way) -> bool {
        match way.via {
            None => self.open(way.from, way.to),
            Some(via) => self.open(way.from, via) && self.open(via, way.to),
        }
    }

    /// When a message that is sent now arrives.
    pub(crate) fn arrival(&mut self, way: Way, now: Us, rng: &mut Rng) -> Us {
        let hops = if way.via.is_some() { 2 } else { 1 };
        let delay: Us = (0..hops).map(|_| MS + rng.below(19 * MS)).sum();
        let last = self.last.entry((way.from, way.to)).or_default();
        *last = (now + delay).max(*last + 1);
        *last
    }
}
