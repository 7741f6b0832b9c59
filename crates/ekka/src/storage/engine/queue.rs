//! What was given and is not on disc yet; it can be read at once.

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;

use super::disc::Disc;
use super::layout::LogHeader;
use crate::storage::{Bounds, CHECKPOINT_MAX, LogName, QUEUE_MAX, Seq, StorageError, Truncate};

/// Bytes that one batch gathers; a single change may be greater.
const GATHER_MAX: usize = 8 << 20;
/// What a change weighs beside its bytes.
const CHANGE_WEIGHT: usize = 64;

/// One change.
#[derive(Debug)]
pub(super) enum Change {
    Append { log: LogName, first: Seq, records: Vec<Bytes> },
    Truncate { log: LogName, which: Truncate },
    Checkpoint { name: String, bytes: Option<Bytes> },
}

impl Change {
    fn weight(&self) -> usize {
        let bytes = match self {
            Self::Append { records, .. } => weight(records),
            Self::Truncate { .. } => 0,
            Self::Checkpoint { bytes, .. } => bytes.as_ref().map_or(0, Bytes::len),
        };
        bytes + CHANGE_WEIGHT
    }
}

pub(super) fn weight(records: &[Bytes]) -> usize {
    records.iter().map(|bytes| bytes.len() + CHANGE_WEIGHT).sum()
}

/// Nothing about it is queued.
pub(super) struct OnDisc;

/// How the committer is to end.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Stop {
    /// After writing what waits.
    Close,
    /// At once, as a killed process does.
    Crash,
}

struct Log {
    bounds: Bounds,
    /// Counts truncations: a reader that was overtaken by one looks again.
    epoch: u64,
    /// Records that are not on disc yet, with their tickets: the end of the log.
    queued: BTreeMap<Seq, (u64, Bytes)>,
}

impl Log {
    fn new(bounds: Bounds) -> Self {
        Self { bounds, epoch: 0, queued: BTreeMap::new() }
    }
}

/// A part of a log, as asked for.
pub(super) struct Slice {
    pub(super) epoch: u64,
    /// These are on disc.
    pub(super) on_disc: std::ops::Range<Seq>,
    /// These follow them.
    pub(super) queued: Vec<(Seq, Bytes)>,
}

pub(super) struct Queue {
    logs: BTreeMap<LogName, Log>,
    /// Last word on checkpoints that are not on disc yet.
    checkpoints: BTreeMap<String, (u64, Option<Bytes>)>,
    waiting: VecDeque<(u64, Change)>,
    /// Of what waits and what is being written.
    bytes: usize,
    /// The last ticket given.
    last: u64,
    pub(super) stop: Option<Stop>,
    pub(super) failure: Option<StorageError>,
}

impl Queue {
    pub(super) fn new(logs: &BTreeMap<LogName, LogHeader>) -> Self {
        Self {
            logs: logs.iter().map(|(name, header)| (name.clone(), Log::new(header.bounds()))).collect(),
            checkpoints: BTreeMap::new(),
            waiting: VecDeque::new(),
            bytes: 0,
            last: 0,
            stop: None,
            failure: None,
        }
    }

    pub(super) fn last(&self) -> u64 {
        self.last
    }

    pub(super) fn bounds(&self, log: &LogName) -> Bounds {
        self.logs.get(log).map_or(Bounds::EMPTY, |log| log.bounds)
    }

    /// Whether changes are taken at all.
    pub(super) fn open(&self) -> Result<(), StorageError> {
        match (&self.failure, self.stop) {
            (Some(failure), _) => Err(failure.clone()),
            (None, Some(_)) => Err(StorageError::Closed),
            (None, None) => Ok(()),
        }
    }

    /// Bytes that wait, those of a change of `bytes` included.
    pub(super) fn room_for(&self, bytes: usize) -> Result<usize, StorageError> {
        let all = self.bytes.saturating_add(bytes);
        if all > QUEUE_MAX {
            return Err(StorageError::Full(format!("{} bytes wait for the disc, as many as may", self.bytes)));
        }
        Ok(all)
    }

    pub(super) fn append(&mut self, name: &LogName, first: Seq, records: Vec<Bytes>) -> u64 {
        let ticket = self.last + 1;
        let log = self.logs.entry(name.clone()).or_insert_with(|| Log::new(Bounds::EMPTY));
        for (seq, bytes) in (first..).zip(&records) {
            log.queued.insert(seq, (ticket, bytes.clone()));
            log.bounds.next = seq + 1;
        }
        self.push(Change::Append { log: name.clone(), first, records })
    }

