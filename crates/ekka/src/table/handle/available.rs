//! `available` tables, as programs hold them.

use std::future::IntoFuture;
use std::marker::PhantomData;
use std::sync::Arc;
use std::time::Duration;

use ekka_core::schema::{MergeRule, Schema, Shape};
use ekka_core::table::{Ack, Acknowledged, KeyRange, PageLimits, scan};
use ekka_core::time::Wall;

use super::super::acks::Terms;
use super::super::available::{AvailableSlot, Write};
use super::super::def::Available;
use super::super::error::{PutError, ReadError};
use super::super::key::TableKey;
use super::super::watch::{RawWatch, Watch};
use super::Table;
use crate::codec::Coding;
use crate::env::BoxFuture;

/// Time for copies to be acknowledged, unless told otherwise.
pub(in crate::table) const DEADLINE: Duration = Duration::from_secs(5);
/// What one page of a scan holds.
const PAGE: PageLimits = PageLimits { rows: 1024, bytes: 1024 * 1024 };

impl<K: TableKey, V> Table<K, V, Available> {
    /// The value of a key, as this node has it.
    ///
    /// # Errors
    /// It is no value of this type.
    pub fn get(&self, key: &K) -> Result<Option<V>, ReadError> {
        self.slot.get(&key.to_bytes(), |version| self.decode(version.value())).transpose()
    }

    /// Writes a row. It is written when the future is awaited; *dropping it then does not undo*.
    ///
    /// The future gives how many nodes have the row, and whether it survives the loss of power there, or a [`PutError`].
    pub fn put(&self, key: &K, value: &V) -> Put {
        let value = self.encode(value);
        Put { slot: self.slot.clone(), key: key.to_bytes(), value, ttl: None, terms: TERMS, deadline: DEADLINE }
    }

    /// Deletes a row, whether or not there is one. *Dropping the future does not undo.*
    pub fn delete(&self, key: &K) -> Delete {
        Delete { slot: self.slot.clone(), key: key.to_bytes(), what: Ok(Gone::All), terms: TERMS, deadline: DEADLINE }
    }

    /// The rows whose keys begin with these bytes, as they are at this moment, in the order of the bytes of their keys.
    pub fn prefix(&self, prefix: &[u8]) -> Scan<K, V> {
        self.scan_range(KeyRange::prefix(prefix))
    }

    /// All rows as they are at this moment, in the order of the bytes of their keys.
    pub fn scan(&self) -> Scan<K, V> {
        self.scan_range(KeyRange::all())
    }

    /// The rows from one key to before another, as they are at this moment.
    pub fn range(&self, from: &K, to: &K) -> Scan<K, V> {
        use std::ops::Bound::{Excluded, Included};
        self.scan_range(KeyRange::new(Included(from.to_bytes()), Excluded(to.to_bytes())))
    }

    fn scan_range(&self, range: KeyRange) -> Scan<K, V> {
        let rows = self.slot.read().rows();
        let wall = self.slot.world.clock.now().wall;
        Scan {
            rows,
            range,
            wall,
            page: Vec::new().into_iter(),
            after: None,
            done: false,
            value: self.value,
            of: PhantomData,
        }
    }

    /// All rows, and then every change once, in order for each key: see [`Watch`].
    #[must_use]
    pub fn watch(&self) -> Watch<K, V> {
        Watch::new(RawWatch::new(self.slot.clone()), self.value)
    }

    /// How many rows there are.
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
        Delete { slot: self.slot.clone(), key: key.to_bytes(), what, terms: TERMS, deadline: DEADLINE }
    }
}

impl<K: TableKey> Table<K, i64, Available> {
    /// The value of a counter: of a table of sums what all have added, of one of maxima the largest. Other tables have
    /// none.
    #[must_use]
    pub fn count(&self, key: &K) -> Option<i64> {
        let (key, wall) = (key.to_bytes(), self.slot.world.clock.now().wall);
        let table = self.slot.read();
        match self.slot.schema.merge {
            MergeRule::Sum => table.sum(&key, wall),
            MergeRule::Max => table.max(&key, wall),
            MergeRule::LastWriter | MergeRule::Union => None,
        }
    }

    /// Adds to a counter of a table of sums, or raises one of a table of maxima. *Dropping the future does not undo.*
    pub fn add(&self, key: &K, number: i64) -> Add {
        Add { slot: self.slot.clone(), key: key.to_bytes(), number, terms: TERMS, deadline: DEADLINE }
    }
}

