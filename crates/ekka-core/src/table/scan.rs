//! Reading many rows: ranges and prefixes of keys, a page at a time.

use alloc::vec::Vec;
use core::ops::Bound;

use serde::{Deserialize, Serialize};

use super::index::fenced;
use super::map::{Back, Entry, Iter, Map};
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

    /// What is left of it behind a key at which a page ended. A key outside of it takes nothing away, or all.
    #[must_use]
    pub fn after(&self, key: &[u8], order: Order) -> Self {
        let mut left = self.clone();
        match order {
            Order::Ascending if !self.begins_after(key) => left.from = Bound::Excluded(key.to_vec()),
            Order::Descending if !self.is_past(key) => left.to = Bound::Excluded(key.to_vec()),
            Order::Ascending | Order::Descending => {}
        }
        left
    }

    /// Of tables whose rows are parts of keys, and of indexes: the range of what stands for these keys there.
    #[must_use]
    pub fn spread(&self) -> Self {
        let fence = |key: &[u8], end: bool| {
            let mut bytes = Vec::with_capacity(key.len() + 4);
            fenced(key, &mut bytes);
            if end {
                // Behind all that begins with the key and its fence, and before every longer key.
                bytes.pop();
                bytes.push(1);
            }
            bytes
        };
        let from = match &self.from {
            Bound::Included(key) => Bound::Included(fence(key, false)),
            Bound::Excluded(key) => Bound::Included(fence(key, true)),
            Bound::Unbounded => Bound::Unbounded,
        };
        let to = match &self.to {
            Bound::Included(key) => Bound::Excluded(fence(key, true)),
            Bound::Excluded(key) => Bound::Excluded(fence(key, false)),
            Bound::Unbounded => Bound::Unbounded,
        };
        Self { from, to }
    }

    /// Where it begins.
    pub(super) fn start(&self) -> Bound<&[u8]> {
        match &self.from {
            Bound::Included(from) => Bound::Included(from),
            Bound::Excluded(from) => Bound::Excluded(from),
            Bound::Unbounded => Bound::Unbounded,
        }
    }

    /// Whether a key is in front of it.
    fn begins_after(&self, key: &[u8]) -> bool {
        match &self.from {
            Bound::Included(from) => key < from.as_slice(),
            Bound::Excluded(from) => key <= from.as_slice(),
            Bound::Unbounded => false,
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

/// Which way rows are read.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Order {
    /// The lowest key first.
    #[default]
    Ascending,
    /// The highest key first.
    Descending,
}

/// Entries of a range, in one of the orders.
#[derive(Debug)]
pub struct Walk<'a, E> {
    range: &'a KeyRange,
    way: Way<'a, E>,
}

#[derive(Debug)]
enum Way<'a, E> {
    Up(Iter<'a, E>),
    Down(Back<'a, E>),
}

/// The entries of a range, in this order.
#[must_use]
pub fn walk<'a, E: Entry>(map: &'a Map<E>, range: &'a KeyRange, order: Order) -> Walk<'a, E> {
    let way = match order {
        Order::Ascending => Way::Up(map.from(range.start())),
        Order::Descending => Way::Down(map.back_from(range.end())),
    };
    Walk { range, way }
}

impl<'a, E: Entry> Iterator for Walk<'a, E> {
    type Item = &'a E;

    fn next(&mut self) -> Option<&'a E> {
        match &mut self.way {
            Way::Up(entries) => entries.next().filter(|entry| !self.range.is_past(entry.key())),
            Way::Down(entries) => entries.next().filter(|entry| !self.range.begins_after(entry.key())),
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
    match after {
        Some(after) => scan_in(rows, &range.after(after, Order::Ascending), Order::Ascending, limits, wall),
        None => scan_in(rows, range, Order::Ascending, limits, wall),
    }
}

/// The first rows of a range in this order; the next page is of what is left [`after`](KeyRange::after) its last key.
#[must_use]
pub fn scan_in(rows: &Map<Version>, range: &KeyRange, order: Order, limits: PageLimits, wall: Wall) -> Page {
    let (mut page, mut bytes) = (Page { rows: Vec::new(), next: None }, 0);
    for row in walk(rows, range, order).filter(|row| row.is_live(wall)) {
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
    fn a_key_to_go_on_after_takes_away_nothing_that_is_not_behind_it_and_adds_nothing() {
        use Order::{Ascending, Descending};
        let b = KeyRange::prefix(b"b");
        assert_eq!(b.after(b"a", Ascending), b);
        assert_eq!(b.after(b"c", Descending), b);
        assert_eq!(b.after(b"bb", Ascending).start(), Bound::Excluded(&b"bb"[..]));
        assert_eq!(b.after(b"bb", Descending).end(), Bound::Excluded(&b"bb"[..]));
        let mut map = Map::default();
        for key in [&b"a"[..], b"b", b"ba", b"bb", b"c"] {
            map.insert(Key(key.to_vec()));
        }
        let keys = |range: &KeyRange, order| walk(&map, range, order).map(|key| key.0.clone()).collect::<Vec<_>>();
        assert_eq!(keys(&b.after(b"a", Ascending), Ascending), [&b"b"[..], b"ba", b"bb"]);
        assert_eq!(keys(&b.after(b"bb", Descending), Descending), [&b"ba"[..], b"b"]);
        assert!(keys(&b.after(b"c", Ascending), Ascending).is_empty());
        assert!(keys(&b.after(b"a", Descending), Descending).is_empty());
        assert!(
            keys(&KeyRange::new(Bound::Included(b"c".to_vec()), Bound::Included(b"a".to_vec())), Ascending).is_empty()
        );
    }

    #[derive(Clone, Debug)]
    struct Key(Vec<u8>);

    impl Entry for Key {
        fn key(&self) -> &[u8] {
            &self.0
        }
    }

    #[test]
    fn a_spread_range_has_what_stands_for_its_keys_and_nothing_else() {
        let keys: [&[u8]; 8] = [b"", b"\0", b"\0\0", &[0, 255], b"a", b"a\0", b"ab", b"b"];
        let mut map = Map::default();
        for key in keys {
            for part in [0, 255] {
                let mut bytes = Vec::new();
                fenced(key, &mut bytes);
                bytes.push(part);
                map.insert(Key(bytes));
            }
        }
        let bounds = |key: &[u8]| [Bound::Included(key.to_vec()), Bound::Excluded(key.to_vec()), Bound::Unbounded];
        for (from, to) in keys.iter().flat_map(|from| keys.iter().map(move |to| (*from, *to))) {
            for (from, to) in bounds(from).into_iter().flat_map(|from| bounds(to).map(move |to| (from.clone(), to))) {
                let range = KeyRange::new(from, to);
                let wanted = keys.iter().filter(|key| !range.begins_after(key) && !range.is_past(key)).count();
                let spread = range.spread();
                assert_eq!(walk(&map, &spread, Order::Ascending).count(), 2 * wanted, "{range:?}");
                assert_eq!(walk(&map, &spread, Order::Descending).count(), 2 * wanted, "{range:?}");
            }
        }
    }

    #[test]
    fn a_prefix_of_the_highest_bytes_has_no_end() {
        assert_eq!(KeyRange::prefix(&[7, 255]).to, Bound::Excluded(alloc::vec![8]));
        assert_eq!(KeyRange::prefix(&[255, 255]).to, Bound::Unbounded);
    }
}
