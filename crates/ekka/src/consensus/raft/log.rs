//! The engine's log, vote and commit mark over the storage port.
//!
//! A record is an entry with the commit mark of the moment in front of it, so that the mark costs no write of its own;
//! after a restart it is a little old, which is what Raft allows. Vote and purge mark are checkpoints. Our records count
//! from 1, the engine's entries from 0.
#![expect(clippy::result_large_err, reason = "the error is the engine's")]

use std::collections::VecDeque;
use std::fmt::Debug;
use std::ops::{Bound, RangeBounds};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use ekka_core::consensus::{LogPlace, VoterId};
use ekka_core::limits::{GROUP_APPEND_BYTES_MAX, GROUP_CACHE_BYTES_MAX};
use openraft::storage::{LogFlushed, LogState, RaftLogStorage};
use openraft::{AnyError, EntryPayload, OptionalSend, RaftLogReader, StorageIOError};
use serde::{Deserialize, Serialize};

use super::cache::Cache;
use super::snapshots::Snapshots;
use super::types::{Entry, Id, Storing, Types, Vote, place_or_start};
use crate::storage::{LogName, Storage, StorageError, Truncate};

#[derive(Serialize)]
struct RecordRef<'a> {
    committed: Option<Id>,
    entry: &'a Entry,
}

#[derive(Deserialize)]
struct Record {
    committed: Option<Id>,
    entry: Entry,
}

struct State {
    cache: Cache,
    /// Of the entries that were written since the log was opened.
    sizes: VecDeque<(u64, usize)>,
    purged: Option<Id>,
    last: Option<Id>,
    committed: Option<Id>,
}

struct Inner {
    storage: Arc<dyn Storage>,
    name: LogName,
    /// Beside it: what they cover can go from the log.
    snapshots: Arc<Snapshots>,
    /// Whose log it is.
    me: VoterId,
    state: Mutex<State>,
    /// A planted fault: the vote of an earlier start is not found.
    forgets_vote: bool,
}

/// The log. Clones are handles to the same one; readers of the engine are such clones.
#[derive(Clone)]
pub(super) struct LogStore {
    inner: Arc<Inner>,
}

/// The checkpoints beside a log.
const VOTE: &str = "vote";
const PURGED: &str = "purged";

fn checkpoint_name(log: &LogName, what: &str) -> String {
    format!("{log}/{what}")
}

/// Deletes the log of this name, and what is kept beside it.
pub(super) fn forget(storage: &dyn Storage, log: &LogName) -> Result<(), StorageError> {
    storage.truncate(log, Truncate::Before(storage.bounds(log).next))?;
    for what in [VOTE, PURGED] {
        storage.checkpoint(&checkpoint_name(log, what), None)?;
    }
    Ok(())
}

/// Whether a log holds an entry, or was cut.
pub(super) fn has_begun(storage: &dyn Storage, log: &LogName) -> Result<bool, StorageError> {
    Ok(storage.bounds(log).next > 1 || storage.read_checkpoint(&checkpoint_name(log, PURGED))?.is_some())
}

/// Makes an empty log one that was cut behind this entry.
pub(super) fn begin_after(storage: &dyn Storage, log: &LogName, last: Id) -> Result<(), StorageError> {
    let bytes = postcard::to_allocvec(&last).expect("an id has nothing that cannot be written");
    storage.checkpoint(&checkpoint_name(log, PURGED), Some(bytes))?;
    storage.truncate(log, Truncate::Before(last.index + 2)).map(|_| ())
}

