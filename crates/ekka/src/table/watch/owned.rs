//! Watching an `owned` table: rows with their owners, and what becomes of owners as a whole.

use std::collections::VecDeque;
use std::marker::PhantomData;
use std::ops::Bound;
use std::sync::Arc;

use ekka_core::id::{Incarnation, NodeId};
use ekka_core::table::{self, Map, OwnedRow};

use super::super::error::ReadError;
use super::super::key::TableKey;
use super::super::owned::OwnedSlot;
use super::ahead::Ahead;
use crate::codec::Coding;

/// Rows of a snapshot, and changes, that are looked up at once.
const PAGE: usize = 256;

/// What a watcher sees.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum OwnedChange<K, V> {
    /// A row of the snapshot. Rows of owners that are down come too, followed by [`OwnedChange::Hidden`].
    Snapshot(NodeId, K, V),
    /// The snapshot is complete; what follows came after it.
    SnapshotEnd {
        /// The revision of the snapshot, on this node and for this start of it.
        revision: u64,
    },
    /// An owner has this row now. It may be hidden: then its rows count once it is shown again.
    Put(NodeId, K, V),
    /// An owner has it no more.
    Delete(NodeId, K),
    /// An owner is down: none of its rows is shown.
    Hidden(NodeId),
    /// It is up again: all its rows are shown, as they were.
    Shown(NodeId),
    /// This start of a node is gone, and all its rows with it.
    OwnerGone(Incarnation),
    /// Changes were missed, or the rows of an owner came as a whole: a new snapshot follows.
    Resync,
}

/// The same in bytes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum RawOwnedChange {
    /// A row of the snapshot.
    Snapshot(NodeId, OwnedRow),
    /// The snapshot is complete.
    SnapshotEnd(u64),
    /// Within the snapshot, after the rows of an owner: it is down.
    Hidden(NodeId),
    /// A change, at this revision.
    Changed(table::OwnedChange, u64),
    /// A new snapshot follows.
    Resync,
}

enum Stage {
    Begin,
    Snapshot { owners: VecDeque<(NodeId, bool, Map<OwnedRow>)>, after: Option<Vec<u8>>, revision: u64 },
    Changes(u64),
}

/// Follows an `owned` table in bytes.
pub struct RawOwnedWatch {
    cursor: Cursor,
    ahead: Ahead<RawOwnedChange>,
}

/// How far a watcher has come.
struct Cursor {
    slot: Arc<OwnedSlot>,
    stage: Stage,
}

impl RawOwnedWatch {
    pub(in crate::table) fn new(slot: Arc<OwnedSlot>) -> Self {
        let ahead = Ahead::new(slot.signals.changes(), slot.closed.clone());
        Self { cursor: Cursor { slot, stage: Stage::Begin }, ahead }
    }

    /// Goes on after a revision of a history, where that is the one of this table and what came after is still kept; else
    /// there is a [`RawOwnedChange::Resync`] first.
    pub(in crate::table) fn after(slot: Arc<OwnedSlot>, history: &str, revision: u64) -> Self {
        let is_known = history == slot.history;
        let mut watch = Self::new(slot);
        if is_known {
            watch.cursor.stage = Stage::Changes(revision);
        } else {
            watch.ahead.give([RawOwnedChange::Resync]);
        }
        watch
    }

    /// What the revisions of the table belong to.
    #[must_use]
    pub fn history(&self) -> &str {
        &self.cursor.slot.history
    }

    /// The next change; `None` once the table is dropped or the node has ended. *Cancel safe.*
    pub async fn next(&mut self) -> Option<RawOwnedChange> {
        let Self { cursor, ahead } = self;
        ahead.next(|ready| cursor.look(ready)).await
    }
}

impl Cursor {
    /// Looks up what can be given now.
    fn look(&mut self, ready: &mut VecDeque<RawOwnedChange>) {
        match &mut self.stage {
            Stage::Begin => {
                let table = self.slot.read();
                let owners = table.snapshot().into_iter().map(|(id, shown, rows)| (id.node_id, shown, rows)).collect();
                let revision = table.revision();
                drop(table);
                self.stage = Stage::Snapshot { owners, after: None, revision };
                self.look(ready);
            }
            Stage::Snapshot { owners, after, revision } => {
                while let Some((owner, shown, rows)) = owners.front() {
                    let from = after.as_deref().map_or(Bound::Unbounded, Bound::Excluded);
                    let page: Vec<OwnedRow> = rows.from(from).take(PAGE).cloned().collect();
                    let Some(last) = page.last().map(|row| row.key().to_vec()) else {
                        if !shown {
                            ready.push_back(RawOwnedChange::Hidden(*owner));
                        }
                        owners.pop_front();
                        *after = None;
                        continue;
                    };
                    *after = Some(last);
                    ready.extend(page.into_iter().map(|row| RawOwnedChange::Snapshot(*owner, row)));
                    return;
                }
                let revision = *revision;
                ready.push_back(RawOwnedChange::SnapshotEnd(revision));
                self.stage = Stage::Changes(revision);
            }
            Stage::Changes(seen) => {
                let table = self.slot.read();
                let Ok(changes) = table.changes_after(*seen) else {
                    drop(table);
                    ready.push_back(RawOwnedChange::Resync);
                    self.stage = Stage::Begin;
                    return;
                };
                for change in changes.take(PAGE) {
                    *seen += 1;
                    ready.push_back(RawOwnedChange::Changed(change.clone(), *seen));
                }
            }
        }
    }
}

/// Follows an `owned` table: first all rows that are shown, then every change once, in order for each owner and key.
pub struct OwnedWatch<K, V> {
    raw: RawOwnedWatch,
    value: Coding<V>,
    of: PhantomData<fn() -> K>,
}

impl<K: TableKey, V> OwnedWatch<K, V> {
    pub(in crate::table) fn new(raw: RawOwnedWatch, value: Coding<V>) -> Self {
        Self { raw, value, of: PhantomData }
    }

    /// The next change; `None` once the table is dropped or the node has ended. *Cancel safe.*
    ///
    /// # Errors
    /// A row is not of this type; the next call goes on after it.
    pub async fn next(&mut self) -> Result<Option<OwnedChange<K, V>>, ReadError> {
        let key = |row: &OwnedRow| K::read(row.key()).map_err(ReadError::WrongType);
        let value = |row: &OwnedRow| (self.value.decode)(row.value()).map_err(ReadError::WrongType);
        let Some(change) = self.raw.next().await else { return Ok(None) };
        Ok(Some(match change {
            RawOwnedChange::Snapshot(owner, row) => OwnedChange::Snapshot(owner, key(&row)?, value(&row)?),
            RawOwnedChange::SnapshotEnd(revision) => OwnedChange::SnapshotEnd { revision },
            RawOwnedChange::Resync => OwnedChange::Resync,
            RawOwnedChange::Hidden(owner) => OwnedChange::Hidden(owner),
            RawOwnedChange::Changed(change, _) => match change {
                table::OwnedChange::Put(owner, row) => OwnedChange::Put(owner, key(&row)?, value(&row)?),
                table::OwnedChange::Delete(owner, row) => OwnedChange::Delete(owner, key(&row)?),
                table::OwnedChange::Hidden(owner) => OwnedChange::Hidden(owner),
                table::OwnedChange::Shown(owner) => OwnedChange::Shown(owner),
                table::OwnedChange::OwnerGone(id) => OwnedChange::OwnerGone(id),
            },
        }))
    }
}
