//! What the committer knows to be on disc, and how changes become one batch of the engine.

use std::collections::BTreeMap;

use bytes::Bytes;

use super::database::{Changes, Database, EngineError};
use super::layout::{
    CHECKPOINT, CheckpointHeader, HEAD, Head, LOG, LogHeader, PART, Record, encode, named, part_key, record_key,
    record_value, share,
};
use super::queue::Change;
use super::verify::{Garbage, OnDisc};
use crate::storage::{LogName, Seq, Truncate};

/// Dropped records whose keys one batch takes out.
const GARBAGE_A_BATCH: usize = 4096;

pub(super) struct Disc {
    head: Head,
    logs: BTreeMap<LogName, LogHeader>,
    checkpoints: BTreeMap<String, CheckpointHeader>,
    garbage: Garbage,
}

/// Changes as the engine takes them, and what is true once they are written.
pub(super) struct Batch<'a> {
    disc: &'a Disc,
    database: &'a Database,
    keys: Changes,
    logs: BTreeMap<LogName, LogHeader>,
    checkpoints: BTreeMap<String, Option<CheckpointHeader>>,
    garbage: Garbage,
}

/// What a written batch changed.
pub(super) struct Written {
    head: Head,
    logs: BTreeMap<LogName, LogHeader>,
    checkpoints: BTreeMap<String, Option<CheckpointHeader>>,
    garbage: Garbage,
}

impl Written {
    /// Where the changed logs end now.
    pub(super) fn ends(&self) -> impl Iterator<Item = (LogName, Seq)> + '_ {
        self.logs.iter().map(|(log, header)| (log.clone(), header.next))
    }
}

impl Disc {
    pub(super) fn new(found: OnDisc) -> Self {
        let OnDisc { head, logs, checkpoints, garbage } = found;
        Self { head, logs, checkpoints, garbage }
    }

    pub(super) fn head(&self) -> Head {
        self.head
    }

    pub(super) fn logs(&self) -> &BTreeMap<LogName, LogHeader> {
        &self.logs
    }

    pub(super) fn has_garbage(&self) -> bool {
        !self.garbage.is_empty()
    }

    /// Writes changes as one batch, with a share of the garbage.
    ///
    /// # Errors
    /// Of the engine; nothing is known to have changed.
    pub(super) fn write(&self, database: &Database, changes: &[(u64, Change)]) -> Result<Written, EngineError> {
        let garbage = self.garbage.clone();
        let (keys, logs, checkpoints) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
        let mut batch = Batch { disc: self, database, keys, logs, checkpoints, garbage };
        for (_, change) in changes {
            batch.add(change)?;
        }
        batch.take_garbage_out();
        batch.write()
    }

    /// Takes over what was written.
    pub(super) fn advance(&mut self, written: Written) {
        let Written { head, logs, checkpoints, garbage } = written;
        self.head = head;
        self.logs.extend(logs);
        self.garbage = garbage;
        for (name, header) in checkpoints {
            match header {
                Some(header) => self.checkpoints.insert(name, header),
                None => self.checkpoints.remove(&name),
            };
        }
    }
}

