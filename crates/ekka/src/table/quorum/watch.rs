//! Watching a quorum table: all rows, then every change once, in the order of revisions, the same on every replica.

use std::collections::VecDeque;
use std::marker::PhantomData;
use std::sync::Arc;

use ekka_core::table::quorum::{Change, Changed, Cursor, Mark, Row, View};
use ekka_core::table::{KeyRange, PageLimits, Revision};
use tokio::sync::watch;

use super::super::error::ReadError;
use super::super::key::TableKey;
use super::super::watch as typed;
use super::here::Replica;
use super::slot::QuorumSlot;
use crate::codec::Coding;

/// Rows and changes that are looked up at once.
const PAGE: PageLimits = PageLimits { rows: 256, bytes: 256 * 1024 };

/// What a watcher sees, in bytes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum RawQuorumChange {
    /// A row of the snapshot.
    Snapshot(Row),
    /// The snapshot is complete.
    SnapshotEnd(Revision),
    /// A row has this value now; with the last change of a revision, that: up to there all has been given.
    Put(Row, Option<Revision>),
    /// A row is gone, deleted or expired; likewise.
    Delete(Row, Option<Revision>),
    /// A new snapshot follows.
    Resync,
}

enum Stage {
    /// Nothing was given yet, or all has to be given anew.
    Begin,
    /// Rows of one moment are being given: as a snapshot, or as changes after an empty one.
    Rows { view: View, after: Option<Vec<u8>>, cursor: Cursor, late: bool },
    /// The group does not know of the table yet: it has no row.
    Empty,
    /// Changes after this.
    Changes(Cursor),
}

impl Stage {
    /// Up to where all was seen, or is being given, of this history.
    fn reached(&self, history: &str) -> Option<(String, Revision)> {
        match self {
            Self::Begin | Self::Empty => None,
            Self::Rows { cursor, .. } | Self::Changes(cursor) => Some((history.to_owned(), cursor.revision)),
        }
    }
}

/// What is followed now.
struct Followed {
    replica: Replica,
    changes: watch::Receiver<Mark>,
}

/// Follows a quorum table in bytes.
pub struct RawQuorumWatch {
    slot: Arc<QuorumSlot>,
    replicas: watch::Receiver<Option<Replica>>,
    followed: Option<Followed>,
    /// Where to go on: in this history, after this revision.
    resume: Option<(String, Revision)>,
    stage: Stage,
    begun: bool,
    ready: VecDeque<RawQuorumChange>,
}

impl RawQuorumWatch {
    pub(in crate::table) fn new(slot: Arc<QuorumSlot>) -> Self {
        let replicas = slot.replica();
        let (stage, ready) = (Stage::Begin, VecDeque::new());
        Self { slot, replicas, followed: None, resume: None, stage, begun: false, ready }
    }

    /// Goes on after a revision of a history, where that is still the one and what came after is still kept; else
    /// there is a [`RawQuorumChange::Resync`] first.
    pub(in crate::table) fn after(slot: Arc<QuorumSlot>, history: &str, revision: Revision) -> Self {
        Self { resume: Some((history.to_owned(), revision)), begun: true, ..Self::new(slot) }
    }

    /// The history that the revisions of the latest changes belong to.
    #[must_use]
    pub fn history(&self) -> Option<&str> {
        self.followed.as_ref().map(|followed| &*followed.replica.history)
    }

    /// The next change; `None` once the table is dropped or the node has ended. *Cancel safe.*
    pub async fn next(&mut self) -> Option<RawQuorumChange> {
        loop {
            if let Some(change) = self.ready.pop_front() {
                return Some(change);
            }
            if self.slot.closed.is_cancelled() {
                return None;
            }
            self.turn_to_replica();
            if let Some(followed) = &mut self.followed {
                followed.changes.mark_unchanged();
                self.look();
            }
            if self.ready.is_empty() {
                let changed = async {
                    // One that has ended says no more; the next one does.
                    let changed = match &mut self.followed {
                        Some(followed) => followed.changes.changed().await.is_ok(),
                        None => false,
                    };
                    if !changed {
                        std::future::pending::<()>().await;
                    }
                };
                tokio::select! {
                    biased;
                    () = self.slot.closed.cancelled() => return None,
                    changed = self.replicas.changed() => if changed.is_err() { return None },
                    () = changed => {}
                }
            }
        }
    }

