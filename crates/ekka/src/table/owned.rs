//! An `owned` table on this node: the lock around the pure machine, and whoever waits for something of it.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::Duration;

use ekka_core::id::{Incarnation, NodeId};
use ekka_core::limits::{TABLE_KEY_MAX, TABLE_VALUE_MAX};
use ekka_core::schema::Schema;
use ekka_core::table::{Acknowledged, Extract, Malformed, OwnedMessage, OwnedTable, TooFewCopies, WriteError};
use ekka_core::time::{Instant, Now};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use self::order::Row;
use self::pace::Pace;
use super::acks::{Acks, Answer, Terms, Written};
use super::committed::Committed;
use super::error::PutError;
use super::figures::Figures;
use super::hub::World;
use super::signals::{ALONE, Signals};
use crate::answers::Answers;

/// Bytes of rows in one operation: more of them are several, of which the last one is acknowledged.
const OPERATION_BYTES: usize = 256 * 1024;

/// An `owned` table.
pub struct OwnedSlot {
    pub(super) id: u64,
    pub(super) schema: Schema,
    /// What its revisions belong to.
    pub(super) history: String,
    table: RwLock<OwnedTable>,
    acks: Acks,
    /// Peers hold more than they did.
    followed_by: Notify,
    pub(super) signals: Signals,
    /// The ids of its indexes, in the order of their places.
    indexes: Mutex<Vec<String>>,
    pub(super) figures: Figures,
    opened: Instant,
    /// How far the record went that was followed last.
    followed: AtomicU64,
    pub(super) world: Arc<World>,
    pub(super) closed: CancellationToken,
}

impl OwnedSlot {
    pub(super) fn new(id: u64, schema: Schema, me: Incarnation, world: Arc<World>) -> Self {
        Self {
            history: world.next_history(me, id),
            id,
            schema,
            table: RwLock::new(OwnedTable::new(me)),
            acks: Acks::new(world.links.company()),
            followed_by: Notify::new(),
            signals: Signals::new(),
            indexes: Mutex::default(),
            figures: Figures::default(),
            opened: world.clock.now().mono,
            followed: AtomicU64::new(0),
            world,
            closed: CancellationToken::new(),
        }
    }

    /// The table, to read.
    pub(super) fn read(&self) -> RwLockReadGuard<'_, OwnedTable> {
        // Nothing that holds this lock can leave it half-changed.
        self.table.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds an index over the rows that are there, and those that come, where there is none of this id; its place.
    pub(super) fn add_index(&self, id: &str, extract: &Extract) -> usize {
        let mut ids = self.indexes.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(at) = ids.iter().position(|held| held == id) {
            return at;
        }
        ids.push(id.to_owned());
        self.write_lock().add_index(extract)
    }

    fn write_lock(&self) -> RwLockWriteGuard<'_, OwnedTable> {
        self.table.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes rows of this node and waits for the copies of all of them, until the deadline.
    pub(super) async fn put_many(
        &self,
        rows: &[Row],
        terms: Terms,
        deadline: Duration,
    ) -> Result<Acknowledged, PutError> {
        let begun = tokio::time::Instant::now();
        let result = self.put_all(rows, terms, deadline).await;
        self.figures.count(false, begun.elapsed(), &result);
        result
    }

    async fn put_all(&self, rows: &[Row], terms: Terms, deadline: Duration) -> Result<Acknowledged, PutError> {
        // All of them or none: those of one call are several operations.
        for (key, value) in rows {
            if key.len() > TABLE_KEY_MAX {
                return Err(PutError::KeyTooLong { len: key.len() });
            }
            if value.len() > TABLE_VALUE_MAX {
                return Err(PutError::ValueTooLong { len: value.len() });
            }
        }
        let (ordered, mut pace) = (order::by_key(rows), Pace::new(deadline));
        let mut rest = &ordered[..];
        loop {
            let (part, after) = rest.split_at(operation(rest));
            let rows = part.iter().map(|(key, value)| (key.as_slice(), value.as_slice()));
            let last = after.is_empty();
            let written = self.write(terms, last, |table| table.put_many(rows))?;
            if last {
                return self.acknowledged(written, deadline).await;
            }
            rest = after;
            // Others have their turn at the table between two operations.
            tokio::task::yield_now().await;
            pace.wait(self).await;
        }
    }

    /// Deletes rows of this node and waits for that to be known, until the deadline.
    pub(super) async fn delete_many(
        &self,
        keys: &[Vec<u8>],
        terms: Terms,
        deadline: Duration,
    ) -> Result<Acknowledged, PutError> {
        let keys = keys.iter().map(Vec::as_slice);
        let begun = tokio::time::Instant::now();
        let result = match self.write(terms, true, |table| Ok(table.delete_many(keys))) {
            Ok(written) => self.acknowledged(written, deadline).await,
            Err(error) => Err(error),
        };
        self.figures.count(true, begun.elapsed(), &result);
        result
    }

