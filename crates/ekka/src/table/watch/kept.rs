//! Where those who follow a table under a name keep how far they have come.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};

use ekka_core::id::ClusterId;
use ekka_core::table::Position;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use super::super::committed::Committed;
use super::cursor::CursorError;
use crate::storage::{NAME_MAX, Storage, StorageError};

/// Of what is kept of one.
const FORM: u16 = 2;
/// Bytes of the name of one: behind the numbers of a cluster and a table there is room for them.
const NAME_LEN_MAX: usize = 64;
const _: () = assert!("cursor/".len() + 32 + 1 + 20 + 1 + NAME_LEN_MAX <= NAME_MAX);

/// How far one has come.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(super) struct Kept {
    /// Of which history of the table: it has another one whenever it is opened.
    pub(super) history: String,
    /// By the revisions of that one.
    pub(super) revision: u64,
    /// For later starts; of tables on disc.
    pub(super) position: Option<Position>,
}

/// What there is of one.
pub(super) enum Found {
    /// It is a new one.
    Nothing,
    /// Something that this version cannot read.
    Unknown,
    /// How far it has come.
    Kept(Kept),
}

/// The cursors of a node.
pub(in crate::table) struct Cursors {
    storage: Arc<dyn Storage>,
    committed: watch::Receiver<Arc<Committed>>,
    open: Arc<Mutex<BTreeSet<String>>>,
}

impl Cursors {
    pub(in crate::table) fn new(storage: Arc<dyn Storage>, committed: watch::Receiver<Arc<Committed>>) -> Self {
        Self { storage, committed, open: Arc::default() }
    }

    /// The place of one.
    pub(super) fn open(&self, table: u64, name: &str) -> Result<Slip, CursorError> {
        let letter = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"._-".contains(&byte);
        let cluster = self.committed.borrow().cluster.map_or(0, ClusterId::as_u128);
        let path = format!("cursor/{cluster:032x}/{table}/{name}");
        if !(1..=NAME_LEN_MAX).contains(&name.len()) || !name.bytes().all(letter) {
            return Err(CursorError::Name(name.to_owned()));
        }
        if !self.open.lock().unwrap_or_else(PoisonError::into_inner).insert(path.clone()) {
            return Err(CursorError::InUse(name.to_owned()));
        }
        Ok(Slip { storage: self.storage.clone(), path, open: self.open.clone() })
    }
}

/// The place of one, which nobody else has as long.
pub(super) struct Slip {
    storage: Arc<dyn Storage>,
    path: String,
    open: Arc<Mutex<BTreeSet<String>>>,
}

impl Slip {
    /// What is kept.
    pub(super) fn read(&self) -> Result<Found, CursorError> {
        let failed = |error: StorageError| CursorError::Storage(error.to_string());
        let Some(bytes) = self.storage.read_checkpoint(&self.path).map_err(failed)? else { return Ok(Found::Nothing) };
        Ok(match postcard::from_bytes::<(u16, Kept)>(&bytes) {
            Ok((FORM, kept)) => Found::Kept(kept),
            Ok(_) | Err(_) => Found::Unknown,
        })
    }

    /// Keeps this, or nothing; once it is on disc.
    pub(super) async fn write(&self, kept: Option<&Kept>) -> Result<(), CursorError> {
        let bytes =
            kept.map(|kept| postcard::to_allocvec(&(FORM, kept)).expect("it consists of what postcard can hold"));
        let failed = |error: StorageError| CursorError::Storage(error.to_string());
        let ticket = self.storage.checkpoint(&self.path, bytes).map_err(failed)?;
        self.storage.synced(ticket).await.map_err(failed)
    }
}

impl Drop for Slip {
    fn drop(&mut self) {
        self.open.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.path);
    }
}
