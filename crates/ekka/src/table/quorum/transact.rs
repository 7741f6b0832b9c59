//! Transactions: made on a view, committed by one entry that checks what was read, tried anew where that was too late.

use std::future::{Ready, ready};
use std::marker::PhantomData;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use ekka_core::table::quorum::{Draft, NoTable, Row, View};
use ekka_core::table::{KeyRange, PageLimits};
use ekka_core::time::Wall;
use tokio::time::{Instant, sleep};

use super::super::def::Quorum;
use super::super::figures::Op;
use super::super::handle::{Table, after};
use super::super::key::TableKey;
use super::error::{NotDone, QuorumError};
use super::slot::QuorumSlot;
use crate::codec::Coding;

/// Rows that are read at once.
const PAGE: PageLimits = PageLimits { rows: 1024, bytes: 1024 * 1024 };

/// A transaction on a table, while it is made. What it reads is of one moment, with what it has written itself. It
/// is run again where another writer was faster, so it must do nothing else that counts.
pub struct Transaction<K, V> {
    made: Arc<Mutex<Made>>,
    slot: Arc<QuorumSlot>,
    value: Coding<V>,
    of: PhantomData<fn(K)>,
}

struct Made {
    draft: Draft,
    /// A table that the group does not know of yet.
    missing: Option<Arc<QuorumSlot>>,
}

impl<K: TableKey, V> Transaction<K, V> {
    fn made(&self) -> MutexGuard<'_, Made> {
        // Nothing that holds this lock can leave it half-changed.
        self.made.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn read(&self, row: &Row) -> Result<V, QuorumError> {
        (self.value.decode)(row.value()).map_err(QuorumError::WrongType)
    }

    /// The value of a key.
    ///
    /// The future gives `WrongType` where it is none of this type.
    pub fn get(&self, key: &K) -> Ready<Result<Option<V>, QuorumError>> {
        let row = self.made().draft.get(self.slot.id, &key.to_bytes()).map_err(not_there);
        ready(row.and_then(|row| row.map(|row| self.read(&row)).transpose()))
    }

    /// The rows whose keys begin with these bytes, in their order. A row that comes to be among them before the commit
    /// is a conflict.
    ///
    /// The future gives `WrongType` where one is none of this type.
    pub fn prefix(&self, prefix: &[u8]) -> Ready<Result<Vec<(K, V)>, QuorumError>> {
        ready(self.read_prefix(prefix))
    }

    fn read_prefix(&self, prefix: &[u8]) -> Result<Vec<(K, V)>, QuorumError> {
        let (range, mut rows, mut after) = (KeyRange::prefix(prefix), Vec::new(), None::<Vec<u8>>);
        loop {
            let page = self.made().draft.scan(self.slot.id, &range, after.as_deref(), PAGE).map_err(not_there)?;
            for row in &page.rows {
                rows.push((K::read(row.key()).map_err(QuorumError::WrongType)?, self.read(row)?));
            }
            after = page.next;
            if after.is_none() {
                return Ok(rows);
            }
        }
    }

    /// Puts a row.
    ///
    /// # Errors
    /// `Codec`, `TooLarge`.
    pub fn put(&self, key: &K, value: &V) -> Result<(), QuorumError> {
        self.write(key, value, None)
    }

    /// Puts a row that expires so long from now.
    ///
    /// # Errors
    /// `Codec`, `TooLarge`.
    pub fn put_for(&self, key: &K, value: &V, ttl: Duration) -> Result<(), QuorumError> {
        self.write(key, value, Some(after(self.slot.wall(), ttl)))
    }

    fn write(&self, key: &K, value: &V, expires_at: Option<Wall>) -> Result<(), QuorumError> {
        let value = self.slot.encode(self.value, value)?;
        Ok(self.made().draft.put(self.slot.id, &key.to_bytes(), &value, expires_at)?)
    }

    /// Deletes a row, whether or not there is one.
    ///
    /// # Errors
    /// `TooLarge`.
    pub fn delete(&self, key: &K) -> Result<(), QuorumError> {
        Ok(self.made().draft.delete(self.slot.id, &key.to_bytes())?)
    }

