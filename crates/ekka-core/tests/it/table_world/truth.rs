//! What really happened: every write, by whom, over what, and whether it was acknowledged.

mod parts;

use std::collections::BTreeMap;

use ekka_core::table::{OpId, Stamp, Table};
use ekka_core::time::Wall;

pub(crate) struct Written {
    pub(crate) key: Vec<u8>,
    pub(crate) stamp: Stamp,
    pub(crate) replaced: Option<OpId>,
    pub(crate) delete: bool,
    pub(crate) expires_at: Option<Wall>,
    pub(crate) acked: bool,
}

/// What was put for a key of several parts: an element, or by how much a counter was raised, or to what.
pub(crate) struct Part {
    pub(crate) key: Vec<u8>,
    pub(crate) amount: i64,
}

#[derive(Default)]
pub(crate) struct Truth {
    pub(crate) writes: BTreeMap<OpId, Written>,
    pub(crate) parts: BTreeMap<OpId, Part>,
}

impl Truth {
    /// Whether `old` is `new` or was seen by it.
    fn descends(&self, new: OpId, old: OpId) -> bool {
        let mut at = Some(new);
        while let Some(id) = at {
            if id == old {
                return true;
            }
            at = self.writes.get(&id).and_then(|written| written.replaced);
        }
        false
    }

    fn children(&self, id: OpId) -> impl Iterator<Item = OpId> {
        self.writes.iter().filter(move |(_, written)| written.replaced == Some(id)).map(|(id, _)| *id)
    }

    /// Whether a table accounts for a write: it is a row, or in the journal, or a tombstone that was dropped, or somebody
    /// who had seen it overwrote it, and that is accounted for.
    fn accounted(&self, table: &Table, id: OpId, wall: Wall) -> bool {
        let written = &self.writes[&id];
        let is_row = table.rows().get(&written.key).is_some_and(|row| table.id_of(row) == id);
        let buried = written.delete || written.expires_at.is_some_and(|at| at <= wall);
        is_row
            || table.journal().any(|loser| table.id_of(loser) == id)
            || buried && (table.holds(id) || written.stamp <= table.gc_floor())
            || self.children(id).any(|child| self.accounted(table, child, wall))
    }

    /// What is wrong with a table when all is at rest.
    pub(crate) fn complaints(&self, table: &Table, wall: Wall, exact: bool) -> Result<(), String> {
        for (id, written) in &self.writes {
            if written.acked && !self.accounted(table, *id, wall) {
                return Err(format!("{:?} has lost {id:?} {:?}", table.me(), written.stamp));
            }
        }
        for row in &table.rows() {
            let id = table.id_of(row);
            let stamp = table.stamp_of(row);
            let buries = |other: &Written| {
                let gone = other.delete || other.expires_at.is_some_and(|at| at <= wall);
                gone && other.acked && other.key == row.key() && other.stamp > stamp
            };
            if row.is_live(wall) && self.writes.values().any(buries) {
                return Err(format!("{:?} has {id:?} back, which was deleted", table.me()));
            }
        }
        for loser in table.journal().filter(|_| exact) {
            let (id, stamp) = (table.id_of(loser), table.stamp_of(loser));
            let beats = |(other, written): (&OpId, &Written)| {
                written.key == loser.key() && written.stamp > stamp && !self.descends(*other, id)
            };
            if !self.writes.iter().any(beats) {
                return Err(format!("{:?} has {id:?} in its journal, and nothing concurrent won", table.me()));
            }
        }
        Ok(())
    }
}
