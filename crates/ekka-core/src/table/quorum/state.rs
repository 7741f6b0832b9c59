//! Applying commands to quorum tables.

use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::string::{String, ToString};
use alloc::sync::Arc;
use alloc::vec::Vec;

use super::super::changes::{Resync, Revision};
use super::super::index::Extract;
use super::super::scan::PageLimits;
use super::answer::Answer;
use super::command::{Command, TableId, Transaction, Write};
use super::contents::Contents;
use super::faults::Faults;
use super::reader::Reader;
use super::row::Row;
use super::view::{NoTable, View, bytes_of};
use super::watch::{Change, Cursor, Log, News};
use crate::consensus::{Configuration, Frozen, LogPlace, Restored, Restorer, Restoring, StateMachine};
use crate::limits::QUORUM_EXPIRED_STEP;
use crate::time::Wall;

/// The quorum tables of one group.
#[derive(Debug)]
pub struct QuorumTables {
    pub(super) view: View,
    /// A log of changes for each table.
    pub(super) logs: BTreeMap<TableId, Log>,
    /// How often the state was replaced as a whole, here: cursors from before are of no use.
    restores: u64,
    /// No row expires before this.
    none_before: Wall,
    /// Expired rows that a command takes out: [`QUORUM_EXPIRED_STEP`], since all replicas take out the same.
    pub(super) expired_step: usize,
    faults: Faults,
}

impl Default for QuorumTables {
    fn default() -> Self {
        Self::with_faults(Faults::default())
    }
}

impl QuorumTables {
    /// No table, with faults put in on purpose.
    #[must_use]
    pub fn with_faults(faults: Faults) -> Self {
        let (view, logs) = (View::default(), BTreeMap::new());
        let (none_before, expired_step) = (Wall::from_millis(u64::MAX), QUORUM_EXPIRED_STEP);
        Self { view, logs, restores: 0, none_before, expired_step, faults }
    }

    /// Applies the bytes of a command. What cannot be read changes nothing.
    pub fn apply_bytes(&mut self, command: &[u8]) -> Answer {
        match Command::decode(command) {
            Some(command) => self.apply_command(&command),
            None => Answer::Unknown { words: String::from(UNKNOWN) },
        }
    }

    /// Applies a command.
    pub fn apply_command(&mut self, command: &Command) -> Answer {
        let next = self.view.revision + 1;
        let mut step = self.expired_step;
        let (answer, changed) = match command {
            Command::Transaction(transaction) => {
                self.view.clock = self.view.clock.max(transaction.now);
                step += 2 * transaction.writes.len();
                self.transact(transaction, next)
            }
            Command::Create { table } => {
                let changed = self.create(*table, next);
                self.done(changed)
            }
            Command::Drop { table } => {
                let changed = self.drop_table(*table);
                self.done(changed)
            }
            Command::Tick { now } => {
                self.view.clock = self.view.clock.max(*now);
                let changed = self.expire(core::mem::take(&mut step), next);
                self.done(changed)
            }
        };
        if self.expire(step, next) || changed {
            self.view.revision = next;
        }
        answer
    }

    /// Replaces the state by one that came from another replica. All watchers take a new view.
    pub fn adopt(&mut self, mut view: View) {
        let tables = Arc::make_mut(&mut view.tables);
        for (table, contents) in self.view.tables.iter() {
            let Some(later) = tables.get_mut(table) else { continue };
            contents.extracts().for_each(|(name, extract)| later.add_index(name, extract));
        }
        self.logs = view.tables.keys().map(|table| (*table, Log::from(view.revision))).collect();
        self.view = view;
        self.restores += 1;
        self.look_for_expiry();
    }

    /// The state as it is now; a clone of it stays so and costs nothing.
    #[must_use]
    pub fn view(&self) -> &View {
        &self.view
    }

