//! A row of an owner: key and value in one allocation.

use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use super::super::index::Indexable;
use super::super::map::Entry;
use crate::limits::{TABLE_KEY_MAX, TABLE_VALUE_MAX};

const HEAD: usize = 4;

/// Key and value of a row of an owner.
#[derive(Clone, PartialEq, Eq)]
pub struct OwnedRow(Arc<[u8]>);

impl OwnedRow {
    pub(super) fn new(key: &[u8], value: &[u8]) -> Self {
        let len = u32::try_from(key.len()).expect("keys are short: checked where they come in");
        let mut packed = Vec::with_capacity(HEAD + key.len() + value.len());
        packed.extend_from_slice(&len.to_le_bytes());
        packed.extend_from_slice(key);
        packed.extend_from_slice(value);
        Self(packed.into())
    }

    fn key_len(&self) -> usize {
        let (head, _) = self.0.split_first_chunk::<HEAD>().expect("a row has a head");
        u32::from_le_bytes(*head) as usize
    }

    /// The key.
    #[must_use]
    pub fn key(&self) -> &[u8] {
        &self.0[HEAD..HEAD + self.key_len()]
    }

    /// The value.
    #[must_use]
    pub fn value(&self) -> &[u8] {
        &self.0[HEAD + self.key_len()..]
    }

    pub(super) fn size(&self) -> usize {
        self.0.len()
    }
}

impl Entry for OwnedRow {
    fn key(&self) -> &[u8] {
        Self::key(self)
    }
}

impl Indexable for OwnedRow {
    fn value(&self) -> &[u8] {
        Self::value(self)
    }
}

impl fmt::Debug for OwnedRow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "OwnedRow({} bytes)", self.size())
    }
}

impl Serialize for OwnedRow {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(&self.0)
    }
}

impl<'de> Deserialize<'de> for OwnedRow {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Bytes;
        impl de::Visitor<'_> for Bytes {
            type Value = OwnedRow;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("the length of a key, a key, and a value")
            }

            fn visit_bytes<E: de::Error>(self, bytes: &[u8]) -> Result<OwnedRow, E> {
                let Some((head, rest)) = bytes.split_first_chunk::<HEAD>() else {
                    return Err(E::custom("a row is shorter than its head"));
                };
                let key = u32::from_le_bytes(*head) as usize;
                if key > TABLE_KEY_MAX || rest.len() < key || rest.len() - key > TABLE_VALUE_MAX {
                    return Err(E::custom("the key or the value of a row is too long"));
                }
                Ok(OwnedRow(bytes.into()))
            }
        }
        deserializer.deserialize_bytes(Bytes)
    }
}
