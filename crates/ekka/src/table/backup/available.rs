//! Rows of a backup in an `available` table.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use ekka_core::table::{Ack, Fate, Hlc, Map, OpId, Saved, StampError, Table, Version, WriteError};
use ekka_core::time::Wall;
use tokio::time::timeout;

use super::super::acks;
use super::super::available::AvailableSlot;
use super::super::error::PutError;
use super::report::{RestoreError, RestoreMode, TableRestored};
use super::restore::{Terms, absent};
use crate::backup::{SavedRow, TableHead};

/// Rows that are written while the table is locked.
const AT_ONCE: usize = 256;
/// How long the copies of these may take.
const COPIES: Duration = Duration::from_secs(60);
/// How long, and how often, the bound of stamps is waited for.
const BOUND: Duration = Duration::from_millis(100);
const BOUNDS: u32 = 100;

/// A table of this kind while it is put back.
pub(super) struct OfAvailable {
    slot: Arc<AvailableSlot>,
    head: TableHead,
    /// The backup is of this very table.
    same: bool,
    terms: Terms,
    /// What was there: in `replace` what is not in the backup goes.
    before: Map<Version>,
    after: Option<Vec<u8>>,
}

/// What is to be done with a row.
enum Change<'a> {
    Put(&'a SavedRow),
    Delete(&'a Version),
}

impl OfAvailable {
    pub(super) fn new(slot: Arc<AvailableSlot>, head: TableHead, same: bool, terms: Terms) -> Self {
        let before = slot.read().rows();
        Self { slot, head, same, terms, before, after: None }
    }

    /// Takes the next rows of the backup.
    pub(super) async fn rows(&mut self, rows: &[SavedRow], tally: &mut TableRestored) -> Result<(), RestoreError> {
        if self.terms.mode == RestoreMode::Replace {
            self.delete_absent(Some(rows), tally).await?;
            self.after = rows.last().map(|row| row.key.to_vec());
        }
        let changes: Vec<Change<'_>> = rows.iter().map(Change::Put).collect();
        self.change(&changes, tally).await
    }

    /// All rows were given.
    pub(super) async fn end(&mut self, tally: &mut TableRestored) -> Result<(), RestoreError> {
        if self.terms.mode == RestoreMode::Replace { self.delete_absent(None, tally).await } else { Ok(()) }
    }

    async fn delete_absent(&self, rows: Option<&[SavedRow]>, tally: &mut TableRestored) -> Result<(), RestoreError> {
        let mut after = self.after.clone();
        loop {
            let (page, next) = absent(&self.before, after.as_deref(), rows);
            let changes: Vec<Change<'_>> = page.iter().map(Change::Delete).collect();
            self.change(&changes, tally).await?;
            match next {
                Some(next) => after = Some(next),
                None => return Ok(()),
            }
        }
    }

    async fn change(&self, changes: &[Change<'_>], tally: &mut TableRestored) -> Result<(), RestoreError> {
        for some in changes.chunks(AT_ONCE) {
            if self.terms.plan {
                let (table, wall) = (self.slot.read(), self.slot.world.clock.now().wall);
                for change in some {
                    count(change, self.planned(&table, change, wall), tally);
                }
            } else {
                self.write(some, tally).await.map_err(|why| {
                    let (table, rows) = (self.head.schema.name.clone(), tally.seen());
                    RestoreError::Row { table, rows, why }
                })?;
            }
        }
        Ok(())
    }

    /// Writes these and waits for their copies: no faster than the peers take them.
    async fn write(&self, changes: &[Change<'_>], tally: &mut TableRestored) -> Result<(), PutError> {
        let terms = acks::Terms { ack: Ack::Two, strict: false };
        let (mut left, mut waits) = (changes, 0);
        while !left.is_empty() {
            if let Some(refused) = self.slot.refuses() {
                return Err(refused);
            }
            let mut refused = None;
            let changed = self.slot.change(terms, |table, wall| {
                while let Some((first, rest)) = left.split_first() {
                    match self.carry_out(table, first, wall) {
                        Ok(fate) => count(first, fate, tally),
                        Err(error) => {
                            refused = Some(error);
                            break;
                        }
                    }
                    left = rest;
                }
                Ok::<_, Infallible>(())
            });
            let Ok((_, written)) = changed;
            self.slot.answered(written, COPIES).await?;
            match refused {
                None => {}
                Some(WriteError::Stamp(StampError::BoundReached)) if waits < BOUNDS => {
                    waits += 1;
                    // It may have been raised before this began to listen.
                    let _ = timeout(BOUND, self.slot.world.bounds().changed()).await;
                }
                Some(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    fn saved<'a>(&self, row: &'a SavedRow) -> Saved<'a> {
        let origin = self.head.origins.get(row.origin as usize).filter(|_| self.same);
        Saved {
            key: &row.key,
            value: &row.value,
            expires_at: row.expires_at,
            hlc: Hlc::from_bits(row.stamp),
            id: origin.map(|origin| OpId { origin: *origin, number: row.number }),
        }
    }

    /// What becomes of it; `None`: nothing, since it has expired or is gone.
    fn carry_out(&self, table: &mut Table, change: &Change<'_>, wall: Wall) -> Result<Option<Fate>, WriteError> {
        match change {
            Change::Put(row) if has_expired(row, wall) => Ok(None),
            Change::Put(row) if self.terms.mode == RestoreMode::Merge => {
                table.merge_saved(&self.saved(row), wall).map(Some)
            }
            Change::Put(row) => {
                let fate = table.fate_of_overwrite(&row.key, &row.value, row.expires_at, wall);
                table.overwrite(&row.key, Some(&row.value), row.expires_at, wall)?;
                Ok(Some(fate))
            }
            Change::Delete(version) => {
                Ok(table.overwrite(version.key(), None, None, wall)?.then_some(Fate::StaysDeleted))
            }
        }
    }

    fn planned(&self, table: &Table, change: &Change<'_>, wall: Wall) -> Option<Fate> {
        match change {
            Change::Put(row) if has_expired(row, wall) => None,
            Change::Put(row) if self.terms.mode == RestoreMode::Merge => Some(table.fate_of(&self.saved(row), wall)),
            Change::Put(row) => Some(table.fate_of_overwrite(&row.key, &row.value, row.expires_at, wall)),
            Change::Delete(version) => table.get(version.key(), wall).map(|_| Fate::StaysDeleted),
        }
    }
}

fn count(change: &Change<'_>, fate: Option<Fate>, tally: &mut TableRestored) {
    let count = match (change, fate) {
        (Change::Delete(_), Some(_)) => &mut tally.deleted,
        (Change::Delete(_), None) => return,
        (Change::Put(_), None) => &mut tally.expired,
        (Change::Put(_), Some(Fate::Added)) => &mut tally.added,
        (Change::Put(_), Some(Fate::Replaced)) => &mut tally.replaced,
        (Change::Put(_), Some(Fate::Kept)) => &mut tally.kept,
        (Change::Put(_), Some(Fate::StaysDeleted)) => &mut tally.stay_deleted,
    };
    *count += 1;
}

fn has_expired(row: &SavedRow, wall: Wall) -> bool {
    row.expires_at.is_some_and(|at| at <= wall)
}
