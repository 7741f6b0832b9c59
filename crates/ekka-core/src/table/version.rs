//! One version of one row, packed into one allocation that rows, log, journal and copies share.
//!
//! A row costs its key and value, 37 bytes of head, 16 of counts, and its place in the map. Inside a table the origins in
//! the head are places in the table's list; on the wire and on disc they are places in the list of the
//! [`Batch`](super::Batch).

use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt;

use super::stamp::Hlc;
use super::vector::{Dot, OriginIndex};
use crate::limits::{TABLE_KEY_MAX, TABLE_NUMBER_MAX, TABLE_VALUE_MAX};
use crate::time::Wall;

const HLC: usize = 0;
const ORIGIN: usize = 8;
const REPLACED: usize = 20;
const FLAGS: usize = 32;
const KEY_LEN: usize = 33;
const HEAD: usize = 37;
const DOT: usize = 12;
const EXPIRY: usize = 8;

/// It deletes the row.
const DELETE: u8 = 1;
/// Eight bytes follow the head: when it expires.
const EXPIRES: u8 = 2;
/// A dot follows: the operation that carries this version is another than the one that wrote it.
const CARRIED: u8 = 4;
/// A dot follows: the operation that carried the version which this one replaced.
const REPLACED_CARRIED: u8 = 8;
/// It counts for the journal only.
const ASIDE: u8 = 16;
/// It replaces something.
const REPLACES: u8 = 32;
const KNOWN: u8 = 63;

/// What is wrong with a version that came from outside.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("a version of a row is malformed: {0}")]
pub struct Malformed(pub(crate) &'static str);

impl Malformed {
    /// It is about a table of another kind.
    pub const KIND: Self = Self("it is for a table of another kind");
}

/// What a writer says of a version.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Parts<'a> {
    pub(crate) hlc: Hlc,
    pub(crate) id: Dot,
    /// The operation that carries it, where that is another.
    pub(crate) carrier: Option<Dot>,
    pub(crate) replaced: Option<Replaced>,
    pub(crate) delete: bool,
    pub(crate) aside: bool,
    pub(crate) expires_at: Option<Wall>,
    pub(crate) key: &'a [u8],
    pub(crate) value: &'a [u8],
}

/// The version that another one replaced.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Replaced {
    pub(crate) id: Dot,
    /// The operation that had carried it to the writer, where that is not the one that wrote it.
    pub(crate) carrier: Option<Dot>,
}

/// One version of one row.
#[derive(Clone, PartialEq, Eq)]
pub struct Version(Arc<[u8]>);

pub(super) fn array<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    let mut out = [0; N];
    out.copy_from_slice(&bytes[at..at + N]);
    out
}

fn dot(bytes: &[u8], at: usize) -> Dot {
    let origin = OriginIndex(u32::from_le_bytes(array(bytes, at)));
    Dot { origin, number: u64::from_le_bytes(array(bytes, at + 4)) }
}

fn put_dot(out: &mut Vec<u8>, dot: Dot) {
    out.extend_from_slice(&dot.origin.0.to_le_bytes());
    out.extend_from_slice(&dot.number.to_le_bytes());
}

impl Version {
    /// Packs a version; `scratch` is a buffer that is used again and again.
    pub(crate) fn pack(parts: &Parts<'_>, scratch: &mut Vec<u8>) -> Self {
        let replaced_carrier = parts.replaced.and_then(|replaced| replaced.carrier);
        let flag = |on: bool, bit: u8| if on { bit } else { 0 };
        scratch.clear();
        scratch.extend_from_slice(&parts.hlc.bits().to_le_bytes());
        put_dot(scratch, parts.id);
        put_dot(scratch, parts.replaced.map_or(Dot { origin: OriginIndex(0), number: 0 }, |replaced| replaced.id));
        scratch.push(
            flag(parts.delete, DELETE)
                | flag(parts.expires_at.is_some(), EXPIRES)
                | flag(parts.carrier.is_some(), CARRIED)
                | flag(replaced_carrier.is_some(), REPLACED_CARRIED)
                | flag(parts.aside, ASIDE)
                | flag(parts.replaced.is_some(), REPLACES),
        );
        let key_len = u32::try_from(parts.key.len()).expect("keys are short: checked where they come in");
        scratch.extend_from_slice(&key_len.to_le_bytes());
        if let Some(wall) = parts.expires_at {
            scratch.extend_from_slice(&wall.as_millis().to_le_bytes());
        }
        for dot in [parts.carrier, replaced_carrier].into_iter().flatten() {
            put_dot(scratch, dot);
        }
        scratch.extend_from_slice(parts.key);
        scratch.extend_from_slice(parts.value);
        Self(Arc::from(scratch.as_slice()))
    }

