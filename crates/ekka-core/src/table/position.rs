//! How far somebody has come who follows a table on disc, in a form that means something to the next start of the node.
//!
//! A revision ends with the process. What is held does not: what was applied since is in the op log, as far as that
//! reaches back. From it one learns which rows are others now, not what they were in between; so several changes of a row
//! come as one. Where the log does not reach, or rows may have expired and gone since, everything has to be read anew.

use alloc::collections::BTreeSet;
use alloc::vec::Vec;

use serde::{Deserialize, Serialize};

use super::available::Table;
use super::changes::Resync;
use super::log::Record;
use super::vector::{Numbers, Vector};
use super::version::Version;
use crate::limits::TABLE_EXPIRED_KEPT;
use crate::time::Wall;

/// A state of a table that somebody has seen all of.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Position {
    /// The operations in it.
    held: Vector,
    /// When that was.
    wall: Wall,
    /// When the first of its rows expires.
    first_expiry: Option<Wall>,
}

/// A row that is another one than it was.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Since {
    /// It has this version now.
    Put(Version),
    /// There is none with this key; nor was there one, perhaps.
    Gone(Vec<u8>),
}

impl Table {
    /// The present state, for [`Table::since`].
    #[must_use]
    pub fn position(&self, wall: Wall) -> Position {
        let first_expiry = self.expiring.first_key_value().map(|((at, _), _)| *at);
        Position { held: self.all_held(), wall, first_expiry }
    }

    /// The rows that are others than they were at a position, in the order in which they last changed.
    ///
    /// # Errors
    /// That is not known any more: everything has to be read anew.
    pub fn since(&self, position: &Position, wall: Wall) -> Result<Vec<Since>, Resync> {
        let kept = u64::try_from(TABLE_EXPIRED_KEPT.as_millis()).unwrap_or(u64::MAX);
        let forgotten = |at: Wall| at.as_millis().saturating_add(kept) <= wall.as_millis();
        let known = self.known(&position.held);
        if position.first_expiry.is_some_and(forgotten) || !known.covers_all(self.log.before()) {
            return Err(Resync);
        }
        // Those that stood in the table at that time: that it was over for some was not told yet.
        let first = position.first_expiry;
        let expired = self.graves.values().filter(|row| first.is_some_and(|first| row.expires_at() >= Some(first)));
        let expired = expired.filter(|row| !row.is_delete() && known.covers(row.carrier()));
        let mut touched: Vec<&[u8]> = expired.map(Version::key).collect();
        for at in self.log.start()..self.log.end() {
            match self.log.get(at) {
                Some(Record::Gap(held)) if !known.covers_all(held) => return Err(Resync),
                Some(Record::Op(version)) if !known.covers(version.carrier()) && !version.is_aside() => {
                    touched.push(version.key());
                }
                Some(Record::Gap(_) | Record::Op(_)) | None => {}
            }
        }
        let mut seen = BTreeSet::new();
        let mut last: Vec<&[u8]> = touched.into_iter().rev().filter(|key| seen.insert(*key)).collect();
        last.reverse();
        let now = |key: &[u8]| match self.get(key, wall) {
            Some(version) => Since::Put(version.clone()),
            None => Since::Gone(key.to_vec()),
        };
        Ok(last.into_iter().map(now).collect())
    }

    /// A vector by the places of this table; an origin that it has not met wrote nothing that it has.
    fn known(&self, vector: &Vector) -> Numbers {
        let mut numbers = Numbers::default();
        for (origin, number) in vector.iter() {
            if let Some(place) = self.origins.find(origin) {
                numbers.raise(place, number);
            }
        }
        numbers
    }
}
