//! The newest entries of a log, kept in memory within a bound: followers that keep up, and the state machine, never
//! make it read the disc.

use std::collections::VecDeque;

use super::types::Entry;

#[derive(Default)]
pub(super) struct Cache {
    entries: VecDeque<(Entry, usize)>,
    bytes: usize,
    bytes_max: usize,
}

impl Cache {
    pub(super) fn new(bytes_max: usize) -> Self {
        Self { bytes_max, ..Self::default() }
    }

    /// Takes the entry that follows the newest; `size` is its length on disc.
    pub(super) fn push(&mut self, entry: Entry, size: usize) {
        if self.entries.back().is_some_and(|(newest, _)| newest.log_id.index + 1 != entry.log_id.index) {
            self.clear();
        }
        self.bytes += size;
        self.entries.push_back((entry, size));
        while self.bytes > self.bytes_max {
            let Some((_, size)) = self.entries.pop_front() else { break };
            self.bytes -= size;
        }
    }

    /// Entries from `start` up to `end` (not included), as many as fit into `bytes_max` and at least one; `None` where
    /// the first of them is not here.
    pub(super) fn read(&self, start: u64, end: u64, bytes_max: usize) -> Option<Vec<Entry>> {
        let (first, _) = self.entries.front()?;
        let skip = usize::try_from(start.checked_sub(first.log_id.index)?).ok()?;
        let mut bytes = 0;
        let mut found = Vec::new();
        for (entry, size) in self.entries.iter().skip(skip) {
            if entry.log_id.index >= end || (!found.is_empty() && bytes + size > bytes_max) {
                break;
            }
            bytes += size;
            found.push(entry.clone());
        }
        (!found.is_empty()).then_some(found)
    }

    /// Drops this one and all after it.
    pub(super) fn truncate_from(&mut self, index: u64) {
        while let Some((_, size)) = self.entries.pop_back_if(|(entry, _)| entry.log_id.index >= index) {
            self.bytes -= size;
        }
    }

    /// Drops all up to this one.
    pub(super) fn purge(&mut self, index: u64) {
        while let Some((_, size)) = self.entries.pop_front_if(|(entry, _)| entry.log_id.index <= index) {
            self.bytes -= size;
        }
    }

    fn clear(&mut self) {
        self.entries.clear();
        self.bytes = 0;
    }
}

#[cfg(test)]
mod tests {
    use ekka_core::consensus::LogPlace;
    use openraft::EntryPayload;

    use super::*;
    use crate::consensus::raft::types::id;

    fn entry(index: u64) -> Entry {
        Entry { log_id: id(LogPlace { term: 1, index: index + 1 }).unwrap(), payload: EntryPayload::Blank }
    }

    fn indices(found: Option<Vec<Entry>>) -> Option<Vec<u64>> {
        found.map(|entries| entries.iter().map(|entry| entry.log_id.index).collect())
    }

    #[test]
    fn it_holds_the_newest_within_its_bound() {
        let mut cache = Cache::new(100);
        (0..10).for_each(|index| cache.push(entry(index), 30));
        assert_eq!(indices(cache.read(6, 9, 1000)), None, "too old");
        assert_eq!(indices(cache.read(7, 9, 1000)), Some(vec![7, 8]));
        assert_eq!(indices(cache.read(7, 10, 60)), Some(vec![7, 8]));
        assert_eq!(indices(cache.read(8, 10, 1)), Some(vec![8]), "at least one");
        cache.truncate_from(9);
        cache.purge(7);
        assert_eq!(indices(cache.read(8, 20, 1000)), Some(vec![8]));
        cache.push(entry(20), 1);
        assert_eq!(indices(cache.read(8, 30, 1000)), None, "a gap empties it");
        assert_eq!(indices(cache.read(20, 30, 1000)), Some(vec![20]));
    }
}
