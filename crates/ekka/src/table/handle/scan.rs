//! Reading many rows: which of them, which way, how many, and after which one.

use std::marker::PhantomData;

use ekka_core::table::{KeyRange, Order};

use super::super::key::TableKey;

/// Rows that are looked up at once.
const PAGE: usize = 1024;

/// A row with its place among those that are read, where that is not its key.
pub(super) type Found<T, E> = (Vec<u8>, Result<T, E>);
type Rows<T, E> = Box<dyn Iterator<Item = Found<T, E>> + Send>;
type Open<T, E> = Box<dyn FnOnce(&Asked) -> Rows<T, E> + Send>;

/// What is asked for.
pub(super) struct Asked {
    pub(super) range: KeyRange,
    pub(super) order: Order,
    /// How many are to be looked up at once.
    pub(super) page: usize,
}

/// Rows of one moment, in order; writes go on meanwhile and do not change them, and no lock is held. `A` is what to go on
/// after: a key, or the place in an index.
pub struct Scan<A, T, E> {
    asked: Asked,
    after: Option<Vec<u8>>,
    left: usize,
    open: Option<Open<T, E>>,
    rows: Option<Rows<T, E>>,
    last: Vec<u8>,
    of: PhantomData<fn(&A)>,
}

impl<A: TableKey, T, E> Scan<A, T, E> {
    pub(super) fn new(range: KeyRange, open: impl FnOnce(&Asked) -> Rows<T, E> + Send + 'static) -> Self {
        let asked = Asked { range, order: Order::Ascending, page: PAGE };
        let open: Open<T, E> = Box::new(open);
        Self { asked, after: None, left: usize::MAX, open: Some(open), rows: None, last: Vec::new(), of: PhantomData }
    }

    /// The last one first. To be said before the first row is taken.
    #[must_use]
    pub fn reverse(mut self) -> Self {
        self.asked.order = Order::Descending;
        self
    }

    /// So many at most.
    #[must_use]
    pub fn limit(mut self, rows: usize) -> Self {
        self.left = rows;
        self
    }

    /// Only those behind this one, whether or not it is there: where an earlier scan in the same order ended. To be said
    /// before the first row is taken.
    #[must_use]
    pub fn after(mut self, last: &A) -> Self {
        self.after = Some(last.to_bytes());
        self
    }
}

impl<T, E> Scan<Place, T, E> {
    /// The place of the latest row in the index, to go on [`after`](Scan::after) it.
    #[must_use]
    pub fn place(&self) -> Place {
        Place(self.last.clone())
    }
}

impl<A, T, E> Iterator for Scan<A, T, E> {
    type Item = Result<T, E>;

    fn next(&mut self) -> Option<Self::Item> {
        self.left = self.left.checked_sub(1)?;
        if let Some(open) = self.open.take() {
            if let Some(after) = self.after.take() {
                self.asked.range = self.asked.range.after(&after, self.asked.order);
            }
            self.asked.page = PAGE.min(self.left.saturating_add(1));
            self.rows = Some(open(&self.asked));
        }
        let (place, row) = self.rows.as_mut()?.next()?;
        self.last = place;
        Some(row)
    }
}

/// A place in an index: bytes that mean something for this index only.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Place(Vec<u8>);

impl TableKey for Place {
    fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.0);
    }

    fn read(bytes: &[u8]) -> Result<Self, String> {
        Ok(Self(bytes.to_vec()))
    }
}
