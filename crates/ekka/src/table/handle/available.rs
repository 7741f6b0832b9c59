//! `available` tables, as programs hold them.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use ekka_core::schema::{MergeRule, Schema, Shape};
use ekka_core::table::{Acknowledged, KeyRange};
use ekka_core::time::Wall;

use super::super::acks::Terms;
use super::super::available::{AvailableSlot, Write};
use super::super::def::Available;
use super::super::error::{PutError, ReadError};
use super::super::key::TableKey;
use super::super::parts::{Counters, Parts};
use super::super::watch::{RawWatch, Watch};
use super::Table;
use super::pages::{Merged, Versions};
use super::request::{Request, sealed::Carry};
use super::scan::Scan;
use super::stored::{Expiry, Stored, wall_of};
use crate::codec::number_as;
use crate::env::BoxFuture;

impl<K: TableKey, V> Table<K, V, Available> {
    /// The value of a key, as this node has it.
    ///
    /// # Errors
    /// It is no value of this type.
    pub fn get(&self, key: &K) -> Result<Option<V>, ReadError> {
        self.slot.get(&key.to_bytes(), |version| self.decode(version.value())).transpose()
    }

    /// The same with which version it is, when it was written, and when it expires.
    ///
    /// # Errors
    /// It is no value of this type.
    pub fn get_stored(&self, key: &K) -> Result<Option<Stored<V>>, ReadError> {
        let wall = self.slot.world.clock.now().wall;
        let table = self.slot.read();
        let Some(version) = table.get(&key.to_bytes(), wall).cloned() else { return Ok(None) };
        let id = table.id_of(&version);
        drop(table);
        let revision = format!("{}-{}", id.origin.guid, id.number);
        let (written, expires_at) = (Some(version.hlc().wall()), version.expires_at());
        Ok(Some(Stored::new(self.decode(version.value())?, revision, written, expires_at)))
    }

    /// Writes a row. It is written when the future is awaited; *dropping it then does not undo*.
    ///
    /// The future gives how many nodes have the row, and whether it survives the loss of power there, or a [`PutError`].
    pub fn put(&self, key: &K, value: &V) -> Put {
        let value = self.encode(value);
        Request::new(PutRow { slot: self.slot.clone(), key: key.to_bytes(), value, expiry: None })
    }

    /// Deletes a row, whether or not there is one. *Dropping the future does not undo.*
    pub fn delete(&self, key: &K) -> Delete {
        Request::new(DeleteRow { slot: self.slot.clone(), key: key.to_bytes(), what: Ok(Gone::All) })
    }

    /// All rows, and then every change once, in order for each key: see [`Watch`].
    #[must_use]
    pub fn watch(&self) -> Watch<K, V> {
        Watch::new(RawWatch::new(self.slot.clone()), self.value)
    }

    /// How many rows there are; in a bag and of counters, elements and parts.
    #[must_use]
    pub fn len(&self) -> usize {
        self.slot.read().size().rows
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// Rows of an `available` table: of a bag, a row for each value of a key; of counters, one with the number.
pub type RowScan<K, V> = Scan<K, (K, V), ReadError>;

impl<K: TableKey + 'static, V: 'static> Table<K, V, Available> {
    /// The rows whose keys begin with these bytes, as they are at this moment, in the order of the bytes of their keys.
    #[must_use]
    pub fn prefix(&self, prefix: &[u8]) -> RowScan<K, V> {
        self.scan_range(KeyRange::prefix(prefix))
    }

    /// All rows as they are at this moment, in the order of the bytes of their keys.
    #[must_use]
    pub fn scan(&self) -> RowScan<K, V> {
        self.scan_range(KeyRange::all())
    }

    /// The rows from one key to before another, as they are at this moment.
    #[must_use]
    pub fn range(&self, from: &K, to: &K) -> RowScan<K, V> {
        use std::ops::Bound::{Excluded, Included};
        self.scan_range(KeyRange::new(Included(from.to_bytes()), Excluded(to.to_bytes())))
    }

    fn scan_range(&self, range: KeyRange) -> RowScan<K, V> {
        let rows = Versions { rows: self.slot.read().rows(), wall: self.slot.world.clock.now().wall };
        let (coding, parts) = (self.value, self.slot.parts());
        let codec = self.schema().codec.clone();
        let read = move |key: &[u8], value: &[u8]| (Vec::new(), super::read_row(key, value, coding));
        Scan::new(range, move |asked| {
            let range = if parts == Parts::None { asked.range.clone() } else { asked.range.spread() };
            let rows = Merged::new([rows], &range, asked.order, asked.page);
            match parts {
                Parts::None => Box::new(rows.map(move |row| read(row.key(), row.value()))),
                Parts::Elements => Box::new(rows.map(move |row| read(&parts.key(row.key()), row.value()))),
                Parts::Sum | Parts::Max => Box::new(
                    Counters::new(rows, parts).map(move |(key, number)| read(&key, &number_as(&codec, number))),
                ),
            }
        })
    }
}

impl<K: TableKey, V> Table<K, V, Available> {
    /// The values of a key of a bag, in no order that means anything.
    ///
    /// # Errors
    /// One is no value of this type.
    pub fn values(&self, key: &K) -> Result<Vec<V>, ReadError> {
        let wall = self.slot.world.clock.now().wall;
        let values = self.slot.read().bag_values(&key.to_bytes(), wall);
        values.iter().map(|version| self.decode(version.value())).collect()
    }

    /// Removes a value from a bag, as often as it is there on this node. What others add meanwhile stays. *Dropping the
    /// future does not undo.*
    pub fn remove(&self, key: &K, value: &V) -> Delete {
        let what = self.encode(value).map(Gone::Value);
        Request::new(DeleteRow { slot: self.slot.clone(), key: key.to_bytes(), what })
    }
}

impl<K: TableKey> Table<K, i64, Available> {
    /// The value of a counter: of a table of sums what all have added, of one of maxima the largest. Other tables have
    /// none.
    #[must_use]
    pub fn count(&self, key: &K) -> Option<i64> {
        self.slot.count(&key.to_bytes())
    }

    /// Adds to a counter of a table of sums, or raises one of a table of maxima. *Dropping the future does not undo.*
    pub fn add(&self, key: &K, number: i64) -> Add {
        Request::new(AddNumber { slot: self.slot.clone(), key: key.to_bytes(), number })
    }
}

/// A number on its way into a counter.
pub type Add = Request<AddNumber>;

/// Adds a number.
pub struct AddNumber {
    slot: Arc<AvailableSlot>,
    key: Vec<u8>,
    number: i64,
}

impl Carry for AddNumber {
    fn carry_out(self, terms: Terms, deadline: Duration) -> BoxFuture<'static, Result<Acknowledged, PutError>> {
        Box::pin(async move {
            let Self { slot, key, number } = self;
            let write = counted(&slot.schema, &key, number)?;
            slot.put(write, terms, deadline).await
        })
    }
}

/// The write of a number, as the table counts.
pub(in crate::table) fn counted<'a>(schema: &Schema, key: &'a [u8], number: i64) -> Result<Write<'a>, PutError> {
    match schema.merge {
        MergeRule::Sum => Ok(Write::Sum { key, by: number }),
        MergeRule::Max => Ok(Write::Max { key, to: number }),
        MergeRule::LastWriter | MergeRule::Union => {
            Err(PutError::WrongKind(format!("{} has no counters: it merges by {}", schema.name, schema.merge.as_str())))
        }
    }
}

