//! Quorum tables as a simple map, and transactions with all that they have been shown.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;
use core::ops::Bound;

use super::super::*;
use super::wall;
use crate::table::{KeyRange, PageLimits};
use crate::time::Wall;

pub(super) type Key = Vec<u8>;

/// A row of the model: version, value, time of expiry.
pub(super) type Held = (u64, Vec<u8>, Option<u64>);

/// The tables as a simple map.
#[derive(Clone, Default, Debug)]
pub(super) struct Model {
    pub(super) tables: BTreeSet<TableId>,
    pub(super) rows: BTreeMap<(TableId, Key), Held>,
    pub(super) clock: u64,
}

impl Model {
    pub(super) fn tick(&mut self, now: u64) {
        self.clock = self.clock.max(now);
    }

    fn is_live(&self, held: &Held) -> bool {
        held.2.is_none_or(|at| at > self.clock)
    }

    pub(super) fn get(&self, table: TableId, key: &[u8]) -> Option<(u64, Vec<u8>)> {
        let held = self.rows.get(&(table, key.to_vec())).filter(|held| self.is_live(held))?;
        Some((held.0, held.1.clone()))
    }

    /// The rows of a table that can be read: key, version, value.
    pub(super) fn live(&self, table: TableId) -> Vec<(Key, u64, Vec<u8>)> {
        let rows = self.rows.iter().filter(|((of, _), held)| *of == table && self.is_live(held));
        rows.map(|((_, key), held)| (key.clone(), held.0, held.1.clone())).collect()
    }

    pub(super) fn write(&mut self, writes: &[Write], revision: u64) {
        for write in writes {
            let at = (write.table(), write.key().to_vec());
            match write {
                Write::Put { value, expires_at, .. } => {
                    self.rows.insert(at, (revision, value.to_vec(), expires_at.map(Wall::as_millis)));
                }
                Write::Delete { .. } => {
                    self.rows.remove(&at);
                }
            }
        }
    }

    pub(super) fn drop_table(&mut self, table: TableId) {
        self.tables.remove(&table);
        self.rows.retain(|(of, _), _| *of != table);
    }
}

/// What a transaction was shown of what others have written.
#[derive(Debug)]
enum Shown {
    Row { table: TableId, key: Key, row: Option<(u64, Vec<u8>)> },
    Range { table: TableId, from: Bound<Key>, to: Bound<Key>, rows: Vec<(Key, u64, Vec<u8>)>, hidden: BTreeSet<Key> },
}

/// A transaction that is being made.
#[derive(Debug)]
pub(super) struct Open {
    pub(super) draft: Draft,
    shown: Vec<Shown>,
    pub(super) writes: BTreeMap<(TableId, Key), Write>,
}

fn within(key: &Key, from: &Bound<Key>, to: &Bound<Key>) -> bool {
    let above = match from {
        Bound::Included(from) => key >= from,
        Bound::Excluded(from) => key > from,
        Bound::Unbounded => true,
    };
    above
        && match to {
            Bound::Included(to) => key <= to,
            Bound::Excluded(to) => key < to,
            Bound::Unbounded => true,
        }
}

impl Open {
    pub(super) fn new(view: &View) -> Self {
        Self { draft: Draft::new(view.clone()), shown: Vec::new(), writes: BTreeMap::new() }
    }

