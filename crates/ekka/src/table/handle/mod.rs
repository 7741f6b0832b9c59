//! A typed table, as programs hold it.

mod available;
mod owned;
mod quorum;

pub use self::available::{Add, Delete, Put, Scan};
pub(super) use self::available::{DEADLINE, after, counted, removal, single};
pub use self::owned::{Owners, PutMany};
pub use self::quorum::{Expected, QuorumScan, QuorumWrite};

use std::marker::PhantomData;
use std::sync::Arc;

use ekka_core::schema::Schema;

use super::def::{TableDef, TableKind};
use super::error::{PutError, ReadError};
use crate::codec::Coding;

/// A table of the kind `C`. Clones are handles to the same one.
///
/// Values are read and written as the type `V`; a row that is none gives
/// [`ReadError::WrongType`](super::ReadError::WrongType).
pub struct Table<K, V, C: TableKind> {
    pub(super) slot: Arc<C::Slot>,
    pub(super) value: Coding<V>,
    of: PhantomData<fn(K) -> C>,
}

impl<K, V, C: TableKind> Clone for Table<K, V, C> {
    fn clone(&self) -> Self {
        Self { slot: self.slot.clone(), value: self.value, of: PhantomData }
    }
}

impl<K, V, C: TableKind> Table<K, V, C> {
    pub(super) fn new(slot: Arc<C::Slot>, def: &TableDef<K, V, C>) -> Self {
        Self { slot, value: def.value, of: PhantomData }
    }

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
