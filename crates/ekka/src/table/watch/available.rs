//! Watching a table: all rows, then every change once, in order for each key; never a silent gap.

use std::collections::VecDeque;
use std::marker::PhantomData;
use std::sync::Arc;

use ekka_core::table::{self, KeyRange, Map, PageLimits, Position, Since, Version, scan};
use ekka_core::time::Wall;

use super::super::available::AvailableSlot;
use super::super::door::Cell;
use super::super::error::ReadError;
use super::super::key::TableKey;
use super::super::parts::{Parts, Tally};
use super::ahead::Ahead;
use crate::codec::{Coding, number_as};

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
    /// A row is gone: deleted, or expired. Of counters: the number is gone.
    Delete(K),
    /// Of a bag: a value of a key is gone, removed or expired. Others may be there.
    Removed(K, V),
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
    /// There is no row with this key, where that is all that is known of it: after a start of the node.
    Gone(Vec<u8>, u64),
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
    given: Option<u64>,
}

/// How far a watcher has come.
struct Cursor {
    slot: Arc<AvailableSlot>,
    stage: Stage,
    /// Where what follows can be gone on with by another start of the node: those places, with their revisions.
    marks: Option<VecDeque<Mark>>,
}

/// A place that another start of the node can go on from.
pub(super) struct Mark {
    pub(super) revision: u64,
    pub(super) position: Position,
    /// Where the log ended: what is told of here is on disc once that is.
    end: u64,
}

impl RawWatch {
    pub(in crate::table) fn new(slot: Arc<AvailableSlot>) -> Self {
        let ahead = Ahead::new(slot.signals.changes(), slot.closed.clone());
        Self { cursor: Cursor { slot, stage: Stage::Begin, marks: None }, ahead, given: None }
    }

    /// Goes on after a revision of a history, where that is the one of this table and what came after is still kept; else
    /// there is a [`RawChange::Resync`] first.
    pub(in crate::table) fn after(slot: Arc<AvailableSlot>, history: &str, revision: u64) -> Self {
        let is_known = history == slot.history;
        let mut watch = Self::new(slot);
        if is_known {
            watch.go_on_after(revision);
        } else {
            watch.begin_anew();
        }
        watch
    }

    /// What the revisions of the table belong to.
    #[must_use]
    pub fn history(&self) -> &str {
        &self.cursor.slot.history
    }

    /// The next change; `None` once the table is dropped or the node has ended. *Cancel safe.*
    pub async fn next(&mut self) -> Option<RawChange> {
        let Self { cursor, ahead, given } = self;
        let change = ahead.next(|ready| cursor.look(ready)).await?;
        match &change {
            RawChange::SnapshotEnd(revision)
            | RawChange::Put(_, revision)
            | RawChange::Delete(_, revision)
            | RawChange::Gone(_, revision) => {
                if *revision > 0 || matches!(change, RawChange::SnapshotEnd(_)) {
                    *given = Some(*revision);
                }
            }
            RawChange::Snapshot(_) | RawChange::Resync => *given = None,
        }
        Some(change)
    }

    /// The revision up to which everything was given; `None` within a snapshot.
    pub(super) fn given(&self) -> Option<u64> {
        self.given
    }
}

/// Takes note that everything up to here is known of.
fn mark(marks: &mut Option<VecDeque<Mark>>, table: &table::Table, wall: Wall) {
    if let Some(marks) = marks {
        marks.push_back(Mark { revision: table.revision(), position: table.position(wall), end: table.log_end() });
    }
}

impl RawWatch {
    /// Marks places that another start of the node can go on from.
    pub(super) fn keep_marks(&mut self) {
        self.cursor.marks = Some(VecDeque::new());
    }

