//! Snapshots of a group in the store: pieces, then a head that names them.
#![expect(clippy::result_large_err, reason = "the error is the engine's")]

use std::sync::Arc;

use ekka_core::consensus::VoterId;
use openraft::{AnyError, StorageIOError};
use serde::{Deserialize, Serialize};
use tokio::sync::Mutex;

use super::types::{Meta, Storing};
use crate::storage::{LogName, Storage, StorageError};

/// Bytes of one piece; a checkpoint holds up to 64 MiB.
const PIECE: usize = 16 * 1024 * 1024;

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
}

fn failed(error: &StorageError) -> openraft::StorageError<VoterId> {
    StorageIOError::write_snapshot(None, AnyError::new(error)).into()
}

fn unreadable(why: impl std::fmt::Display) -> openraft::StorageError<VoterId> {
    StorageIOError::read_snapshot(None, AnyError::error(why)).into()
}

impl Snapshots {
    pub(super) fn new(storage: Arc<dyn Storage>, log: LogName) -> Self {
        Self { storage, log, writing: Mutex::default() }
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
    pub(super) async fn write(&self, meta: &Meta, bytes: &[u8]) -> Storing<()> {
        let _one = self.writing.lock().await;
        let before = self.head()?;
        if before.as_ref().is_some_and(|head| head.meta.last_log_id >= meta.last_log_id) {
            return Ok(());
        }
        let set = before.as_ref().map_or(0, |head| 1 - head.set.min(1));
        let mut pieces = 0;
        for piece in bytes.chunks(PIECE) {
            self.storage.checkpoint(&self.piece(set, pieces), Some(piece.to_vec())).map_err(|error| failed(&error))?;
            pieces += 1;
        }
        let head = Head { meta: meta.clone(), set, pieces, length: bytes.len() as u64 };
        let head = postcard::to_allocvec(&head).expect("a head has nothing that cannot be written");
        let mut ticket = self.storage.checkpoint(&self.head_name(), Some(head)).map_err(|error| failed(&error))?;
        // In the order of all changes: the old pieces go after the new head has come.
        for number in 0..before.as_ref().map_or(0, |head| head.pieces) {
            let name = self.piece(1 - set, number);
            ticket = self.storage.checkpoint(&name, None).map_err(|error| failed(&error))?;
        }
        self.storage.synced(ticket).await.map_err(|error| failed(&error))
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

    pub(super) async fn read(&self) -> Storing<Option<(Meta, Vec<u8>)>> {
        // Not while the pieces of one are replaced by those of the next.
        let _one = self.writing.lock().await;
        let Some(head) = self.head()? else { return Ok(None) };
        let mut bytes = Vec::new();
        for number in 0..head.pieces {
            let name = self.piece(head.set, number);
            let piece = self.storage.read_checkpoint(&name).map_err(unreadable)?;
            bytes.extend(piece.ok_or_else(|| unreadable(format!("the piece {name} is missing")))?);
        }
        if bytes.len() as u64 != head.length {
            return Err(unreadable(format!("{} bytes, and {} were written", bytes.len(), head.length)));
        }
        Ok(Some((head.meta, bytes)))
    }
}