    pub(super) fn truncate(&mut self, name: &LogName, which: Truncate) -> u64 {
        let log = self.logs.entry(name.clone()).or_insert_with(|| Log::new(Bounds::EMPTY));
        let bounds = log.bounds.truncated(which);
        if bounds == log.bounds {
            return self.last;
        }
        log.bounds = bounds;
        log.epoch += 1;
        log.queued.retain(|seq, _| (bounds.first..bounds.next).contains(seq));
        self.push(Change::Truncate { log: name.clone(), which })
    }

    pub(super) fn checkpoint(&mut self, name: &str, bytes: Option<Bytes>) -> u64 {
        self.checkpoints.insert(name.to_owned(), (self.last + 1, bytes.clone()));
        self.push(Change::Checkpoint { name: name.to_owned(), bytes })
    }

    fn push(&mut self, change: Change) -> u64 {
        self.last += 1;
        self.bytes += change.weight();
        self.waiting.push_back((self.last, change));
        self.last
    }

    /// The last word on a checkpoint that is not on disc yet; `Err` where the disc has it.
    pub(super) fn queued_checkpoint(&self, name: &str) -> Result<Option<Bytes>, OnDisc> {
        self.checkpoints.get(name).map(|(_, bytes)| bytes.clone()).ok_or(OnDisc)
    }

    pub(super) fn slice(&self, name: &LogName, from: Seq, to: Seq, bytes_max: usize) -> Slice {
        let Some(log) = self.logs.get(name) else { return Slice { epoch: 0, on_disc: 0..0, queued: Vec::new() } };
        let from = from.max(log.bounds.first);
        let to = to.min(log.bounds.next).max(from);
        let begin = log.queued.keys().next().copied().unwrap_or(to).clamp(from, to);
        let mut bytes = 0usize;
        let queued = log.queued.range(begin..to).map(|(seq, (_, record))| (*seq, record.clone()));
        let queued = queued.take_while(|(_, record)| {
            let fits = bytes == 0 || bytes.saturating_add(record.len()) <= bytes_max;
            bytes = bytes.saturating_add(record.len().max(1));
            fits
        });
        Slice { epoch: log.epoch, on_disc: from..begin, queued: queued.collect() }
    }

    pub(super) fn epoch(&self, name: &LogName) -> u64 {
        self.logs.get(name).map_or(0, |log| log.epoch)
    }

    pub(super) fn is_idle(&self) -> bool {
        self.waiting.is_empty()
    }

    /// What the next batch is made of. It stays readable until [`Queue::written`].
    pub(super) fn gather(&mut self) -> Vec<(u64, Change)> {
        let mut bytes = 0;
        let mut count = 0;
        for (_, change) in &self.waiting {
            bytes += change.weight();
            if count > 0 && bytes > GATHER_MAX {
                break;
            }
            count += 1;
        }
        self.waiting.drain(..count).collect()
    }

    /// What was gathered is on disc.
    pub(super) fn written(&mut self, changes: &[(u64, Change)]) {
        let Some((up_to, _)) = changes.last() else { return };
        for (_, change) in changes {
            self.bytes -= change.weight();
            match change {
                Change::Append { log, first, records } => {
                    let Some(log) = self.logs.get_mut(log) else { continue };
                    for seq in (*first..).take(records.len()) {
                        // One that was dropped and given again has a later ticket.
                        if log.queued.get(&seq).is_some_and(|(ticket, _)| ticket <= up_to) {
                            log.queued.remove(&seq);
                        }
                    }
                }
                Change::Checkpoint { name, .. } => {
                    if self.checkpoints.get(name).is_some_and(|(ticket, _)| ticket <= up_to) {
                        self.checkpoints.remove(name);
                    }
                }
                Change::Truncate { .. } => {}
            }
        }
    }

    /// Nothing of what waits will be written: back to what is on disc. Gives the last ticket that is lost.
    pub(super) fn roll_back(&mut self, disc: &Disc) -> u64 {
        self.waiting.clear();
        self.checkpoints.clear();
        self.bytes = 0;
        for (name, log) in &mut self.logs {
            log.bounds = disc.logs().get(name).map_or(Bounds::EMPTY, LogHeader::bounds);
            log.queued.clear();
            log.epoch += 1;
        }
        self.last
    }
}

/// Whether a checkpoint may be given.
pub(super) fn assert_checkpoint(bytes: &[u8]) {
    assert!(bytes.len() <= CHECKPOINT_MAX, "a checkpoint has at most {CHECKPOINT_MAX} bytes, not {}", bytes.len());
}