    /// Follows the replica that runs now. One that is no more is followed as it was until there is another.
    fn turn_to_replica(&mut self) {
        let Some(replica) = self.replicas.borrow_and_update().clone() else { return };
        if self.followed.as_ref().is_some_and(|followed| followed.replica.is(&replica)) {
            return;
        }
        let left = self.followed.take().and_then(|followed| self.stage.reached(&followed.replica.history));
        let resume = self.resume.take().or(left).filter(|(history, _)| **history == *replica.history);
        let resumed = resume.and_then(|(_, revision)| replica.rows.read().resume(self.slot.id, revision).ok());
        let stage = std::mem::replace(&mut self.stage, Stage::Begin);
        self.stage = match (stage, resumed) {
            // The rest of the rows of one moment, then what came after it there.
            (Stage::Rows { view, after, late, .. }, Some(cursor)) => Stage::Rows { view, after, cursor, late },
            (_, Some(cursor)) => Stage::Changes(cursor),
            (_, None) => {
                if self.begun {
                    self.ready.push_back(RawQuorumChange::Resync);
                }
                Stage::Begin
            }
        };
        self.followed = Some(Followed { changes: replica.rows.changes(), replica });
    }

    /// Looks up what can be given now.
    fn look(&mut self) {
        let Some(Followed { replica, .. }) = &self.followed else { return };
        self.begun = true;
        match &mut self.stage {
            Stage::Begin | Stage::Empty => {
                let late = matches!(self.stage, Stage::Empty);
                let tables = replica.rows.read();
                let view = tables.view().clone();
                match tables.watch(self.slot.id) {
                    Ok(cursor) => {
                        drop(tables);
                        self.stage = Stage::Rows { view, after: None, cursor, late };
                        self.look();
                    }
                    Err(_) if late => {}
                    Err(_) => {
                        self.ready.push_back(RawQuorumChange::SnapshotEnd(view.revision()));
                        drop(tables);
                        self.stage = Stage::Empty;
                    }
                }
            }
            Stage::Rows { view, after, cursor, late } => {
                let page = self.slot.page(view, &KeyRange::all(), after.as_deref(), PAGE);
                let (late, cursor) = (*late, *cursor);
                *after = page.next;
                let ends = after.is_none();
                let each = |row| if late { RawQuorumChange::Put(row, None) } else { RawQuorumChange::Snapshot(row) };
                self.ready.extend(page.rows.into_iter().map(each));
                if ends {
                    match self.ready.back_mut() {
                        Some(RawQuorumChange::Put(_, revision)) if late => *revision = Some(cursor.revision),
                        _ if late => {}
                        _ => self.ready.push_back(RawQuorumChange::SnapshotEnd(cursor.revision)),
                    }
                    self.stage = Stage::Changes(cursor);
                }
            }
            Stage::Changes(cursor) => {
                let news = replica.rows.read().changes(*cursor, PAGE);
                let Ok(news) = news else {
                    self.ready.push_back(RawQuorumChange::Resync);
                    self.stage = Stage::Begin;
                    return;
                };
                *cursor = news.next;
                let mut changes = news.changes.into_iter().peekable();
                while let Some(Changed { revision, change }) = changes.next() {
                    let last = changes.peek().is_none_or(|next| next.revision != revision).then_some(revision);
                    self.ready.push_back(match change {
                        Change::Put(row) => RawQuorumChange::Put(row, last),
                        Change::Deleted(row) | Change::Expired(row) => RawQuorumChange::Delete(row, last),
                    });
                }
            }
        }
    }
}

/// Follows a quorum table: first all its rows, then every change once, in the order in which they were committed. Where
/// this node was too far behind, or another group took over, there is [`Change::Resync`](typed::Change::Resync) and all
/// rows anew.
pub struct QuorumWatch<K, V> {
    raw: RawQuorumWatch,
    value: Coding<V>,
    of: PhantomData<fn() -> K>,
}

impl<K: TableKey, V> QuorumWatch<K, V> {
    pub(in crate::table) fn new(raw: RawQuorumWatch, value: Coding<V>) -> Self {
        Self { raw, value, of: PhantomData }
    }

    /// The next change; `None` once the table is dropped or the node has ended. *Cancel safe.*
    ///
    /// # Errors
    /// A row is not of this type; the next call goes on after it.
    pub async fn next(&mut self) -> Result<Option<typed::Change<K, V>>, ReadError> {
        let key = |row: &Row| K::read(row.key()).map_err(ReadError::WrongType);
        let value = |row: &Row| (self.value.decode)(row.value()).map_err(ReadError::WrongType);
        let Some(change) = self.raw.next().await else { return Ok(None) };
        Ok(Some(match change {
            RawQuorumChange::Snapshot(row) => typed::Change::Snapshot(key(&row)?, value(&row)?),
            RawQuorumChange::SnapshotEnd(revision) => typed::Change::SnapshotEnd { revision },
            RawQuorumChange::Put(row, _) => typed::Change::Put(key(&row)?, value(&row)?),
            RawQuorumChange::Delete(row, _) => typed::Change::Delete(key(&row)?),
            RawQuorumChange::Resync => typed::Change::Resync,
        }))
    }
}
