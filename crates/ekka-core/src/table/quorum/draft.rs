//! A transaction while it is made: it notes what is read from a view, and shows its own writes to its later reads.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use core::iter::Peekable;
use core::ops::Bound;

use super::super::changes::Revision;
use super::super::scan::{KeyRange, Order, PageLimits};
use super::command::{Command, RangeRead, Read, TableId, Transaction, Write};
use super::limit::{TooLarge, check_item};
use super::octets::Octets;
use super::row::Row;
use super::view::{NoTable, Page, View, page};
use crate::time::Wall;

/// Why a transaction cannot go on.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DraftError {
    /// There is no such table.
    #[error(transparent)]
    NoTable(#[from] NoTable),
    /// A key or a value is too long.
    #[error(transparent)]
    TooLarge(#[from] TooLarge),
}

/// A transaction that is being made on a view of the tables.
#[derive(Clone, Debug)]
pub struct Draft {
    view: View,
    reads: BTreeMap<(TableId, Vec<u8>), Option<Revision>>,
    ranges: Vec<RangeRead>,
    /// By table and key; `None` deletes.
    writes: BTreeMap<TableId, BTreeMap<Vec<u8>, Option<Row>>>,
}

impl Draft {
    /// A transaction that reads from this view.
    #[must_use]
    pub fn new(view: View) -> Self {
        Self { view, reads: BTreeMap::new(), ranges: Vec::new(), writes: BTreeMap::new() }
    }

    /// Puts a row.
    ///
    /// # Errors
    /// There is no such table, or key or value is too long; the rest of the transaction stays.
    pub fn put(
        &mut self,
        table: TableId,
        key: &[u8],
        value: &[u8],
        expires_at: Option<Wall>,
    ) -> Result<(), DraftError> {
        check_item(key, value)?;
        self.write(table, key, Some(Row::pack(0, key, value, expires_at)))
    }

    /// Deletes a row, if it is there.
    ///
    /// # Errors
    /// There is no such table, or the key is too long; the rest of the transaction stays.
    pub fn delete(&mut self, table: TableId, key: &[u8]) -> Result<(), DraftError> {
        check_item(key, &[])?;
        self.write(table, key, None)
    }

    /// The row of a key: the one that this transaction has written, with version 0, or the one of the view.
    ///
    /// # Errors
    /// There is no such table.
    pub fn get(&mut self, table: TableId, key: &[u8]) -> Result<Option<Row>, NoTable> {
        if let Some(own) = self.writes.get(&table).and_then(|writes| writes.get(key)) {
            return Ok(own.clone().filter(|row| row.is_live(self.view.clock())));
        }
        let row = self.view.get(table, key)?.cloned();
        self.reads.insert((table, key.to_vec()), row.as_ref().map(Row::version));
        Ok(row)
    }

    /// The rows of a range, after the key at which the page before ended, with what this transaction has written. What
    /// has been read of the range counts as read whole: a row that comes into it is a conflict.
    ///
    /// # Errors
    /// There is no such table.
    pub fn scan(
        &mut self,
        table: TableId,
        range: &KeyRange,
        after: Option<&[u8]>,
        limits: PageLimits,
    ) -> Result<Page, NoTable> {
        let clock = self.view.clock();
        let left = after.map_or_else(|| range.clone(), |after| range.after(after, Order::Ascending));
        let (range, start) = (&left, left.start());
        let stored = self.view.live(table, range)?.peekable();
        let writes = self.writes.get(&table).into_iter();
        let own = writes.flat_map(|writes| writes.range::<[u8], _>((start, Bound::Unbounded)));
        let own = own.take_while(|(key, _)| !range.is_past(key)).map(|(key, row)| (key.as_slice(), row.as_ref()));
        let own = own.peekable();
        let page = page(Overlaid { stored, own }.filter(|row| row.is_live(clock)), limits);
        let end = page.next.as_deref().map_or(range.end(), Bound::Included);
        let range = KeyRange::new(start.map(<[u8]>::to_vec), end.map(<[u8]>::to_vec));
        let (newest, count) = self.view.sum_up(table, &range, u64::MAX)?;
        self.ranges.push(RangeRead { table, range, newest, count });
        Ok(page)
    }

    /// The command that commits it.
    ///
    /// # Errors
    /// The transaction is too large.
    pub fn finish(self, now: Wall) -> Result<Command, TooLarge> {
        let reads = self.reads.into_iter().map(|((table, key), version)| Read { table, key: Octets(key), version });
        let writes = self.writes.into_iter().flat_map(|(table, rows)| {
            rows.into_iter().map(move |(key, row)| match row {
                Some(row) => {
                    Write::Put { table, key: Octets(key), value: row.value().into(), expires_at: row.expires_at() }
                }
                None => Write::Delete { table, key: Octets(key) },
            })
        });
        let transaction = Transaction { reads: reads.collect(), ranges: self.ranges, writes: writes.collect(), now };
        transaction.check()?;
        Ok(transaction.into())
    }

    /// The view that it reads from.
    #[must_use]
    pub fn view(&self) -> &View {
        &self.view
    }

    /// Whether it has written nothing: all that it has read belongs to one moment, and there is no need to commit it.
    #[must_use]
    pub fn is_read_only(&self) -> bool {
        self.writes.is_empty()
    }

    fn write(&mut self, table: TableId, key: &[u8], row: Option<Row>) -> Result<(), DraftError> {
        if self.view.figures(table).is_none() {
            return Err(NoTable { table }.into());
        }
        self.writes.entry(table).or_default().insert(key.to_vec(), row);
        Ok(())
    }
}

/// Rows of a view under those of a transaction, in the order of their keys.
struct Overlaid<S: Iterator, O: Iterator> {
    stored: Peekable<S>,
    own: Peekable<O>,
}

impl<'a, S, O> Iterator for Overlaid<S, O>
where
    S: Iterator<Item = &'a Row>,
    O: Iterator<Item = (&'a [u8], Option<&'a Row>)>,
{
    type Item = &'a Row;

    fn next(&mut self) -> Option<&'a Row> {
        loop {
            let Some((key, _)) = self.own.peek() else { return self.stored.next() };
            let key = *key;
            if self.stored.peek().is_some_and(|row| row.key() < key) {
                return self.stored.next();
            }
            self.stored.next_if(|row| row.key() == key);
            if let Some((_, Some(row))) = self.own.next() {
                return Some(row);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Answer, QuorumTables};
    use super::*;

    const ALL: PageLimits = PageLimits { rows: usize::MAX, bytes: usize::MAX };

    fn with_rows(keys: &[&[u8]]) -> QuorumTables {
        let mut tables = QuorumTables::default();
        tables.apply_command(&Command::Create { table: 1 });
        for key in keys {
            tables.apply_command(&Transaction::put(1, key, b"old", None, Wall::default()).unwrap().into());
        }
        tables
    }

    fn keys(page: &Page) -> Vec<&[u8]> {
        page.rows.iter().map(Row::key).collect()
    }

    #[test]
    fn own_writes_are_seen_and_are_no_reads() {
        let mut draft = Draft::new(with_rows(&[b"a", b"c", b"e"]).view().clone());
        draft.put(1, b"b", b"new", None).unwrap();
        draft.put(1, b"c", b"new", None).unwrap();
        draft.delete(1, b"e").unwrap();
        assert_eq!(draft.get(1, b"b").unwrap().unwrap().value(), b"new");
        assert_eq!(draft.get(1, b"e").unwrap(), None);
        let page = draft.scan(1, &KeyRange::all(), None, ALL).unwrap();
        assert_eq!(keys(&page), [b"a", b"b", b"c"]);
        assert_eq!(page.rows[2].value(), b"new");
        let Command::Transaction(transaction) = draft.finish(Wall::default()).unwrap() else { unreachable!() };
        assert_eq!((transaction.reads.len(), transaction.writes.len()), (0, 3));
        assert_eq!((transaction.ranges[0].newest, transaction.ranges[0].count), (4, 3));
    }

    #[test]
    fn a_page_reads_the_range_up_to_its_last_row_only() {
        let mut tables = with_rows(&[b"a", b"b", b"c", b"d"]);
        let mut draft = Draft::new(tables.view().clone());
        draft.delete(1, b"c").unwrap();
        let limits = PageLimits { rows: 1, bytes: usize::MAX };
        let first = draft.scan(1, &KeyRange::all(), None, limits).unwrap();
        let second = draft.scan(1, &KeyRange::all(), first.next.as_deref(), limits).unwrap();
        assert_eq!((keys(&first), keys(&second)), (alloc::vec![&b"a"[..]], alloc::vec![&b"b"[..]]));
        let other = draft.clone().finish(Wall::default()).unwrap();
        tables.apply_command(&Transaction::put(1, b"bb", b"", None, Wall::default()).unwrap().into());
        assert_eq!(tables.apply_command(&other), Answer::Committed { revision: 7 });
        tables.apply_command(&Transaction::put(1, b"aa", b"", None, Wall::default()).unwrap().into());
        let key = (&b"a"[..]).into();
        assert_eq!(tables.apply_command(&other), Answer::Conflict { table: 1, key });
    }

    #[test]
    fn what_is_too_large_or_in_no_table_is_said_before_it_is_sent() {
        let mut draft = Draft::new(with_rows(&[]).view().clone());
        assert_eq!(draft.get(2, b"a"), Err(NoTable { table: 2 }));
        assert_eq!(draft.put(2, b"a", b"", None), Err(NoTable { table: 2 }.into()));
        let long = alloc::vec![0; crate::limits::TABLE_VALUE_MAX + 1];
        assert!(matches!(draft.put(1, b"a", &long, None), Err(DraftError::TooLarge(_))));
        assert!(draft.is_read_only());
        for key in [b"a", b"b", b"c"] {
            draft.put(1, key, &long[1..], None).unwrap();
        }
        let error = draft.finish(Wall::default()).unwrap_err();
        assert_eq!(error.limit, super::super::Limit::Transaction);
    }
}
