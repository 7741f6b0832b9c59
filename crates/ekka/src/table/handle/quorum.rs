//! Quorum tables, as programs hold them.

use std::future::IntoFuture;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use ekka_core::table::quorum::{self, View};
use ekka_core::table::{KeyRange, Revision};
use ekka_core::time::Wall;
use tokio::time::Instant;

use super::super::def::Quorum;
use super::super::key::TableKey;
use super::super::quorum::{QuorumError, QuorumSlot, QuorumWatch, RawQuorumWatch, Transaction, transact};
use super::Table;
use super::pages::{Merged, QuorumRows};
use super::request::DEADLINE;
use super::scan::Scan;
use super::stored::{Expiry, Stored, after, wall_of};
use crate::env::BoxFuture;

/// What a row has to be for [`compare_and_swap`](Table::compare_and_swap).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Expected<'a, V> {
    /// There is none.
    Absent,
    /// It was written at this revision.
    Revision(Revision),
    /// It has this value.
    Value(&'a V),
}

pub(super) fn soon() -> Instant {
    Instant::now() + DEADLINE
}

impl<K: TableKey, V> Table<K, V, Quorum> {
    /// The value of a key after everything that was committed anywhere before this call. *Cancel safe.*
    ///
    /// # Errors
    /// `NoQuorum`, `WrongType`, `Closed`.
    pub async fn get(&self, key: &K) -> Result<Option<V>, QuorumError> {
        Ok(self.get_versioned(key).await?.map(|(value, _)| value))
    }

    /// The same with the revision that wrote the row.
    ///
    /// # Errors
    /// `NoQuorum`, `WrongType`, `Closed`.
    pub async fn get_versioned(&self, key: &K) -> Result<Option<(V, Revision)>, QuorumError> {
        let row = self.slot.get(&key.to_bytes(), soon()).await?;
        row.map(|row| self.versioned(&row)).transpose()
    }

    /// The value of a key as this node has it, at once: it may be an old one.
    ///
    /// # Errors
    /// `NoQuorum`: this node has no replica. `WrongType`, `Closed`.
    pub fn get_stale(&self, key: &K) -> Result<Option<V>, QuorumError> {
        let row = self.slot.get_stale(&key.to_bytes())?;
        Ok(row.map(|row| self.versioned(&row)).transpose()?.map(|(value, _)| value))
    }

    fn versioned(&self, row: &quorum::Row) -> Result<(V, Revision), QuorumError> {
        Ok(((self.value.decode)(row.value()).map_err(QuorumError::WrongType)?, row.version()))
    }

    /// The same with when it expires.
    ///
    /// # Errors
    /// `NoQuorum`, `WrongType`, `Closed`.
    pub async fn get_stored(&self, key: &K) -> Result<Option<Stored<V>>, QuorumError> {
        let Some(row) = self.slot.get(&key.to_bytes(), soon()).await? else { return Ok(None) };
        let (value, revision) = self.versioned(&row)?;
        Ok(Some(Stored::new(value, revision.to_string(), None, row.expires_at())))
    }

    /// Puts a row, whatever was there. The future gives its revision. *Dropping it once it was awaited does not undo.*
    pub fn put(&self, key: &K, value: &V) -> QuorumWrite {
        let value = self.slot.encode(self.value, value).map(Some);
        QuorumWrite { slot: self.slot.clone(), key: key.to_bytes(), value, expiry: None, deadline: DEADLINE }
    }

    /// Deletes a row, whether or not there is one. *Dropping the future once it was awaited does not undo.*
    pub fn delete(&self, key: &K) -> QuorumWrite {
        QuorumWrite { slot: self.slot.clone(), key: key.to_bytes(), value: Ok(None), expiry: None, deadline: DEADLINE }
    }

