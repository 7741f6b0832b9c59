//! Starts and ends of nodes, and what of it is committed.

use ekka_core::id::Incarnation;

use super::World;

impl World {
    /// A node starts, with nothing.
    pub(super) fn start(&mut self, i: usize) {
        self.close_all(i);
        self.nodes[i].start();
        self.truth.begin(self.nodes[i].id, &std::collections::BTreeMap::new());
        self.settle(i);
        self.relink();
    }

    /// A node is down. What it has not said is lost with its rows.
    pub(super) fn kill(&mut self, i: usize) {
        self.close_all(i);
        self.nodes[i].table = None;
        self.tried.kills += 1;
    }

    fn commit(&mut self, change: impl FnOnce(&mut super::Committed)) {
        let mut next = self.latest().clone();
        change(&mut next);
        self.committed.push(next);
    }

    /// The start of a node is the present one of its node.
    pub(super) fn commit_start(&mut self, i: usize) {
        let id = self.nodes[i].id;
        if !self.needs_commit(i) {
            return;
        }
        self.commit(|next| {
            if let Some(old) = next.present.insert(id.node_id, id) {
                next.over.insert(id.node_id, old);
            }
        });
    }

    pub(super) fn needs_commit(&self, i: usize) -> bool {
        let id = self.nodes[i].id;
        self.nodes[i].table.is_some()
            && !self.latest().is_over(id)
            && self.latest().present.get(&id.node_id) != Some(&id)
    }

    /// A start is over, by what is committed: the node was cut off, is down for long, or is removed.
    pub(super) fn commit_end(&mut self, i: usize, removed: bool) {
        let node = self.nodes[i].id.node_id;
        let Some(Incarnation { guid, .. }) = self.latest().present.get(&node).copied() else { return };
        self.commit(|next| {
            next.present.remove(&node);
            next.over.insert(node, Incarnation { node_id: node, guid });
        });
        if self.nodes[i].id.guid == guid {
            self.nodes[i].removed = removed;
        }
        self.tried.removals += 1;
    }

    /// A node that is over by what is committed hears of it, and goes on as another start.
    pub(super) fn hear_of_own_end(&mut self, i: usize) {
        let id = self.nodes[i].id;
        if self.side[i] != 0 || self.nodes[i].table.is_none() || !self.latest().is_over(id) {
            return;
        }
        if self.nodes[i].removed {
            return self.start(i);
        }
        self.close_all(i);
        let rows = self.truth.story(id).rows.clone();
        self.nodes[i].renew();
        self.truth.begin(self.nodes[i].id, &rows);
        self.tried.renewals += 1;
        self.settle(i);
        self.relink();
    }

    /// A node follows what is committed: all of it, or some.
    pub(super) fn follow(&mut self, i: usize, all: bool) {
        let (last, followed) = (self.committed.len() - 1, self.nodes[i].followed);
        if self.side[i] != 0 || followed >= last {
            return;
        }
        let next = if all { last } else { followed + 1 + self.rng.index(last - followed) };
        self.nodes[i].follow(next, &self.committed[next]);
        self.settle(i);
    }

    /// A node shows and hides owners, by whom it can reach, and sometimes wrongly.
    pub(super) fn look_around(&mut self, i: usize, rightly: bool) {
        let present: Vec<Incarnation> = self.nodes[i].present.values().copied().collect();
        for owner in present {
            let at = self.nodes.iter().position(|node| node.id == owner);
            let runs = at.is_some_and(|j| i == j || self.linked(i, j));
            let wrong = !rightly && self.plan.suspicions && self.rng.below(4) == 0;
            self.nodes[i].sees(owner.node_id, runs && !wrong);
            self.tried.hidden += u64::from(!runs || wrong);
        }
        self.settle(i);
    }
}
