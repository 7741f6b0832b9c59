//! Snapshots of a group in the store: pieces, then a head that names them.
//!
//! Where there is no room for one it is tried again until there is: without it the log is only longer, and a replica that
//! ended instead would take its vote with it.
#![expect(clippy::result_large_err, reason = "the error is the engine's")]

use std::sync::{Arc, Mutex as StdMutex, PoisonError};
use std::time::Duration;

use ekka_core::consensus::{Frozen, Restored, Restorer, VoterId};
use openraft::{AnyError, StorageIOError};
use serde::{Deserialize, Serialize};
use tokio::sync::{Mutex, watch};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::image::Cut;
use super::types::{Id, Meta, Storing};
use crate::storage::{LogName, Storage, StorageError, Ticket};

/// Bytes of one piece at most: what is held of a snapshot while it is written. One that is read may be longer.
pub(super) const PIECE: usize = 2 * 1024 * 1024;
/// Before one for which there was no room is tried again.
const AGAIN: Duration = Duration::from_secs(1);

#[derive(Clone, Serialize, Deserialize)]
struct Head {
    meta: Meta,
    /// Which of the two sets of names its pieces have.
    set: u8,
    pieces: u32,
    length: u64,
}

pub(super) struct Snapshots {
    storage: Arc<dyn Storage>,
    log: LogName,
    /// One is written or read at a time.
    writing: Mutex<()>,
    /// Up to where the one on disc goes, or why one could not be written.
    written: watch::Sender<Result<Option<Id>, StorageError>>,
    stop: CancellationToken,
    /// Held from the look at `stop` to the change: see `fence`.
    gate: StdMutex<()>,
}

fn failed(error: &StorageError) -> openraft::StorageError<VoterId> {
    StorageIOError::write_snapshot(None, AnyError::new(error)).into()
}

fn unreadable(why: impl std::fmt::Display) -> openraft::StorageError<VoterId> {
    StorageIOError::read_snapshot(None, AnyError::error(why)).into()
}

impl Snapshots {
    /// Those of a log. Once `stop` is cancelled nothing is written any more.
    pub(super) fn new(storage: Arc<dyn Storage>, log: LogName, stop: CancellationToken) -> Self {
        let written = watch::channel(Ok(None)).0;
        let snapshots = Self { storage, log, writing: Mutex::default(), written, stop, gate: StdMutex::default() };
        // One that cannot be read is an error where it is read.
        if let Ok(Some(head)) = snapshots.head() {
            let _ = snapshots.written.send_replace(Ok(head.meta.last_log_id));
        }
        snapshots
    }

    pub(super) fn storage(&self) -> &Arc<dyn Storage> {
        &self.storage
    }

    pub(super) fn log(&self) -> &LogName {
        &self.log
    }

    pub(super) fn stop(&self) -> &CancellationToken {
        &self.stop
    }

    /// After this, and once `stop` is cancelled, nothing is written by anybody who holds this.
    pub(super) fn fence(&self) {
        drop(self.gate.lock().unwrap_or_else(PoisonError::into_inner));
    }

    fn put(&self, name: &str, bytes: Option<Vec<u8>>) -> Result<Ticket, StorageError> {
        let _gate = self.gate.lock().unwrap_or_else(PoisonError::into_inner);
        if self.stop.is_cancelled() {
            return Err(StorageError::Closed);
        }
        self.storage.checkpoint(name, bytes)
    }

    /// Waits until a snapshot on disc has everything up to this entry.
    ///
    /// # Errors
    /// One could not be written, or the replica ends.
    pub(super) async fn covers(&self, upto: Id) -> Result<(), StorageError> {
        let mut written = self.written.subscribe();
        let reached = |written: &Result<Option<Id>, StorageError>| match written {
            Ok(last) => *last >= Some(upto),
            Err(_) => true,
        };
        tokio::select! {
            biased;
            () = self.stop.cancelled() => Err(StorageError::Closed),
            written = written.wait_for(reached) => match written {
                Ok(written) => written.clone().map(|_| ()),
                Err(_) => Err(StorageError::Closed),
            },
        }
    }

    fn head(&self) -> Storing<Option<Head>> {
        let bytes = self.storage.read_checkpoint(&self.head_name()).map_err(unreadable)?;
        bytes.map(|bytes| postcard::from_bytes(&bytes)).transpose().map_err(unreadable)
    }

