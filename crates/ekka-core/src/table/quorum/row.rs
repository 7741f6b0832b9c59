//! A row of a quorum table, packed into one allocation that table, list of expiries, watchers and clones share.
//!
//! A row costs its key and value, 12 bytes of head (20 where it expires), 16 of counts, and its place in the map.

use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt;

use super::super::changes::Revision;
use super::super::index::Indexable;
use super::super::map::Entry;
use super::hash::hash;
use crate::limits::{TABLE_KEY_MAX, TABLE_VALUE_MAX};
use crate::time::Wall;

const VERSION: usize = 0;
const KEY_LEN: usize = 8;
const HEAD: usize = 12;
const EXPIRY: usize = 8;
/// The bit in the length of the key that says that a time of expiry follows the head, the highest byte first.
const EXPIRES: u32 = 1 << 31;
/// Longest row.
pub(super) const ROW_MAX: usize = HEAD + EXPIRY + TABLE_KEY_MAX + TABLE_VALUE_MAX;

/// Key, value, version and time of expiry of a row.
#[derive(Clone, PartialEq, Eq)]
pub struct Row(Arc<[u8]>);

fn array<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    let mut out = [0; N];
    out.copy_from_slice(&bytes[at..at + N]);
    out
}

fn key_len_field(bytes: &[u8]) -> u32 {
    u32::from_le_bytes(array(bytes, KEY_LEN))
}

/// Where the key is.
fn key_at(bytes: &[u8]) -> usize {
    if key_len_field(bytes) & EXPIRES == 0 { HEAD } else { HEAD + EXPIRY }
}

impl Row {
    /// Packs a row whose key and value have been checked.
    pub(super) fn pack(version: Revision, key: &[u8], value: &[u8], expires_at: Option<Wall>) -> Self {
        let key_len = u32::try_from(key.len()).expect("keys are short: checked where they come in");
        let mut packed = Vec::with_capacity(HEAD + EXPIRY + key.len() + value.len());
        packed.extend_from_slice(&version.to_le_bytes());
        packed.extend_from_slice(&(key_len | if expires_at.is_some() { EXPIRES } else { 0 }).to_le_bytes());
        if let Some(wall) = expires_at {
            packed.extend_from_slice(&wall.as_millis().to_be_bytes());
        }
        packed.extend_from_slice(key);
        packed.extend_from_slice(value);
        Self(packed.into())
    }

    /// Reads a row from outside.
    pub(super) fn read(bytes: &[u8]) -> Result<Self, &'static str> {
        if bytes.len() < HEAD {
            return Err("a row is shorter than its head");
        }
        let key_len = (key_len_field(bytes) & !EXPIRES) as usize;
        if key_len > TABLE_KEY_MAX {
            return Err("a key is too long");
        }
        match bytes.len().checked_sub(key_at(bytes) + key_len) {
            None => Err("a row ends within its key"),
            Some(value_len) if value_len > TABLE_VALUE_MAX => Err("a value is too long"),
            Some(_) => Ok(Self(bytes.into())),
        }
    }

    /// The row as bytes.
    pub(super) fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    fn key_len(&self) -> usize {
        (key_len_field(&self.0) & !EXPIRES) as usize
    }

    /// The revision at which it was written; 0 for what a transaction has written and nobody has committed.
    #[must_use]
    pub fn version(&self) -> Revision {
        Revision::from_le_bytes(array(&self.0, VERSION))
    }

    /// The key.
    #[must_use]
    pub fn key(&self) -> &[u8] {
        let at = key_at(&self.0);
        &self.0[at..at + self.key_len()]
    }

    /// The value.
    #[must_use]
    pub fn value(&self) -> &[u8] {
        &self.0[key_at(&self.0) + self.key_len()..]
    }

    /// When the row expires, if it does.
    #[must_use]
    pub fn expires_at(&self) -> Option<Wall> {
        self.expires().then(|| Wall::from_millis(u64::from_be_bytes(array(&self.0, HEAD))))
    }

    /// Whether there is a row to be read when the clock of the tables shows this.
    #[must_use]
    pub fn is_live(&self, clock: Wall) -> bool {
        self.expires_at().is_none_or(|at| clock < at)
    }

    /// Bytes of key and value.
    #[must_use]
    pub fn size(&self) -> usize {
        self.0.len() - key_at(&self.0)
    }

    fn expires(&self) -> bool {
        key_len_field(&self.0) & EXPIRES != 0
    }

    /// What a row counts in the digest of its table.
    pub(super) fn digest(&self) -> u64 {
        hash(&self.0)
    }
}

impl Entry for Row {
    fn key(&self) -> &[u8] {
        Self::key(self)
    }
}

impl Indexable for Row {
    fn value(&self) -> &[u8] {
        Self::value(self)
    }
}

impl fmt::Debug for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Keys and values are nobody's business in a log.
        f.debug_struct("Row")
            .field("version", &self.version())
            .field("expires_at", &self.expires_at())
            .field("size", &self.size())
            .finish_non_exhaustive()
    }
}

/// A row that expires, in the order of when.
#[derive(Clone, Debug)]
pub(super) struct Due(Row);

impl Due {
    /// A row with a time of expiry; `None` for others.
    pub(super) fn of(row: &Row) -> Option<Self> {
        row.expires().then(|| Self(row.clone()))
    }

    pub(super) fn row(&self) -> &Row {
        &self.0
    }
}

impl Entry for Due {
    /// The time, the highest byte first, and the key: they stand side by side in the row.
    fn key(&self) -> &[u8] {
        &self.0.0[HEAD..HEAD + EXPIRY + self.0.key_len()]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_gives_back_what_was_put_in() {
        let at = Wall::from_millis(77);
        for expires_at in [None, Some(at)] {
            let row = Row::pack(9, b"key", b"value", expires_at);
            assert_eq!((row.version(), row.key(), row.value()), (9, &b"key"[..], &b"value"[..]));
            assert_eq!((row.expires_at(), row.size()), (expires_at, 8));
            assert_eq!(Row::read(row.as_bytes()), Ok(row.clone()));
            assert_eq!(Due::of(&row).is_some(), expires_at.is_some());
        }
        let row = Row::pack(1, b"", b"", Some(at));
        assert!(row.is_live(Wall::from_millis(76)) && !row.is_live(at));
    }

    #[test]
    fn no_bytes_are_taken_for_a_row_that_is_none() {
        let row = Row::pack(1, b"key", b"value", Some(Wall::from_millis(1)));
        for len in 0..HEAD + EXPIRY + 3 {
            assert!(Row::read(&row.as_bytes()[..len]).is_err(), "{len}");
        }
        let long = Row::pack(1, &alloc::vec![0; TABLE_KEY_MAX + 1], b"", None);
        assert_eq!(Row::read(long.as_bytes()), Err("a key is too long"));
        let long = Row::pack(1, b"", &alloc::vec![0; TABLE_VALUE_MAX + 1], None);
        assert_eq!(Row::read(long.as_bytes()), Err("a value is too long"));
    }

    #[test]
    fn expiries_are_in_the_order_of_time() {
        let due = |wall, key: &[u8]| Due::of(&Row::pack(1, key, b"", Some(Wall::from_millis(wall)))).unwrap();
        assert!(due(255, b"b").key() < due(256, b"a").key());
        assert!(due(256, b"a").key() < due(256, b"b").key());
    }
}
