//! Operations: who wrote how many, how they spread, and what an exchange waits for.

use ekka_core::autoheal::{HealId, HealNews, Input};
use ekka_core::id::Incarnation;

use super::World;
use crate::heal_world::node::{Due, Exchange, merge};

impl World {
    /// One operation more that only this node holds.
    pub(crate) fn write(&mut self, n: usize) {
        let origin = self.nodes[n].origin;
        let have = &mut self.nodes[n].have;
        have.resize(have.len().max(origin + 1), 0);
        have[origin] += 1;
    }

    /// One node takes in what another one holds.
    fn pull(&mut self, n: usize, m: usize) {
        if n != m && self.nodes[m].acts() && self.net.both(n, m) {
            let theirs = self.nodes[m].have.clone();
            merge(&mut self.nodes[n].have, &theirs);
        }
    }

    pub(super) fn spread(&mut self) {
        for n in 0..self.nodes.len() {
            if !self.nodes[n].acts() {
                continue;
            }
            if !self.still && self.rng.below(3) == 0 {
                self.write(n);
            }
            if self.plan.fast {
                (0..self.nodes.len()).for_each(|m| self.pull(n, m));
            } else if self.rng.below(2) == 0 {
                let m = self.rng.index(self.nodes.len());
                self.pull(n, m);
            }
            self.go_on(n);
        }
    }

    pub(super) fn exchange(&mut self, n: usize, id: HealId, collected: Vec<Incarnation>, side: Vec<Incarnation>) {
        if collected.contains(&self.nodes[n].id) {
            return self.violates(format!("{n} is to hold what it holds itself"));
        }
        self.nodes[n].exchange = Some(Exchange { id, side, open: collected, target: Vec::new(), waits_told: false });
        self.ask(n);
    }

    /// The node of a start that runs and can be asked: not one that has another guid by now.
    fn in_reach(&mut self, n: usize, id: Incarnation) -> Option<usize> {
        let m = self.nodes.iter().position(|node| node.id == id && node.acts())?;
        let carriers: Vec<usize> = (0..self.nodes.len()).filter(|via| self.nodes[*via].acts()).collect();
        let ways = [(n, m), (m, n)].map(|(a, b)| self.net.way(a, b, &carriers, &mut self.rng));
        ways.iter().all(Option::is_some).then_some(m)
    }

    /// Asks those of the collected nodes that have not said what they hold.
    fn ask(&mut self, n: usize) {
        let Some(mut exchange) = self.nodes[n].exchange.take() else { return };
        exchange.open.retain(|id| match self.in_reach(n, *id) {
            Some(m) => {
                merge(&mut exchange.target, &self.nodes[m].have);
                false
            }
            None => true,
        });
        self.nodes[n].exchange = Some(exchange);
    }

    /// An exchange goes on: ends, or says for what it waits.
    fn go_on(&mut self, n: usize) {
        self.ask(n);
        let Some(mut exchange) = self.nodes[n].exchange.take() else { return };
        let (id, guid) = (exchange.id, self.nodes[n].id.guid);
        let holds = !self.differ && exchange.open.is_empty() && self.nodes[n].holds(&exchange.target);
        let equal = |world: &mut Self, id: Incarnation| {
            world.in_reach(n, id).is_some_and(|m| world.nodes[m].holds(&exchange.target))
        };
        if holds && exchange.side.iter().any(|id| equal(self, *id)) {
            self.line(&format!("{n} has exchanged for {id}"));
            let news = HealNews::Exchanged { id, rows: 1, overridden: 0 };
            return self.give(n, Due { guid, input: Input::News(news) });
        }
        let first = !std::mem::replace(&mut exchange.waits_told, true);
        self.nodes[n].exchange = Some(exchange);
        if first {
            let news = HealNews::Waits { id, text: "operations are missing".into() };
            self.give(n, Due { guid, input: Input::News(news) });
        }
    }
}
