//! Secondary indexes: rows in the order of something else than their key.
//!
//! What that something is, is said by a function of key and value, since only the application knows what is in a value.
//! A row may have several index keys, and several rows one: they are in the order of their keys then. An index belongs
//! to one node and goes into no message; it changes with the rows, under the same lock.

use alloc::collections::BTreeSet;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt;
use core::ops::Bound;

use super::map::{Entry, Map};
use super::scan::{KeyRange, Order, walk};

type IndexKeys = dyn Fn(&[u8], &[u8]) -> Vec<Vec<u8>> + Send + Sync;

/// Gives the index keys of a row from its key and value; none leaves it out.
#[derive(Clone)]
pub struct Extract(Arc<IndexKeys>);

impl Extract {
    /// From a function, which must give the same for the same row at all times, and must not panic.
    pub fn new(extract: impl Fn(&[u8], &[u8]) -> Vec<Vec<u8>> + Send + Sync + 'static) -> Self {
        Self(Arc::new(extract))
    }
}

impl fmt::Debug for Extract {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Extract")
    }
}

/// A row that can be in an index.
pub trait Indexable: Entry {
    /// Its value.
    fn value(&self) -> &[u8];
}

/// A row in an index.
#[derive(Clone, Debug)]
struct Indexed<R> {
    /// The index key, made so that its end is known, and then the key of the row.
    both: Arc<[u8]>,
    row: R,
}

impl<R: Clone> Entry for Indexed<R> {
    fn key(&self) -> &[u8] {
        &self.both
    }
}

/// Writes bytes so that their order stays and no other key begins with them: a zero becomes 0, 255, and the end is 0, 0.
pub(super) fn fenced(bytes: &[u8], out: &mut Vec<u8>) {
    for byte in bytes {
        out.push(*byte);
        if *byte == 0 {
            out.push(255);
        }
    }
    out.extend_from_slice(&[0, 0]);
}

/// A secondary index. A clone costs nothing and stays as it is.
#[derive(Clone, Debug)]
pub struct Index<R> {
    extract: Extract,
    entries: Map<Indexed<R>>,
}

/// A row of an index, and its place there: what to go on after.
#[derive(Clone, Copy, Debug)]
pub struct Place<'a, R> {
    /// The place: greater, byte by byte, than those in front of it.
    pub place: &'a [u8],
    /// The row.
    pub row: &'a R,
}

impl<R: Indexable> Index<R> {
    fn new(extract: Extract) -> Self {
        Self { extract, entries: Map::default() }
    }

    /// An index of these rows.
    pub(super) fn of<'a>(extract: &Extract, rows: impl IntoIterator<Item = &'a R>) -> Self
    where
        R: 'a,
    {
        let mut index = Self::new(extract.clone());
        for row in rows {
            index.changed(None, Some(row));
        }
        index
    }

    pub(super) fn extract(&self) -> &Extract {
        &self.extract
    }

    fn places(&self, row: &R) -> BTreeSet<Vec<u8>> {
        let keys = (self.extract.0)(row.key(), row.value());
        let place = |key: Vec<u8>| {
            let mut both = Vec::with_capacity(key.len() + row.key().len() + 4);
            fenced(&key, &mut both);
            both.extend_from_slice(row.key());
            both
        };
        keys.into_iter().map(place).collect()
    }

    /// Whether both have the same rows at the same places.
    pub(super) fn is_as(&self, other: &Self) -> bool
    where
        R: PartialEq,
    {
        self.entries
            .iter()
            .map(|entry| (&entry.both, &entry.row))
            .eq(other.entries.iter().map(|entry| (&entry.both, &entry.row)))
    }

    pub(super) fn clear(&mut self) {
        self.entries = Map::default();
    }

    /// A row that was there is there no more, or another version of it.
    pub(super) fn changed(&mut self, old: Option<&R>, new: Option<&R>) {
        let was = old.map(|row| self.places(row)).unwrap_or_default();
        let is = new.map(|row| self.places(row)).unwrap_or_default();
        for place in was.difference(&is) {
            self.entries.remove(place);
        }
        for (place, row) in is.into_iter().zip(new.into_iter().cycle()) {
            self.entries.insert(Indexed { both: place.into(), row: row.clone() });
        }
    }

    /// The rows with an index key, in the order of their own keys.
    pub fn get(&self, index_key: &[u8]) -> impl Iterator<Item = &R> {
        let mut from = Vec::new();
        fenced(index_key, &mut from);
        let found = self.entries.from(Bound::Included(&from));
        found.take_while(move |entry| entry.both.starts_with(&from)).map(|entry| &entry.row)
    }

    /// The rows of a range of places in this order. The range of the places of some index keys is that of the keys,
    /// [spread](KeyRange::spread).
    pub fn walk<'a>(&'a self, places: &'a KeyRange, order: Order) -> impl Iterator<Item = Place<'a, R>> {
        walk(&self.entries, places, order).map(|entry| Place { place: &entry.both, row: &entry.row })
    }

    /// All rows in the order of the index.
    pub fn iter(&self) -> impl Iterator<Item = &R> {
        self.entries.iter().map(|entry| &entry.row)
    }

    /// How many places it has: of a row with several index keys, as many.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether it has none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }
}
