//! Rows of a backup in a `quorum` table: by transactions, each of about one piece of the backup.
//!
//! Merging goes by versions where the backup is of the same table in the same history; else what is there stays. A
//! quorum table keeps no deletions, so a row that was deleted since comes back.

use std::sync::Arc;
use std::time::Duration;

use ekka_core::table::Map;
use ekka_core::table::quorum::{Read, Row, Transaction, View, Write};
use tokio::time::{Instant, sleep};

use super::super::error::PutError;
use super::super::quorum::{QuorumError, QuorumSlot};
use super::report::{RestoreError, RestoreMode, TableRestored};
use super::restore::{Terms, absent};
use crate::backup::{SavedRow, TableHead};

/// How long a transaction may take.
const COMMIT: Duration = Duration::from_secs(30);
/// Others may be faster so often, one after the other.
const TRIES: u32 = 50;
const PAUSE: Duration = Duration::from_millis(20);

/// A table of this kind while it is put back.
pub(super) struct OfQuorum {
    slot: Arc<QuorumSlot>,
    head: TableHead,
    /// Versions of the backup can be compared with those that are there.
    same: bool,
    terms: Terms,
    /// What was there: in `replace` what is not in the backup goes.
    before: Option<Map<Row>>,
    after: Option<Vec<u8>>,
}

/// What a piece comes to.
#[derive(Default)]
struct Made {
    transaction: Transaction,
    tally: TableRestored,
}

impl OfQuorum {
    pub(super) fn new(slot: Arc<QuorumSlot>, head: TableHead, generation: u64, terms: Terms) -> Self {
        let history = slot.rows_here(generation).map(|(_, history)| history);
        let same = history.as_deref() == Some(&*head.history) && slot.id == head.id;
        Self { slot, head, same, terms, before: None, after: None }
    }

    /// Takes the next rows of the backup.
    pub(super) async fn rows(&mut self, rows: &[SavedRow], tally: &mut TableRestored) -> Result<(), RestoreError> {
        if self.terms.mode == RestoreMode::Replace {
            self.delete_absent(Some(rows), tally).await?;
            self.after = rows.last().map(|row| row.key.to_vec());
        }
        self.commit(tally, |of, view| of.put(view, rows)).await
    }

    /// All rows were given.
    pub(super) async fn end(&mut self, tally: &mut TableRestored) -> Result<(), RestoreError> {
        if self.terms.mode == RestoreMode::Replace { self.delete_absent(None, tally).await } else { Ok(()) }
    }

    async fn delete_absent(
        &mut self,
        rows: Option<&[SavedRow]>,
        tally: &mut TableRestored,
    ) -> Result<(), RestoreError> {
        if self.before.is_none() {
            let view = self.slot.view(Instant::now() + COMMIT).await?;
            self.before = Some(view.rows(self.slot.id).cloned().unwrap_or_default());
        }
        let before = self.before.clone().unwrap_or_default();
        let mut after = self.after.clone();
        loop {
            let (page, next) = absent(&before, after.as_deref(), rows);
            if !page.is_empty() {
                self.commit(tally, |of, view| of.delete(view, &page)).await?;
            }
            match next {
                Some(next) => after = Some(next),
                None => return Ok(()),
            }
        }
    }

    /// Has committed what `make` makes of the rows that there are, again where somebody was faster.
    async fn commit(&self, tally: &mut TableRestored, make: impl Fn(&Self, &View) -> Made) -> Result<(), RestoreError> {
        let failed = |tally: &TableRestored, error: QuorumError| {
            let (table, rows) = (self.head.schema.name.clone(), tally.seen());
            RestoreError::Row { table, rows, why: PutError::Quorum(error) }
        };
        let mut tries = 0;
        loop {
            let until = Instant::now() + COMMIT;
            let view = self.slot.view(until).await.map_err(|error| failed(tally, error))?;
            let made = make(self, &view);
            if self.terms.plan || made.transaction.writes.is_empty() {
                add(tally, &made.tally);
                return Ok(());
            }
            match self.slot.write(made.transaction, until).await {
                Ok(_) => {
                    add(tally, &made.tally);
                    return Ok(());
                }
                Err(QuorumError::Conflict) if tries < TRIES => {
                    tries += 1;
                    sleep(PAUSE).await;
                }
                Err(error) => return Err(failed(tally, error)),
            }
        }
    }

    fn put(&self, view: &View, rows: &[SavedRow]) -> Made {
        let now = self.slot.world.clock.for_command().max(view.clock());
        let mut made = Made { transaction: Transaction { now, ..Transaction::default() }, ..Made::default() };
        let merges = self.terms.mode == RestoreMode::Merge;
        for row in rows {
            if row.expires_at.is_some_and(|at| at <= now) {
                made.tally.expired += 1;
                continue;
            }
            let held = view.get(self.slot.id, &row.key).ok().flatten();
            let stays = held.is_some_and(|held| {
                let older = merges && !(self.same && held.version() < row.stamp);
                older || held.value() == &*row.value && held.expires_at() == row.expires_at
            });
            match (stays, held) {
                (true, _) => made.tally.kept += 1,
                (false, Some(_)) => made.tally.replaced += 1,
                (false, None) => made.tally.added += 1,
            }
            if !stays {
                if merges {
                    // Where somebody writes it meanwhile, it is decided anew.
                    let (key, version) = (row.key.clone(), held.map(Row::version));
                    made.transaction.reads.push(Read { table: self.slot.id, key, version });
                }
                made.write(self.slot.id, row);
            }
        }
        made
    }

    fn delete(&self, view: &View, rows: &[Row]) -> Made {
        let now = self.slot.world.clock.for_command().max(view.clock());
        let mut made = Made { transaction: Transaction { now, ..Transaction::default() }, ..Made::default() };
        let table = self.slot.id;
        for row in rows.iter().filter(|row| view.get(table, row.key()).is_ok_and(|held| held.is_some())) {
            made.transaction.writes.push(Write::Delete { table, key: row.key().into() });
            made.tally.deleted += 1;
        }
        made
    }
}

impl Made {
    /// Puts a row.
    fn write(&mut self, table: u64, row: &SavedRow) {
        let (key, value) = (row.key.clone(), row.value.clone());
        self.transaction.writes.push(Write::Put { table, key, value, expires_at: row.expires_at });
    }
}

fn add(tally: &mut TableRestored, more: &TableRestored) {
    tally.added += more.added;
    tally.replaced += more.replaced;
    tally.kept += more.kept;
    tally.expired += more.expired;
    tally.deleted += more.deleted;
}
