//! Reading quorum tables: the state at one revision, as a clone that costs nothing and stays as it is.

use alloc::collections::BTreeMap;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::ops::Bound;

use super::super::changes::Revision;
use super::super::index::Index;
use super::super::map::Map;
use super::super::scan::{KeyRange, Order, PageLimits, walk};
use super::command::TableId;
use super::contents::{Contents, Figures};
use super::row::Row;
use crate::time::Wall;

/// There is no such table.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("there is no quorum table {table}")]
pub struct NoTable {
    /// Which.
    pub table: TableId,
}

/// A part of the rows asked for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Page {
    /// The rows, in the order of their keys.
    pub rows: Vec<Row>,
    /// The key to go on after; `None` where there are no more.
    pub next: Option<Vec<u8>>,
}

/// All quorum tables of a group at one revision.
#[derive(Clone, Debug, Default)]
pub struct View {
    pub(super) tables: Arc<BTreeMap<TableId, Contents>>,
    pub(super) revision: Revision,
    pub(super) clock: Wall,
}

impl View {
    /// The revision: it grows by one with each command that changed a row or the list of tables, the same everywhere.
    #[must_use]
    pub fn revision(&self) -> Revision {
        self.revision
    }

    /// The latest time that a command has brought: rows that expire at it or before are not there to be read.
    #[must_use]
    pub fn clock(&self) -> Wall {
        self.clock
    }

    /// The tables, in order.
    pub fn tables(&self) -> impl Iterator<Item = TableId> + '_ {
        self.tables.keys().copied()
    }

    /// What a table amounts to; `None` where there is no such table.
    #[must_use]
    pub fn figures(&self, table: TableId) -> Option<Figures> {
        self.tables.get(&table).map(Contents::figures)
    }

    /// When the first row of any table expires.
    #[must_use]
    pub fn first_expiry(&self) -> Option<Wall> {
        self.tables.values().filter_map(Contents::first_expiry).min()
    }

    /// The row of a key, with its version.
    ///
    /// # Errors
    /// There is no such table.
    pub fn get(&self, table: TableId, key: &[u8]) -> Result<Option<&Row>, NoTable> {
        Ok(self.contents(table)?.rows().get(key).filter(|row| row.is_live(self.clock)))
    }

    /// The rows of a range, after the key at which the page before ended. A page has one row at least, if there is one.
    ///
    /// # Errors
    /// There is no such table.
    pub fn page(
        &self,
        table: TableId,
        range: &KeyRange,
        after: Option<&[u8]>,
        limits: PageLimits,
    ) -> Result<Page, NoTable> {
        match after {
            Some(after) => self.page_in(table, &range.after(after, Order::Ascending), Order::Ascending, limits),
            None => self.page_in(table, range, Order::Ascending, limits),
        }
    }

    /// The first rows of a range in this order; the next page is of what is left [`after`](KeyRange::after) its last key.
    ///
    /// # Errors
    /// There is no such table.
    pub fn page_in(&self, table: TableId, range: &KeyRange, order: Order, limits: PageLimits) -> Result<Page, NoTable> {
        let rows = walk(self.contents(table)?.rows(), range, order);
        Ok(page(rows.filter(|row| row.is_live(self.clock)), limits))
    }

    /// A secondary index of a table, where this replica has one of this name. Its rows may have expired:
    /// [`Row::is_live`] by the clock of the view says.
    ///
    /// # Errors
    /// There is no such table.
    pub fn index(&self, table: TableId, name: &str) -> Result<Option<&Index<Row>>, NoTable> {
        Ok(self.contents(table)?.index(name))
    }

    /// The newest version in a range and how many rows it has; it gives up, with what it has by then, as soon as there
    /// are more rows than this.
    pub(super) fn sum_up(&self, table: TableId, range: &KeyRange, most: u64) -> Result<(Revision, u64), NoTable> {
        let (mut newest, mut count) = (0, 0);
        for row in self.live(table, range)? {
            newest = newest.max(row.version());
            count += 1;
            if count > most {
                break;
            }
        }
        Ok((newest, count))
    }

    /// The rows of a range that can be read.
    pub(super) fn live<'a>(
        &'a self,
        table: TableId,
        range: &'a KeyRange,
    ) -> Result<impl Iterator<Item = &'a Row>, NoTable> {
        let rows = walk(self.contents(table)?.rows(), range, Order::Ascending);
        Ok(rows.filter(|row| row.is_live(self.clock)))
    }

    /// All rows of a table, those that have expired and are not yet taken out included.
    ///
    /// # Errors
    /// There is no such table.
    pub fn rows(&self, table: TableId) -> Result<&Map<Row>, NoTable> {
        self.contents(table).map(Contents::rows)
    }

    fn contents(&self, table: TableId) -> Result<&Contents, NoTable> {
        self.tables.get(&table).ok_or(NoTable { table })
    }
}

/// As many of these rows as go onto a page.
pub(super) fn page<'a>(rows: impl Iterator<Item = &'a Row>, limits: PageLimits) -> Page {
    let (mut page, mut bytes) = (Page { rows: Vec::new(), next: None }, 0);
    for row in rows {
        if !page.rows.is_empty() && (page.rows.len() >= limits.rows || bytes + row.size() > limits.bytes) {
            page.next = page.rows.last().map(|last| last.key().to_vec());
            return page;
        }
        bytes += row.size();
        page.rows.push(row.clone());
    }
    page
}

/// The key of a bound; empty where there is none.
pub(super) fn bytes_of(bound: Bound<&[u8]>) -> &[u8] {
    match bound {
        Bound::Included(key) | Bound::Excluded(key) => key,
        Bound::Unbounded => &[],
    }
}
