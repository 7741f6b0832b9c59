//! Bags, counters and values that are raised, written by chance.

use ekka_core::table::{OpId, Version};
use ekka_core::time::Wall;

use super::World;
use crate::table_world::plan::Rule;
use crate::table_world::truth::Part;

impl World {
    /// An element is added or removed, a counter or a value raised, or deleted as far as it is here.
    pub(super) fn write_part_by_chance(&mut self, i: usize, key: &[u8]) {
        let (now, ms) = (self.nodes[i].now(self.ms), self.ms);
        let delete = self.plan.deletes && self.rng.below(4) == 0;
        let ttl = (self.plan.expiry && self.rng.below(3) == 0).then(|| 1 + self.rng.below(3_000));
        // Few values, so that elements are equal; a counter also goes down.
        let amount = i64::try_from(self.rng.below(9)).unwrap() - 2;
        let all = self.rng.below(3) == 0;
        let Some(table) = self.nodes[i].table.as_mut() else { return };
        let (before, value) = (table.latest(), amount.to_le_bytes());
        let mut expires_at = None;
        let removed = Some(&value[..]).filter(|_| !all);
        let done = match (self.plan.rule, delete) {
            (Rule::Union, true) => table.bag_remove(key, removed, now.wall).map(drop),
            (Rule::Union, false) => {
                expires_at = ttl.map(|ttl| Wall::from_millis(ms + 1_000_000 + ttl));
                table.bag_add(key, &value, expires_at, now.wall).map(drop)
            }
            (Rule::Sum | Rule::Max, true) => table.parts_delete(key, now.wall).map(drop),
            (Rule::Sum, false) => table.sum_add(key, amount, now.wall).map(drop),
            (Rule::Max, false) => table.max_raise(key, amount * 10, now.wall).map(drop),
            (Rule::Last, _) => unreachable!("the rows of such a table are written otherwise"),
        };
        // Where a removal has failed in the middle, what it did counts.
        let left = table.bag_values(key, now.wall);
        if delete && done.is_ok() && left.iter().any(|part| removed.is_none_or(|value| part.value() == value)) {
            self.violation.get_or_insert(format!("{:?} still has what it removed", table.me()));
        }
        let (me, rows) = (table.me(), table.rows());
        let is_new = |id: OpId| id.origin == me && id.number > before;
        let mut new: Vec<&Version> = rows.iter().filter(|row| is_new(table.id_of(row))).collect();
        new.sort_by_key(|row| table.id_of(row));
        for row in new {
            let id = self.note(i, row, expires_at);
            let part =
                Part { key: key.to_vec(), amount: if self.plan.rule == Rule::Max { amount * 10 } else { amount } };
            if !delete {
                self.truth.parts.insert(id, part);
            }
        }
        self.settle(i);
    }
}
