//! The op log: the operations of all origins in the order in which this node applied them. It is the replication queue.
//!
//! Whoever holds everything in front of a position can apply what follows, in this order. What came by a full copy was
//! never in the log; a *gap* stands there, with what the copy held, and whoever does not hold that cannot go on.

use alloc::collections::VecDeque;
use alloc::sync::Arc;

use super::vector::{Dot, Numbers};
use super::version::Version;
use crate::limits::{TABLE_LOG_BYTES_MAX, TABLE_LOG_OPS_MAX};

/// What stands at one position of the log.
#[derive(Clone, Debug)]
pub(crate) enum Record {
    /// An operation.
    Op(Version),
    /// A full copy that held this was merged here.
    Gap(Arc<Numbers>),
}

/// The log.
#[derive(Clone, Debug, Default)]
pub(crate) struct Log {
    records: VecDeque<Record>,
    /// The position of the first record.
    start: u64,
    bytes: usize,
    /// What was in front of the first record.
    before: Numbers,
}

impl Log {
    pub(crate) fn push(&mut self, record: Record) {
        if let Record::Op(version) = &record {
            self.bytes += version.size();
        }
        self.records.push_back(record);
    }

    /// Drops the oldest records, down to the bounds, but none from `keep` on; and down to twice the bounds whatever they are:
    /// a disc that takes nothing must not take the memory too.
    pub(crate) fn trim(&mut self, keep: u64) {
        while self.exceeds(1) && self.start < keep || self.exceeds(2) {
            self.drop_first();
        }
    }

    fn exceeds(&self, times: usize) -> bool {
        self.bytes > times * TABLE_LOG_BYTES_MAX || self.records.len() > times * TABLE_LOG_OPS_MAX
    }

    /// Drops all records in front of a position.
    pub(crate) fn drop_before(&mut self, position: u64) {
        while self.start < position && !self.records.is_empty() {
            self.drop_first();
        }
    }

    fn drop_first(&mut self) {
        match self.records.pop_front() {
            Some(Record::Op(version)) => {
                self.bytes -= version.size();
                let Dot { origin, number } = version.carrier();
                self.before.raise(origin, number);
            }
            Some(Record::Gap(held)) => self.before.raise_all(&held),
            None => return,
        }
        self.start += 1;
    }

    pub(crate) fn get(&self, position: u64) -> Option<&Record> {
        let at = position.checked_sub(self.start)?;
        self.records.get(usize::try_from(at).ok()?)
    }

    pub(crate) fn start(&self) -> u64 {
        self.start
    }

    pub(crate) fn end(&self) -> u64 {
        self.start + self.records.len() as u64
    }

    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// What must be held by whoever goes on from the first record.
    pub(crate) fn before(&self) -> &Numbers {
        &self.before
    }
}

#[cfg(test)]
mod tests {
    use super::super::vector::OriginIndex;
    use super::*;

    fn op(number: u64) -> Record {
        Record::Op(Version::sample(Dot { origin: OriginIndex(0), number }))
    }

    #[test]
    fn what_is_dropped_is_what_must_be_held_already() {
        let mut log = Log::default();
        (1..=5).for_each(|number| log.push(op(number)));
        log.drop_before(3);
        assert_eq!((log.start(), log.end()), (3, 5));
        assert_eq!(log.before().get(OriginIndex(0)), 3);
        assert!(log.get(2).is_none() && log.get(3).is_some() && log.get(5).is_none());
    }
}
