//! Putting a backup back: pieces of a file, table by table.

use std::fs::File;
use std::io::{BufReader, Seek};
use std::ops::Bound;
use std::sync::Arc;

use ekka_core::id::ClusterId;
use ekka_core::table::{Entry, Map};
use tokio::sync::{MutexGuard, mpsc};

use super::super::hub::Tables;
use super::super::slot::Slot;
use super::available::OfAvailable;
use super::quorum::OfQuorum;
use super::report::{RestoreError, RestoreMode, TableRestored};
use crate::backup::{Piece, ReadError, Reader, SavedRow, TableHead};

/// Pieces that are read ahead.
const AHEAD: usize = 2;
/// Rows that are not in a backup and are looked up at once.
const PAGE: usize = 256;

/// Reads a file through, off the runtime; the channel ends with the file, or with an error.
pub(crate) fn pieces_of(mut file: File) -> mpsc::Receiver<Result<Piece, ReadError>> {
    let (sender, pieces) = mpsc::channel(AHEAD);
    tokio::task::spawn_blocking(move || {
        let read = file.rewind().map_err(|error| ReadError::Io { at: 0, error });
        let mut reader = match read.and_then(|()| Reader::open(BufReader::new(file))) {
            Ok((reader, _)) => reader,
            Err(error) => return drop(sender.blocking_send(Err(error))),
        };
        while let Some(piece) = reader.next_piece().transpose() {
            let failed = piece.is_err();
            // Where nobody takes it any more the work was broken off.
            if sender.blocking_send(piece).is_err() || failed {
                return;
            }
        }
    });
    pieces
}

impl Tables {
    /// The right to put a backup back, which one has at a time.
    pub(crate) fn try_restore(&self) -> Option<MutexGuard<'_, ()>> {
        self.backups.restoring.try_lock().ok()
    }
}

/// How all rows of a backup are put back.
#[derive(Clone, Copy, Debug)]
pub(super) struct Terms {
    /// The cluster that the backup is of.
    pub(super) cluster: ClusterId,
    /// Nothing is written.
    pub(super) plan: bool,
    pub(super) mode: RestoreMode,
}

/// A table while it is put back.
enum Of {
    /// It is not there, and nothing is written.
    Missing,
    Available(Box<OfAvailable>),
    Quorum(Box<OfQuorum>),
}

/// A backup while it is put back.
pub(crate) struct Job {
    tables: Arc<Tables>,
    terms: Terms,
    progress: mpsc::Sender<TableRestored>,
    made: Vec<String>,
}

impl Job {
    /// The tables of these names were made just now.
    pub(crate) fn new(
        tables: Arc<Tables>,
        (cluster, mode, plan): (ClusterId, RestoreMode, bool),
        made: Vec<String>,
        progress: mpsc::Sender<TableRestored>,
    ) -> Self {
        Self { tables, terms: Terms { cluster, plan, mode }, progress, made }
    }

    /// Puts all tables back.
    pub(crate) async fn run(
        self,
        mut pieces: mpsc::Receiver<Result<Piece, ReadError>>,
    ) -> Result<Vec<TableRestored>, RestoreError> {
        let mut done = Vec::new();
        while let Some(piece) = pieces.recv().await {
            match piece? {
                Piece::Table(head) => done.push(self.table(head, &mut pieces).await?),
                Piece::End { .. } => return Ok(done),
                Piece::Head(_) | Piece::Rows(_) | Piece::TableEnd { .. } => {}
            }
        }
        // Who reads the file has ended before its end: what follows was not put back.
        Err(RestoreError::Stopping)
    }

    async fn table(
        &self,
        head: TableHead,
        pieces: &mut mpsc::Receiver<Result<Piece, ReadError>>,
    ) -> Result<TableRestored, RestoreError> {
        let schema = &head.schema;
        let mut tally = TableRestored {
            table: schema.name.clone(),
            what: schema.options(),
            made: self.made.contains(&schema.name),
            ..TableRestored::default()
        };
        let mut of = self.open(head)?;
        loop {
            let Some(piece) = pieces.recv().await else { return Err(RestoreError::Stopping) };
            let Piece::Rows(rows) = piece? else { break };
            match &mut of {
                Of::Missing => {
                    let wall = self.tables.now().wall;
                    for row in &rows {
                        let expired = row.expires_at.is_some_and(|at| at <= wall);
                        *(if expired { &mut tally.expired } else { &mut tally.added }) += 1;
                    }
                }
                Of::Available(of) => of.rows(&rows, &mut tally).await?,
                Of::Quorum(of) => of.rows(&rows, &mut tally).await?,
            }
            // Who looks on may be slow, or gone.
            let _ = self.progress.try_send(tally.clone());
        }
        match &mut of {
            Of::Missing => {}
            Of::Available(of) => of.end(&mut tally).await?,
            Of::Quorum(of) => of.end(&mut tally).await?,
        }
        let _ = self.progress.try_send(tally.clone());
        Ok(tally)
    }

    fn open(&self, head: TableHead) -> Result<Of, RestoreError> {
        let here = self.tables.view();
        match self.tables.named(&head.schema.name) {
            Some(Slot::Available(slot)) => {
                let same = here.cluster_id == Some(self.terms.cluster) && slot.id == head.id;
                Ok(Of::Available(Box::new(OfAvailable::new(slot, head, same, self.terms))))
            }
            Some(Slot::Quorum(slot)) => {
                Ok(Of::Quorum(Box::new(OfQuorum::new(slot, head, here.generation, self.terms))))
            }
            Some(Slot::Owned(_)) => Err(RestoreError::Refused(format!("{} is owned here", head.schema.name))),
            None if self.terms.plan => Ok(Of::Missing),
            None => Err(RestoreError::Refused(format!("the table {} was dropped meanwhile", head.schema.name))),
        }
    }
}

/// Bytes of keys that are looked up at once: a quorum table deletes them by one command.
const PAGE_BYTES: usize = 256 * 1024;

/// Rows of before that a backup has not: those behind a key, up to the last of some rows of it, or to the end. As many as
/// are looked up at once, and behind which key the next ones are.
pub(super) fn absent<E: Entry>(
    before: &Map<E>,
    after: Option<&[u8]>,
    rows: Option<&[SavedRow]>,
) -> (Vec<E>, Option<Vec<u8>>) {
    let (mut absent, mut bytes): (Vec<E>, usize) = (Vec::new(), 0);
    let until = rows.and_then(|rows| rows.last()).map(|row| &*row.key);
    for entry in before.from(after.map_or(Bound::Unbounded, Bound::Excluded)) {
        let key = entry.key();
        if until.is_some_and(|until| key > until) {
            break;
        }
        if absent.len() == PAGE || bytes >= PAGE_BYTES {
            let next = absent.last().map(|last| last.key().to_vec());
            return (absent, next);
        }
        if rows.is_none_or(|rows| rows.binary_search_by(|row| (*row.key).cmp(key)).is_err()) {
            bytes += key.len();
            absent.push(entry.clone());
        }
    }
    (absent, None)
}