    fn head_name(&self) -> String {
        format!("{}/snapshot", self.log)
    }

    fn piece(&self, set: u8, number: u32) -> String {
        format!("{}/snapshot/{set}/{number}", self.log)
    }

    /// Replaces the snapshot; done when it is on disc. An older one than there is changes nothing.
    pub(super) async fn write(&self, meta: &Meta, state: &dyn Frozen) -> Storing<()> {
        let mut told = false;
        let written = loop {
            match self.replace(meta, state).await {
                Err(StorageError::Full(why)) => {
                    if !std::mem::replace(&mut told, true) {
                        tracing::warn!(log = %self.log, why, "no room for a snapshot: it is tried again until there is");
                    }
                    tokio::select! {
                        biased;
                        () = self.stop.cancelled() => break Err(StorageError::Closed),
                        () = sleep(AGAIN) => {}
                    }
                }
                done => break done,
            }
        };
        let _ = self.written.send_replace(written.clone());
        written.map(|_| ()).map_err(|error| failed(&error))
    }

    /// Up to where the snapshot goes now.
    async fn replace(&self, meta: &Meta, state: &dyn Frozen) -> Result<Option<Id>, StorageError> {
        let _one = self.writing.lock().await;
        let before = self.head().map_err(|error| StorageError::Failed(error.to_string()))?;
        if let Some(head) = before.as_ref().filter(|head| head.meta.last_log_id >= meta.last_log_id) {
            return Ok(head.meta.last_log_id);
        }
        let set = before.as_ref().map_or(0, |head| 1 - head.set.min(1));
        let (mut pieces, mut length) = (0, 0);
        for piece in Cut::new(state.pieces(), PIECE) {
            length += piece.len() as u64;
            let ticket = self.put(&self.piece(set, pieces), Some(piece))?;
            // One after the other: the store takes no more at once than it has room for in memory.
            self.storage.synced(ticket).await?;
            pieces += 1;
        }
        let head = Head { meta: meta.clone(), set, pieces, length };
        let head = postcard::to_allocvec(&head).expect("a head has nothing that cannot be written");
        let mut ticket = self.put(&self.head_name(), Some(head))?;
        // In the order of all changes: the old pieces go after the new head has come.
        for number in 0..before.as_ref().map_or(0, |head| head.pieces) {
            ticket = self.put(&self.piece(1 - set, number), None)?;
        }
        self.storage.synced(ticket).await?;
        Ok(meta.last_log_id)
    }

    /// Deletes the snapshot.
    pub(super) fn forget(&self) -> Result<(), StorageError> {
        let head = self.storage.read_checkpoint(&self.head_name())?;
        // One that cannot be read names no pieces: they stay, and only take room.
        if let Some(head) = head.and_then(|bytes| postcard::from_bytes::<Head>(&bytes).ok()) {
            for number in 0..head.pieces {
                self.storage.checkpoint(&self.piece(head.set, number), None)?;
            }
        }
        self.storage.checkpoint(&self.head_name(), None).map(|_| ())
    }

    /// The snapshot, put together piece by piece.
    pub(super) async fn restored(&self, restorer: Restorer) -> Storing<Option<(Meta, Restored)>> {
        let mut state = restorer();
        let Some(meta) = self.read(|piece| state.take(&piece)).await? else { return Ok(None) };
        let state = state.finish().map_err(unreadable)?;
        Ok(Some((meta, state)))
    }

    /// Gives each piece of the snapshot.
    async fn read(&self, mut take: impl FnMut(Vec<u8>) -> Result<(), String>) -> Storing<Option<Meta>> {
        // Not while the pieces of one are replaced by those of the next.
        let _one = self.writing.lock().await;
        let Some(head) = self.head()? else { return Ok(None) };
        let mut length = 0;
        for number in 0..head.pieces {
            let name = self.piece(head.set, number);
            let piece = self.storage.read_checkpoint(&name).map_err(unreadable)?;
            let piece = piece.ok_or_else(|| unreadable(format!("the piece {name} is missing")))?;
            length += piece.len() as u64;
            take(piece).map_err(unreadable)?;
        }
        if length != head.length {
            return Err(unreadable(format!("{length} bytes, and {} were written", head.length)));
        }
        Ok(Some(head.meta))
    }
}