    /// Adds a secondary index to a table of this replica, by a name that it has on this node only. It is kept in step
    /// with the rows from then on, also where they are replaced as a whole.
    ///
    /// # Errors
    /// There is no such table.
    pub fn add_index(&mut self, table: TableId, name: &str, extract: &Extract) -> Result<(), NoTable> {
        let contents = Arc::make_mut(&mut self.view.tables).get_mut(&table).ok_or(NoTable { table })?;
        contents.add_index(name, extract);
        Ok(())
    }

    /// Asserts what must hold at all times.
    pub fn check_indexes(&self) {
        for (table, contents) in self.view.tables.iter() {
            assert!(contents.check(), "an index of table {table} and its rows differ");
        }
    }

    /// A cursor for a watcher who has the present [`view`](Self::view).
    ///
    /// # Errors
    /// There is no such table.
    pub fn watch(&self, table: TableId) -> Result<Cursor, NoTable> {
        if self.logs.contains_key(&table) {
            Ok(Cursor { table, revision: self.view.revision, restores: self.restores })
        } else {
            Err(NoTable { table })
        }
    }

    /// A cursor for a watcher who has seen everything up to a revision, on another replica of this group: with that
    /// history, so never one of an earlier generation or another cluster.
    ///
    /// # Errors
    /// What came after it is not kept here, or has not come here yet, or the table is not there.
    pub fn resume(&self, table: TableId, revision: Revision) -> Result<Cursor, Resync> {
        let log = self.logs.get(&table).ok_or(Resync)?;
        let reaches = log.reaches(revision, self.view.revision);
        if reaches { Ok(Cursor { table, revision, restores: self.restores }) } else { Err(Resync) }
    }

    /// What came after a cursor: whole revisions, at least one where there is one.
    ///
    /// # Errors
    /// It is not kept any more, or the state was replaced as a whole, or the table is gone: take a new view.
    pub fn changes(&self, cursor: Cursor, limits: PageLimits) -> Result<News, Resync> {
        if cursor.restores != self.restores {
            return Err(Resync);
        }
        self.logs.get(&cursor.table).ok_or(Resync)?.after(cursor, self.view.revision, limits)
    }

    fn create(&mut self, table: TableId, next: Revision) -> bool {
        if self.view.tables.contains_key(&table) {
            return false;
        }
        Arc::make_mut(&mut self.view.tables).insert(table, Contents::default());
        self.logs.insert(table, Log::born(next));
        true
    }

    pub(super) fn drop_table(&mut self, table: TableId) -> bool {
        if !self.view.tables.contains_key(&table) {
            return false;
        }
        self.logs.remove(&table);
        Arc::make_mut(&mut self.view.tables).remove(&table);
        true
    }

    /// The answer to a command that changed something, or had no need to.
    fn done(&self, changed: bool) -> (Answer, bool) {
        (Answer::Committed { revision: self.view.revision + u64::from(changed) }, changed)
    }

    fn transact(&mut self, transaction: &Transaction, next: Revision) -> (Answer, bool) {
        if let Err(refusal) = self.check(transaction) {
            let half = self.faults.half_applied && matches!(refusal, Answer::Conflict { .. });
            let changed = half && transaction.writes.first().is_some_and(|write| self.write(write, next));
            return (refusal, changed);
        }
        let mut changed = false;
        for write in &transaction.writes {
            changed |= self.write(write, next);
        }
        self.done(changed)
    }

    /// Whether a transaction can be carried out: the answer where it cannot.
    fn check(&self, transaction: &Transaction) -> Result<(), Answer> {
        transaction.check().map_err(Answer::TooLarge)?;
        if let Some(write) = transaction.writes.iter().find(|write| !self.view.tables.contains_key(&write.table())) {
            return Err(Answer::NoTable { table: write.table() });
        }
        for read in &transaction.reads {
            let row = self.view.get(read.table, &read.key)?;
            if row.map(Row::version) != read.version && !self.faults.reads_unchecked {
                return Err(Answer::Conflict { table: read.table, key: read.key.clone() });
            }
        }
        for read in &transaction.ranges {
            let is = self.view.sum_up(read.table, &read.range, read.count)?;
            if is != (read.newest, read.count) && !self.faults.ranges_unchecked {
                return Err(Answer::Conflict { table: read.table, key: bytes_of(read.range.start()).into() });
            }
        }
        Ok(())
    }

