//! Writes a checkpoint: pieces, then the head that names them, then the old pieces go.
//!
//! The two sets of names are used by turns, so that the checkpoint before is whole until the head of the new one is on
//! disc. Pieces are put together off the tables' thread, and come one after the other: the store takes no more at once
//! than it has room for in memory.

use std::ops::Range;
use std::sync::Arc;

use ekka_core::table::Giving;

use super::form::{Head, push_message, write_head};
use super::names::Names;
use crate::env::Env;
use crate::storage::{Storage, StorageError, Ticket, Truncate};

/// Writes one from a clone of the table, in place of the one before; gives its head once it is on disc.
///
/// # Errors
/// `Full`, `Failed`, `Closed`: the one before is there.
pub(super) async fn write(
    (env, storage, piece_bytes): (Env, Arc<dyn Storage>, usize),
    names: Names,
    mut giving: Giving,
    before: Option<Head>,
) -> Result<Head, StorageError> {
    let set = before.map_or(0, |head| 1 - head.set.min(1));
    let mut head = Head { set, pieces: 0, length: 0 };
    loop {
        let (rest, piece) = env.blocking(move || next_piece(giving, piece_bytes)).await;
        giving = rest;
        if piece.is_empty() {
            break;
        }
        head.length += piece.len() as u64;
        let ticket = storage.checkpoint(&names.piece(set, head.pieces), Some(piece))?;
        storage.synced(ticket).await?;
        head.pieces += 1;
    }
    let mut ticket = storage.checkpoint(&names.head(), Some(write_head(head)))?;
    // In the order of all changes: the old pieces go after the new head has come.
    let old = before.map_or(0, |head| head.pieces);
    for (set, pieces) in [(set, head.pieces..head.pieces), (1 - set, 0..old)] {
        ticket = remove(&*storage, &names, set, pieces)?.unwrap_or(ticket);
    }
    storage.synced(ticket).await?;
    Ok(head)
}

fn next_piece(mut giving: Giving, bytes: usize) -> (Giving, Vec<u8>) {
    let mut piece = Vec::new();
    while piece.len() < bytes
        && let Some(message) = giving.next_message()
    {
        push_message(&mut piece, &message);
    }
    (giving, piece)
}

/// Removes these pieces of a set, and those behind them, which an attempt that ended early has left. The last goes
/// first: so what a crash leaves of them has no gap, and is found.
fn remove(storage: &dyn Storage, names: &Names, set: u8, known: Range<u32>) -> Result<Option<Ticket>, StorageError> {
    let mut end = known.end;
    loop {
        match storage.read_checkpoint(&names.piece(set, end)) {
            Ok(None) => break,
            Ok(Some(_)) | Err(StorageError::Damaged { .. }) => end += 1,
            Err(error) => return Err(error),
        }
    }
    let mut last = None;
    for number in (known.start..end).rev() {
        last = Some(storage.checkpoint(&names.piece(set, number), None)?);
    }
    Ok(last)
}

/// Deletes all that a table has under these names. It is gone once what is given to the store after it is on disc.
pub(super) fn delete(storage: &dyn Storage, names: &Names) -> Result<(), StorageError> {
    let bounds = storage.bounds(&names.log);
    storage.truncate(&names.log, Truncate::Before(bounds.next))?;
    storage.checkpoint(&names.head(), None)?;
    (0..=1).try_for_each(|set| remove(storage, names, set, 0..0).map(|_| ()))
}