    /// Reads a version from outside; `places` gives the table's place for each place in the batch's list.
    pub(super) fn read(bytes: &[u8], places: &[OriginIndex], scratch: &mut Vec<u8>) -> Result<Self, Malformed> {
        if bytes.len() < HEAD {
            return Err(Malformed("it is shorter than its head"));
        }
        let raw = Raw(bytes);
        if raw.flags() & !KNOWN != 0 {
            return Err(Malformed("it has a mark that is not known"));
        }
        let key_len = u32::from_le_bytes(array(bytes, KEY_LEN)) as usize;
        if key_len > TABLE_KEY_MAX || bytes.len() < raw.key_at() + key_len {
            return Err(Malformed("its key is too long"));
        }
        if bytes.len() - raw.key_at() - key_len > TABLE_VALUE_MAX {
            return Err(Malformed("its value is too long"));
        }
        scratch.clear();
        scratch.extend_from_slice(bytes);
        let replaces = raw.has(REPLACES).then_some(REPLACED);
        let extra = [(CARRIED, raw.carrier_at()), (REPLACED_CARRIED, raw.replaced_carrier_at())];
        let extra = extra.into_iter().filter(|(bit, _)| raw.has(*bit)).map(|(_, at)| at);
        for at in [ORIGIN].into_iter().chain(replaces).chain(extra) {
            let foreign = dot(bytes, at);
            let place = places.get(foreign.origin.place()).ok_or(Malformed("its origin is not in the list"))?;
            if foreign.number == 0 {
                return Err(Malformed("operations are counted from 1"));
            }
            if foreign.number > TABLE_NUMBER_MAX {
                return Err(Malformed("an operation has a number that nobody gets to"));
            }
            scratch[at..at + 4].copy_from_slice(&place.0.to_le_bytes());
        }
        Ok(Self(Arc::from(scratch.as_slice())))
    }