fn read_failed(error: &(impl std::error::Error + 'static)) -> openraft::StorageError<VoterId> {
    StorageIOError::read_logs(AnyError::new(error)).into()
}

fn write_failed(error: &StorageError) -> openraft::StorageError<VoterId> {
    StorageIOError::write_logs(AnyError::new(error)).into()
}

fn vote_failed(error: &(impl std::error::Error + 'static)) -> openraft::StorageError<VoterId> {
    StorageIOError::read_vote(AnyError::new(error)).into()
}

impl LogStore {
    /// Opens the log beside these snapshots, or an empty one. Once their token is cancelled nothing is written any more.
    pub(super) fn open(snapshots: Arc<Snapshots>, me: VoterId, forgets_vote: bool) -> Storing<Self> {
        let (storage, name) = (snapshots.storage().clone(), snapshots.log().clone());
        let purged = storage.read_checkpoint(&checkpoint_name(&name, PURGED)).map_err(|error| read_failed(&error))?;
        let purged: Option<Id> =
            purged.map(|bytes| postcard::from_bytes(&bytes)).transpose().map_err(|error| read_failed(&error))?;
        if let Some(purged) = purged.filter(|purged| storage.bounds(&name).first < purged.index + 2) {
            // The mark went to disc, and the cut behind it did not.
            storage.truncate(&name, Truncate::Before(purged.index + 2)).map_err(|error| write_failed(&error))?;
        }
        let bounds = storage.bounds(&name);
        let newest = if bounds.next > bounds.first {
            storage.read(&name, bounds.next - 1, bounds.next, usize::MAX).map_err(|error| read_failed(&error))?
        } else {
            Vec::new()
        };
        let newest = newest.into_iter().next().map(|(_, bytes)| postcard::from_bytes::<Record>(&bytes));
        let newest = newest.transpose().map_err(|error| read_failed(&error))?;
        let last = newest.as_ref().map(|record| record.entry.log_id).or(purged).max(purged);
        let committed = newest.and_then(|record| record.committed).max(purged);
        let cache = Cache::new(GROUP_CACHE_BYTES_MAX);
        let state = Mutex::new(State { cache, sizes: VecDeque::new(), purged, last, committed });
        Ok(Self { inner: Arc::new(Inner { storage, name, snapshots, me, state, forgets_vote }) })
    }

    /// After this, and once the token is cancelled, nothing is written through this or a clone of it: what an engine that
    /// has not ended yet does with a request that it took before must not reach a log that is opened anew.
    pub(super) fn fence(&self) {
        drop(self.state());
        self.inner.snapshots.fence();
    }

    /// The state, to change it and the store in one step.
    fn change(&self) -> Result<MutexGuard<'_, State>, StorageError> {
        let state = self.state();
        if self.inner.snapshots.stop().is_cancelled() { Err(StorageError::Closed) } else { Ok(state) }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // No panic below leaves it half changed.
        self.inner.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Bytes of the entries after this one, of those that were written since the log was opened.
    pub(super) fn bytes_after(&self, at: Option<Id>) -> u64 {
        let state = self.state();
        let after = state.sizes.iter().rev().take_while(|(index, _)| at.is_none_or(|at| *index > at.index));
        after.map(|(_, size)| *size as u64).sum()
    }

    fn vote(&self) -> Storing<Option<Vote>> {
        if self.inner.forgets_vote {
            return Ok(None);
        }
        let bytes = self.inner.storage.read_checkpoint(&checkpoint_name(&self.inner.name, VOTE));
        let bytes = bytes.map_err(|error| vote_failed(&error))?;
        bytes.map(|bytes| postcard::from_bytes(&bytes)).transpose().map_err(|error| vote_failed(&error))
    }

    /// The term of the last vote.
    pub(super) fn term(&self) -> Storing<u64> {
        Ok(self.vote()?.map_or(0, |vote| vote.leader_id().term))
    }

    /// The place of the last entry.
    pub(super) fn last(&self) -> LogPlace {
        place_or_start(self.state().last.as_ref())
    }

    /// Entries from `start` up to `end` (not included): as many as fit, at least one where there is one.
    fn read_some(&self, start: u64, end: u64, bytes_max: usize) -> Storing<Vec<Entry>> {
        if start >= end {
            return Ok(Vec::new());
        }
        if let Some(found) = self.state().cache.read(start, end, bytes_max) {
            return Ok(found);
        }
        let Inner { storage, name, .. } = &*self.inner;
        let records = storage.read(name, start + 1, end + 1, bytes_max).map_err(|error| read_failed(&error))?;
        let entry = |(_, bytes): (u64, Vec<u8>)| postcard::from_bytes::<Record>(&bytes).map(|record| record.entry);
        records.into_iter().map(entry).collect::<Result<_, _>>().map_err(|error| read_failed(&error))
    }

    async fn write(&mut self, entries: Vec<Entry>) -> Result<(), StorageError> {
        let Some(first) = entries.first().map(|entry| entry.log_id.index + 1) else { return Ok(()) };
        let ticket = {
            let mut state = self.change()?;
            let committed = state.committed;
            let encode = |entry: &Entry| {
                postcard::to_allocvec(&RecordRef { committed, entry })
                    .expect("an entry has nothing that cannot be written")
            };
            let records: Vec<Vec<u8>> = entries.iter().map(encode).collect();
            let sizes: Vec<usize> = records.iter().map(Vec::len).collect();
            let ticket = self.inner.storage.append(&self.inner.name, first, records)?;
            for (entry, size) in entries.into_iter().zip(sizes) {
                if let EntryPayload::Normal(batch) = &entry.payload {
                    batch.mark_handed();
                }
                state.last = Some(entry.log_id);
                state.sizes.push_back((entry.log_id.index, size));
                state.cache.push(entry, size);
            }
            ticket
        };
        self.inner.storage.synced(ticket).await
    }
}

impl RaftLogReader<Types> for LogStore {
    async fn try_get_log_entries<R: RangeBounds<u64> + Clone + Debug + OptionalSend>(
        &mut self,
        range: R,
    ) -> Storing<Vec<Entry>> {
        let mut start = match range.start_bound() {
            Bound::Included(start) => *start,
            Bound::Excluded(start) => start + 1,
            Bound::Unbounded => 0,
        };
        let end = match range.end_bound() {
            Bound::Included(end) => end + 1,
            Bound::Excluded(end) => *end,
            Bound::Unbounded => u64::MAX,
        };
        let end = end.min(self.state().last.map_or(0, |last| last.index + 1));
        let mut found = Vec::new();
        while start < end {
            let some = self.read_some(start, end, GROUP_CACHE_BYTES_MAX)?;
            let Some(last) = some.last() else { break };
            start = last.log_id.index + 1;
            found.extend(some);
        }
        Ok(found)
    }

    async fn limited_get_log_entries(&mut self, start: u64, end: u64) -> Storing<Vec<Entry>> {
        self.read_some(start, end, GROUP_APPEND_BYTES_MAX)
    }
}

impl RaftLogStorage<Types> for LogStore {
    type LogReader = Self;

    async fn get_log_state(&mut self) -> Storing<LogState<Types>> {
        let state = self.state();
        Ok(LogState { last_purged_log_id: state.purged, last_log_id: state.last })
    }

    async fn get_log_reader(&mut self) -> Self {
        self.clone()
    }

    async fn save_vote(&mut self, vote: &Vote) -> Storing<()> {
        let bytes = postcard::to_allocvec(vote).expect("a vote has nothing that cannot be written");
        let name = checkpoint_name(&self.inner.name, VOTE);
        let failed = |error: StorageError| StorageIOError::write_vote(AnyError::new(&error));
        let ticket = {
            let _state = self.change().map_err(failed)?;
            self.inner.storage.checkpoint(&name, Some(bytes)).map_err(failed)?
        };
        Ok(self.inner.storage.synced(ticket).await.map_err(failed)?)
    }

    async fn read_vote(&mut self) -> Storing<Option<Vote>> {
        let vote = self.vote()?;
        // It is read at the start only. A leader that starts again would go on leading its term, with a commit mark that
        // is older than what it has acknowledged: its readers would miss that. Its vote counts as before; to lead, it is
        // elected anew.
        Ok(vote.map(|vote| match vote.leader_id().voted_for() {
            Some(leader) if leader == self.inner.me => Vote::new(vote.leader_id().term, leader),
            _ => vote,
        }))
    }

    async fn save_committed(&mut self, committed: Option<Id>) -> Storing<()> {
        // It goes to disc with the next record.
        self.state().committed = committed;
        Ok(())
    }

    async fn read_committed(&mut self) -> Storing<Option<Id>> {
        Ok(self.state().committed)
    }

    async fn append<I>(&mut self, entries: I, callback: LogFlushed<Types>) -> Storing<()>
    where
        I: IntoIterator<Item = Entry> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        // The engine waits for the callback before it does anything else, so nothing is gained by a task of its own.
        let entries: Vec<Entry> = entries.into_iter().collect();
        let written = self.write(entries).await;
        callback.log_io_completed(written.as_ref().copied().map_err(|error| std::io::Error::other(error.to_string())));
        written.map_err(|error| write_failed(&error))
    }

    async fn truncate(&mut self, since: Id) -> Storing<()> {
        let before = since.index.checked_sub(1);
        let before = before.map(|index| self.read_some(index, index + 1, 0)).transpose()?;
        let before = before.and_then(|entries| entries.first().map(|entry| entry.log_id));
        let mut state = self.change().map_err(|error| write_failed(&error))?;
        let cut = Truncate::From(since.index + 1);
        self.inner.storage.truncate(&self.inner.name, cut).map_err(|error| write_failed(&error))?;
        state.cache.truncate_from(since.index);
        while state.sizes.pop_back_if(|(index, _)| *index >= since.index).is_some() {}
        state.last = before.or(state.purged);
        Ok(())
    }

    /// The engine asks for it as soon as it has *given* a snapshot to the state machine. What is cut off the log must be in
    /// one that is on disc: a crash in between would leave neither, and a replica that can never be opened again.
    async fn purge(&mut self, upto: Id) -> Storing<()> {
        self.inner.snapshots.covers(upto).await.map_err(|error| write_failed(&error))?;
        let name = checkpoint_name(&self.inner.name, PURGED);
        let bytes = postcard::to_allocvec(&upto).expect("an id has nothing that cannot be written");
        let Inner { storage, name: log, .. } = &*self.inner;
        let mut state = self.change().map_err(|error| write_failed(&error))?;
        storage.checkpoint(&name, Some(bytes)).map_err(|error| write_failed(&error))?;
        storage.truncate(log, Truncate::Before(upto.index + 2)).map_err(|error| write_failed(&error))?;
        state.cache.purge(upto.index);
        while state.sizes.pop_front_if(|(index, _)| *index <= upto.index).is_some() {}
        state.purged = Some(upto);
        state.last = state.last.max(Some(upto));
        Ok(())
    }
}