    /// Reads a row; words where its own write is not what it is shown.
    pub(super) fn get(&mut self, table: TableId, key: &[u8]) -> Result<(), &'static str> {
        let Ok(row) = self.draft.get(table, key) else { return Ok(()) };
        match self.writes.get(&(table, key.to_vec())) {
            Some(Write::Delete { .. }) if row.is_some() => Err("its own deletion is not seen"),
            Some(Write::Put { value, expires_at, .. }) => {
                let live = expires_at.is_none_or(|at| at > self.draft.view().clock());
                let right = row.as_ref().map(Row::value) == live.then_some(&**value);
                if right { Ok(()) } else { Err("its own write is not seen") }
            }
            Some(Write::Delete { .. }) => Ok(()),
            None => {
                let row = row.map(|row| (row.version(), row.value().to_vec()));
                self.shown.push(Shown::Row { table, key: key.to_vec(), row });
                Ok(())
            }
        }
    }

    /// Reads pages of a range, so many at most; words where its own writes are not among them.
    pub(super) fn scan(
        &mut self,
        table: TableId,
        (from, to): (Bound<Key>, Bound<Key>),
        rows: usize,
        pages: usize,
    ) -> Result<(), &'static str> {
        let range = KeyRange::new(from.clone(), to.clone());
        let clock = self.draft.view().clock();
        let mut after: Option<Key> = None;
        for _ in 0..pages {
            let limits = PageLimits { rows, bytes: usize::MAX };
            let Ok(page) = self.draft.scan(table, &range, after.as_deref(), limits) else { return Ok(()) };
            let from = after.take().map_or(from.clone(), Bound::Excluded);
            let to = page.next.clone().map_or(to.clone(), Bound::Included);
            let own = self.writes.iter().filter(|((of, key), _)| *of == table && within(key, &from, &to));
            let hidden = own.clone().map(|((_, key), _)| key.clone()).collect();
            let live = own.filter_map(|((_, key), write)| match write {
                Write::Put { value, expires_at, .. } if expires_at.is_none_or(|at| at > clock) => {
                    Some((key.clone(), 0, value.to_vec()))
                }
                Write::Put { .. } | Write::Delete { .. } => None,
            });
            let all = page.rows.iter().map(|row| (row.key().to_vec(), row.version(), row.value().to_vec()));
            if !all.clone().is_sorted_by(|a, b| a.0 < b.0) {
                return Err("a page is not in order");
            }
            let (own, rows): (Vec<_>, Vec<_>) = all.partition(|row| row.1 == 0);
            if own != live.collect::<Vec<_>>() {
                return Err("its own writes are not in the range");
            }
            self.shown.push(Shown::Range { table, from, to, rows, hidden });
            after = page.next;
            if after.is_none() {
                return Ok(());
            }
        }
        Ok(())
    }

    /// Whether all that it was shown is so in the model.
    pub(super) fn is_current(&self, model: &Model) -> bool {
        self.shown.iter().all(|shown| match shown {
            Shown::Row { table, key, row } => model.get(*table, key) == *row,
            Shown::Range { table, from, to, rows, hidden } => {
                let live = model.live(*table).into_iter();
                live.filter(|row| within(&row.0, from, to) && !hidden.contains(&row.0)).eq(rows.iter().cloned())
            }
        })
    }

    /// Whether what it was shown, and what its own writes hid from it in ranges, is so in the model as in its view.
    pub(super) fn view_is_current(&self, model: &Model) -> bool {
        self.shown.iter().all(|shown| match shown {
            Shown::Row { .. } => true,
            Shown::Range { table, from, to, .. } => {
                let range = KeyRange::new(from.clone(), to.clone());
                let limits = PageLimits { rows: usize::MAX, bytes: usize::MAX };
                let Ok(page) = self.draft.view().page(*table, &range, None, limits) else { return false };
                let was = page.rows.iter().map(|row| (row.key().to_vec(), row.version()));
                let live = model.live(*table).into_iter().filter(|row| within(&row.0, from, to));
                was.eq(live.map(|row| (row.0, row.1)))
            }
        }) && self.is_current(model)
    }

    /// The tables that it has to do with.
    pub(super) fn tables(&self) -> BTreeSet<TableId> {
        let shown = self.shown.iter().map(|shown| match shown {
            Shown::Row { table, .. } | Shown::Range { table, .. } => *table,
        });
        shown.chain(self.writes.keys().map(|(table, _)| *table)).collect()
    }

    pub(super) fn finish(self, now: u64) -> Command {
        self.draft.finish(wall(now)).expect("small")
    }
}
