//! `owned` tables, as programs hold them.

use std::future::IntoFuture;
use std::sync::Arc;
use std::time::Duration;

use ekka_core::id::NodeId;
use ekka_core::table::{Ack, Acknowledged};

use super::super::acks::Terms;
use super::super::def::Owned;
use super::super::error::{PutError, ReadError};
use super::super::key::TableKey;
use super::super::owned::OwnedSlot;
use super::super::watch::{OwnedWatch, RawOwnedWatch};
use super::Table;
use super::available::{DEADLINE, TERMS};
use crate::env::BoxFuture;

impl<K: TableKey, V> Table<K, V, Owned> {
    /// The values of a key, one for each owner that is up.
    ///
    /// # Errors
    /// One is no value of this type.
    pub fn owners(&self, key: &K) -> Result<Vec<(NodeId, V)>, ReadError> {
        let key = key.to_bytes();
        let table = self.slot.read();
        table.get(&key).map(|(owner, row)| Ok((owner, self.decode(row.value())?))).collect()
    }

    /// The same, with those of owners that are down.
    ///
    /// # Errors
    /// One is no value of this type.
    pub fn owners_including_down(&self, key: &K) -> Result<Vec<(NodeId, V)>, ReadError> {
        let key = key.to_bytes();
        let table = self.slot.read();
        table.get_including_down(&key).map(|(owner, row)| Ok((owner, self.decode(row.value())?))).collect()
    }

    /// The rows whose keys begin with these bytes, of the owners that are up; in the order of keys for each owner.
    ///
    /// # Errors
    /// A row is not of this type.
    pub fn prefix(&self, prefix: &[u8]) -> Result<Owners<K, V>, ReadError> {
        let table = self.slot.read();
        let read = |row: &ekka_core::table::OwnedRow| {
            let key = K::read(row.key()).map_err(ReadError::WrongType)?;
            Ok::<_, ReadError>((key, self.decode(row.value())?))
        };
        table.prefix(prefix).map(|(owner, row)| read(row).map(|(key, value)| (owner, key, value))).collect()
    }

    /// Writes a row of this node. *Dropping the future does not undo.*
    pub fn put(&self, key: &K, value: &V) -> PutMany {
        self.put_many([(key, value)])
    }

    /// Writes rows of this node, with one acknowledgement for all. *Dropping the future does not undo.*
    pub fn put_many<'a>(&self, rows: impl IntoIterator<Item = (&'a K, &'a V)>) -> PutMany
    where
        K: 'a,
        V: 'a,
    {
        let encode = |(key, value): (&K, &V)| Ok((key.to_bytes(), self.encode(value)?));
        let rows: Result<Vec<_>, PutError> = rows.into_iter().map(encode).collect();
        PutMany { slot: self.slot.clone(), write: rows.map(Rows::Put), terms: TERMS, deadline: DEADLINE }
    }

    /// Deletes a row of this node. *Dropping the future does not undo.*
    pub fn delete(&self, key: &K) -> PutMany {
        let keys = vec![key.to_bytes()];
        PutMany { slot: self.slot.clone(), write: Ok(Rows::Delete(keys)), terms: TERMS, deadline: DEADLINE }
    }

    /// All rows that are shown, and then every change once, in order for each owner and key.
    #[must_use]
    pub fn watch(&self) -> OwnedWatch<K, V> {
        OwnedWatch::new(RawOwnedWatch::new(self.slot.clone()), self.value)
    }
}

/// Rows, each with its owner.
pub type Owners<K, V> = Vec<(NodeId, K, V)>;

enum Rows {
    Put(Vec<(Vec<u8>, Vec<u8>)>),
    Delete(Vec<Vec<u8>>),
}

/// Rows of this node on their way.
#[must_use = "rows are written when the future is awaited"]
pub struct PutMany {
    slot: Arc<OwnedSlot>,
    write: Result<Rows, PutError>,
    terms: Terms,
    deadline: Duration,
}

impl PutMany {
    /// How many nodes have to have them: two unless told otherwise, if another one is up.
    pub fn ack(mut self, ack: Ack) -> Self {
        self.terms.ack = ack;
        self
    }

    /// Fewer than two copies are an error; the rows are written all the same.
    pub fn strict(mut self) -> Self {
        self.terms.strict = true;
        self
    }

    /// How long the copies are waited for: 5 s unless told otherwise.
    pub fn deadline(mut self, deadline: Duration) -> Self {
        self.deadline = deadline;
        self
    }
}

impl IntoFuture for PutMany {
    type Output = Result<Acknowledged, PutError>;
    type IntoFuture = BoxFuture<'static, Self::Output>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async move {
            match self.write? {
                Rows::Put(rows) => self.slot.put_many(&rows, self.terms, self.deadline).await,
                Rows::Delete(keys) => self.slot.delete_many(&keys, self.terms, self.deadline).await,
            }
        })
    }
}
