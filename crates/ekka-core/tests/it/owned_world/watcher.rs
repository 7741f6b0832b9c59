//! Somebody who follows the table of one node by its changes alone.

use std::collections::{BTreeMap, BTreeSet};

use ekka_core::id::{Incarnation, NodeId};
use ekka_core::table::{OwnedChange, OwnedTable, Revision};

use crate::owned_world::truth::{Rows, Truth};

/// The number in a value.
pub(crate) fn number(value: &[u8]) -> u64 {
    value.first_chunk().map_or(0, |bytes| u64::from_le_bytes(*bytes))
}

/// Rows of one owner, and how far in what it did they are.
#[derive(Default)]
struct Owner {
    rows: Rows,
    at: Option<(Incarnation, usize)>,
}

#[derive(Default)]
pub(crate) struct Watcher {
    owners: BTreeMap<NodeId, Owner>,
    hidden: BTreeSet<NodeId>,
    /// `None` before the first snapshot.
    revision: Option<Revision>,
}

impl Watcher {
    /// Takes what there is, and compares: whether it was told to begin again.
    pub(crate) fn look(&mut self, table: &OwnedTable, truth: &Truth) -> Result<bool, String> {
        let changes = self.revision.and_then(|revision| Some(table.changes_after(revision).ok()?.cloned()));
        let begins = changes.is_none();
        match changes {
            None => self.begin(table, truth),
            Some(changes) => {
                for change in changes {
                    self.take(&change, truth).map_err(|error| format!("a watcher is told {change:?}, {error}"))?;
                }
            }
        }
        self.revision = Some(table.revision());
        self.compare(table, truth)?;
        Ok(begins)
    }

    fn begin(&mut self, table: &OwnedTable, truth: &Truth) {
        self.owners.clear();
        self.hidden.clear();
        for (id, shown, rows) in table.snapshot() {
            let at = truth.story(id).first_after(table.held(id));
            let rows = rows.iter().map(|row| (row.key().to_vec(), number(row.value()))).collect();
            self.owners.insert(id.node_id, Owner { rows, at: Some((id, at)) });
            if !shown {
                self.hidden.insert(id.node_id);
            }
        }
    }

    fn take(&mut self, change: &OwnedChange, truth: &Truth) -> Result<(), String> {
        match change {
            OwnedChange::Put(node, row) => {
                let value = number(row.value());
                let id =
                    truth.who_wrote(value).filter(|id| id.node_id == *node).ok_or("which its owner never wrote")?;
                self.step(id, row.key(), Ok(value), truth)
            }
            OwnedChange::Delete(node, row) => {
                let at = self.owners.get(node).and_then(|owner| owner.at).ok_or("of an owner it never heard of")?;
                self.step(at.0, row.key(), Err(number(row.value())), truth)
            }
            OwnedChange::Hidden(node) => self.hidden.insert(*node).then_some(()).ok_or("twice".into()),
            OwnedChange::Shown(node) => self.hidden.remove(node).then_some(()).ok_or("and it was not hidden".into()),
            OwnedChange::OwnerGone(id) => match self.owners.remove(&id.node_id) {
                Some(Owner { rows, at: Some((last, _)) }) if last == *id && !rows.is_empty() => Ok(()),
                _ => Err("and it had no rows".into()),
            },
        }
    }

    /// The next that this owner did must be just this.
    fn step(&mut self, id: Incarnation, key: &[u8], put: Result<u64, u64>, truth: &Truth) -> Result<(), String> {
        let owner = self.owners.entry(id.node_id).or_default();
        let mut at = match owner.at {
            Some((last, at)) if last == id => at,
            Some((last, _)) if last.guid > id.guid => return Err(format!("after {last:?}")),
            _ if !owner.rows.is_empty() => return Err("and the rows of the start before it are there".into()),
            _ => 0,
        };
        let next = truth.story(id).effects.get(at).ok_or("which is more than it did")?;
        if next.key != key || next.put != put {
            return Err(format!("and next was {next:?}"));
        }
        at += 1;
        owner.at = Some((id, at));
        match put {
            Ok(value) => owner.rows.insert(key.to_vec(), value),
            Err(_) => owner.rows.remove(key),
        };
        Ok(())
    }

    /// What it has put together is what can be read, and all of it.
    fn compare(&self, table: &OwnedTable, truth: &Truth) -> Result<(), String> {
        let mut own: BTreeMap<NodeId, &Owner> = self.owners.iter().map(|(node, owner)| (*node, owner)).collect();
        for (id, shown, rows) in table.snapshot() {
            let has = own.remove(&id.node_id);
            let rows: Rows = rows.iter().map(|row| (row.key().to_vec(), number(row.value()))).collect();
            if has.map_or(!rows.is_empty(), |owner| owner.rows != rows) {
                return Err(format!("a watcher has other rows of {id:?} than the table: {rows:?}"));
            }
            if shown == self.hidden.contains(&id.node_id) {
                return Err(format!("the rows of {id:?} are shown: {shown}, and a watcher does not know"));
            }
            let all = truth.story(id).first_after(table.held(id));
            if all > 0 && has.and_then(|owner| owner.at) != Some((id, all)) {
                return Err(format!("a watcher has not heard of all that {id:?} did"));
            }
        }
        match own.into_iter().find(|(_, owner)| !owner.rows.is_empty()) {
            Some((node, _)) => Err(format!("a watcher has rows of {node:?}, and the table has none")),
            None => Ok(()),
        }
    }
}