    /// The same transaction on another table of the same storage.
    ///
    /// # Errors
    /// `Refused`: it is of the other storage, and so in another group. Another error has to be passed on: then it is
    /// tried again.
    pub fn on<K2: TableKey, V2>(&self, other: &Table<K2, V2, Quorum>) -> Result<Transaction<K2, V2>, QuorumError> {
        let slot = other.slot.clone();
        if slot.schema.storage != self.slot.schema.storage {
            let (here, there) = (&self.slot.schema, &slot.schema);
            let text = format!("{here} and {there} are in different groups: no transaction has both");
            return Err(QuorumError::Refused(text));
        }
        let mut made = self.made();
        if made.draft.view().figures(slot.id).is_none() {
            let text = format!("the table {} is not made in its group yet", slot.schema.name);
            made.missing = Some(slot);
            return Err(QuorumError::NoQuorum(text));
        }
        drop(made);
        Ok(Transaction { made: self.made.clone(), slot, value: other.value, of: PhantomData })
    }
}

fn not_there(error: NoTable) -> QuorumError {
    QuorumError::Refused(error.to_string())
}

impl QuorumSlot {
    /// The bytes of a value.
    pub(in crate::table) fn encode<V>(&self, coding: Coding<V>, value: &V) -> Result<Vec<u8>, QuorumError> {
        (coding.encode)(value).map_err(|why| QuorumError::Codec { codec: self.schema.codec.clone(), why })
    }

    /// A pause after somebody was faster, so that one of those who try gets through.
    async fn back_off(&self, tries: u32) {
        let most = 500u64 << tries.min(6);
        sleep(Duration::from_micros(self.world.clock.now().mono.as_nanos() / 1000 % most)).await;
    }
}

/// Runs a transaction until it is committed, at most until the deadline.
pub(in crate::table) async fn transact<K: TableKey, V, T, E, F>(
    table: &Table<K, V, Quorum>,
    until: Instant,
    run: impl Fn(Transaction<K, V>) -> F,
) -> Result<T, E>
where
    E: From<QuorumError>,
    F: Future<Output = Result<T, E>>,
{
    let slot = &table.slot;
    let (mut tries, begun) = (0, Instant::now());
    let count = |result: Result<(), &QuorumError>| slot.counted.count_quorum(Op::Transaction, begun.elapsed(), result);
    let failed = |error: QuorumError| {
        count(Err(&error));
        error
    };
    loop {
        let replica = slot.ready(until).await.map_err(failed)?;
        let made = Arc::new(Mutex::new(Made { draft: Draft::new(replica.rows.view()), missing: None }));
        let (of, value) = (slot.clone(), table.value);
        let result = run(Transaction { made: made.clone(), slot: of, value, of: PhantomData }).await;
        let (missing, draft) = {
            let mut made = made.lock().unwrap_or_else(PoisonError::into_inner);
            (made.missing.take(), std::mem::replace(&mut made.draft, Draft::new(View::default())))
        };
        if let Some(other) = missing {
            other.ready(until).await?;
            continue;
        }
        let value = result?;
        if draft.is_read_only() {
            return Ok(value);
        }
        let command = draft.finish(slot.world.clock.for_command()).map_err(QuorumError::from)?;
        slot.check_room(&command).map_err(failed)?;
        // To the group of that very replica: no other has the versions that were read.
        let late = match slot.commit(&replica, &command, until).await {
            Ok(_) => {
                count(Ok(()));
                return Ok(value);
            }
            Err(NotDone::End(QuorumError::Conflict)) => QuorumError::Conflict,
            Err(NotDone::NotHanded(words)) => QuorumError::NoQuorum(words),
            Err(NotDone::End(error)) => return Err(failed(error).into()),
        };
        if Instant::now() >= until {
            return Err(failed(late).into());
        }
        tries += 1;
        slot.back_off(tries).await;
    }
}
