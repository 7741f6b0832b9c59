//! Rows of a backup, put back into a table: merged with the stamp that they had, or written over what is there.
//!
//! A merged row comes as an operation of this node, with its first stamp. Its first identity is kept where the backup is
//! of this very table; of another one (it was dropped and made anew, or it is of another cluster) the same numbers may
//! mean other operations, so the row gets a new one. What decides is what decides on the estate of a member that comes
//! back: what this node holds already has been decided on, the newer stamp wins, and a key that has nothing comes back
//! only where its stamp is above all that was ever dropped. So whatever was deleted since stays deleted everywhere.

use super::available::Table;
use super::stamp::{Hlc, Stamp};
use super::terms::WriteError;
use super::vector::{Dot, OpId};
use super::version::{Parts, Replaced, Version};
use crate::limits::{TABLE_KEY_MAX, TABLE_VALUE_MAX};
use crate::time::Wall;

/// A row as a backup has it.
#[derive(Clone, Copy, Debug)]
pub struct Saved<'a> {
    /// The key.
    pub key: &'a [u8],
    /// The value.
    pub value: &'a [u8],
    /// When it expires, if it does.
    pub expires_at: Option<Wall>,
    /// When it was written.
    pub hlc: Hlc,
    /// The operation that wrote it; `None` where the backup is of another table.
    pub id: Option<OpId>,
}

/// What becomes of a row.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fate {
    /// There was none with its key.
    Added,
    /// It takes the place of one that is there.
    Replaced,
    /// What is there stays: it is the same, or newer.
    Kept,
    /// The row was deleted since, and stays so.
    StaysDeleted,
}

impl Table {
    /// What [`Table::merge_saved`] would make of a row.
    #[must_use]
    pub fn fate_of(&self, saved: &Saved<'_>, wall: Wall) -> Fate {
        let held = self.rows.get(saved.key);
        let is_there = held.is_some_and(|held| held.is_live(wall));
        let stamp = Stamp { hlc: saved.hlc, origin: saved.id.map(|id| id.origin) };
        let stays = saved.id.is_some_and(|id| self.holds(id))
            || match (held, saved.id) {
                (Some(held), Some(_)) => self.stamp_of(held) >= stamp,
                (Some(held), None) => held.hlc() >= saved.hlc,
                (None, _) => stamp <= self.gc_floor,
            };
        match (stays, is_there) {
            (true, true) => Fate::Kept,
            (true, false) => Fate::StaysDeleted,
            (false, true) => Fate::Replaced,
            (false, false) => Fate::Added,
        }
    }

    /// Merges a row of a backup, with the stamp that it had.
    ///
    /// # Errors
    /// See [`WriteError`]: nothing has changed.
    pub fn merge_saved(&mut self, saved: &Saved<'_>, wall: Wall) -> Result<Fate, WriteError> {
        check(saved.key, saved.value)?;
        let fate = self.fate_of(saved, wall);
        if matches!(fate, Fate::Added | Fate::Replaced) {
            self.clock.accept(saved.hlc, wall)?;
            let carrier = self.next_own();
            let first = saved.id.map(|id| Dot { origin: self.origins.place(id.origin), number: id.number });
            let parts = Parts {
                hlc: saved.hlc,
                id: first.unwrap_or(carrier),
                carrier: first.map(|_| carrier),
                replaced: self.nothing_replaced(saved.key, wall),
                delete: false,
                aside: false,
                expires_at: saved.expires_at,
                key: saved.key,
                value: saved.value,
            };
            let version = Version::pack(&parts, &mut self.scratch);
            self.take(version, wall);
        }
        Ok(fate)
    }

    /// What [`Table::overwrite`] would do.
    #[must_use]
    pub fn fate_of_overwrite(&self, key: &[u8], value: &[u8], expires_at: Option<Wall>, wall: Wall) -> Fate {
        match self.get(key, wall) {
            None => Fate::Added,
            Some(held) if held.value() == value && held.expires_at() == expires_at => Fate::Kept,
            Some(_) => Fate::Replaced,
        }
    }

    /// Writes a row with a new stamp as if what is there had not been seen, so that it goes to the journal of every node;
    /// without a value the row is deleted so. What is as it should be stays. Whether anything was written.
    ///
    /// # Errors
    /// See [`WriteError`]: nothing has changed.
    pub fn overwrite(
        &mut self,
        key: &[u8],
        value: Option<&[u8]>,
        expires_at: Option<Wall>,
        wall: Wall,
    ) -> Result<bool, WriteError> {
        check(key, value.unwrap_or_default())?;
        let done = match value {
            Some(value) => self.fate_of_overwrite(key, value, expires_at, wall) == Fate::Kept,
            None => self.get(key, wall).is_none(),
        };
        if done {
            return Ok(false);
        }
        let parts = Parts {
            hlc: self.clock.stamp(wall)?,
            id: self.next_own(),
            carrier: None,
            replaced: self.nothing_replaced(key, wall),
            delete: value.is_none(),
            aside: false,
            expires_at,
            key,
            value: value.unwrap_or_default(),
        };
        let version = Version::pack(&parts, &mut self.scratch);
        self.take(version, wall);
        Ok(true)
    }

    fn next_own(&self) -> Dot {
        Dot { origin: self.here, number: self.held.get(self.here) + 1 }
    }

    /// A deletion that is in the place of a row is no loss.
    fn nothing_replaced(&self, key: &[u8], wall: Wall) -> Option<Replaced> {
        self.rows.get(key).filter(|held| !held.is_live(wall)).map(Version::as_replaced)
    }
}

fn check(key: &[u8], value: &[u8]) -> Result<(), WriteError> {
    if key.len() > TABLE_KEY_MAX {
        return Err(WriteError::KeyTooLong { len: key.len() });
    }
    if value.len() > TABLE_VALUE_MAX {
        return Err(WriteError::ValueTooLong { len: value.len() });
    }
    Ok(())
}
