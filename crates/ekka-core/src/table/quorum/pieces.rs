//! A snapshot in pieces: a row of records that a [`Reader`](super::Reader) puts together again, however it is cut.
//!
//! A record is its length without these four bytes, its kind, and what it says; numbers have the lowest byte first. The
//! order is: the head, then for each table the table and its rows by key, then the end.

use alloc::vec::Vec;
use core::ops::Bound;

use super::command::TableId;
use super::hash::{chain, hash};
use super::row::ROW_MAX;
use super::view::View;
use crate::limits::QUORUM_PIECE_BYTES;

/// The form of snapshots that this code writes.
pub(super) const FORM: u16 = 1;
/// The form, the revision, the clock, how many tables.
pub(super) const HEAD: u8 = 1;
/// The id, and the figures of the rows that follow.
pub(super) const TABLE: u8 = 2;
/// A row of the table before it.
pub(super) const ROW: u8 = 3;
/// A hash of the head and of what is said of each table, which is also one of their rows. Nothing follows.
pub(super) const END: u8 = 4;
/// Bytes in front of a record.
pub(super) const LENGTH: usize = 4;
/// Longest record.
pub(super) const RECORD_MAX: usize = 1 + ROW_MAX;

/// Gives the pieces of a snapshot, of about [`QUORUM_PIECE_BYTES`] each; a piece is longer by the row that ends it.
#[derive(Clone, Debug)]
pub struct Pieces {
    view: View,
    place: Place,
    /// What the end says.
    seal: u64,
}

/// What comes next.
#[derive(Clone, Debug)]
enum Place {
    Head,
    /// The first table after this one, or the first of all.
    Table(Option<TableId>),
    /// The rows of a table after this key.
    Rows(TableId, Vec<u8>),
    Done,
}

fn record(out: &mut Vec<u8>, kind: u8, said: &[u8]) {
    let len = u32::try_from(1 + said.len()).expect("a record is hardly longer than a row");
    out.extend_from_slice(&len.to_le_bytes());
    out.push(kind);
    out.extend_from_slice(said);
}

impl View {
    /// The pieces of a snapshot of this view. One after the other they are what
    /// [`restore`](crate::consensus::StateMachine::restore) takes.
    #[must_use]
    pub fn pieces(&self) -> Pieces {
        Pieces { view: self.clone(), place: Place::Head, seal: 0 }
    }
}

impl Pieces {
    /// A record that the end is a hash of.
    fn sealed(&mut self, out: &mut Vec<u8>, kind: u8, said: &[u8]) {
        self.seal = chain(self.seal, hash(said));
        record(out, kind, said);
    }

    fn head(&mut self, out: &mut Vec<u8>) {
        let view = &self.view;
        let numbers = [view.revision, view.clock.as_millis(), view.tables.len() as u64].map(u64::to_le_bytes);
        let said = [&FORM.to_le_bytes(), numbers.as_flattened()].concat();
        self.sealed(out, HEAD, &said);
    }

    /// The first table after one, and where to go on.
    fn table(&mut self, after: Option<TableId>, out: &mut Vec<u8>) -> Place {
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        let next = self.view.tables.range((from, Bound::Unbounded)).next();
        let Some((table, figures)) = next.map(|(table, contents)| (*table, contents.figures())) else {
            record(out, END, &self.seal.to_le_bytes());
            return Place::Done;
        };
        let numbers = [table, figures.rows, figures.bytes, figures.digest].map(u64::to_le_bytes);
        self.sealed(out, TABLE, numbers.as_flattened());
        self.rows(table, Bound::Unbounded, out)
    }

    /// Rows of a table until the piece is full, and where to go on.
    fn rows(&self, table: TableId, from: Bound<&[u8]>, out: &mut Vec<u8>) -> Place {
        let contents = self.view.tables.get(&table);
        for row in contents.into_iter().flat_map(|contents| contents.rows().from(from)) {
            record(out, ROW, row.as_bytes());
            if out.len() >= QUORUM_PIECE_BYTES {
                return Place::Rows(table, row.key().to_vec());
            }
        }
        Place::Table(Some(table))
    }
}

impl Iterator for Pieces {
    type Item = Vec<u8>;

    fn next(&mut self) -> Option<Vec<u8>> {
        let mut out = Vec::new();
        while out.len() < QUORUM_PIECE_BYTES {
            self.place = match core::mem::replace(&mut self.place, Place::Done) {
                Place::Head => {
                    self.head(&mut out);
                    Place::Table(None)
                }
                Place::Table(after) => self.table(after, &mut out),
                Place::Rows(table, after) => self.rows(table, Bound::Excluded(&after), &mut out),
                Place::Done => break,
            };
        }
        if out.is_empty() { None } else { Some(out) }
    }
}
