//! Secondary indexes: rows in the order of something else than their key.
//!
//! What that something is, is said by a function of key and value, since only the application knows what is in a value.
//! Several rows may have one index key; they are in the order of their keys then.

use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt;
use core::ops::Bound;

use super::map::{Entry, Map};
use super::version::Version;

type IndexKey = dyn Fn(&[u8], &[u8]) -> Option<Vec<u8>> + Send + Sync;

/// Gives the index key of a row from its key and value; `None` leaves it out.
#[derive(Clone)]
pub struct Extract(Arc<IndexKey>);

impl Extract {
    /// From a function, which must give the same for the same row at all times.
    pub fn new(extract: impl Fn(&[u8], &[u8]) -> Option<Vec<u8>> + Send + Sync + 'static) -> Self {
        Self(Arc::new(extract))
    }
}

impl fmt::Debug for Extract {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Extract")
    }
}

/// A row in an index.
#[derive(Clone, Debug)]
struct Indexed {
    /// The index key, made so that its end is known, and then the key of the row.
    both: Arc<[u8]>,
    row: Version,
}

impl Entry for Indexed {
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

/// A secondary index.
#[derive(Clone, Debug)]
pub struct Index {
    extract: Extract,
    entries: Map<Indexed>,
}

impl Index {
    pub(super) fn new(extract: Extract) -> Self {
        Self { extract, entries: Map::default() }
    }

    fn both(&self, row: &Version) -> Option<Vec<u8>> {
        let index_key = (self.extract.0)(row.key(), row.value())?;
        let mut both = Vec::with_capacity(index_key.len() + row.key().len() + 4);
        fenced(&index_key, &mut both);
        both.extend_from_slice(row.key());
        Some(both)
    }

    pub(super) fn clear(&mut self) {
        self.entries = Map::default();
    }

    /// A row that was there is there no more, or another version of it.
    pub(super) fn changed(&mut self, old: Option<&Version>, new: Option<&Version>) {
        let was = old.and_then(|row| self.both(row));
        let is = new.and_then(|row| self.both(row).map(|both| (both, row)));
        if let Some(was) = was
            && is.as_ref().is_none_or(|(is, _)| *is != was)
        {
            self.entries.remove(&was);
        }
        if let Some((both, row)) = is {
            self.entries.insert(Indexed { both: both.into(), row: row.clone() });
        }
    }

    /// The rows with an index key, in the order of their own keys.
    pub fn get(&self, index_key: &[u8]) -> impl Iterator<Item = &Version> {
        let mut from = Vec::new();
        fenced(index_key, &mut from);
        let found = self.entries.from(Bound::Included(&from));
        found.take_while(move |entry| entry.both.starts_with(&from)).map(|entry| &entry.row)
    }

    /// All rows in the order of the index.
    pub fn iter(&self) -> impl Iterator<Item = &Version> {
        self.entries.iter().map(|entry| &entry.row)
    }

    /// How many rows are in it.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether none is.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }
}
