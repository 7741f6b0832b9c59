//! Watching a table: all rows, then every change once, in order for each key; never a silent gap.

use std::collections::VecDeque;
use std::marker::PhantomData;
use std::sync::Arc;

use ekka_core::table::{self, KeyRange, Map, PageLimits, Version, scan};
use ekka_core::time::Wall;

use super::super::available::AvailableSlot;
use super::super::error::ReadError;
use super::super::key::TableKey;
use super::ahead::Ahead;
use crate::codec::Coding;

/// Rows of a snapshot that are looked up at once.
const PAGE: PageLimits = PageLimits { rows: 256, bytes: 256 * 1024 };
/// Changes that are looked up at once.
const CHANGES: usize = 256;

/// What a watcher sees.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Change<K, V> {
    /// A row of the snapshot.
    Snapshot(K, V),
    /// The snapshot is complete; what follows came after it.
    SnapshotEnd {
        /// The revision of the snapshot, on this node and for this start of it.
        revision: u64,
    },
    /// A row has this value now.
    Put(K, V),
    /// A row is gone: deleted, or expired.
    Delete(K),
    /// Changes were missed, or the table was changed as a whole: a new snapshot follows.
    Resync,
}

/// The same in bytes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum RawChange {
    /// A row of the snapshot.
    Snapshot(Version),
    /// The snapshot is complete.
    SnapshotEnd(u64),
    /// A row has this value now, at this revision.
    Put(Version, u64),
    /// A row is gone, at this revision.
    Delete(Version, u64),
    /// A new snapshot follows.
    Resync,
}

enum Stage {
    /// Nothing was given yet, or all has to be given anew.
    Begin,
    /// A snapshot is being given.
    Snapshot { rows: Map<Version>, wall: Wall, after: Option<Vec<u8>>, revision: u64 },
    /// Changes after this revision.
    Changes(u64),
}

/// Follows a table in bytes.
pub struct RawWatch {
    cursor: Cursor,
    ahead: Ahead<RawChange>,
}

/// How far a watcher has come.
struct Cursor {
    slot: Arc<AvailableSlot>,
    stage: Stage,
}

impl RawWatch {
    pub(in crate::table) fn new(slot: Arc<AvailableSlot>) -> Self {
        Self::at(slot, Stage::Begin)
    }

    fn at(slot: Arc<AvailableSlot>, stage: Stage) -> Self {
        let ahead = Ahead::new(slot.signals.changes(), slot.closed.clone());
        Self { cursor: Cursor { slot, stage }, ahead }
    }

    /// Goes on after a revision of this node and this start of it, where what came after it is still kept; else there is a
    /// [`RawChange::Resync`] first.
    pub(in crate::table) fn after(slot: Arc<AvailableSlot>, revision: u64) -> Self {
        Self::at(slot, Stage::Changes(revision))
    }

    /// The next change; `None` once the table is dropped or the node has ended. *Cancel safe.*
    pub async fn next(&mut self) -> Option<RawChange> {
        let Self { cursor, ahead } = self;
        ahead.next(|ready| cursor.look(ready)).await
    }
}

impl Cursor {
    /// Looks up what can be given now.
    fn look(&mut self, ready: &mut VecDeque<RawChange>) {
        match &mut self.stage {
            Stage::Begin => {
                let table = self.slot.read();
                let (rows, revision) = (table.rows(), table.revision());
                drop(table);
                let wall = self.slot.world.clock.now().wall;
                self.stage = Stage::Snapshot { rows, wall, after: None, revision };
                self.look(ready);
            }
            Stage::Snapshot { rows, wall, after, revision } => {
                let page = scan(rows, &KeyRange::all(), after.as_deref(), PAGE, *wall);
                ready.extend(page.rows.into_iter().map(RawChange::Snapshot));
                *after = page.next;
                if after.is_none() {
                    let revision = *revision;
                    ready.push_back(RawChange::SnapshotEnd(revision));
                    self.stage = Stage::Changes(revision);
                }
            }
            Stage::Changes(seen) => {
                let table = self.slot.read();
                let Ok(changes) = table.changes_after(*seen) else {
                    drop(table);
                    ready.push_back(RawChange::Resync);
                    self.stage = Stage::Begin;
                    return;
                };
                for change in changes.take(CHANGES) {
                    *seen += 1;
                    ready.push_back(match change {
                        table::Change::Put(version) => RawChange::Put(version.clone(), *seen),
                        table::Change::Delete(version) | table::Change::Expired(version) => {
                            RawChange::Delete(version.clone(), *seen)
                        }
                    });
                }
            }
        }
    }
}

/// Follows a table: first all its rows, then every change once, in order for each key. Whoever is too far behind, by more
/// than some thousand changes, gets [`Change::Resync`] and all rows anew.
pub struct Watch<K, V> {
    raw: RawWatch,
    value: Coding<V>,
    of: PhantomData<fn() -> K>,
}

impl<K: TableKey, V> Watch<K, V> {
    pub(in crate::table) fn new(raw: RawWatch, value: Coding<V>) -> Self {
        Self { raw, value, of: PhantomData }
    }

    /// The next change; `None` once the table is dropped or the node has ended. *Cancel safe.*
    ///
    /// # Errors
    /// A row is not of this type; the next call goes on after it.
    pub async fn next(&mut self) -> Result<Option<Change<K, V>>, ReadError> {
        let key = |version: &Version| K::read(version.key()).map_err(ReadError::WrongType);
        let value = |version: &Version| (self.value.decode)(version.value()).map_err(ReadError::WrongType);
        let Some(change) = self.raw.next().await else { return Ok(None) };
        Ok(Some(match change {
            RawChange::Snapshot(row) => Change::Snapshot(key(&row)?, value(&row)?),
            RawChange::SnapshotEnd(revision) => Change::SnapshotEnd { revision },
            RawChange::Put(row, _) => Change::Put(key(&row)?, value(&row)?),
            RawChange::Delete(row, _) => Change::Delete(key(&row)?),
            RawChange::Resync => Change::Resync,
        }))
    }
}
