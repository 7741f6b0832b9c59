//! A store in memory: what volatile groups keep their log in. It has the order and the bounds of a real one; nothing of
//! it survives the process, and everything is synced at once.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::{Bounds, Found, LogName, Seq, Storage, StorageError, Ticket, Truncate};
use crate::env::BoxFuture;

#[derive(Default)]
struct Log {
    first: Seq,
    records: VecDeque<Vec<u8>>,
}

impl Log {
    fn bounds(&self) -> Bounds {
        let first = self.first.max(1);
        Bounds { first, next: first + self.records.len() as u64 }
    }
}

#[derive(Default)]
struct State {
    logs: BTreeMap<LogName, Log>,
    checkpoints: BTreeMap<String, Vec<u8>>,
    changes: u64,
    closed: bool,
}

/// The store. Shared by its owner; dropping it drops what it holds.
#[derive(Default)]
pub struct MemoryStorage {
    store_id: u128,
    state: Mutex<State>,
}

impl MemoryStorage {
    /// An empty store with this id.
    #[must_use]
    pub fn new(store_id: u128) -> Self {
        Self { store_id, state: Mutex::default() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing below leaves it half changed.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change(&self) -> Result<MutexGuard<'_, State>, StorageError> {
        let mut state = self.state();
        if state.closed {
            return Err(StorageError::Closed);
        }
        state.changes += 1;
        Ok(state)
    }
}

impl Storage for MemoryStorage {
    fn found(&self) -> Found {
        Found { store_id: self.store_id, created: true, damage: Vec::new() }
    }

    fn bounds(&self, log: &LogName) -> Bounds {
        self.state().logs.get(log).map_or(Bounds { first: 1, next: 1 }, Log::bounds)
    }

    fn append(&self, log: &LogName, first: Seq, records: Vec<Vec<u8>>) -> Result<Ticket, StorageError> {
        let mut state = self.change()?;
        let kept = state.logs.entry(log.clone()).or_default();
        let next = kept.bounds().next;
        if first != next {
            return Err(StorageError::Gap { log: log.clone(), got: first, next });
        }
        kept.records.extend(records);
        Ok(Ticket(state.changes))
    }

    fn truncate(&self, log: &LogName, which: Truncate) -> Result<Ticket, StorageError> {
        let mut state = self.change()?;
        let kept = state.logs.entry(log.clone()).or_default();
        let Bounds { first, next } = kept.bounds();
        let count = |records: u64| usize::try_from(records).unwrap_or(usize::MAX);
        match which {
            Truncate::Before(seq) if seq >= next => {
                kept.records.clear();
                kept.first = seq;
            }
            Truncate::Before(seq) if seq > first => {
                kept.records.drain(..count(seq - first));
                kept.first = seq;
            }
            Truncate::From(seq) if seq < next => kept.records.truncate(count(seq.saturating_sub(first))),
            Truncate::Before(_) | Truncate::From(_) => {}
        }
        Ok(Ticket(state.changes))
    }

    fn checkpoint(&self, name: &str, bytes: Option<Vec<u8>>) -> Result<Ticket, StorageError> {
        let mut state = self.change()?;
        match bytes {
            Some(bytes) => drop(state.checkpoints.insert(name.to_owned(), bytes)),
            None => drop(state.checkpoints.remove(name)),
        }
        Ok(Ticket(state.changes))
    }

    fn read(&self, log: &LogName, from: Seq, to: Seq, bytes_max: usize) -> Result<Vec<(Seq, Vec<u8>)>, StorageError> {
        let state = self.state();
        let mut found = Vec::new();
        let Some(kept) = state.logs.get(log) else { return Ok(found) };
        let bounds = kept.bounds();
        let mut bytes = 0;
        for seq in from.max(bounds.first)..to.min(bounds.next) {
            let at = usize::try_from(seq - bounds.first).unwrap_or(usize::MAX);
            let Some(record) = kept.records.get(at) else { break };
            if !found.is_empty() && bytes + record.len() > bytes_max {
                break;
            }
            bytes += record.len();
            found.push((seq, record.clone()));
        }
        Ok(found)
    }

    fn read_checkpoint(&self, name: &str) -> Result<Option<Vec<u8>>, StorageError> {
        Ok(self.state().checkpoints.get(name).cloned())
    }

    fn synced(&self, _ticket: Ticket) -> BoxFuture<'_, Result<(), StorageError>> {
        Box::pin(async { Ok(()) })
    }

    fn syncs(&self) -> u64 {
        0
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        self.state().closed = true;
        Box::pin(async {})
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_keeps_its_numbers_over_cuts_at_both_ends() {
        let (store, log) = (MemoryStorage::new(1), LogName::from("a"));
        store.append(&log, 1, vec![vec![1], vec![2], vec![3], vec![4]]).unwrap();
        assert!(matches!(store.append(&log, 9, vec![vec![9]]), Err(StorageError::Gap { next: 5, .. })));
        store.truncate(&log, Truncate::Before(3)).unwrap();
        store.truncate(&log, Truncate::From(4)).unwrap();
        assert_eq!(store.bounds(&log), Bounds { first: 3, next: 4 });
        assert_eq!(store.read(&log, 1, 9, 0).unwrap(), [(3, vec![3])]);
        store.truncate(&log, Truncate::Before(10)).unwrap();
        assert_eq!(store.bounds(&log), Bounds { first: 10, next: 10 });
        store.append(&log, 10, vec![vec![10], vec![11]]).unwrap();
        assert_eq!(store.read(&log, 0, 99, 1).unwrap(), [(10, vec![10])], "as many as fit, at least one");
    }
}
