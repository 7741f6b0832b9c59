//! Tables as constants: a name, the types of key and value, and the options that all nodes must agree on.

use std::marker::PhantomData;

use ekka_core::rpc::Codec;
use ekka_core::schema::{Kind, MergeRule, Schema, Shape, Storage};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::handle::{IndexDef, IndexKeys};
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
    use ekka_core::table::Extract;

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

        /// Adds an index, where there is none of this id; its place.
        fn index(slot: &Self::Slot, id: &str, extract: &Extract) -> usize;
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

        fn index(slot: &AvailableSlot, id: &str, extract: &Extract) -> usize {
            slot.add_index(id, extract)
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

        fn index(slot: &OwnedSlot, id: &str, extract: &Extract) -> usize {
            slot.add_index(id, extract)
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

        /// It is added to the replica that runs once it is looked into.
        fn index(_: &QuorumSlot, _: &str, _: &Extract) -> usize {
            0
        }
    }
}

/// Indexes of one table.
const INDEXES_MAX: usize = 8;

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
    indexes: [Option<IndexDef<V>>; INDEXES_MAX],
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
            indexes: [const { None }; INDEXES_MAX],
            of: PhantomData,
        }
    }

    /// A secondary index: rows in the order of what this function gives, which may be nothing, one or several keys for a
    /// row. It is of this node only: what one node indexes need not be indexed on another, and goes over no wire.
    ///
    /// The function must give the same for the same value at all times. A row that is no value of this type, or on which
    /// it panics, is not in the index. It runs with each write of a row, while the table is locked: it should be short.
    ///
    /// ```
    /// use ekka::table::{Available, IndexKeys, TableDef};
    /// # use serde::{Deserialize, Serialize};
    /// # #[derive(Serialize, Deserialize)]
    /// # struct User { mail: String, groups: Vec<String> }
    /// const USERS: TableDef<u64, User, Available> = TableDef::available("shop.users")
    ///     .index("by_mail", |user: &User| IndexKeys::one(&user.mail))
    ///     .index("by_group", |user: &User| IndexKeys::many(&user.groups));
    /// ```
    ///
    /// # Panics
    /// With more than eight indexes; of a constant that is an error when it is compiled.
    #[must_use]
    pub const fn index(mut self, name: &'static str, keys: fn(&V) -> IndexKeys) -> Self {
        let mut at = 0;
        while at < INDEXES_MAX && self.indexes[at].is_some() {
            at += 1;
        }
        assert!(at < INDEXES_MAX, "a table has eight indexes at most");
        self.indexes[at] = Some(IndexDef { name, keys });
        self
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
    /// Its indexes.
    pub(super) fn indexes(&self) -> impl Iterator<Item = IndexDef<V>> {
        self.indexes.iter().copied().flatten()
    }

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
