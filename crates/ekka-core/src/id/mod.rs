//! Who is who: names, node ids, incarnations, cluster ids.
//!
//! A name says where a node is reached; it is not who the node is. A [`NodeId`] is who it is, a [`Guid`] which
//! start of it, and both together an [`Incarnation`].

mod name;

pub use name::{Endpoint, Host, NameError, NodeName};

use core::fmt;
use core::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use uuid::{Builder, Uuid};

use crate::time::Wall;

macro_rules! uuid_newtype {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        // A number, so that the ordered maps that hold ids compare registers and not bytes in memory. The order is that
        // of the bytes of a UUID, and what goes to disc and on the wire is a UUID.
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(u128);

        impl $name {
            /// The smallest value: below every real one.
            pub const MIN: Self = Self(0);

            /// Wraps 128 bits as they are.
            #[must_use]
            pub const fn from_u128(bits: u128) -> Self {
                Self(bits)
            }

            /// The 128 bits.
            #[must_use]
            pub const fn as_u128(self) -> u128 {
                self.0
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                Uuid::from_u128(self.0).serialize(serializer)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                Uuid::deserialize(deserializer).map(|uuid| Self(uuid.as_u128()))
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(&Uuid::from_u128(self.0), f)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                // The random tail tells values apart; the head of a UUIDv7 is the same for hours.
                write!(f, "{}(…{:08x})", stringify!($name), self.0 & 0xffff_ffff)
            }
        }

        impl FromStr for $name {
            type Err = uuid::Error;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                text.parse().map(|uuid: Uuid| Self(uuid.as_u128()))
            }
        }
    };
}

uuid_newtype! {
    /// Who a node is: made once, kept in its data directory (UUIDv4).
    NodeId
}
uuid_newtype! {
    /// One start of a node (UUIDv7): the larger of the clock and one more than the last one on disc.
    Guid
}
uuid_newtype! {
    /// One cluster, for ever (UUIDv7). The smaller id is the older cluster.
    ClusterId
}

uuid_newtype! {
    /// The store in which a node keeps its logs: made when that is created empty, so a store that was wiped, restored or
    /// found damaged is another one. With it a node votes in the durable group.
    StoreId
}

impl Default for StoreId {
    /// Not known yet.
    fn default() -> Self {
        Self::MIN
    }
}

impl StoreId {
    /// The id after so many of the node's clusters were left, and what was kept of them deleted: who votes again must
    /// not be taken for the one who forgot.
    #[must_use]
    pub fn after(self, resets: u32) -> Self {
        // The golden ratio in 128 bits: odd, so that no two numbers of resets give one id.
        Self(self.0 ^ u128::from(resets).wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835))
    }
}

impl NodeId {
    /// Makes an id from 128 random bits.
    #[must_use]
    pub fn from_random(bits: u128) -> Self {
        Self(Builder::from_random_bytes(bits.to_be_bytes()).into_uuid().as_u128())
    }
}

fn v7(wall: Wall, random: u128) -> u128 {
    let mut tail = [0u8; 10];
    tail.copy_from_slice(&random.to_be_bytes()[6..]);
    Builder::from_unix_timestamp_millis(wall.as_millis(), &tail).into_uuid().as_u128()
}

impl Guid {
    /// The guid of a new start: from `wall`, but always above `last`, the one before it on this disc.
    ///
    /// Where the clock is behind `last`, the result is a little more than `last`, so guids of one node only grow; by how
    /// much is random, so that two starts from one old copy of a directory are two.
    #[must_use]
    pub fn next(wall: Wall, random: u128, last: Option<Self>) -> Self {
        let fresh = Self(v7(wall, random));
        match last {
            Some(last) if fresh <= last => Self::from_u128(last.as_u128().saturating_add(1 + (random & 0xffff_ffff))),
            _ => fresh,
        }
    }
}

impl ClusterId {
    /// Mints an id from the clock and 128 random bits.
    #[must_use]
    pub fn mint(wall: Wall, random: u128) -> Self {
        Self(v7(wall, random))
    }
}

/// One start of one node. Locks, rows, votes and sessions go by this, never by a name.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub struct Incarnation {
    /// The node.
    pub node_id: NodeId,
    /// Its start.
    pub guid: Guid,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn guid_grows_although_the_clock_falls() {
        let first = Guid::next(Wall::from_millis(1_000_000), 7, None);
        let second = Guid::next(Wall::from_millis(5), 9, Some(first));
        assert!(second > first);
    }

    #[test]
    fn an_id_is_a_uuid_for_people_and_on_the_wire_and_orders_as_its_bytes_do() {
        let uuid: Uuid = "0190f3a1-7c00-7abc-8def-0123456789ab".parse().unwrap();
        let id = NodeId::from_u128(uuid.as_u128());
        assert_eq!(alloc::string::ToString::to_string(&id), "0190f3a1-7c00-7abc-8def-0123456789ab");
        assert_eq!("0190f3a1-7c00-7abc-8def-0123456789ab".parse(), Ok(id));
        let bytes = postcard::to_allocvec(&id).unwrap();
        assert_eq!((bytes[0], &bytes[1..]), (16, uuid.as_bytes().as_slice()));
        assert_eq!(postcard::to_allocvec(&uuid).unwrap(), bytes);
        assert_eq!(postcard::from_bytes::<NodeId>(&bytes), Ok(id));
        let low = Uuid::from_u128(u128::from(u64::MAX));
        assert_eq!(uuid.cmp(&low), id.cmp(&NodeId::from_u128(low.as_u128())));
    }

    #[test]
    fn older_cluster_has_the_smaller_id() {
        assert!(ClusterId::mint(Wall::from_millis(1), u128::MAX) < ClusterId::mint(Wall::from_millis(2), 0));
    }
}
