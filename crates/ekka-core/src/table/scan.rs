//! Reading many rows: ranges and prefixes of keys, a page at a time.

use alloc::vec::Vec;
use core::ops::Bound;

use serde::{Deserialize, Serialize};

use super::map::Map;
use super::version::Version;
use crate::time::Wall;

/// Which keys.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct KeyRange {
    from: Bound<Vec<u8>>,
    to: Bound<Vec<u8>>,
}

impl KeyRange {
    /// All keys.
    #[must_use]
    pub fn all() -> Self {
        Self { from: Bound::Unbounded, to: Bound::Unbounded }
    }

    /// Keys from here to there.
    #[must_use]
    pub fn new(from: Bound<Vec<u8>>, to: Bound<Vec<u8>>) -> Self {
        Self { from, to }
    }

    /// Keys that begin with these bytes.
    #[must_use]
    pub fn prefix(prefix: &[u8]) -> Self {
        // The first key that does not: the last byte that can be raised, raised, and nothing after it.
        let to = match prefix.iter().rposition(|byte| *byte < u8::MAX) {
            Some(last) => {
                let mut to = prefix[..=last].to_vec();
                to[last] += 1;
                Bound::Excluded(to)
            }
            None => Bound::Unbounded,
        };
        Self { from: Bound::Included(prefix.to_vec()), to }
    }

    /// Where it begins, or goes on after the key at which a page ended.
    pub(super) fn start<'a>(&'a self, after: Option<&'a [u8]>) -> Bound<&'a [u8]> {
        match (after, &self.from) {
            (Some(after), _) => Bound::Excluded(after),
            (None, Bound::Included(from)) => Bound::Included(from),
            (None, Bound::Excluded(from)) => Bound::Excluded(from),
            (None, Bound::Unbounded) => Bound::Unbounded,
        }
    }

    /// Where it ends.
    pub(super) fn end(&self) -> Bound<&[u8]> {
        match &self.to {
            Bound::Included(to) => Bound::Included(to),
            Bound::Excluded(to) => Bound::Excluded(to),
            Bound::Unbounded => Bound::Unbounded,
        }
    }

    /// Whether a key is behind its end.
    pub(super) fn is_past(&self, key: &[u8]) -> bool {
        match &self.to {
            Bound::Included(to) => key > to.as_slice(),
            Bound::Excluded(to) => key >= to.as_slice(),
            Bound::Unbounded => false,
        }
    }
}

/// How much a page may hold; it has one row at least, if there is one.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PageLimits {
    /// Rows.
    pub rows: usize,
    /// Bytes of keys and values.
    pub bytes: usize,
}

/// A part of the rows asked for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Page {
    /// The rows, in the order of their keys.
    pub rows: Vec<Version>,
    /// The key to go on after; `None` where there are no more.
    pub next: Option<Vec<u8>>,
}

/// The rows of a range that can be read at a time, after the key at which the page before ended.
///
/// On one clone of the rows all pages belong to one moment.
#[must_use]
pub fn scan(rows: &Map<Version>, range: &KeyRange, after: Option<&[u8]>, limits: PageLimits, wall: Wall) -> Page {
    let (mut page, mut bytes) = (Page { rows: Vec::new(), next: None }, 0);
    for row in rows.from(range.start(after)).take_while(|row| !range.is_past(row.key())).filter(|row| row.is_live(wall))
    {
        if !page.rows.is_empty() && (page.rows.len() >= limits.rows || bytes + row.size() > limits.bytes) {
            page.next = page.rows.last().map(|last| last.key().to_vec());
            return page;
        }
        bytes += row.size();
        page.rows.push(row.clone());
    }
    page
}

#[cfg(test)]
mod tests {
    use super::super::{Faults, Hlc, Settings, Storage, Table};
    use super::*;
    use crate::id::{Guid, Incarnation, NodeId};

    #[test]
    fn pages_have_every_live_row_of_the_range_once() {
        let me = Incarnation { node_id: NodeId::from_u128(1), guid: Guid::from_u128(1) };
        let mut table = Table::new(Settings { me, storage: Storage::Ram, bound: Hlc::ZERO, faults: Faults::default() });
        let wall = Wall::from_millis(5_000);
        table.bound_is(table.wanted_bound(wall).unwrap());
        for n in 0..200u8 {
            table.put(&[b'a' + n / 100, n], b"value", None, wall).unwrap();
        }
        table.delete(&[b'b', 150], wall).unwrap();
        let rows = table.rows();
        table.put(b"b", b"later than the clone", None, wall).unwrap();
        let (range, limits) = (KeyRange::prefix(b"b"), PageLimits { rows: 7, bytes: usize::MAX });
        let (mut after, mut seen) = (None, Vec::new());
        loop {
            let page = scan(&rows, &range, after.as_deref(), limits, wall);
            assert!(page.rows.len() <= 7);
            seen.extend(page.rows.iter().map(|row| row.key()[1]));
            after = page.next;
            if after.is_none() {
                break;
            }
        }
        let expected: Vec<u8> = (100..200).filter(|n| *n != 150).collect();
        assert_eq!(seen, expected);
    }

    #[test]
    fn a_prefix_of_the_highest_bytes_has_no_end() {
        assert_eq!(KeyRange::prefix(&[7, 255]).to, Bound::Excluded(alloc::vec![8]));
        assert_eq!(KeyRange::prefix(&[255, 255]).to, Bound::Unbounded);
    }
}
