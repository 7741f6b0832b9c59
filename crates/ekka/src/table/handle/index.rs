//! Secondary indexes, as programs say what they go by and look into them.

use std::panic::{AssertUnwindSafe, catch_unwind};

use ekka_core::id::NodeId;
use ekka_core::table::quorum::Row;
use ekka_core::table::{Extract, Index, KeyRange};
use ekka_core::time::Wall;

use super::super::def::{Available, Owned, Quorum, TableKind};
use super::super::error::ReadError;
use super::super::key::TableKey;
use super::super::parts::Parts;
use super::super::quorum::QuorumError;
use super::Table;
use super::owned::read_owned;
use super::pages::{Merged, OwnerIndexed, QuorumIndexed, VersionIndex};
use super::quorum::soon;
use super::read_row;
use super::scan::{Place, Scan};
use crate::codec::Coding;

/// The index keys of a row: none leaves it out.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct IndexKeys(Vec<Vec<u8>>);

impl IndexKeys {
    /// The row is not in the index.
    #[must_use]
    pub fn none() -> Self {
        Self::default()
    }

    /// The row has this one.
    pub fn one(key: &impl TableKey) -> Self {
        Self(vec![key.to_bytes()])
    }

    /// The row has these: of a list, or of what may be there (`as_ref` of an `Option`).
    pub fn many<'a, I: TableKey + 'a>(keys: impl IntoIterator<Item = &'a I>) -> Self {
        Self(keys.into_iter().map(TableKey::to_bytes).collect())
    }
}

/// What an index goes by, as it is said in the constant of a table.
pub(in crate::table) struct IndexDef<V> {
    pub(in crate::table) name: &'static str,
    pub(in crate::table) keys: fn(&V) -> IndexKeys,
}

impl<V> Clone for IndexDef<V> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<V> Copy for IndexDef<V> {}

/// An index of an open table.
#[derive(Clone)]
pub(in crate::table) struct OpenIndex {
    name: &'static str,
    /// Other than the name it tells indexes of one name apart that go by other functions or types.
    id: String,
    extract: Extract,
    /// Where the table has it.
    at: usize,
}

impl OpenIndex {
    /// Adds it to an open table, where that has not got it.
    pub(super) fn open<V: 'static, C: TableKind>(slot: &C::Slot, def: IndexDef<V>, coding: Coding<V>) -> Self {
        let IndexDef { name, keys } = def;
        let id = format!("{name}@{:x}/{:x}", keys as usize, coding.decode as usize);
        let extract = Extract::new(move |_, value| {
            // It runs while the table is being changed, which no panic may leave half-done.
            let keys = || (coding.decode)(value).ok().map(|value| keys(&value));
            catch_unwind(AssertUnwindSafe(keys)).ok().flatten().unwrap_or_default().0
        });
        let at = C::index(slot, &id, &extract);
        Self { name, id, extract, at }
    }
}

/// A secondary index of a table: rows in the order of their index keys, and of their keys where these are the same.
///
/// It belongs to this node, and changes with the rows, so that a write that was awaited is in it.
pub struct TableIndex<K, V, C: TableKind> {
    table: Table<K, V, C>,
    index: OpenIndex,
}

/// Which index keys.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct IndexRange(KeyRange);

impl IndexRange {
    /// All.
    #[must_use]
    pub fn all() -> Self {
        Self(KeyRange::all())
    }

    /// This one.
    pub fn one(key: &impl TableKey) -> Self {
        use std::ops::Bound::Included;
        Self(KeyRange::new(Included(key.to_bytes()), Included(key.to_bytes())))
    }

    /// Those that begin with these bytes.
    #[must_use]
    pub fn prefix(prefix: &[u8]) -> Self {
        Self(KeyRange::prefix(prefix))
    }

    /// Those from one to before another.
    pub fn between<I: TableKey>(from: &I, to: &I) -> Self {
        use std::ops::Bound::{Excluded, Included};
        Self(KeyRange::new(Included(from.to_bytes()), Excluded(to.to_bytes())))
    }
}

impl<K, V, C: TableKind> Table<K, V, C> {
    /// The index of this name: see [`TableDef::index`](super::super::TableDef::index).
    ///
    /// # Errors
    /// `NoIndex`: the constant with which the table was opened has none of this name.
    pub fn index(&self, name: &str) -> Result<TableIndex<K, V, C>, ReadError> {
        let found = self.indexes.iter().find(|index| index.name == name).cloned();
        let index = found.ok_or_else(|| {
            let names: Vec<&str> = self.indexes.iter().map(|index| index.name).collect();
            let known = if names.is_empty() { "none".to_owned() } else { names.join(", ") };
            ReadError::NoIndex { table: self.schema().name.clone(), index: name.to_owned(), known }
        })?;
        Ok(TableIndex { table: self.clone(), index })
    }
}