    /// The last marked place that is not behind a revision, and up to which all is on disc: another start must not go on
    /// from what this one has only in memory.
    pub(super) fn mark_at(&mut self, revision: u64) -> Option<Mark> {
        let table = self.cursor.slot.read();
        let marks = self.cursor.marks.as_mut()?;
        let mut last = None;
        while let Some(mark) = marks.pop_front_if(|mark| mark.revision <= revision && table.is_synced(mark.end)) {
            last = Some(mark);
        }
        last
    }

    /// Goes on after a revision of this start.
    pub(super) fn go_on_after(&mut self, revision: u64) {
        self.cursor.stage = Stage::Changes(revision);
    }

    /// Begins with all rows anew, and says so.
    pub(super) fn begin_anew(&mut self) {
        self.ahead.give([RawChange::Resync]);
    }

    /// Goes on from a place that another start marked, where that is known.
    pub(super) fn go_on_from(&mut self, position: &Position) -> Result<(), table::Resync> {
        let slot = self.cursor.slot.clone();
        let (table, wall) = slot.expired();
        let since = table.since(position, wall)?;
        // Which value of a bag is gone nobody knows any more.
        if slot.parts() == Parts::Elements && since.iter().any(|since| matches!(since, Since::Gone(_))) {
            return Err(table::Resync);
        }
        let revision = table.revision();
        mark(&mut self.cursor.marks, &table, wall);
        drop(table);
        let last = since.len();
        // Only with the last of them everything up to this revision is given.
        let given = (1..).map(|n| if n == last { revision } else { 0 });
        self.ahead.give(since.into_iter().zip(given).map(|(since, revision)| match since {
            Since::Put(version) => RawChange::Put(version, revision),
            Since::Gone(key) => RawChange::Gone(key, revision),
        }));
        self.go_on_after(revision);
        Ok(())
    }

    /// The table that is followed.
    pub(super) fn slot(&self) -> &Arc<AvailableSlot> {
        &self.cursor.slot
    }

    /// What a row of the table is about: a key, and what it has by it, which of a bag is one of its values, and of
    /// counters the number as it is now, of which the row is a part. `None`: the number is gone.
    #[must_use]
    pub fn cell(&self, row: &Version) -> (Vec<u8>, Option<Cell>) {
        let slot = &self.cursor.slot;
        let parts = slot.parts();
        let key = parts.key(row.key());
        let cell = match parts {
            Parts::None | Parts::Elements => Some(Cell::One(row.value().to_vec())),
            Parts::Sum | Parts::Max => slot.count(&key).map(Cell::Number),
        };
        (key, cell)
    }

    /// Whether it follows a bag, of which each value is a row.
    #[must_use]
    pub fn is_bag(&self) -> bool {
        self.cursor.slot.parts() == Parts::Elements
    }
}

impl Cursor {
    /// Looks up what can be given now.
    fn look(&mut self, ready: &mut VecDeque<RawChange>) {
        match &mut self.stage {
            Stage::Begin => {
                let (table, wall) = self.slot.expired();
                let (rows, revision) = (table.rows(), table.revision());
                mark(&mut self.marks, &table, wall);
                drop(table);
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
                if *seen == table.revision() && !ready.is_empty() {
                    mark(&mut self.marks, &table, self.slot.world.clock.now().wall);
                }
            }
        }
    }
}

/// Follows a table: first all its rows, then every change once, in order for each key. Whoever is too far behind, by more
/// than some thousand changes, gets [`Change::Resync`] and all rows anew.
///
/// Of a bag each value is a row: [`Change::Put`] adds one, [`Change::Removed`] takes one away. Of counters a change says
/// what the number is when it is given, so where there were several since they all say the last.
pub struct Watch<K, V> {
    raw: RawWatch,
    value: Coding<V>,
    tally: Tally,
    /// What comes after what was given.
    next: Option<Change<K, V>>,
    of: PhantomData<fn() -> K>,
}

impl<K: TableKey, V> Watch<K, V> {
    /// Whether all that was taken from the table has been given.
    pub(super) fn is_even(&self) -> bool {
        self.next.is_none()
    }