    fn write(
        &self,
        terms: Terms,
        wait: bool,
        write: impl FnOnce(&mut OwnedTable) -> Result<u64, WriteError>,
    ) -> Result<Written, PutError> {
        let up = self.world.up();
        let mut table = self.write_lock();
        if self.closed.is_cancelled() {
            return Err(PutError::Closed);
        }
        let sequence = write(&mut table)?;
        let is_alone = self.acks.goes_alone(terms.ack);
        let written = match table.answer(sequence, terms.ack, terms.strict, &up) {
            Some(answer) => Written::Now(answer),
            None if wait => Written::Later(self.acks.wait(sequence, terms.ack, terms.strict)),
            None => Written::Now(Err(TooFewCopies)),
        };
        let revision = table.revision();
        drop(table);
        self.signals.tell(revision);
        match written {
            Written::Later(_) if is_alone => self.world.links.send(self.id),
            _ => self.world.links.stir(self.id),
        }
        Ok(written)
    }

    async fn acknowledged(&self, written: Written, deadline: Duration) -> Result<Acknowledged, PutError> {
        let missing = || {
            let last = self.read().sequence();
            self.world.names_of(|peer| self.read().acked(peer) < last)
        };
        written.answer(deadline, || PutError::Closed, missing).await
    }

    pub(super) fn connect(&self, peer: Incarnation) {
        self.write_lock().connect(peer);
    }

    pub(super) fn disconnect(&self, peer: Incarnation) {
        self.write_lock().disconnect(peer);
        self.followed_by.notify_waiters();
    }

    pub(super) fn poll(&self, peer: Incarnation, budget: usize) -> Option<OwnedMessage> {
        self.write_lock().poll(peer, budget)
    }

    pub(super) fn has_more_for(&self, peer: Incarnation) -> bool {
        self.read().has_more_for(peer)
    }

    /// What it waits for until it has what its peers held, in words; `None` where it waits for nothing.
    pub(super) fn waits(&self) -> Option<String> {
        if self.signals.is_loaded() {
            return None;
        }
        let table = self.read();
        Some(self.world.names_of(|peer| table.is_abreast_of(peer) != Some(true)))
    }

    /// Takes a message of a peer; what is to be answered after that is among the answers.
    pub(super) fn receive(
        &self,
        peer: Incarnation,
        message: OwnedMessage,
        now: Now,
        answers: &mut Answers<Answer>,
    ) -> Result<(), Malformed> {
        let mut table = self.write_lock();
        let received = table.receive(peer, message);
        answers.append(self.after(table, now));
        received
    }

    pub(super) fn tick(&self, committed: &Committed, now: Now) {
        self.acks.tidy();
        self.sees(committed, now);
    }

    fn after(&self, table: RwLockWriteGuard<'_, OwnedTable>, now: Now) -> Answers<Answer> {
        let up = self.world.up();
        let answers = self
            .acks
            .settle(|ack| table.watermark(ack, &up), |number, ack, strict| table.answer(number, ack, strict, &up));
        let loaded = self.signals.is_loaded() || self.is_loaded(&table, &up, now);
        let revision = table.revision();
        drop(table);
        self.followed_by.notify_waiters();
        self.signals.tell(revision);
        self.signals.loaded_is(loaded);
        answers
    }

    /// Rows of one owner come from that owner only, so all that are up have to have said theirs; after a while those that
    /// can be heard.
    fn is_loaded(&self, table: &OwnedTable, up: &[Incarnation], now: Now) -> bool {
        let said: Vec<bool> = up.iter().filter_map(|peer| table.is_abreast_of(*peer)).collect();
        let (beside_all, all_said) = (said.iter().all(|abreast| *abreast), said.len() == up.len());
        let waited = now.mono.since(self.opened) >= ALONE;
        let some_said = up.is_empty() || !said.is_empty();
        self.world.is_sole() || beside_all && some_said && (waited || all_said && !up.is_empty())
    }

    pub(super) fn follow(&self, committed: &Committed) {
        // A replica that was opened just now goes through what was followed already: starts that were there then are none.
        if self.followed.fetch_max(committed.number, Ordering::Relaxed) > committed.number {
            return;
        }
        let mut table = self.write_lock();
        table.roster_is(committed.present.iter().copied());
        for over in &committed.over {
            table.gone(*over);
        }
        let revision = table.revision();
        drop(table);
        self.signals.tell(revision);
    }

    /// Rows of owners that do not run, as far as is seen, are hidden.
    pub(super) fn sees(&self, committed: &Committed, now: Now) {
        let running = self.world.running();
        let mut table = self.write_lock();
        for owner in &committed.present {
            if running.contains(owner) {
                table.up(owner.node_id);
            } else {
                table.down(owner.node_id);
            }
        }
        drop(self.after(table, now));
    }

    pub(super) fn renew(&self, me: Incarnation) {
        self.write_lock().renew(me);
        self.acks.end();
        self.figures.begin_anew();
    }

    pub(super) fn end(&self) {
        self.closed.cancel();
        self.followed_by.notify_waiters();
        // Writes that are in the table just now have their place among those that wait after this.
        drop(self.write_lock());
        self.acks.end();
    }

    pub(super) fn lag_of(&self, node: NodeId) -> Option<u64> {
        let table = self.read();
        let peer = table.connected().find(|peer| peer.node_id == node)?;
        Some(table.sequence().saturating_sub(table.acked(peer)))
    }
}

/// How many of these rows make one operation.
fn operation(rows: &[&Row]) -> usize {
    let mut bytes = 0;
    let fits = rows.iter().take_while(|(key, value)| {
        let fits = bytes < OPERATION_BYTES;
        bytes += key.len() + value.len();
        fits
    });
    fits.count()
}

mod order;
mod pace;
#[cfg(test)]
mod tests;