    /// Puts a row, or deletes it where the new one is `None`, only where it is as expected. Gives the revision.
    /// *Dropping the future does not undo.*
    ///
    /// # Errors
    /// `Conflict`: it is not as expected. Else as for a write.
    pub async fn compare_and_swap(
        &self,
        key: &K,
        expected: Expected<'_, V>,
        new: Option<&V>,
    ) -> Result<Revision, QuorumError> {
        let (key, until) = (key.to_bytes(), soon());
        let new = new.map(|new| self.slot.encode(self.value, new)).transpose()?;
        let Expected::Value(value) = expected else {
            let version = if let Expected::Revision(revision) = expected { Some(revision) } else { None };
            return self.slot.swap(&key, version, new.as_deref(), until).await;
        };
        let expected = self.slot.encode(self.value, value)?;
        loop {
            let row = self.slot.get(&key, until).await?.filter(|row| row.value() == expected);
            let version = row.ok_or(QuorumError::Conflict)?.version();
            match self.slot.swap(&key, Some(version), new.as_deref(), until).await {
                // It may have been put again with the same value.
                Err(QuorumError::Conflict) if Instant::now() < until => {}
                done => return done,
            }
        }
    }

    /// Runs a transaction, for 5 s at most: see [`transact_within`](Self::transact_within).
    ///
    /// # Errors
    /// Those of the closure, and those of a write.
    pub async fn transact<T, E, F>(&self, run: impl Fn(Transaction<K, V>) -> F) -> Result<T, E>
    where
        E: From<QuorumError>,
        F: Future<Output = Result<T, E>>,
    {
        self.transact_within(DEADLINE, run).await
    }

    /// Runs a transaction: what it reads is of one moment, what it writes is committed whole, and only where all that
    /// was read is still so; else the closure runs again. One that writes nothing commits nothing, and has read what
    /// was committed before this call. *Dropping the future does not undo.*
    ///
    /// ```no_run
    /// # use ekka::table::{Quorum, QuorumError, Table};
    /// # async fn take(stock: Table<String, i64, Quorum>) -> Result<bool, QuorumError> {
    /// let bolt = "bolt".to_owned();
    /// stock
    ///     .transact(async |t| {
    ///         let left = t.get(&bolt).await?.unwrap_or(0);
    ///         if left > 0 {
    ///             t.put(&bolt, &(left - 1))?;
    ///         }
    ///         Ok::<_, QuorumError>(left > 0)
    ///     })
    ///     .await
    /// # }
    /// ```
    ///
    /// # Errors
    /// Those of the closure, which write nothing; `Conflict` where others were faster until the deadline; and those of
    /// a write.
    pub async fn transact_within<T, E, F>(
        &self,
        deadline: Duration,
        run: impl Fn(Transaction<K, V>) -> F,
    ) -> Result<T, E>
    where
        E: From<QuorumError>,
        F: Future<Output = Result<T, E>>,
    {
        transact(self, Instant::now() + deadline, run).await
    }

    /// All rows, and then every change once, in the order in which they were committed.
    #[must_use]
    pub fn watch(&self) -> QuorumWatch<K, V> {
        QuorumWatch::new(RawQuorumWatch::new(self.slot.clone()), self.value)
    }
}

impl<K: TableKey + 'static, V: 'static> Table<K, V, Quorum> {
    /// All rows of one moment, after everything that was committed anywhere before this call, in the order of the
    /// bytes of their keys.
    ///
    /// # Errors
    /// `NoQuorum`, `Closed`.
    pub async fn scan(&self) -> Result<QuorumScan<K, V>, QuorumError> {
        self.scan_range(KeyRange::all()).await
    }

    /// The same of the rows whose keys begin with these bytes.
    ///
    /// # Errors
    /// `NoQuorum`, `Closed`.
    pub async fn prefix(&self, prefix: &[u8]) -> Result<QuorumScan<K, V>, QuorumError> {
        self.scan_range(KeyRange::prefix(prefix)).await
    }