    fn raw(&self) -> Raw<'_> {
        Raw(&self.0)
    }

    /// Its bytes, as they are in a table.
    pub(super) fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// Where in its bytes the places of origins are, and which places these are.
    pub(super) fn places(&self) -> impl Iterator<Item = (usize, OriginIndex)> + '_ {
        let raw = self.raw();
        let replaces = raw.has(REPLACES).then_some(REPLACED);
        let carried = raw.has(CARRIED).then(|| raw.carrier_at());
        let replaced_carried = raw.has(REPLACED_CARRIED).then(|| raw.replaced_carrier_at());
        let places = [Some(ORIGIN), replaces, carried, replaced_carried].into_iter().flatten();
        places.map(|at| (at, dot(&self.0, at).origin))
    }

    /// When it was written.
    #[must_use]
    pub fn hlc(&self) -> Hlc {
        Hlc::from_bits(u64::from_le_bytes(array(&self.0, HLC)))
    }

    /// The key.
    #[must_use]
    pub fn key(&self) -> &[u8] {
        let at = self.raw().key_at();
        &self.0[at..at + self.raw().key_len()]
    }

    /// The value; empty for a tombstone.
    #[must_use]
    pub fn value(&self) -> &[u8] {
        &self.0[self.raw().key_at() + self.raw().key_len()..]
    }

    /// Whether it deletes the row.
    #[must_use]
    pub fn is_delete(&self) -> bool {
        self.raw().has(DELETE)
    }

    /// When the row expires, if it does.
    #[must_use]
    pub fn expires_at(&self) -> Option<Wall> {
        self.raw().has(EXPIRES).then(|| Wall::from_millis(u64::from_le_bytes(array(&self.0, HEAD))))
    }

    /// Whether there is a row to be read at this time: it is no tombstone and has not expired.
    #[must_use]
    pub fn is_live(&self, wall: Wall) -> bool {
        self.is_live_at(|| wall)
    }

    /// The same at a time that is asked for only where the row expires.
    #[must_use]
    pub fn is_live_at(&self, wall: impl FnOnce() -> Wall) -> bool {
        !self.is_delete() && self.expires_at().is_none_or(|at| wall() < at)
    }

    /// Bytes that it takes.
    #[must_use]
    pub fn size(&self) -> usize {
        self.0.len()
    }

    /// The operation that wrote it.
    pub(crate) fn id(&self) -> Dot {
        dot(&self.0, ORIGIN)
    }

    /// The operation that carries it: the one that wrote it, or one that passes on what a node gave that came back.
    pub(crate) fn carrier(&self) -> Dot {
        if self.raw().has(CARRIED) { dot(&self.0, self.raw().carrier_at()) } else { self.id() }
    }

    /// The version that it replaced.
    pub(crate) fn replaced(&self) -> Option<Replaced> {
        let raw = self.raw();
        raw.has(REPLACES).then(|| Replaced {
            id: dot(&self.0, REPLACED),
            carrier: raw.has(REPLACED_CARRIED).then(|| dot(&self.0, raw.replaced_carrier_at())),
        })
    }

    /// Some version, by this operation.
    #[cfg(test)]
    pub(crate) fn sample(id: Dot) -> Self {
        let parts = Parts {
            hlc: Hlc::ZERO,
            id,
            carrier: None,
            replaced: None,
            delete: false,
            aside: false,
            expires_at: None,
            key: b"k",
            value: b"v",
        };
        Self::pack(&parts, &mut Vec::new())
    }

    /// The operation that brought the version which it replaced: that has to be held first.
    pub(crate) fn waits_for(&self) -> Option<Dot> {
        self.replaced().map(|replaced| replaced.carrier.unwrap_or(replaced.id))
    }

    /// Whether it counts for the journal only.
    pub(crate) fn is_aside(&self) -> bool {
        self.raw().has(ASIDE)
    }

    /// How a version that replaces this one names it.
    pub(crate) fn as_replaced(&self) -> Replaced {
        let carried = self.raw().has(CARRIED);
        Replaced { id: self.id(), carrier: carried.then(|| self.carrier()) }
    }

    /// The same version, carried by another operation.
    pub(crate) fn carried_by(&self, carrier: Dot, aside: bool, scratch: &mut Vec<u8>) -> Self {
        let parts = Parts {
            hlc: self.hlc(),
            id: self.id(),
            carrier: Some(carrier),
            replaced: self.replaced(),
            delete: self.is_delete(),
            aside,
            expires_at: self.expires_at(),
            key: self.key(),
            value: self.value(),
        };
        Self::pack(&parts, scratch)
    }

    /// The same version of a row that has another key.
    pub(crate) fn with_key(&self, key: &[u8], scratch: &mut Vec<u8>) -> Self {
        let carrier = Some(self.carrier()).filter(|carrier| *carrier != self.id());
        let parts = Parts {
            hlc: self.hlc(),
            id: self.id(),
            carrier,
            replaced: self.replaced(),
            delete: self.is_delete(),
            aside: self.is_aside(),
            expires_at: self.expires_at(),
            key,
            value: self.value(),
        };
        Self::pack(&parts, scratch)
    }
}

impl fmt::Debug for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Keys and values are nobody's business in a log.
        f.debug_struct("Version")
            .field("hlc", &self.hlc())
            .field("id", &self.id())
            .field("carrier", &self.carrier())
            .field("replaced", &self.replaced())
            .field("delete", &self.is_delete())
            .field("aside", &self.is_aside())
            .finish_non_exhaustive()
    }
}

/// The bytes of a version of which at least the head is there.
#[derive(Clone, Copy)]
struct Raw<'a>(&'a [u8]);

impl Raw<'_> {
    fn flags(self) -> u8 {
        self.0[FLAGS]
    }

    fn has(self, bit: u8) -> bool {
        self.flags() & bit != 0
    }

    fn key_len(self) -> usize {
        u32::from_le_bytes(array(self.0, KEY_LEN)) as usize
    }

    fn carrier_at(self) -> usize {
        HEAD + if self.has(EXPIRES) { EXPIRY } else { 0 }
    }

    fn replaced_carrier_at(self) -> usize {
        self.carrier_at() + if self.has(CARRIED) { DOT } else { 0 }
    }

    fn key_at(self) -> usize {
        self.replaced_carrier_at() + if self.has(REPLACED_CARRIED) { DOT } else { 0 }
    }
}
