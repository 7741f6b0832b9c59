//! Logs and checkpoints in memory.

use std::collections::BTreeMap;

use ekka::storage::{Bounds, LogName, Seq, Truncate};

use super::journal::{Change, changes, push};

#[derive(Debug)]
pub(super) struct Log {
    pub(super) bounds: Bounds,
    pub(super) records: BTreeMap<Seq, Vec<u8>>,
}

impl Default for Log {
    fn default() -> Self {
        Self { bounds: Bounds::EMPTY, records: BTreeMap::new() }
    }
}

#[derive(Debug, Default)]
pub(super) struct State {
    /// Whether a journal began as one should.
    pub(super) exists: bool,
    pub(super) store_id: u128,
    /// Counts the changes, from the making of the store on.
    pub(super) ordinal: u64,
    pub(super) logs: BTreeMap<LogName, Log>,
    pub(super) checkpoints: BTreeMap<String, Vec<u8>>,
}

impl State {
    pub(super) fn new(store_id: u128) -> Self {
        Self { exists: true, store_id, ..Self::default() }
    }

    pub(super) fn replay(journal: &[u8]) -> Self {
        let mut state = Self::default();
        for change in changes(journal) {
            state.apply(change);
        }
        state
    }

    /// The shortest journal that gives this state. It ends with the store's number, which the changes before it raised.
    pub(super) fn snapshot(&self) -> Vec<u8> {
        let mut journal = Vec::new();
        for (name, log) in &self.logs {
            let Bounds { first, .. } = log.bounds;
            push(&mut journal, &Change::Truncate { log: name.clone(), which: Truncate::Before(first) });
            let records = log.records.values().cloned().collect();
            push(&mut journal, &Change::Append { log: name.clone(), first, records });
        }
        for (name, bytes) in &self.checkpoints {
            push(&mut journal, &Change::Checkpoint { name: name.clone(), bytes: Some(bytes.clone()) });
        }
        push(&mut journal, &Change::Store { id: self.store_id, ordinal: self.ordinal });
        journal
    }

    pub(super) fn bytes(&self) -> usize {
        let records = self.logs.values().flat_map(|log| log.records.values());
        records.chain(self.checkpoints.values()).map(|bytes| bytes.len() + 16).sum()
    }

    pub(super) fn bounds(&self, log: &LogName) -> Bounds {
        self.logs.get(log).map_or(Bounds::EMPTY, |log| log.bounds)
    }

    pub(super) fn apply(&mut self, change: Change) {
        self.ordinal += 1;
        match change {
            Change::Store { id, ordinal } => {
                self.exists = true;
                self.store_id = id;
                self.ordinal = ordinal;
            }
            Change::Append { log, first, records } => {
                let log = self.logs.entry(log).or_default();
                log.bounds.next = first + records.len() as u64;
                log.records.extend((first..).zip(records));
            }
            Change::Truncate { log, which } => {
                let log = self.logs.entry(log).or_default();
                log.bounds = log.bounds.truncated(which);
                let Bounds { first, next } = log.bounds;
                log.records.retain(|seq, _| (first..next).contains(seq));
            }
            Change::Checkpoint { name, bytes: Some(bytes) } => drop(self.checkpoints.insert(name, bytes)),
            Change::Checkpoint { name, bytes: None } => drop(self.checkpoints.remove(&name)),
        }
    }
}