    /// The same of the rows from one key to before another.
    ///
    /// # Errors
    /// `NoQuorum`, `Closed`.
    pub async fn range(&self, from: &K, to: &K) -> Result<QuorumScan<K, V>, QuorumError> {
        use std::ops::Bound::{Excluded, Included};
        self.scan_range(KeyRange::new(Included(from.to_bytes()), Excluded(to.to_bytes()))).await
    }

    async fn scan_range(&self, range: KeyRange) -> Result<QuorumScan<K, V>, QuorumError> {
        let view = self.slot.view(soon()).await?;
        Ok(self.rows_of(view, range))
    }

    /// All rows as this node has them, at once: it may be an old state.
    ///
    /// # Errors
    /// `NoQuorum`: this node has no replica. `Closed`.
    pub fn scan_stale(&self) -> Result<QuorumScan<K, V>, QuorumError> {
        Ok(self.rows_of(self.slot.stale_view()?, KeyRange::all()))
    }

    fn rows_of(&self, view: View, range: KeyRange) -> QuorumScan<K, V> {
        let (table, coding) = (self.slot.id, self.value);
        Scan::new(range, move |asked| {
            let rows = Merged::new([QuorumRows { view, table }], &asked.range, asked.order, asked.page);
            let read =
                move |row: quorum::Row| super::read_row(row.key(), row.value(), coding).map_err(QuorumError::from);
            Box::new(rows.map(move |row| (Vec::new(), read(row))))
        })
    }
}

/// Rows of a quorum table.
pub type QuorumScan<K, V> = Scan<K, (K, V), QuorumError>;

impl QuorumSlot {
    /// Puts or deletes where the row has this version.
    async fn swap(
        &self,
        key: &[u8],
        version: Option<Revision>,
        new: Option<&[u8]>,
        until: Instant,
    ) -> Result<Revision, QuorumError> {
        let write = self.change(key, new, None)?.only_at(version);
        self.write(write, until).await.map(|written| written.revision)
    }

    /// The transaction of one write.
    pub(in crate::table) fn change(
        &self,
        key: &[u8],
        value: Option<&[u8]>,
        ttl: Option<Duration>,
    ) -> Result<quorum::Transaction, QuorumError> {
        self.change_at(key, value, ttl.map(|ttl| after(self.world.clock.now().wall, ttl)))
    }

    fn change_at(
        &self,
        key: &[u8],
        value: Option<&[u8]>,
        expires_at: Option<Wall>,
    ) -> Result<quorum::Transaction, QuorumError> {
        let now = self.world.clock.for_command();
        Ok(match value {
            Some(value) => quorum::Transaction::put(self.id, key, value, expires_at, now)?,
            None => quorum::Transaction::delete(self.id, key, now)?,
        })
    }
}

/// A write on its way into a quorum table.
#[must_use = "it is written when the future is awaited"]
pub struct QuorumWrite {
    slot: Arc<QuorumSlot>,
    key: Vec<u8>,
    value: Result<Option<Vec<u8>>, QuorumError>,
    expiry: Option<Expiry>,
    deadline: Duration,
}

impl QuorumWrite {
    /// The row expires so long from now.
    pub fn ttl(mut self, ttl: Duration) -> Self {
        self.expiry = Some(Expiry::In(ttl));
        self
    }

    /// The row expires at this time; where it is past, at once.
    pub fn expires_at(mut self, time: SystemTime) -> Self {
        self.expiry = Some(Expiry::At(wall_of(time)));
        self
    }

    /// How long it is tried: 5 s unless told otherwise.
    pub fn deadline(mut self, deadline: Duration) -> Self {
        self.deadline = deadline;
        self
    }
}

impl IntoFuture for QuorumWrite {
    type Output = Result<Revision, QuorumError>;
    type IntoFuture = BoxFuture<'static, Self::Output>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async move {
            let until = Instant::now() + self.deadline;
            let expires_at = self.expiry.map(|expiry| expiry.from(self.slot.world.clock.now().wall));
            let write = self.slot.change_at(&self.key, self.value?.as_deref(), expires_at)?;
            self.slot.write(write, until).await.map(|written| written.revision)
        })
    }
}
