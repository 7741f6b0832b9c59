//! Tables of which several rows make what a key has: bags, and counters.

use std::iter::Peekable;

use ekka_core::schema::{MergeRule, Schema, Shape};
use ekka_core::table::{Version, part_number, part_of};

use super::available::AvailableSlot;

/// What the rows of a table are.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Parts {
    /// Rows: one for a key.
    None,
    /// Values of a bag.
    Elements,
    /// Numbers that are added up.
    Sum,
    /// Numbers of which the largest counts.
    Max,
}

impl Parts {
    /// What the rows of an `available` table are.
    pub(super) fn of(schema: &Schema) -> Self {
        match (schema.shape, schema.merge) {
            (Shape::Bag, _) => Self::Elements,
            (_, MergeRule::Sum) => Self::Sum,
            (_, MergeRule::Max) => Self::Max,
            (_, MergeRule::LastWriter | MergeRule::Union) => Self::None,
        }
    }

    /// The key of the application in that of a row.
    pub(super) fn key(self, row_key: &[u8]) -> Vec<u8> {
        let part = if self == Self::None { None } else { part_of(row_key) };
        part.unwrap_or_else(|| row_key.to_vec())
    }

    fn joined(self, one: i64, other: i64) -> i64 {
        if self == Self::Max { one.max(other) } else { one.saturating_add(other) }
    }
}

impl AvailableSlot {
    /// What its rows are.
    pub(super) fn parts(&self) -> Parts {
        Parts::of(&self.schema)
    }

    /// The value of a counter; `None` where there is none, or the table has none.
    pub(super) fn count(&self, key: &[u8]) -> Option<i64> {
        let wall = self.world.clock.now().wall;
        match self.parts() {
            Parts::Sum => self.read().sum(key, wall),
            Parts::Max => self.read().max(key, wall),
            Parts::None | Parts::Elements => None,
        }
    }
}

/// Counters, from their parts in the order of keys.
pub(super) struct Counters<I: Iterator<Item = Version>> {
    rows: Peekable<I>,
    parts: Parts,
}

impl<I: Iterator<Item = Version>> Counters<I> {
    pub(super) fn new(rows: I, parts: Parts) -> Self {
        Self { rows: rows.peekable(), parts }
    }
}

impl<I: Iterator<Item = Version>> Iterator for Counters<I> {
    type Item = (Vec<u8>, i64);

    fn next(&mut self) -> Option<Self::Item> {
        let first = self.rows.next()?;
        let (key, mut number) = (self.parts.key(first.key()), part_number(&first));
        while let Some(part) = self.rows.next_if(|part| self.parts.key(part.key()) == key) {
            number = self.parts.joined(number, part_number(&part));
        }
        Some((key, number))
    }
}

/// A counter of which the parts come one by one, in the order of keys.
#[derive(Default)]
pub(super) struct Tally(Option<(Vec<u8>, i64)>);

impl Tally {
    /// Counts a part in; what comes out is the counter before it, which is complete.
    pub(super) fn add(&mut self, parts: Parts, row: &Version) -> Option<(Vec<u8>, i64)> {
        let (key, number) = (parts.key(row.key()), part_number(row));
        match &mut self.0 {
            Some((held, sum)) if *held == key => {
                *sum = parts.joined(*sum, number);
                None
            }
            held => held.replace((key, number)),
        }
    }

    /// The last one.
    pub(super) fn end(&mut self) -> Option<(Vec<u8>, i64)> {
        self.0.take()
    }
}