/// A number on its way into a counter.
#[must_use = "it counts when the future is awaited"]
pub struct Add {
    slot: Arc<AvailableSlot>,
    key: Vec<u8>,
    number: i64,
    terms: Terms,
    deadline: Duration,
}

impl Add {
    /// How many nodes have to know.
    pub fn ack(mut self, ack: Ack) -> Self {
        self.terms.ack = ack;
        self
    }

    /// How long the copies are waited for.
    pub fn deadline(mut self, deadline: Duration) -> Self {
        self.deadline = deadline;
        self
    }
}

impl IntoFuture for Add {
    type Output = Result<Acknowledged, PutError>;
    type IntoFuture = BoxFuture<'static, Self::Output>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async move {
            let Self { slot, key, number, terms, deadline } = self;
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

pub(super) const TERMS: Terms = Terms { ack: Ack::Two, strict: false };

/// A row on its way into a table.
#[must_use = "a row is written when the future is awaited"]
pub struct Put {
    slot: Arc<AvailableSlot>,
    key: Vec<u8>,
    value: Result<Vec<u8>, PutError>,
    ttl: Option<Duration>,
    terms: Terms,
    deadline: Duration,
}

impl Put {
    /// How many nodes have to have it: two unless told otherwise, if another one is up.
    pub fn ack(mut self, ack: Ack) -> Self {
        self.terms.ack = ack;
        self
    }

    /// Fewer than two copies are an error; the row is written all the same.
    pub fn strict(mut self) -> Self {
        self.terms.strict = true;
        self
    }

    /// The row expires so long from now, on all nodes at the same moment of the clock.
    pub fn ttl(mut self, ttl: Duration) -> Self {
        self.ttl = Some(ttl);
        self
    }

    /// How long the copies are waited for: 5 s unless told otherwise.
    pub fn deadline(mut self, deadline: Duration) -> Self {
        self.deadline = deadline;
        self
    }
}

impl IntoFuture for Put {
    type Output = Result<Acknowledged, PutError>;
    type IntoFuture = BoxFuture<'static, Self::Output>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async move {
            let Self { slot, key, value, ttl, terms, deadline } = self;
            let value = value?;
            let expires_at = ttl.map(|ttl| after(slot.world.clock.now().wall, ttl));
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

/// So long after a time.
pub(in crate::table) fn after(wall: Wall, ttl: Duration) -> Wall {
    let ttl = u64::try_from(ttl.as_millis()).unwrap_or(u64::MAX);
    Wall::from_millis(wall.as_millis().saturating_add(ttl))
}

/// What is to go of a key.
enum Gone {
    All,
    Value(Vec<u8>),
}

/// A row on its way out of a table.
#[must_use = "a row is deleted when the future is awaited"]
pub struct Delete {
    slot: Arc<AvailableSlot>,
    key: Vec<u8>,
    what: Result<Gone, PutError>,
    terms: Terms,
    deadline: Duration,
}

impl Delete {
    /// How many nodes have to know.
    pub fn ack(mut self, ack: Ack) -> Self {
        self.terms.ack = ack;
        self
    }

    /// How long the copies are waited for.
    pub fn deadline(mut self, deadline: Duration) -> Self {
        self.deadline = deadline;
        self
    }
}

impl IntoFuture for Delete {
    type Output = Result<Acknowledged, PutError>;
    type IntoFuture = BoxFuture<'static, Self::Output>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async move {
            let Self { slot, key, what, terms, deadline } = self;
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

/// Rows of one moment, in order; writes go on meanwhile and do not change them.
pub struct Scan<K, V> {
    rows: ekka_core::table::Map<ekka_core::table::Version>,
    range: KeyRange,
    wall: Wall,
    page: std::vec::IntoIter<ekka_core::table::Version>,
    after: Option<Vec<u8>>,
    done: bool,
    value: Coding<V>,
    of: PhantomData<fn() -> K>,
}

impl<K: TableKey, V> Iterator for Scan<K, V> {
    type Item = Result<(K, V), ReadError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(row) = self.page.next() {
                return Some(read_row(row.key(), row.value(), self.value));
            }
            if self.done {
                return None;
            }
            let page = scan(&self.rows, &self.range, self.after.as_deref(), PAGE, self.wall);
            self.done = page.next.is_none();
            self.after = page.next;
            self.page = page.rows.into_iter();
        }
    }
}

pub(in crate::table) fn read_row<K: TableKey, V>(
    key: &[u8],
    value: &[u8],
    coding: Coding<V>,
) -> Result<(K, V), ReadError> {
    let key = K::read(key).map_err(ReadError::WrongType)?;
    Ok((key, (coding.decode)(value).map_err(ReadError::WrongType)?))
}
