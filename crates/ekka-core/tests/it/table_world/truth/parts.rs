//! What bags, counters and values that are raised must be, by what was written.

use std::collections::BTreeSet;

use ekka_core::id::Incarnation;
use ekka_core::table::{OpId, Table, Version, part_number};
use ekka_core::time::Wall;

use super::{Part, Truth};
use crate::table_world::plan::Rule;

impl Truth {
    /// What is wrong with the parts of a table when all is at rest.
    pub(crate) fn complaints_of_parts(&self, table: &Table, wall: Wall, rule: Rule) -> Result<(), String> {
        let keys: BTreeSet<&[u8]> = self.parts.values().map(|part| part.key.as_slice()).collect();
        for key in keys {
            let parts = table.bag_values(key, wall);
            let wrong = match rule {
                Rule::Last => None,
                Rule::Union => self.wrong_in_bag(table, key, &parts, wall),
                Rule::Sum => self.wrong_in_sum(table, key, &parts, wall),
                Rule::Max => self.wrong_in_max(table, key, &parts, wall),
            };
            if let Some(wrong) = wrong {
                return Err(format!("{:?}, {rule:?} of {key:?}: {wrong}", table.me()));
            }
        }
        Ok(())
    }

    fn of_key(&self, key: &[u8]) -> impl Iterator<Item = (&OpId, &Part)> {
        self.parts.iter().filter(move |(_, part)| part.key == key)
    }

    /// Whether somebody deleted a part of a key: then what remains of it is what remains of its rows.
    fn is_deleted(&self, key: &[u8]) -> bool {
        let deletes = self.writes.values().filter(|written| written.delete);
        deletes.filter_map(|written| written.replaced).any(|id| self.parts.get(&id).is_some_and(|part| part.key == key))
    }

    /// What was added and nobody who had seen it removed is there, and nothing that was removed.
    fn wrong_in_bag(&self, table: &Table, key: &[u8], parts: &[Version], wall: Wall) -> Option<String> {
        let there: BTreeSet<OpId> = parts.iter().map(|part| table.id_of(part)).collect();
        for part in parts {
            let id = table.id_of(part);
            if self.parts.get(&id).is_none_or(|added| added.key != key || added.amount != part_number(part)) {
                return Some(format!("{id:?} is there, and was never added so"));
            }
        }
        for (id, _) in self.of_key(key) {
            let written = &self.writes[id];
            let is_live = written.expires_at.is_none_or(|at| at > wall);
            let removed: Vec<bool> = self.children(*id).map(|child| self.writes[&child].acked).collect();
            if written.acked && is_live && removed.is_empty() && !there.contains(id) {
                return Some(format!("{id:?} was added, and is not there"));
            }
            if there.contains(id) && (!is_live || removed.contains(&true)) {
                return Some(format!("{id:?} has expired or was removed, and is there"));
            }
        }
        None
    }

    /// What one start has added to a counter up to an operation.
    fn added(&self, key: &[u8], last: OpId) -> i64 {
        let own = self.of_key(key).filter(|(id, _)| id.origin == last.origin && id.number <= last.number);
        own.map(|(_, part)| part.amount).sum()
    }

    /// The sum is that of everything which was added and acknowledged, and of what was added and is not lost.
    fn wrong_in_sum(&self, table: &Table, key: &[u8], parts: &[Version], wall: Wall) -> Option<String> {
        if self.is_deleted(key) {
            let sum = (!parts.is_empty()).then(|| parts.iter().map(part_number).sum::<i64>());
            return (table.sum(key, wall) != sum).then(|| "the sum is not that of the parts".into());
        }
        let origins: BTreeSet<Incarnation> = self.of_key(key).map(|(id, _)| id.origin).collect();
        let (mut sum, mut any) = (0, false);
        for origin in origins {
            let there = parts.iter().map(|part| table.id_of(part)).filter(|id| id.origin == origin).max();
            let own = self.of_key(key).filter(|(id, _)| id.origin == origin);
            let acked = own.map(|(id, _)| *id).filter(|id| self.writes[id].acked).max();
            if there < acked {
                return Some(format!("what was added up to {acked:?} is there up to {there:?}"));
            }
            sum += there.map_or(0, |last| self.added(key, last));
            any |= there.is_some();
        }
        let held = table.sum(key, wall);
        (held != any.then_some(sum)).then(|| format!("it is {held:?} instead of {sum}"))
    }

    /// It is as high as anybody raised it who was told that it is, and no higher than anybody did.
    fn wrong_in_max(&self, table: &Table, key: &[u8], parts: &[Version], wall: Wall) -> Option<String> {
        let held = table.max(key, wall);
        if held != parts.iter().map(part_number).max() {
            return Some("it is not the highest of the parts".into());
        }
        let highest = self.of_key(key).map(|(_, part)| part.amount).max();
        let acked = self.of_key(key).filter(|(id, _)| self.writes[id].acked).map(|(_, part)| part.amount).max();
        let lost = held < acked && !self.is_deleted(key);
        (lost || held > highest).then(|| format!("it is {held:?}, and was raised to {acked:?}, or {highest:?}"))
    }
}