    pub(super) fn raw(&mut self) -> &mut RawWatch {
        &mut self.raw
    }

    pub(in crate::table) fn new(raw: RawWatch, value: Coding<V>) -> Self {
        Self { raw, value, tally: Tally::default(), next: None, of: PhantomData }
    }

    /// The next change; `None` once the table is dropped or the node has ended. *Cancel safe.*
    ///
    /// # Errors
    /// A row is not of this type; the next call goes on after it.
    pub async fn next(&mut self) -> Result<Option<Change<K, V>>, ReadError> {
        if let Some(next) = self.next.take() {
            return Ok(Some(next));
        }
        let parts = self.raw.cursor.slot.parts();
        loop {
            let Some(change) = self.raw.next().await else { return Ok(None) };
            let given = if matches!(parts, Parts::Sum | Parts::Max) {
                self.number(parts, change)?
            } else {
                Some(self.row(parts, change)?)
            };
            if given.is_some() {
                return Ok(given);
            }
        }
    }

    /// What a change is where rows are rows, or values of a bag.
    fn row(&self, parts: Parts, change: RawChange) -> Result<Change<K, V>, ReadError> {
        let key = |row: &Version| K::read(&parts.key(row.key())).map_err(ReadError::WrongType);
        let value = |row: &Version| (self.value.decode)(row.value()).map_err(ReadError::WrongType);
        Ok(match change {
            RawChange::Snapshot(row) => Change::Snapshot(key(&row)?, value(&row)?),
            RawChange::SnapshotEnd(revision) => Change::SnapshotEnd { revision },
            RawChange::Put(row, _) => Change::Put(key(&row)?, value(&row)?),
            RawChange::Delete(row, _) if parts == Parts::Elements => Change::Removed(key(&row)?, value(&row)?),
            RawChange::Delete(row, _) => Change::Delete(key(&row)?),
            RawChange::Gone(key, _) => Change::Delete(K::read(&key).map_err(ReadError::WrongType)?),
            RawChange::Resync => Change::Resync,
        })
    }

    /// The same where they are parts of counters; `None` where it is known only with what comes next.
    fn number(&mut self, parts: Parts, change: RawChange) -> Result<Option<Change<K, V>>, ReadError> {
        Ok(match change {
            RawChange::Snapshot(row) => match self.tally.add(parts, &row) {
                Some(counter) => Some(self.counter(counter, Change::Snapshot)?),
                None => None,
            },
            RawChange::SnapshotEnd(revision) => match self.tally.end() {
                Some(counter) => {
                    self.next = Some(Change::SnapshotEnd { revision });
                    Some(self.counter(counter, Change::Snapshot)?)
                }
                None => Some(Change::SnapshotEnd { revision }),
            },
            RawChange::Put(..) | RawChange::Delete(..) | RawChange::Gone(..) => {
                let key = match &change {
                    RawChange::Put(row, _) | RawChange::Delete(row, _) => parts.key(row.key()),
                    RawChange::Gone(key, _) => parts.key(key),
                    _ => return Ok(None),
                };
                Some(match self.raw.cursor.slot.count(&key) {
                    Some(number) => self.counter((key, number), Change::Put)?,
                    None => Change::Delete(K::read(&key).map_err(ReadError::WrongType)?),
                })
            }
            RawChange::Resync => {
                self.tally.end();
                Some(Change::Resync)
            }
        })
    }

    fn counter(
        &self,
        (key, number): (Vec<u8>, i64),
        change: impl FnOnce(K, V) -> Change<K, V>,
    ) -> Result<Change<K, V>, ReadError> {
        let bytes = number_as(&self.raw.cursor.slot.schema.codec, number);
        let value = (self.value.decode)(&bytes).map_err(ReadError::WrongType)?;
        Ok(change(K::read(&key).map_err(ReadError::WrongType)?, value))
    }
}