    /// Carries out a write of a table that is there; whether that changed anything.
    fn write(&mut self, write: &Write, next: Revision) -> bool {
        let clock = self.view.clock;
        let tables = Arc::make_mut(&mut self.view.tables);
        let (Some(contents), Some(log)) = (tables.get_mut(&write.table()), self.logs.get_mut(&write.table())) else {
            return false;
        };
        match write {
            Write::Put { key, value, expires_at, .. } => {
                let row = Row::pack(next, key, value, *expires_at);
                if let Some(expired) = contents.put(&row).filter(|old| !old.is_live(clock)) {
                    log.push(next, Change::Expired(expired));
                }
                log.push(next, Change::Put(row));
                if let Some(at) = expires_at {
                    self.none_before = self.none_before.min(*at);
                }
                true
            }
            Write::Delete { key, .. } => {
                let Some(old) = contents.remove(key) else { return false };
                let live = old.is_live(clock);
                log.push(next, if live { Change::Deleted(old) } else { Change::Expired(old) });
                true
            }
        }
    }

    /// Takes out rows that have expired, so many at most; whether there were any.
    fn expire(&mut self, most: usize, next: Revision) -> bool {
        let clock = self.view.clock;
        if clock < self.none_before {
            return false;
        }
        let mut left = most;
        for (table, contents) in Arc::make_mut(&mut self.view.tables) {
            while left > 0
                && let Some(row) = contents.first_due().filter(|row| !row.is_live(clock)).cloned()
            {
                left -= 1;
                contents.remove(row.key());
                if let Some(log) = self.logs.get_mut(table) {
                    log.push(next, Change::Expired(row));
                }
            }
        }
        self.look_for_expiry();
        left < most
    }

    fn look_for_expiry(&mut self) {
        let first = self.view.tables.values().filter_map(Contents::first_expiry).min();
        self.none_before = first.unwrap_or(Wall::from_millis(u64::MAX));
    }
}

/// The same words in every version, since the answer is the same everywhere.
const UNKNOWN: &str = "a member runs an older version, which does not know this command";

impl From<NoTable> for Answer {
    fn from(NoTable { table }: NoTable) -> Self {
        Self::NoTable { table }
    }
}

impl StateMachine for QuorumTables {
    fn apply(&mut self, _: LogPlace, command: &[u8]) -> Vec<u8> {
        self.apply_bytes(command).encode()
    }

    fn reconfigured(&mut self, _: &Configuration) {}

    fn snapshot(&self) -> Vec<u8> {
        self.view.pieces().collect::<Vec<_>>().concat()
    }

    fn restore(&mut self, snapshot: &[u8]) -> Result<(), String> {
        let mut reader = Reader::default();
        let view = reader.take(snapshot).and_then(|()| reader.finish());
        self.adopt(view.map_err(|error| error.to_string())?);
        Ok(())
    }

    fn freeze(&self) -> Arc<dyn Frozen> {
        Arc::new(self.view.clone())
    }

    fn restorer(&self) -> Restorer {
        || Box::new(Reader::default())
    }

    fn adopt(&mut self, restored: Restored) -> Result<Vec<u8>, String> {
        Self::adopt(self, restored.into_state().ok_or(Restored::OTHER)?);
        Ok(Vec::new())
    }
}

impl Frozen for View {
    fn pieces(&self) -> Box<dyn Iterator<Item = Vec<u8>> + Send + '_> {
        Box::new(Self::pieces(self))
    }
}

impl Restoring for Reader {
    fn take(&mut self, piece: &[u8]) -> Result<(), String> {
        Self::take(self, piece).map_err(|error| error.to_string())
    }

    fn finish(self: Box<Self>) -> Result<Restored, String> {
        Self::finish(*self).map(Restored::new).map_err(|error| error.to_string())
    }
}