impl Batch<'_> {
    fn add(&mut self, change: &Change) -> Result<(), EngineError> {
        match change {
            Change::Append { log, first, records } => self.append(log, *first, records),
            Change::Truncate { log, which } => self.truncate(log, *which)?,
            Change::Checkpoint { name, bytes } => self.checkpoint(name, bytes.as_ref()),
        }
        Ok(())
    }

    fn log(&self, log: &LogName) -> LogHeader {
        let known = self.logs.get(log).or_else(|| self.disc.logs.get(log));
        known.copied().unwrap_or_else(|| LogHeader::empty(log, 1))
    }

    fn append(&mut self, log: &LogName, first: Seq, records: &[Bytes]) {
        let mut header = self.log(log);
        debug_assert_eq!(header.next, first, "the queue refuses gaps");
        for bytes in records {
            let (value, own) = record_value(header.tip, header.next, bytes);
            self.keys.insert(record_key(log, header.next), Some(value));
            header.tip = own;
            header.next += 1;
        }
        self.logs.insert(log.clone(), header);
    }

    fn truncate(&mut self, log: &LogName, which: Truncate) -> Result<(), EngineError> {
        let old = self.log(log);
        let bounds = old.bounds().truncated(which);
        let dropped = match which {
            Truncate::Before(seq) => old.first..seq.min(old.next),
            Truncate::From(_) => bounds.next..old.next,
        };
        let new = if bounds.first > old.next {
            LogHeader::empty(log, bounds.first)
        } else {
            let base = if bounds.first == old.first { old.base } else { self.sum_before(log, old, bounds.first)? };
            let tip = if bounds.next == bounds.first { base } else { self.sum_before(log, old, bounds.next)? };
            LogHeader { first: bounds.first, next: bounds.next, base, tip }
        };
        self.logs.insert(log.clone(), new);
        if !dropped.is_empty() {
            self.garbage.push_back((log.clone(), dropped));
        }
        Ok(())
    }

    /// The sum of the record before `seq`, which is one of `first..=next`.
    fn sum_before(&self, log: &LogName, header: LogHeader, seq: Seq) -> Result<u64, EngineError> {
        if seq == header.next {
            return Ok(header.tip);
        }
        if seq == header.first {
            return Ok(header.base);
        }
        let key = record_key(log, seq - 1);
        let queued = self.keys.get(&key).and_then(|value| Some(Record::parse(seq - 1, value.as_ref()?)?.sum));
        let sum = match queued {
            Some(sum) => Some(sum),
            None => self.database.get(&key)?.and_then(|value| Some(Record::parse(seq - 1, &value)?.sum)),
        };
        sum.ok_or_else(|| EngineError::Damaged(format!("{log}: record {} cannot be read", seq - 1)))
    }

    fn checkpoint(&mut self, name: &str, bytes: Option<&Bytes>) {
        let known = self.checkpoints.get(name).copied().unwrap_or_else(|| self.disc.checkpoints.get(name).copied());
        let parts_before = known.map_or(0, |header| header.parts());
        let mut parts = 0u32;
        for part in bytes.iter().flat_map(|bytes| bytes.chunks(PART)) {
            self.keys.insert(part_key(name, parts), Some(part.to_vec()));
            parts += 1;
        }
        self.keys.extend((parts..parts_before).map(|part| (part_key(name, part), None)));
        self.checkpoints.insert(name.to_owned(), bytes.map(|bytes| CheckpointHeader::of(bytes)));
    }

    /// Removes keys of dropped records. One that an append has used again since then stays.
    fn take_garbage_out(&mut self) {
        for _ in 0..GARBAGE_A_BATCH {
            let Some((log, range)) = self.garbage.front_mut() else { return };
            let seq = range.start;
            range.start += 1;
            let log = log.clone();
            if range.is_empty() {
                self.garbage.pop_front();
            }
            let header = self.log(&log);
            if !(header.first..header.next).contains(&seq) {
                self.keys.insert(record_key(&log, seq), None);
            }
        }
    }

    fn write(mut self) -> Result<Written, EngineError> {
        let mut head = self.disc.head;
        let mut put = |key: Vec<u8>, old: Option<Vec<u8>>, new: Option<Vec<u8>>| {
            let of = |value: &Option<Vec<u8>>| value.as_ref().map_or(0, |value| share(&key, value));
            head.headers = head.headers.wrapping_sub(of(&old)).wrapping_add(of(&new));
            self.keys.insert(key, new);
        };
        for (log, header) in &self.logs {
            put(named(LOG, log), self.disc.logs.get(log).map(encode), Some(encode(header)));
        }
        for (name, header) in &self.checkpoints {
            let old = self.disc.checkpoints.get(name).map(encode);
            put(named(CHECKPOINT, name), old, header.as_ref().map(encode));
        }
        if !self.logs.is_empty() || !self.checkpoints.is_empty() {
            head.ordinal += 1;
            self.keys.insert(HEAD.to_vec(), Some(encode(&head)));
        }
        self.database.commit(self.keys)?;
        Ok(Written { head, logs: self.logs, checkpoints: self.checkpoints, garbage: self.garbage })
    }
}