/// A row on its way into a table.
pub type Put = Request<PutRow>;

/// Puts a row.
pub struct PutRow {
    slot: Arc<AvailableSlot>,
    key: Vec<u8>,
    value: Result<Vec<u8>, PutError>,
    expiry: Option<Expiry>,
}

impl Put {
    /// The row expires so long from now, on all nodes at the same moment of the clock.
    pub fn ttl(mut self, ttl: Duration) -> Self {
        self.work.expiry = Some(Expiry::In(ttl));
        self
    }

    /// The row expires at this time, on all nodes; where it is past, at once.
    pub fn expires_at(mut self, time: SystemTime) -> Self {
        self.work.expiry = Some(Expiry::At(wall_of(time)));
        self
    }
}

impl Carry for PutRow {
    fn carry_out(self, terms: Terms, deadline: Duration) -> BoxFuture<'static, Result<Acknowledged, PutError>> {
        Box::pin(async move {
            let Self { slot, key, value, expiry } = self;
            let value = value?;
            let expires_at = expiry.map(|expiry| expiry.from(slot.world.clock.now().wall));
            let write = single(&slot.schema, &key, &value, expires_at)?;
            slot.put(write, terms, deadline).await
        })
    }
}

/// The write of one value, as the shape of the table has it.
pub(in crate::table) fn single<'a>(
    schema: &Schema,
    key: &'a [u8],
    value: &'a [u8],
    expires_at: Option<Wall>,
) -> Result<Write<'a>, PutError> {
    match (schema.shape, schema.merge) {
        (Shape::Bag, _) => Ok(Write::Add { key, value, expires_at }),
        (_, MergeRule::LastWriter | MergeRule::Union) => Ok(Write::Put { key, value, expires_at }),
        (_, rule @ (MergeRule::Max | MergeRule::Sum)) => {
            let text = format!("{} merges by {}: it has counters, and no values to put", schema.name, rule.as_str());
            Err(PutError::WrongKind(text))
        }
    }
}

/// What is to go of a key.
enum Gone {
    All,
    Value(Vec<u8>),
}

/// A row on its way out of a table.
pub type Delete = Request<DeleteRow>;

/// Deletes a row.
pub struct DeleteRow {
    slot: Arc<AvailableSlot>,
    key: Vec<u8>,
    what: Result<Gone, PutError>,
}

impl Carry for DeleteRow {
    fn carry_out(self, terms: Terms, deadline: Duration) -> BoxFuture<'static, Result<Acknowledged, PutError>> {
        Box::pin(async move {
            let Self { slot, key, what } = self;
            match what? {
                Gone::All => slot.put(removal(&slot.schema, &key), terms, deadline).await,
                Gone::Value(value) if slot.schema.shape == Shape::Bag => {
                    slot.put(Write::Remove { key: &key, value: Some(&value) }, terms, deadline).await
                }
                Gone::Value(_) => {
                    Err(PutError::WrongKind(format!("{} is no bag: a key has one value at most", slot.schema.name)))
                }
            }
        })
    }
}

/// The write that leaves nothing of a key.
pub(in crate::table) fn removal<'a>(schema: &Schema, key: &'a [u8]) -> Write<'a> {
    match (schema.shape, schema.merge) {
        (Shape::Bag, _) => Write::Remove { key, value: None },
        (_, MergeRule::Max | MergeRule::Sum) => Write::Reset { key },
        (_, MergeRule::LastWriter | MergeRule::Union) => Write::Delete { key },
    }
}
