//! Versions on their way to a peer, or to disc.

use alloc::vec::Vec;
use core::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use super::vector::OriginIndex;
use super::version::{Malformed, Version, array};
use crate::id::Incarnation;

/// Versions on their way: a list of the origins that they name, and the versions one after the other.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Batch {
    origins: Vec<Incarnation>,
    count: u32,
    packed: Packed,
}

impl Batch {
    /// How many versions it has.
    #[must_use]
    pub fn len(&self) -> usize {
        self.count as usize
    }

    /// Whether it has none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Bytes of its versions.
    #[must_use]
    pub fn size(&self) -> usize {
        self.packed.0.len()
    }

    /// The origins that its versions name.
    pub(super) fn origins(&self) -> &[Incarnation] {
        &self.origins
    }

    /// The versions, as they are in a table that gives these places to origins.
    ///
    /// # Errors
    /// Where what a peer sent is not what it should be.
    pub(crate) fn unpack(&self, place: impl FnMut(Incarnation) -> OriginIndex) -> Result<Vec<Version>, Malformed> {
        let places: Vec<OriginIndex> = self.origins.iter().copied().map(place).collect();
        let (mut rest, mut scratch, mut versions) = (self.packed.0.as_slice(), Vec::new(), Vec::new());
        while !rest.is_empty() {
            if rest.len() < 4 {
                return Err(Malformed("a batch ends within a length"));
            }
            let (head, tail) = rest.split_at(4);
            let len = u32::from_le_bytes(array(head, 0)) as usize;
            if tail.len() < len {
                return Err(Malformed("a batch ends within a version"));
            }
            let (bytes, tail) = tail.split_at(len);
            versions.push(Version::read(bytes, &places, &mut scratch)?);
            rest = tail;
        }
        if versions.len() == self.count as usize {
            Ok(versions)
        } else {
            Err(Malformed("a batch is not as long as it says"))
        }
    }
}

/// Puts a batch together.
pub(crate) struct BatchBuilder<'a> {
    origins: &'a [Incarnation],
    /// Places in the list of the batch, by place in the table's; `u32::MAX` where the batch has none yet.
    places: Vec<u32>,
    batch: Batch,
}

impl<'a> BatchBuilder<'a> {
    pub(crate) fn new(origins: &'a [Incarnation]) -> Self {
        Self { origins, places: alloc::vec![u32::MAX; origins.len()], batch: Batch::default() }
    }

    pub(crate) fn push(&mut self, version: &Version) {
        let out = &mut self.batch.packed.0;
        let len = u32::try_from(version.size()).expect("keys and values have bounds far below 4 GiB");
        out.extend_from_slice(&len.to_le_bytes());
        let start = out.len();
        out.extend_from_slice(version.as_bytes());
        for (at, origin) in version.places() {
            let from = origin.place();
            if self.places[from] == u32::MAX {
                self.places[from] = u32::try_from(self.batch.origins.len()).expect("no more than the table's");
                self.batch.origins.push(self.origins[from]);
            }
            out[start + at..start + at + 4].copy_from_slice(&self.places[from].to_le_bytes());
        }
        self.batch.count += 1;
    }

    pub(crate) fn size(&self) -> usize {
        self.batch.size()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.batch.is_empty()
    }

    pub(crate) fn finish(self) -> Batch {
        self.batch
    }
}

/// Bytes that are written in one piece and not number by number.
#[derive(Clone, PartialEq, Eq, Default)]
struct Packed(Vec<u8>);

impl fmt::Debug for Packed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes", self.0.len())
    }
}

impl Serialize for Packed {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(&self.0)
    }
}

