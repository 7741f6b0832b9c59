//! The quorum tables of one replica: the group applies to them, readers of this process look into them.

use std::sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use ekka_core::table::quorum::{Answer, Command, Delta, Mark, QuorumTables, TableId, View};
use ekka_core::table::{Extract, Resync};
use tokio::sync::watch;

/// The tables, and word of how far they are.
#[derive(Debug, Default)]
pub(crate) struct Rows {
    tables: RwLock<QuorumTables>,
    mark: watch::Sender<Mark>,
}

impl Rows {
    /// The tables, to read.
    pub(in crate::table) fn read(&self) -> RwLockReadGuard<'_, QuorumTables> {
        // Nothing that holds this lock can leave it half-changed.
        self.tables.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, QuorumTables> {
        self.tables.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// All of it as it is now, at no cost.
    pub(crate) fn view(&self) -> View {
        self.read().view().clone()
    }

    /// How far they are, whenever that changes.
    pub(crate) fn changes(&self) -> watch::Receiver<Mark> {
        self.mark.subscribe()
    }

    /// Applies the bytes of a command of the log.
    pub(super) fn apply(&self, command: &[u8]) -> Answer {
        let mut tables = self.write();
        let answer = tables.apply_bytes(command);
        self.tell(tables);
        answer
    }

    /// Adds an index to a table that has none of this id, where there is that table.
    pub(super) fn add_index(&self, table: TableId, id: &str, extract: &Extract) {
        let mut tables = self.write();
        if let Ok(None) = tables.view().index(table, id) {
            tables.add_index(table, id, extract).expect("the table was there just now, and this holds the lock");
        }
    }

    /// Makes these the tables that there are: others are dropped, those that are not there are made, empty.
    pub(super) fn settle(&self, wanted: &[TableId]) {
        let tables = self.read();
        let known = tables.view();
        let dropped = known.tables().filter(|table| !wanted.contains(table)).map(|table| Command::Drop { table });
        let made = wanted.iter().filter(|table| known.figures(**table).is_none());
        let commands: Vec<_> = dropped.chain(made.map(|table| Command::Create { table: *table })).collect();
        drop(tables);
        if commands.is_empty() {
            return;
        }
        let mut tables = self.write();
        for command in &commands {
            tables.apply_command(command);
        }
        self.tell(tables);
    }

    /// Replaces all of it.
    pub(super) fn adopt(&self, view: View) {
        let mut tables = self.write();
        tables.adopt(view);
        // Also where the number is the same: watchers have to look.
        self.mark.send_replace(tables.view().mark());
    }

    /// Takes in what changed at another replica.
    pub(super) fn follow(&self, delta: &Delta) -> Result<(), Resync> {
        let mut tables = self.write();
        tables.follow(delta)?;
        self.tell(tables);
        Ok(())
    }

    fn tell(&self, tables: RwLockWriteGuard<'_, QuorumTables>) {
        let mark = tables.view().mark();
        drop(tables);
        self.mark.send_if_modified(|told| std::mem::replace(told, mark) != mark);
    }
}
