//! Rest: nothing goes wrong any more, all is delivered, and then all must be equal.

use std::collections::BTreeMap;

use ekka_core::table::OpId;

use super::World;

/// Time in which all must have come to rest, in milliseconds of the world.
const REST_MS: u64 = 120_000;

impl World {
    /// Mends and starts everything.
    pub(crate) fn calm(&mut self) {
        self.mend();
        self.start_all();
        if self.plan.newcomer {
            self.admit_newcomer();
        }
    }

    /// Delivers everything that there is to deliver, and lets time pass.
    pub(crate) fn flow(&mut self) {
        for i in 0..self.nodes.len() {
            self.nodes[i].sync(self.ms);
            self.tick(i);
            self.find_judge(i);
        }
        for _ in 0..10_000 {
            let mut moved = false;
            for i in 0..self.nodes.len() {
                moved |= self.merge(i, 1);
                for j in 0..self.nodes.len() {
                    for lane in [0, 1] {
                        moved |= self.pump(i, j, lane);
                        moved |= self.deliver(i, j, lane);
                    }
                }
            }
            if !moved {
                break;
            }
        }
        self.ms += 200;
    }

    fn visible(&self, i: usize) -> BTreeMap<Vec<u8>, OpId> {
        let (table, wall) = (self.table(i), self.nodes[i].now(self.ms).wall);
        let rows = table.rows();
        rows.iter().filter(|row| row.is_live(wall)).map(|row| (row.key().to_vec(), table.id_of(row))).collect()
    }

    /// Whether all hold the same, and nothing is under way.
    pub(crate) fn is_at_rest(&self) -> bool {
        let all: Vec<usize> = (0..self.nodes.len()).filter(|i| self.nodes[*i].member).collect();
        let all_run = self.nodes.iter().all(|node| node.table.is_some() || !node.member);
        let calm = self.side.iter().all(|side| *side == 0);
        if !all_run || !calm || self.nodes.iter().any(|node| node.estate.is_some() || node.cleaned) {
            return false;
        }
        let everything = |i: usize| self.table(i).all_held();
        let idle = |i: usize| !self.table(i).is_taking_copy() && self.table(i).stored() == self.table(i).held();
        all.iter().all(|i| idle(*i) && everything(*i) == everything(all[0]))
    }

    pub(crate) fn rest(&mut self) -> Result<(), String> {
        let begun = self.ms;
        while !self.is_at_rest() {
            self.flow();
            if let Some(violation) = self.violation.take() {
                return Err(violation);
            }
            if self.ms - begun > REST_MS {
                return Err(format!("it does not come to rest: {:?}", self.what_is_left()));
            }
        }
        self.judge()?;
        // Time for tombstones to be dropped and origins to be folded, and for rows to expire.
        for _ in 0..20 {
            self.flow();
        }
        self.ms += 70_000;
        for _ in 0..20 {
            self.flow();
        }
        self.judge()?;
        self.is_tidy()
    }

    fn what_is_left(&self) -> Vec<String> {
        let running = self.nodes.iter().filter_map(|node| Some((node, node.table.as_ref()?)));
        let told = running.map(|(node, table)| {
            let (taking, estate) = (table.is_taking_copy(), node.estate.as_ref().map(ekka_core::table::Estate::judge));
            format!(
                "{:?} copy {taking} estate {estate:?} stored {:?} held {:?}",
                node.id,
                table.stored(),
                table.all_held()
            )
        });
        told.collect()
    }

    /// The checks, with everything at rest.
    pub(crate) fn judge(&mut self) -> Result<(), String> {
        let all: Vec<usize> = (0..self.nodes.len()).filter(|i| self.nodes[*i].member).collect();
        for i in &all {
            let (table, wall) = (self.table(*i), self.nodes[*i].now(self.ms).wall);
            self.truth.complaints(table, wall, !self.cleaned_any)?;
            self.truth.complaints_of_parts(table, wall, self.plan.rule)?;
        }
        let journaled = all.iter().map(|i| self.table(*i).journal().count() as u64).sum::<u64>();
        self.tried.journaled += journaled;
        let walls: Vec<_> = all.iter().map(|i| self.nodes[*i].now(self.ms).wall).collect();
        // While a row expires on one node after the other, they differ.
        let expiring = self.truth.writes.values().filter_map(|written| written.expires_at);
        let expiring = expiring.filter(|at| walls.iter().any(|wall| wall < at) && walls.iter().any(|wall| wall >= at));
        let expiring = expiring.count() > 0;
        let rows = self.visible(all[0]);
        for i in &all[1..] {
            if self.visible(*i) != rows && !expiring {
                let (a, b) = (self.nodes[all[0]].id, self.nodes[*i].id);
                return Err(format!("rows differ: {a:?} {rows:?}, {b:?} {:?}", self.visible(*i)));
            }
        }
        Ok(())
    }

    /// After a long rest there is no tombstone left, and no origin that is over in the vectors.
    fn is_tidy(&self) -> Result<(), String> {
        for i in (0..self.nodes.len()).filter(|i| self.nodes[*i].member) {
            let (table, wall) = (self.table(i), self.nodes[i].now(self.ms).wall);
            if let Some(row) = table.rows().iter().find(|row| !row.is_live(wall)) {
                return Err(format!("{:?} still has a tombstone: {row:?}", table.me()));
            }
            for (origin, _) in table.held().iter() {
                if self.nodes.iter().all(|node| node.id != origin) {
                    return Err(format!("{:?} still has {origin:?} in its vector", table.me()));
                }
            }
        }
        Ok(())
    }
}
