//! `owned` tables, as programs hold them.

use std::sync::Arc;
use std::time::Duration;

use ekka_core::id::NodeId;
use ekka_core::table::{Acknowledged, KeyRange, OwnedRow};

use super::super::acks::Terms;
use super::super::def::Owned;
use super::super::error::{PutError, ReadError};
use super::super::key::TableKey;
use super::super::owned::OwnedSlot;
use super::super::watch::{OwnedWatch, RawOwnedWatch};
use super::Table;
use super::pages::{Merged, OwnerRows};
use super::request::{Request, sealed::Carry};
use super::scan::Scan;
use crate::codec::Coding;
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

    /// Writes a row of this node. *Dropping the future does not undo.*
    pub fn put(&self, key: &K, value: &V) -> PutMany {
        self.put_many([(key, value)])
    }

    /// Writes rows of this node, with one acknowledgement for all: in the order of the bytes of their keys, those of one key
    /// in the order given. *Dropping the future does not undo*; then the first of them may be written.
    pub fn put_many<'a>(&self, rows: impl IntoIterator<Item = (&'a K, &'a V)>) -> PutMany
    where
        K: 'a,
        V: 'a,
    {
        let encode = |(key, value): (&K, &V)| Ok((key.to_bytes(), self.encode(value)?));
        let rows: Result<Vec<_>, PutError> = rows.into_iter().map(encode).collect();
        Request::new(WriteRows { slot: self.slot.clone(), write: rows.map(Rows::Put) })
    }

    /// Deletes a row of this node. *Dropping the future does not undo.*
    pub fn delete(&self, key: &K) -> PutMany {
        Request::new(WriteRows { slot: self.slot.clone(), write: Ok(Rows::Delete(vec![key.to_bytes()])) })
    }

    /// All rows that are shown, and then every change once, in order for each owner and key.
    #[must_use]
    pub fn watch(&self) -> OwnedWatch<K, V> {
        OwnedWatch::new(RawOwnedWatch::new(self.slot.clone()), self.value)
    }
}

/// Rows of the owners that are up, each with its owner; those of one key in the order of their owners.
pub type OwnedScan<K, V> = Scan<K, (NodeId, K, V), ReadError>;

impl<K: TableKey + 'static, V: 'static> Table<K, V, Owned> {
    /// The rows of the owners that are up, as they are at this moment, in the order of the bytes of their keys.
    #[must_use]
    pub fn scan(&self) -> OwnedScan<K, V> {
        self.scan_range(KeyRange::all())
    }

    /// Those whose keys begin with these bytes.
    #[must_use]
    pub fn prefix(&self, prefix: &[u8]) -> OwnedScan<K, V> {
        self.scan_range(KeyRange::prefix(prefix))
    }

    /// Those from one key to before another.
    #[must_use]
    pub fn range(&self, from: &K, to: &K) -> OwnedScan<K, V> {
        use std::ops::Bound::{Excluded, Included};
        self.scan_range(KeyRange::new(Included(from.to_bytes()), Excluded(to.to_bytes())))
    }

    fn scan_range(&self, range: KeyRange) -> OwnedScan<K, V> {
        let (owners, coding) = (self.slot.read().snapshot(), self.value);
        Scan::new(range, move |asked| {
            let shown = owners.into_iter().filter(|(_, shown, _)| *shown);
            let owners = shown.map(|(owner, _, rows)| OwnerRows { owner: owner.node_id, rows });
            let rows = Merged::new(owners, &asked.range, asked.order, asked.page);
            Box::new(rows.map(move |(owner, row)| (Vec::new(), read_owned(owner, &row, coding))))
        })
    }
}

pub(super) fn read_owned<K: TableKey, V>(
    owner: NodeId,
    row: &OwnedRow,
    coding: Coding<V>,
) -> Result<(NodeId, K, V), ReadError> {
    super::read_row(row.key(), row.value(), coding).map(|(key, value)| (owner, key, value))
}

/// Rows of this node on their way.
pub type PutMany = Request<WriteRows>;

enum Rows {
    Put(Vec<(Vec<u8>, Vec<u8>)>),
    Delete(Vec<Vec<u8>>),
}

/// Writes rows of this node.
pub struct WriteRows {
    slot: Arc<OwnedSlot>,
    write: Result<Rows, PutError>,
}

impl Carry for WriteRows {
    fn carry_out(self, terms: Terms, deadline: Duration) -> BoxFuture<'static, Result<Acknowledged, PutError>> {
        Box::pin(async move {
            match self.write? {
                Rows::Put(rows) => self.slot.put_many(&rows, terms, deadline).await,
                Rows::Delete(keys) => self.slot.delete_many(&keys, terms, deadline).await,
            }
        })
    }
}
