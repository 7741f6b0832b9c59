//! Reads a table back from disc: the checkpoint, then the log records that it does not cover.

use ekka_core::table::{Message, Settings, Table};
use ekka_core::time::Now;

use super::form::{Head, read_head, read_messages, read_record};
use super::names::Names;
use crate::storage::{Storage, StorageError};

/// Bytes of records that are read at once.
const READ: usize = 4 << 20;

/// A table as it was on disc.
pub(super) struct ReadBack {
    pub(super) table: Table,
    /// Bytes of the log.
    pub(super) log_bytes: u64,
    /// That of its checkpoint.
    pub(super) head: Option<Head>,
}

/// Why one could not be read.
#[derive(Debug)]
pub(super) enum Unread {
    /// The store does not answer: it may do so later.
    Storage(StorageError),
    /// What is there is nothing that this version can read.
    Content {
        /// Under which name.
        name: String,
        /// Why.
        why: String,
    },
}

impl From<StorageError> for Unread {
    fn from(error: StorageError) -> Self {
        match error {
            StorageError::Damaged { log, seq, why } => {
                Self::Content { name: log.to_string(), why: format!("record {seq} cannot be read: {why}") }
            }
            error => Self::Storage(error),
        }
    }
}

fn content(name: &str, why: impl Into<String>) -> Unread {
    Unread::Content { name: name.to_owned(), why: why.into() }
}

/// Reads one; empty where nothing of it is there.
pub(super) fn read(storage: &dyn Storage, names: &Names, settings: Settings, now: Now) -> Result<ReadBack, Unread> {
    let mut table = Table::new(settings);
    let head = head(storage, names)?;
    if let Some(head) = head {
        let mut pieces =
            Pieces { storage, names, head, next: 0, length: 0, messages: Vec::new().into_iter(), failed: None };
        let restored = table.restore(&mut pieces, now);
        if let Some(unread) = pieces.failed {
            return Err(unread);
        }
        restored.map_err(|error| content(&names.head(), error.to_string()))?;
        if pieces.length != head.length {
            let why = format!("its pieces have {} bytes, and {} were written", pieces.length, head.length);
            return Err(content(&names.head(), why));
        }
    }
    let log_bytes = records(storage, names, &mut table, now)?;
    Ok(ReadBack { table, log_bytes, head })
}

fn head(storage: &dyn Storage, names: &Names) -> Result<Option<Head>, Unread> {
    let name = names.head();
    let bytes = storage.read_checkpoint(&name)?;
    bytes.map(|bytes| read_head(&bytes)).transpose().map_err(|why| content(&name, why))
}

/// The messages of a checkpoint, piece by piece.
struct Pieces<'a> {
    storage: &'a dyn Storage,
    names: &'a Names,
    head: Head,
    next: u32,
    length: u64,
    messages: std::vec::IntoIter<Message>,
    failed: Option<Unread>,
}

impl Pieces<'_> {
    fn piece(&mut self) -> Result<Vec<Message>, Unread> {
        let name = self.names.piece(self.head.set, self.next);
        let bytes = self.storage.read_checkpoint(&name)?.ok_or_else(|| content(&name, "it is missing"))?;
        self.next += 1;
        self.length += bytes.len() as u64;
        read_messages(&bytes).map_err(|why| content(&name, why))
    }
}

impl Iterator for Pieces<'_> {
    type Item = Message;

    fn next(&mut self) -> Option<Message> {
        loop {
            if let Some(message) = self.messages.next() {
                return Some(message);
            }
            if self.failed.is_some() || self.next == self.head.pieces {
                return None;
            }
            match self.piece() {
                Ok(messages) => self.messages = messages.into_iter(),
                Err(unread) => self.failed = Some(unread),
            }
        }
    }
}

/// Applies the records; those that the checkpoint covers change nothing.
fn records(storage: &dyn Storage, names: &Names, table: &mut Table, now: Now) -> Result<u64, Unread> {
    let bounds = storage.bounds(&names.log);
    let (mut next, mut bytes) = (bounds.first, 0);
    while next < bounds.next {
        let records = storage.read(&names.log, next, bounds.next, READ)?;
        if records.is_empty() {
            return Err(content(&names.log, format!("record {next} is missing")));
        }
        for (seq, record) in records {
            let batch = read_record(&record).map_err(|why| content(&names.log, format!("record {seq}: {why}")))?;
            let applied = table.recover(&batch, now);
            applied.map_err(|error| content(&names.log, format!("record {seq}: {error}")))?;
            bytes += record.len() as u64;
            next = seq + 1;
        }
    }
    Ok(bytes)
}
