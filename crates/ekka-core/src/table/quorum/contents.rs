//! The rows of one quorum table, with what is kept of them as they change: counts, digest, the order of expiry.

use alloc::collections::BTreeMap;
use alloc::string::String;

use super::super::index::{Extract, Index};
use super::super::map::{Entry as _, Map};
use super::row::{Due, Row};
use crate::time::Wall;

/// What a table amounts to. Rows that have expired and are not yet taken out count.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Figures {
    /// How many rows.
    pub rows: u64,
    /// Bytes of keys and values.
    pub bytes: u64,
    /// The sum of a hash of each row, its version and expiry included: equal tables, equal digests.
    pub digest: u64,
}

/// The rows of a table; a clone costs nothing.
#[derive(Clone, Debug, Default)]
pub(super) struct Contents {
    rows: Map<Row>,
    due: Map<Due>,
    figures: Figures,
    /// Secondary indexes, by the names that this node gives them. They are no part of the state of the group.
    indexes: BTreeMap<String, Index<Row>>,
}

impl Contents {
    /// An index of this name, over the rows that are there.
    pub(super) fn add_index(&mut self, name: &str, extract: &Extract) {
        self.indexes.insert(name.into(), Index::of(extract, &self.rows));
    }

    /// The index of a name.
    pub(super) fn index(&self, name: &str) -> Option<&Index<Row>> {
        self.indexes.get(name)
    }

    /// What the indexes go by.
    pub(super) fn extracts(&self) -> impl Iterator<Item = (&str, &Extract)> {
        self.indexes.iter().map(|(name, index)| (name.as_str(), index.extract()))
    }

    /// Whether the indexes have what the rows have.
    pub(super) fn check(&self) -> bool {
        self.indexes.values().all(|index| Index::of(index.extract(), &self.rows).is_as(index))
    }

    fn reindex(&mut self, old: Option<&Row>, new: Option<&Row>) {
        for index in self.indexes.values_mut() {
            index.changed(old, new);
        }
    }

    /// Puts a row in; the one that had its key comes out.
    pub(super) fn put(&mut self, row: &Row) -> Option<Row> {
        let (size, digest, due) = (row.size() as u64, row.digest(), Due::of(row));
        let old = self.rows.insert(row.clone());
        self.reindex(old.as_ref(), Some(row));
        // The old one goes first: it may stand at the same place of the order of expiry.
        if let Some(old) = &old {
            self.forget(old);
        }
        self.figures.rows += 1;
        self.figures.bytes += size;
        self.figures.digest = self.figures.digest.wrapping_add(digest);
        if let Some(due) = due {
            self.due.insert(due);
        }
        old
    }

    /// Takes the row of a key out.
    pub(super) fn remove(&mut self, key: &[u8]) -> Option<Row> {
        let old = self.rows.remove(key)?;
        self.reindex(Some(&old), None);
        self.forget(&old);
        Some(old)
    }

    /// The row that expires first.
    pub(super) fn first_due(&self) -> Option<&Row> {
        self.due.iter().next().map(Due::row)
    }

    /// When the first row expires.
    pub(super) fn first_expiry(&self) -> Option<Wall> {
        self.first_due().and_then(Row::expires_at)
    }

    pub(super) fn rows(&self) -> &Map<Row> {
        &self.rows
    }

    pub(super) fn figures(&self) -> Figures {
        self.figures
    }

    fn forget(&mut self, old: &Row) {
        let figures = &mut self.figures;
        figures.rows -= 1;
        figures.bytes -= old.size() as u64;
        figures.digest = figures.digest.wrapping_sub(old.digest());
        if let Some(due) = Due::of(old) {
            self.due.remove(due.key());
        }
    }
}
