//! What a schedule does on purpose.

use ekka_core::table::{Ack, Faults, Storage};

use super::World;
use crate::table_world::plan::{Plan, Rule};

impl World {
    /// Nodes in memory to which nothing happens by itself.
    pub(crate) fn scripted(nodes: usize) -> Self {
        Self::scripted_with(nodes, Faults::default())
    }

    /// The same with a planted fault.
    pub(crate) fn scripted_with(nodes: usize, faults: Faults) -> Self {
        Self::new(Plan {
            seed: 1,
            rule: Rule::Last,
            nodes,
            newcomer: false,
            storage: Storage::Ram,
            ack: Ack::Two,
            keys: 1,
            steps: 0,
            deletes: true,
            expiry: false,
            cuts: false,
            kills: false,
            cleans: false,
            short_logs: false,
            skew_ms: 0,
            faults,
        })
    }

    /// All that one node has for another gets there now, and nothing else moves.
    pub(crate) fn pass(&mut self, from: usize, to: usize) {
        while [0, 1].into_iter().any(|lane| self.pump(from, to, lane) || self.deliver(from, to, lane)) {}
    }

    /// Time passes for those who can reach each other.
    pub(crate) fn flow_for(&mut self, ms: u64) {
        let end = self.ms + ms;
        while self.ms < end {
            self.flow();
        }
    }

    pub(crate) fn cut_off(&mut self, away: &[usize]) {
        for i in away {
            self.side[*i] = 1;
        }
        self.relink();
    }

    /// A node that is cut off is removed by the others.
    pub(crate) fn clean_node(&mut self, i: usize) {
        (self.nodes[i].member, self.nodes[i].cleaned) = (false, true);
        self.cleaned_any = true;
        self.tell_roster();
    }

    /// Nodes that never met the others go over to them, whose cluster knows of it first.
    pub(crate) fn absorb(&mut self, others: &[usize], away: &[usize]) {
        for i in others {
            self.table_mut(*i).keep_tombstones(true);
        }
        for i in away {
            for j in away {
                if self.links.contains_key(&(*i, *j)) {
                    self.close(*i, *j);
                }
            }
            self.nodes[*i].go_over(self.ms);
        }
        self.cleaned_any = true;
        self.mend();
    }

    /// The incarnation of a node that runs is declared over by the others.
    pub(crate) fn declare(&mut self, i: usize) {
        self.nodes[i].declared = true;
        self.tell_roster();
    }

    pub(crate) fn kill_node(&mut self, i: usize) {
        for j in 0..self.nodes.len() {
            if self.links.contains_key(&(i, j)) {
                self.close(i, j);
            }
        }
        self.nodes[i].kill();
    }

    /// The values that can be read for a key, one for each node that runs.
    pub(crate) fn read(&self, key: &[u8]) -> Vec<Option<u64>> {
        let running = self.nodes.iter().filter_map(|node| Some((node, node.table.as_ref()?)));
        let value = |bytes: &[u8]| u64::from_le_bytes(bytes.try_into().unwrap());
        running.map(|(node, table)| table.get(key, node.now(self.ms).wall).map(|row| value(row.value()))).collect()
    }
}

impl World {
    /// The first message on a link is lost, as if the receiver had not been able to take it.
    pub(crate) fn lose_first(&mut self, from: usize, to: usize) {
        if let Some(link) = self.links.get_mut(&(from, to)) {
            link.queues[0].pop_front();
        }
    }

    /// Of what one node has for another everything gets there except operations.
    pub(crate) fn hold_ops(&mut self, from: usize, to: usize) {
        while self.pump(from, to, 0) {
            let link = self.links.get_mut(&(from, to)).expect("they are connected");
            if matches!(link.queues[0].back(), Some(ekka_core::table::Message::Ops(_))) {
                link.queues[0].pop_back();
            }
            while self.deliver(from, to, 0) {}
        }
    }

    /// A node says what it holds, and does nothing else that time brings with it.
    pub(crate) fn report(&mut self, i: usize) {
        let now = self.nodes[i].now(self.ms);
        self.table_mut(i).report_now(now);
    }

    /// The estate of a node goes to this one.
    pub(crate) fn give_estate_to(&mut self, i: usize, judge: usize) {
        let id = self.nodes[judge].id;
        let offer = self.nodes[i].estate.as_mut().expect("it has come back").offer(id);
        self.send(i, judge, 1, offer);
    }
}