impl<'de> Deserialize<'de> for Packed {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Bytes;
        impl de::Visitor<'_> for Bytes {
            type Value = Packed;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("bytes")
            }

            fn visit_bytes<E: de::Error>(self, bytes: &[u8]) -> Result<Packed, E> {
                Ok(Packed(bytes.to_vec()))
            }
        }
        deserializer.deserialize_bytes(Bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::super::stamp::Hlc;
    use super::super::vector::Dot;
    use super::super::version::{Parts, Replaced};
    use super::*;
    use crate::id::{Guid, NodeId};
    use crate::limits::TABLE_NUMBER_MAX;
    use crate::time::Wall;

    fn incarnation(n: u128) -> Incarnation {
        Incarnation { node_id: NodeId::from_u128(n), guid: Guid::from_u128(n) }
    }

    fn at(origin: u32, number: u64) -> Dot {
        Dot { origin: OriginIndex(origin), number }
    }

    fn batch_of(origins: &[Incarnation], version: &Version) -> Batch {
        let mut builder = BatchBuilder::new(origins);
        builder.push(version);
        builder.finish()
    }

    fn full() -> Version {
        let parts = Parts {
            hlc: Hlc::from_bits(77),
            id: at(2, 9),
            carrier: Some(at(0, 4)),
            replaced: Some(Replaced { id: at(1, 3), carrier: Some(at(0, 2)) }),
            delete: false,
            aside: true,
            expires_at: Some(Wall::from_millis(99)),
            key: b"key",
            value: b"value",
        };
        Version::pack(&parts, &mut Vec::new())
    }

    #[test]
    fn a_version_keeps_all_that_it_is_given_also_through_a_batch() {
        let origins = [incarnation(10), incarnation(11), incarnation(12)];
        let batch = batch_of(&origins, &full());
        let bytes = postcard::to_allocvec(&batch).unwrap();
        let read: Batch = postcard::from_bytes(&bytes).unwrap();
        // The table that reads it has met the origins in another order.
        let places = |origin: Incarnation| OriginIndex(u32::try_from(12 - origin.guid.as_u128()).unwrap());
        let version = read.unpack(places).unwrap().remove(0);
        assert_eq!((version.hlc(), version.key(), version.value()), (Hlc::from_bits(77), &b"key"[..], &b"value"[..]));
        assert_eq!((version.id(), version.carrier()), (at(0, 9), at(2, 4)));
        assert_eq!(version.replaced(), Some(Replaced { id: at(1, 3), carrier: Some(at(2, 2)) }));
        assert!(version.is_aside() && !version.is_delete() && version.is_live(Wall::from_millis(98)));
        assert!(!version.is_live(Wall::from_millis(99)));
    }

    #[test]
    fn bytes_from_a_peer_never_panic() {
        let origins = [incarnation(10), incarnation(11), incarnation(12)];
        let good = batch_of(&origins, &full());
        for cut in 0..good.packed.0.len() {
            let mut bad = good.clone();
            bad.packed.0.truncate(cut);
            assert!(bad.unpack(|_| OriginIndex(0)).is_err(), "cut at {cut}");
        }
        for at in 0..good.packed.0.len() {
            for value in [0, 1, 63, 255] {
                let mut bad = good.clone();
                bad.packed.0[at] = value;
                // Some of these are versions too; none may panic, and what is read can be read again.
                for version in bad.unpack(|_| OriginIndex(0)).unwrap_or_default() {
                    assert!(version.key().len() + version.value().len() < version.size());
                    assert!(version.replaced().is_none_or(|replaced| replaced.id.number > 0));
                }
            }
        }
    }
    #[test]
    fn a_number_that_nobody_gets_to_is_refused() {
        let origins = [incarnation(10), incarnation(11), incarnation(12)];
        for (number, taken) in [(TABLE_NUMBER_MAX, true), (TABLE_NUMBER_MAX + 1, false), (u64::MAX, false)] {
            let parts = Parts {
                hlc: Hlc::ZERO,
                id: at(0, number),
                carrier: None,
                replaced: None,
                delete: false,
                aside: false,
                expires_at: None,
                key: b"key",
                value: b"",
            };
            let batch = batch_of(&origins, &Version::pack(&parts, &mut Vec::new()));
            assert_eq!(batch.unpack(|_| OriginIndex(0)).is_ok(), taken, "{number}");
        }
    }
}
