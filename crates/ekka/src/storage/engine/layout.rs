//! What is under which key in the engine, and how it vouches for itself.
//!
//! A record carries the sum of the record before it and its own, so a log is a chain: a batch that the engine left out
//! in the middle breaks it. A log's header names both ends of its chain; a checkpoint's header names the sum of its
//! bytes. The head, written with every batch, counts the batches and sums all headers: whoever opens the store knows
//! whether what is there is one state that was once committed, whole, and which.

use serde::{Deserialize, Serialize};

use super::hash::sum;
use crate::storage::{Bounds, NAME_MAX, Seq};

/// Bytes of a checkpoint under one key.
pub(super) const PART: usize = 256 << 10;

/// The key of the head.
pub(super) const HEAD: &[u8] = b"h";
/// The first byte of the keys of headers of logs, of records, of headers of checkpoints, and of their parts.
pub(super) const LOG: u8 = b'l';
pub(super) const RECORD: u8 = b'r';
pub(super) const CHECKPOINT: u8 = b'c';
pub(super) const CHECKPOINT_PART: u8 = b'p';

/// The state of the whole store after a batch.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(super) struct Head {
    pub(super) store_id: u128,
    /// Counts the batches.
    pub(super) ordinal: u64,
    /// The sum of the sums of all headers; wraps.
    pub(super) headers: u64,
}

/// A log.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(super) struct LogHeader {
    pub(super) first: Seq,
    pub(super) next: Seq,
    /// What the record `first` names as its predecessor's sum.
    pub(super) base: u64,
    /// The sum of the record before `next`.
    pub(super) tip: u64,
}

impl LogHeader {
    /// A log that is empty and goes on with `next`.
    pub(super) fn empty(name: &str, next: Seq) -> Self {
        let start = sum(&[b"log", name.as_bytes(), &next.to_be_bytes()]);
        Self { first: next, next, base: start, tip: start }
    }

    pub(super) fn bounds(&self) -> Bounds {
        Bounds { first: self.first, next: self.next }
    }
}

/// A checkpoint.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(super) struct CheckpointHeader {
    pub(super) bytes: u64,
    pub(super) sum: u64,
}

impl CheckpointHeader {
    pub(super) fn of(bytes: &[u8]) -> Self {
        Self { bytes: bytes.len() as u64, sum: sum(&[bytes]) }
    }

    pub(super) fn parts(&self) -> u32 {
        u32::try_from(self.bytes.div_ceil(PART as u64)).unwrap_or(u32::MAX)
    }
}

/// A key of a header, or the beginning of the keys of what belongs to that name.
pub(super) fn named(kind: u8, name: &str) -> Vec<u8> {
    assert!(name.len() <= NAME_MAX, "a name has at most {NAME_MAX} bytes: {name}");
    let mut key = Vec::with_capacity(2 + name.len() + 8);
    key.push(kind);
    key.push(u8::try_from(name.len()).expect("NAME_MAX is below 256"));
    key.extend_from_slice(name.as_bytes());
    key
}

/// The key of a record.
pub(super) fn record_key(log: &str, seq: Seq) -> Vec<u8> {
    let mut key = named(RECORD, log);
    key.extend_from_slice(&seq.to_be_bytes());
    key
}

/// The key of a part of a checkpoint.
pub(super) fn part_key(name: &str, part: u32) -> Vec<u8> {
    let mut key = named(CHECKPOINT_PART, name);
    key.extend_from_slice(&part.to_be_bytes());
    key
}

/// The name in a key, and what follows it.
pub(super) fn split_key(key: &[u8]) -> Option<(&str, &[u8])> {
    let (length, rest) = key.get(1..)?.split_first()?;
    let (name, rest) = rest.split_at_checked(usize::from(*length))?;
    Some((std::str::from_utf8(name).ok()?, rest))
}

/// A record as it is stored: the sum before it, its bytes, its own sum (given beside).
pub(super) fn record_value(previous: u64, seq: Seq, bytes: &[u8]) -> (Vec<u8>, u64) {
    let own = record_sum(previous, seq, bytes);
    let mut value = Vec::with_capacity(bytes.len() + 16);
    value.extend_from_slice(&previous.to_be_bytes());
    value.extend_from_slice(bytes);
    value.extend_from_slice(&own.to_be_bytes());
    (value, own)
}

/// A record that vouches for itself.
pub(super) struct Record<'a> {
    pub(super) previous: u64,
    pub(super) bytes: &'a [u8],
    pub(super) sum: u64,
}

impl<'a> Record<'a> {
    /// Reads what [`record_value`] made; `None` where it is not that record.
    pub(super) fn parse(seq: Seq, value: &'a [u8]) -> Option<Self> {
        let (previous, rest) = value.split_first_chunk::<8>()?;
        let (bytes, own) = rest.split_last_chunk::<8>()?;
        let record = Self { previous: u64::from_be_bytes(*previous), bytes, sum: u64::from_be_bytes(*own) };
        (record.sum == record_sum(record.previous, seq, bytes)).then_some(record)
    }
}

fn record_sum(previous: u64, seq: Seq, bytes: &[u8]) -> u64 {
    sum(&[&previous.to_be_bytes(), &seq.to_be_bytes(), bytes])
}

/// A header's share in [`Head::headers`].
pub(super) fn share(key: &[u8], value: &[u8]) -> u64 {
    sum(&[key, value])
}

/// A header or the head in bytes.
pub(super) fn encode<T: Serialize>(value: &T) -> Vec<u8> {
    postcard::to_allocvec(value).expect("a struct of integers always encodes")
}

/// Reads a header or the head.
pub(super) fn decode<'a, T: Deserialize<'a>>(bytes: &'a [u8]) -> Option<T> {
    postcard::from_bytes(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_vouches_for_its_bytes_its_number_and_its_predecessor() {
        let (value, own) = record_value(7, 3, b"bytes");
        let record = Record::parse(3, &value).unwrap();
        assert_eq!((record.previous, record.bytes, record.sum), (7, &b"bytes"[..], own));
        assert!(Record::parse(4, &value).is_none(), "another number");
        for at in 0..value.len() {
            let mut flipped = value.clone();
            flipped[at] ^= 1;
            assert!(Record::parse(3, &flipped).is_none(), "byte {at}");
            assert!(Record::parse(3, &value[..at]).is_none(), "cut at {at}");
        }
    }

    #[test]
    fn keys_give_their_names_back_and_sort_by_number() {
        let key = record_key("table/x", 258);
        assert_eq!(split_key(&key), Some(("table/x", &[0, 0, 0, 0, 0, 0, 1, 2][..])));
        assert!(record_key("a", 255) < record_key("a", 256));
        assert!(part_key("a", 9) < part_key("a", 10));
        assert_eq!(split_key(b"r\x05ab"), None, "the name is cut");
    }
}
