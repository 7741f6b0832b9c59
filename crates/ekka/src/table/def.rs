//! Tables as constants: a name, the types of key and value, and the options that all nodes must agree on.

use std::marker::PhantomData;

use ekka_core::rpc::Codec;
use ekka_core::schema::{Kind, MergeRule, Schema, Shape, Storage};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::key::TableKey;
use crate::codec::Coding;

/// Every side of a partition reads and writes; what was written on several sides is merged.
#[derive(Clone, Copy, Debug)]
pub enum Available {}

/// Each node writes its own rows: several may have one key. They are hidden while their owner is down, and go with it.
#[derive(Clone, Copy, Debug)]
pub enum Owned {}

/// Only the side with a majority writes; reads there are linearizable, and transactions are.
#[derive(Clone, Copy, Debug)]
pub enum Quorum {}

/// What holds of a table in a partition: [`Available`], [`Owned`], [`Quorum`].
pub trait TableKind: sealed::OfSlot {}

impl TableKind for Available {}
impl TableKind for Owned {}
impl TableKind for Quorum {}

pub(super) mod sealed {
    use std::sync::Arc;

    use ekka_core::schema::Schema;

    use super::super::available::AvailableSlot;
    use super::super::owned::OwnedSlot;
    use super::super::quorum::QuorumSlot;
    use super::super::slot::Slot;
    use super::{Available, Owned, Quorum};

    /// Which kind of open table is behind a handle.
    pub trait OfSlot {
        /// It.
        type Slot: Send + Sync + 'static;

        /// Its schema.
        fn schema(slot: &Self::Slot) -> &Schema;

        /// The open table, where it is of this kind.
        fn of(slot: Slot) -> Option<Arc<Self::Slot>>;
    }

    impl OfSlot for Available {
        type Slot = AvailableSlot;

        fn schema(slot: &AvailableSlot) -> &Schema {
            &slot.schema
        }

        fn of(slot: Slot) -> Option<Arc<AvailableSlot>> {
            match slot {
                Slot::Available(slot) => Some(slot),
                Slot::Owned(_) | Slot::Quorum(_) => None,
            }
        }
    }

    impl OfSlot for Owned {
        type Slot = OwnedSlot;

        fn schema(slot: &OwnedSlot) -> &Schema {
            &slot.schema
        }

        fn of(slot: Slot) -> Option<Arc<OwnedSlot>> {
            match slot {
                Slot::Owned(slot) => Some(slot),
                Slot::Available(_) | Slot::Quorum(_) => None,
            }
        }
    }

    impl OfSlot for Quorum {
        type Slot = QuorumSlot;

        fn schema(slot: &QuorumSlot) -> &Schema {
            &slot.schema
        }

        fn of(slot: Slot) -> Option<Arc<QuorumSlot>> {
            match slot {
                Slot::Quorum(slot) => Some(slot),
                Slot::Available(_) | Slot::Owned(_) => None,
            }
        }
    }
}

/// A table: its name, the types of key and value, its kind `C`. A constant that all nodes share.
///
/// ```
/// use ekka::table::{Available, TableDef};
/// use serde::{Deserialize, Serialize};
///
/// #[derive(Serialize, Deserialize)]
/// struct User {
///     name: String,
///     #[serde(default)]
///     admin: bool,
/// }
///
/// const USERS: TableDef<u64, User, Available> = TableDef::available("shop.users");
/// assert_eq!(USERS.name(), "shop.users");
/// ```
pub struct TableDef<K, V, C> {
    name: &'static str,
    kind: Kind,
    storage: Storage,
    shape: Shape,
    merge: MergeRule,
    codec: Codec,
    pub(super) value: Coding<V>,
    of: PhantomData<fn(K) -> C>,
}

impl<K, V, C> Clone for TableDef<K, V, C> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<K, V, C> Copy for TableDef<K, V, C> {}

impl<K: TableKey, V: Serialize + DeserializeOwned, C> TableDef<K, V, C> {
    const fn of(name: &'static str, kind: Kind) -> Self {
        Self {
            name,
            kind,
            storage: Storage::Ram,
            shape: Shape::Set,
            merge: MergeRule::LastWriter,
            codec: Codec::MessagePack,
            value: Coding::message_pack(),
            of: PhantomData,
        }
    }

    /// The order of the keys is promised.
    #[must_use]
    pub const fn ordered(self) -> Self {
        Self { shape: Shape::OrderedSet, ..self }
    }

    /// Values in JSON, in place of `MessagePack` with the names of fields.
    #[must_use]
    pub const fn json(self) -> Self {
        Self { codec: Codec::Json, value: Coding::json(), ..self }
    }

    /// Values in `postcard`: smaller and faster, but all nodes must have the very same types.
    #[must_use]
    pub const fn postcard(self) -> Self {
        Self { codec: Codec::Postcard, value: Coding::postcard(), ..self }
    }
}

impl<K: TableKey, V: Serialize + DeserializeOwned> TableDef<K, V, Available> {
    /// An `available` table of this name (`a-z0-9._-`, with the application's own prefix: `shop.users`), in ram. Values
    /// are `MessagePack` with the names of fields: who does not know a field skips it, who misses one takes its
    /// `#[serde(default)]`.
    #[must_use]
    pub const fn available(name: &'static str) -> Self {
        Self::of(name, Kind::Available)
    }

    /// The rows survive the loss of power: acknowledged means synced.
    #[must_use]
    pub const fn disc(self) -> Self {
        Self { storage: Storage::Disc, ..self }
    }

    /// A key has any number of values, each added and removed by itself: what one side removes while another adds it
    /// stays.
    #[must_use]
    pub const fn bag(self) -> Self {
        Self { shape: Shape::Bag, merge: MergeRule::Union, ..self }
    }
}

impl<K: TableKey> TableDef<K, i64, Available> {
    /// A table of counters: what each node has added counts, also what was added on both sides of a partition.
    #[must_use]
    pub const fn sums(name: &'static str) -> Self {
        Self { merge: MergeRule::Sum, ..Self::available(name) }
    }

    /// A table of numbers that only grow: the largest that any node has written counts.
    #[must_use]
    pub const fn maxima(name: &'static str) -> Self {
        Self { merge: MergeRule::Max, ..Self::available(name) }
    }
}

impl<K: TableKey, V: Serialize + DeserializeOwned> TableDef<K, V, Owned> {
    /// An `owned` table of this name, in ram: each node writes its own rows, as a registry or a set of routes.
    #[must_use]
    pub const fn owned(name: &'static str) -> Self {
        Self::of(name, Kind::Owned)
    }
}

impl<K: TableKey, V: Serialize + DeserializeOwned> TableDef<K, V, Quorum> {
    /// A `quorum` table of this name, in ram: its rows survive the loss of any minority of the voters.
    #[must_use]
    pub const fn quorum(name: &'static str) -> Self {
        Self::of(name, Kind::Quorum)
    }

    /// The rows survive the loss of power of all nodes: acknowledged means synced by a majority.
    #[must_use]
    pub const fn disc(self) -> Self {
        Self { storage: Storage::Disc, ..self }
    }
}

impl<K, V, C> TableDef<K, V, C> {
    /// Its name.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        self.name
    }

    /// How its values are written.
    #[must_use]
    pub const fn codec(&self) -> Codec {
        self.codec
    }

    /// The schema that the cluster is asked for.
    #[must_use]
    pub fn schema(&self) -> Schema {
        Schema {
            storage: self.storage,
            shape: self.shape,
            merge: self.merge,
            codec: self.codec.as_str().to_owned(),
            ..Schema::new(self.name, self.kind)
        }
    }
}
