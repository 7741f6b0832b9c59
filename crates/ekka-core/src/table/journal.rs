//! The override journal: versions that lost to a version whose writer had not seen them.
//!
//! Merged rows, plus the journal, plus versions that were overwritten by a writer who had seen them, are everything that
//! was acknowledged. What does not fit into memory is handed out to be set aside on disc; until that is done it stays.

use alloc::sync::Arc;
use alloc::vec::Vec;
use core::ops::Bound;

use super::available::Table;
use super::map::{Entry, Map};
use super::vector::{Dot, OpNumber, OriginIndex};
use super::version::Version;
use crate::id::Guid;
use crate::limits::TABLE_JOURNAL_BYTES_MAX;

const KEY: usize = 12;

/// A version in the journal, by the operation that wrote it.
#[derive(Clone, Debug)]
pub(crate) struct Loser {
    key: [u8; KEY],
    pub(crate) version: Version,
}

fn key(id: Dot) -> [u8; KEY] {
    let mut key = [0; KEY];
    key[..4].copy_from_slice(&id.origin.0.to_be_bytes());
    key[4..].copy_from_slice(&id.number.to_be_bytes());
    key
}

impl Entry for Loser {
    fn key(&self) -> &[u8] {
        &self.key
    }
}

/// The journal of one table.
#[derive(Clone, Debug, Default)]
pub(crate) struct Journal {
    entries: Map<Loser>,
    bytes: usize,
    /// All that ever came in.
    total: u64,
    /// Ids that are being set aside.
    leaving: Arc<[[u8; KEY]]>,
    failed: bool,
}

impl Journal {
    /// Takes a version in; whether it is new here.
    pub(crate) fn add(&mut self, version: Version) -> bool {
        let loser = Loser { key: key(version.id()), version };
        if self.entries.get(&loser.key).is_some() {
            return false;
        }
        self.bytes += loser.version.size();
        self.total += 1;
        self.entries.insert(loser);
        true
    }

    pub(crate) fn has(&self, id: Dot) -> bool {
        self.entries.get(&key(id)).is_some()
    }

    pub(crate) fn versions(&self) -> impl Iterator<Item = &Version> {
        self.entries.iter().map(|loser| &loser.version)
    }

    /// Those that come after the one which this operation wrote, whether or not that one is still there.
    fn after(&self, id: Dot) -> impl Iterator<Item = &Version> {
        self.entries.from(Bound::Excluded(&key(id))).map(|loser| &loser.version)
    }

    pub(crate) fn map(&self) -> &Map<Loser> {
        &self.entries
    }

    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(crate) fn total(&self) -> u64 {
        self.total
    }

    /// Whether what has to be set aside could not be.
    pub(crate) fn is_stuck(&self) -> bool {
        self.failed
    }

    /// What is to be set aside now: half of what there is, once that is too much. Asked again it says nothing until
    /// [`Journal::set_aside`].
    pub(crate) fn overflow(&mut self) -> Vec<Version> {
        if self.bytes <= TABLE_JOURNAL_BYTES_MAX || !self.leaving.is_empty() {
            return Vec::new();
        }
        let (mut bytes, mut leaving, mut versions) = (0, Vec::new(), Vec::new());
        for loser in &self.entries {
            if bytes > self.bytes / 2 {
                break;
            }
            bytes += loser.version.size();
            leaving.push(loser.key);
            versions.push(loser.version.clone());
        }
        self.leaving = leaving.into();
        versions
    }

    /// What [`Journal::overflow`] gave is on disc, or could not be brought there.
    pub(crate) fn set_aside(&mut self, done: bool) {
        let leaving = core::mem::take(&mut self.leaving);
        self.failed = !done;
        if done {
            for key in &*leaving {
                if let Some(loser) = self.entries.remove(key) {
                    self.bytes -= loser.version.size();
                }
            }
        }
    }
}

impl Table {
    /// The versions in the override journal after the one that this start of a node wrote with this number, whether or not
    /// that one is still there; `None` where nothing is known of that start.
    pub fn journal_after(&self, guid: Guid, number: OpNumber) -> Option<impl Iterator<Item = &Version>> {
        let mut known = self.origins.list().iter().zip((0u32..).map(OriginIndex));
        let (_, origin) = known.find(|(origin, _)| origin.guid == guid)?;
        Some(self.journal.after(Dot { origin, number }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn version(origin: u32, number: OpNumber) -> Version {
        Version::sample(Dot { origin: OriginIndex(origin), number })
    }

    #[test]
    fn what_comes_after_an_entry_does_not_depend_on_whether_it_is_still_there() {
        let mut journal = Journal::default();
        let ids = [(0, 1), (0, 300), (1, 2), (2, 1)];
        for (origin, number) in ids {
            journal.add(version(origin, number));
        }
        let after = |origin, number| {
            let dots = journal.after(Dot { origin: OriginIndex(origin), number }).map(Version::id);
            dots.map(|dot| (dot.origin.0, dot.number)).collect::<Vec<_>>()
        };
        assert_eq!(after(0, 0), ids);
        assert_eq!(after(0, 1), ids[1..]);
        assert_eq!(after(0, 299), ids[1..], "this one was set aside meanwhile");
        assert_eq!(after(1, 2), ids[3..]);
        assert!(after(2, 1).is_empty());
    }
}
