//! A typed table, as programs hold it.

mod available;
mod index;
mod owned;
mod pages;
mod quorum;
mod request;
mod scan;
mod stored;

pub use self::available::{Add, AddNumber, Delete, DeleteRow, Put, PutRow, RowScan};
pub(super) use self::available::{counted, removal, single};
pub(super) use self::index::IndexDef;
pub use self::index::{IndexKeys, IndexRange, TableIndex};
pub use self::owned::{OwnedScan, PutMany, WriteRows};
pub use self::quorum::{Expected, QuorumScan, QuorumWrite};
pub(super) use self::request::DEADLINE;
pub use self::request::{Request, Work};
pub use self::scan::{Place, Scan};
pub use self::stored::Stored;
pub(super) use self::stored::after;

use std::marker::PhantomData;
use std::sync::Arc;

use ekka_core::schema::Schema;

use self::index::OpenIndex;
use super::def::{TableDef, TableKind};
use super::error::{PutError, ReadError};
use super::key::TableKey;
use crate::codec::Coding;

/// A table of the kind `C`. Clones are handles to the same one.
///
/// Values are read and written as the type `V`; a row that is none gives
/// [`ReadError::WrongType`](super::ReadError::WrongType).
pub struct Table<K, V, C: TableKind> {
    pub(super) slot: Arc<C::Slot>,
    pub(super) value: Coding<V>,
    indexes: Arc<[OpenIndex]>,
    of: PhantomData<fn(K) -> C>,
}

impl<K, V, C: TableKind> Clone for Table<K, V, C> {
    fn clone(&self) -> Self {
        Self { slot: self.slot.clone(), value: self.value, indexes: self.indexes.clone(), of: PhantomData }
    }
}

impl<K, V: 'static, C: TableKind> Table<K, V, C> {
    pub(super) fn new(slot: Arc<C::Slot>, def: &TableDef<K, V, C>) -> Self {
        let indexes = def.indexes().map(|index| OpenIndex::open::<V, C>(&slot, index, def.value)).collect();
        Self { slot, value: def.value, indexes, of: PhantomData }
    }
}

impl<K, V, C: TableKind> Table<K, V, C> {
    fn encode(&self, value: &V) -> Result<Vec<u8>, PutError> {
        (self.value.encode)(value).map_err(|why| PutError::Codec { codec: self.schema().codec.clone(), why })
    }

    fn decode(&self, bytes: &[u8]) -> Result<V, ReadError> {
        (self.value.decode)(bytes).map_err(ReadError::WrongType)
    }

    /// Its schema, as the cluster has it.
    #[must_use]
    pub fn schema(&self) -> &Schema {
        C::schema(&self.slot)
    }
}

fn read_row<K: TableKey, V>(key: &[u8], value: &[u8], coding: Coding<V>) -> Result<(K, V), ReadError> {
    let key = K::read(key).map_err(ReadError::WrongType)?;
    Ok((key, (coding.decode)(value).map_err(ReadError::WrongType)?))
}