impl<K: TableKey + 'static, V: 'static> TableIndex<K, V, Available> {
    /// The rows with an index key.
    pub fn get(&self, key: &impl TableKey) -> Scan<Place, (K, V), ReadError> {
        self.scan(&IndexRange::one(key))
    }

    /// The rows with these index keys, as they are at this moment.
    #[must_use]
    pub fn scan(&self, range: &IndexRange) -> Scan<Place, (K, V), ReadError> {
        let slot = &self.table.slot;
        let (wall, coding, parts) = (slot.world.clock.now().wall, self.table.value, slot.parts());
        let index = slot.read().index(self.index.at).cloned();
        Scan::new(range.0.spread(), move |asked| {
            let index = index.map(|index| VersionIndex { index, wall });
            let rows = Merged::new(index, &asked.range, asked.order, asked.page);
            let key = move |row_key: &[u8]| if parts == Parts::None { row_key.to_vec() } else { parts.key(row_key) };
            Box::new(rows.map(move |(place, row)| (place, read_row(&key(row.key()), row.value(), coding))))
        })
    }
}

impl<K: TableKey + 'static, V: 'static> TableIndex<K, V, Owned> {
    /// The rows with an index key, of the owners that are up.
    pub fn get(&self, key: &impl TableKey) -> Scan<Place, (NodeId, K, V), ReadError> {
        self.scan(&IndexRange::one(key))
    }

    /// The rows with these index keys, of the owners that are up, as they are at this moment.
    #[must_use]
    pub fn scan(&self, range: &IndexRange) -> Scan<Place, (NodeId, K, V), ReadError> {
        let coding = self.table.value;
        let owners = self.table.slot.read().index(self.index.at).unwrap_or_default();
        Scan::new(range.0.spread(), move |asked| {
            let shown = owners.into_iter().filter(|(_, shown, _)| *shown);
            let owners = shown.map(|(owner, _, index)| OwnerIndexed { owner, index });
            let rows = Merged::new(owners, &asked.range, asked.order, asked.page);
            Box::new(rows.map(move |(place, (owner, row))| (place, read_owned(owner, &row, coding))))
        })
    }
}

impl<K: TableKey + 'static, V: 'static> TableIndex<K, V, Quorum> {
    /// The rows with an index key, after everything that was committed anywhere before this call.
    ///
    /// # Errors
    /// `NoQuorum`, `Closed`.
    pub async fn get(&self, key: &impl TableKey) -> Result<Scan<Place, (K, V), QuorumError>, QuorumError> {
        let range = IndexRange::one(key);
        self.scan(&range).await
    }

    /// The rows with these index keys, after everything that was committed anywhere before this call.
    ///
    /// # Errors
    /// `NoQuorum`, `Closed`.
    pub async fn scan(&self, range: &IndexRange) -> Result<Scan<Place, (K, V), QuorumError>, QuorumError> {
        let index = (&*self.index.id, &self.index.extract);
        Ok(self.scan_of(range, self.table.slot.fresh_index(index, soon()).await?))
    }

    /// The rows with these index keys as this node has them, at once: it may be an old state.
    ///
    /// # Errors
    /// `NoQuorum`: this node has no replica. `Closed`.
    pub fn scan_stale(&self, range: &IndexRange) -> Result<Scan<Place, (K, V), QuorumError>, QuorumError> {
        Ok(self.scan_of(range, self.table.slot.index(&self.index.id, &self.index.extract)?))
    }

    fn scan_of(
        &self,
        range: &IndexRange,
        (index, clock): (Option<Index<Row>>, Wall),
    ) -> Scan<Place, (K, V), QuorumError> {
        let coding = self.table.value;
        Scan::new(range.0.spread(), move |asked| {
            let index = index.map(|index| QuorumIndexed { index, clock });
            let rows = Merged::new(index, &asked.range, asked.order, asked.page);
            let read = move |key: &[u8], value: &[u8]| read_row(key, value, coding).map_err(QuorumError::from);
            Box::new(rows.map(move |(place, row)| (place, read(row.key(), row.value()))))
        })
    }
}
