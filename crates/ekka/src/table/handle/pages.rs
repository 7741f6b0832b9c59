//! Rows that are read page by page from clones: no lock is held, and what is written meanwhile changes nothing of them.
//!
//! Several clones are read as one where each owner has its own: the next row is the first of what all of them have next.

use std::collections::VecDeque;

use ekka_core::id::NodeId;
use ekka_core::table::quorum::{self, View};
use ekka_core::table::{Index, KeyRange, Map, Order, OwnedRow, PageLimits, Version, walk};
use ekka_core::time::Wall;

/// Rows of one moment, in the order of their places.
pub(super) trait Source {
    /// A row.
    type Item;

    /// So many of a range at most; none where there are no more.
    fn page(&self, range: &KeyRange, order: Order, rows: usize) -> VecDeque<Self::Item>;

    /// The place of a row.
    fn place(item: &Self::Item) -> &[u8];
}

struct Lane<S: Source> {
    source: S,
    left: KeyRange,
    ready: VecDeque<S::Item>,
    done: bool,
}

/// The rows of several sources in one order.
pub(super) struct Merged<S: Source> {
    lanes: Vec<Lane<S>>,
    order: Order,
    rows: usize,
}

impl<S: Source> Merged<S> {
    /// The rows of a range, of which so many are looked up at once.
    pub(super) fn new(sources: impl IntoIterator<Item = S>, range: &KeyRange, order: Order, rows: usize) -> Self {
        let lane = |source| Lane { source, left: range.clone(), ready: VecDeque::new(), done: false };
        Self { lanes: sources.into_iter().map(lane).collect(), order, rows }
    }
}

impl<S: Source> Lane<S> {
    fn fill(&mut self, order: Order, rows: usize) {
        if self.ready.is_empty() && !self.done {
            self.ready = self.source.page(&self.left, order, rows);
            match self.ready.back() {
                Some(last) => self.left = self.left.after(S::place(last), order),
                None => self.done = true,
            }
        }
    }
}

impl<S: Source> Iterator for Merged<S> {
    type Item = S::Item;

    fn next(&mut self) -> Option<S::Item> {
        let (order, rows) = (self.order, self.rows);
        self.lanes.iter_mut().for_each(|lane| lane.fill(order, rows));
        let first = |one: &Lane<S>, other: &Lane<S>| {
            let places = (one.ready.front().map(S::place), other.ready.front().map(S::place));
            match (places, order) {
                ((None, _), _) => false,
                ((Some(_), None), _) => true,
                ((one, other), Order::Ascending) => one < other,
                ((one, other), Order::Descending) => one > other,
            }
        };
        let best = self.lanes.iter_mut().reduce(|best, lane| if first(lane, best) { lane } else { best })?;
        best.ready.pop_front()
    }
}

/// Rows of an `available` table.
pub(super) struct Versions {
    pub(super) rows: Map<Version>,
    pub(super) wall: Wall,
}

impl Source for Versions {
    type Item = Version;

    fn page(&self, range: &KeyRange, order: Order, rows: usize) -> VecDeque<Version> {
        walk(&self.rows, range, order).filter(|row| row.is_live(self.wall)).take(rows).cloned().collect()
    }

    fn place(item: &Version) -> &[u8] {
        item.key()
    }
}

/// The rows of an owner.
pub(super) struct OwnerRows {
    pub(super) owner: NodeId,
    pub(super) rows: Map<OwnedRow>,
}

impl Source for OwnerRows {
    type Item = (NodeId, OwnedRow);

    fn page(&self, range: &KeyRange, order: Order, rows: usize) -> VecDeque<Self::Item> {
        walk(&self.rows, range, order).take(rows).map(|row| (self.owner, row.clone())).collect()
    }

    fn place((_, row): &Self::Item) -> &[u8] {
        row.key()
    }
}

/// Rows of a quorum table.
pub(super) struct QuorumRows {
    pub(super) view: View,
    pub(super) table: u64,
}

impl Source for QuorumRows {
    type Item = quorum::Row;

    fn page(&self, range: &KeyRange, order: Order, rows: usize) -> VecDeque<quorum::Row> {
        let limits = PageLimits { rows, bytes: usize::MAX };
        // One that the group does not know of yet has no row.
        self.view.page_in(self.table, range, order, limits).map_or_else(|_| VecDeque::new(), |page| page.rows.into())
    }

    fn place(item: &quorum::Row) -> &[u8] {
        item.key()
    }
}

/// A row of an index, with its place there.
pub(super) type Placed<R> = (Vec<u8>, R);

/// An index of an `available` table.
pub(super) struct VersionIndex {
    pub(super) index: Index<Version>,
    pub(super) wall: Wall,
}

impl Source for VersionIndex {
    type Item = Placed<Version>;

    fn page(&self, range: &KeyRange, order: Order, rows: usize) -> VecDeque<Self::Item> {
        let live = self.index.walk(range, order).filter(|found| found.row.is_live(self.wall));
        live.take(rows).map(|found| (found.place.to_vec(), found.row.clone())).collect()
    }

    fn place((place, _): &Self::Item) -> &[u8] {
        place
    }
}

/// What an owner has in an index.
pub(super) struct OwnerIndexed {
    pub(super) owner: NodeId,
    pub(super) index: Index<OwnedRow>,
}

impl Source for OwnerIndexed {
    type Item = Placed<(NodeId, OwnedRow)>;

    fn page(&self, range: &KeyRange, order: Order, rows: usize) -> VecDeque<Self::Item> {
        let found = self.index.walk(range, order).take(rows);
        found.map(|found| (found.place.to_vec(), (self.owner, found.row.clone()))).collect()
    }

    fn place((place, _): &Self::Item) -> &[u8] {
        place
    }
}

/// An index of a quorum table.
pub(super) struct QuorumIndexed {
    pub(super) index: Index<quorum::Row>,
    pub(super) clock: Wall,
}

impl Source for QuorumIndexed {
    type Item = Placed<quorum::Row>;

    fn page(&self, range: &KeyRange, order: Order, rows: usize) -> VecDeque<Self::Item> {
        let live = self.index.walk(range, order).filter(|found| found.row.is_live(self.clock));
        live.take(rows).map(|found| (found.place.to_vec(), found.row.clone())).collect()
    }

    fn place((place, _): &Self::Item) -> &[u8] {
        place
    }
}
