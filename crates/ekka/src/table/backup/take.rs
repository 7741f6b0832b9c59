//! Taking a backup: clones that cost nothing, all at nearly one moment, given piece by piece while writers go on.

use std::collections::VecDeque;
use std::ops::Bound;
use std::sync::Arc;
use std::time::Duration;

use ekka_core::event::EventKind;
use ekka_core::schema::Storage;
use ekka_core::table::quorum::View;
use ekka_core::table::{Cut, behind};
use ekka_core::time::Wall;
use tokio::time::Instant;

use super::super::hub::Tables;
use super::super::quorum::QuorumError;
use super::super::slot::Slot;
use crate::backup::{Encoder, Head, PIECE_BYTES, Piece, SavedRow, TableHead};

/// How long a majority may take to answer for the quorum tables.
const BARRIER: Duration = Duration::from_secs(10);

/// Why there is no backup.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BackupError {
    /// This node is in no cluster.
    #[error("this node is in no cluster")]
    NoCluster,
    /// A table is not open here, or has not got from its peers what they hold.
    #[error("the table {0} is not loaded on this node")]
    NotLoaded(String),
    /// A quorum table cannot be read.
    #[error("the table {table}: {why}")]
    Quorum {
        /// Its name.
        table: String,
        /// Why.
        why: QuorumError,
    },
    /// Something could not be written down.
    #[error("{0}")]
    Failed(String),
}

/// The rows of a table at one moment.
enum Rows {
    Available(Cut),
    Quorum { view: View, id: u64 },
}

struct Saved {
    head: TableHead,
    rows: Rows,
    wall: Wall,
}

enum Stage {
    Head,
    Table,
    Rows { after: Option<Vec<u8>>, count: u64 },
    End,
    Done,
}

/// A backup while it is given.
pub struct Backup {
    tables: Arc<Tables>,
    head: Head,
    left: VecDeque<Saved>,
    stage: Stage,
    encoder: Option<Encoder>,
    first: Vec<u8>,
    rows: u64,
    bytes: u64,
}

impl Tables {
    /// Clones all tables that are kept on disc, at nearly one moment.
    pub(crate) async fn back_up(self: &Arc<Self>) -> Result<Backup, BackupError> {
        let seen = self.view();
        let cluster = seen.cluster_id.ok_or(BackupError::NoCluster)?;
        let until = Instant::now() + BARRIER;
        let slots = self.slots();
        let kept: Vec<&Slot> = slots.iter().filter(|slot| slot.schema().storage == Storage::Disc).collect();
        let committed = self.committed().borrow().clone();
        for entry in committed.tables.values().filter(|entry| entry.schema.storage == Storage::Disc) {
            if !kept.iter().any(|slot| slot.id() == entry.id) {
                return Err(BackupError::NotLoaded(entry.schema.name.clone()));
            }
        }
        // Those that have to ask somebody first, so that all are cloned at nearly one moment.
        for slot in &kept {
            if let Slot::Quorum(quorum) = slot {
                let table = slot.schema().name.clone();
                quorum.view(until).await.map_err(|why| BackupError::Quorum { table, why })?;
            }
        }
        let left: VecDeque<Saved> = kept.iter().map(|slot| self.saved(slot)).collect::<Result<_, _>>()?;
        let head = Head {
            cluster,
            cluster_name: seen.cluster_name.clone(),
            node: seen.name.to_string(),
            time: self.now().wall,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            token_ceiling: 0,
            tables: left.len() as u64,
        };
        let (encoder, first) = Encoder::begin();
        let (tables, encoder) = (self.clone(), Some(encoder));
        Ok(Backup { tables, head, left, stage: Stage::Head, encoder, first, rows: 0, bytes: 0 })
    }

    fn saved(&self, slot: &Slot) -> Result<Saved, BackupError> {
        let (id, schema) = (slot.id(), slot.schema().clone());
        if !*slot.loaded().borrow() {
            return Err(BackupError::NotLoaded(schema.name));
        }
        let mut head = TableHead { id, schema, revision: 0, history: String::new(), origins: Vec::new() };
        let mut wall = self.now().wall;
        let rows = match slot {
            Slot::Available(slot) => {
                let cut = slot.read().cut();
                head.revision = behind(cut.held(), &ekka_core::table::Vector::default());
                head.origins = cut.origins().to_vec();
                Rows::Available(cut)
            }
            Slot::Quorum(slot) => {
                let gone = || BackupError::NotLoaded(head.schema.name.clone());
                let (rows, history) = slot.rows_here(self.view().generation).ok_or_else(gone)?;
                let view = rows.view();
                (head.revision, head.history, wall) = (view.revision(), history, view.clock().max(wall));
                Rows::Quorum { view, id }
            }
            Slot::Owned(_) => return Err(BackupError::Failed("owned tables are in ram only".into())),
        };
        Ok(Saved { head, rows, wall })
    }

    /// A backup was given whole, or was not.
    async fn backup_ended(self: &Arc<Self>, result: Result<(u64, u64, u64), String>) {
        match result {
            Ok((tables, rows, bytes)) => {
                let (disk, at) = (self.aside.env().disk.clone(), self.now().wall);
                let this = self.clone();
                self.blocking(move || this.backups.done(&*disk, at)).await;
                self.aside.tell(EventKind::BackupDone { tables, rows, bytes });
            }
            Err(error) => self.aside.tell(EventKind::BackupFailed { error }),
        }
    }
}

impl Backup {
    /// All tokens that were issued before its rows were cloned are below this.
    pub(crate) fn with_tokens_below(mut self, ceiling: u64) -> Self {
        self.head.token_ceiling = ceiling;
        self
    }

    /// The next bytes; `None` once all were given.
    ///
    /// # Errors
    /// Something could not be written down.
    pub fn next_bytes(&mut self) -> Result<Option<Vec<u8>>, BackupError> {
        let Some(piece) = self.next_piece() else { return Ok(None) };
        let Some(encoder) = self.encoder.as_mut() else { return Ok(None) };
        let mut bytes = std::mem::take(&mut self.first);
        bytes.extend(encoder.piece(&piece).map_err(BackupError::Failed)?);
        if matches!(piece, Piece::End { .. })
            && let Some(encoder) = self.encoder.take()
        {
            bytes.extend(encoder.end());
        }
        self.bytes += bytes.len() as u64;
        Ok(Some(bytes))
    }

    /// All of it was given to whoever wanted it, or not, in words: says so to people.
    pub async fn ended(self, result: Result<(), String>) {
        let figures = (self.head.tables, self.rows, self.bytes);
        let whole = if self.encoder.is_some() { Err("it was broken off".to_owned()) } else { Ok(figures) };
        self.tables.backup_ended(result.and(whole)).await;
    }

    fn next_piece(&mut self) -> Option<Piece> {
        match &mut self.stage {
            Stage::Head => {
                self.stage = Stage::Table;
                Some(Piece::Head(self.head.clone()))
            }
            Stage::Table => {
                let Some(table) = self.left.front() else {
                    self.stage = Stage::End;
                    return self.next_piece();
                };
                self.stage = Stage::Rows { after: None, count: 0 };
                Some(Piece::Table(table.head.clone()))
            }
            Stage::Rows { after, count } => {
                let rows = self.left.front()?.rows_after(after.as_deref());
                if let Some(last) = rows.last() {
                    *after = Some(last.key.to_vec());
                    *count += rows.len() as u64;
                    self.rows += rows.len() as u64;
                    return Some(Piece::Rows(rows));
                }
                let rows = *count;
                self.left.pop_front();
                self.stage = Stage::Table;
                Some(Piece::TableEnd { rows })
            }
            Stage::End => {
                self.stage = Stage::Done;
                Some(Piece::End { tables: self.head.tables, rows: self.rows })
            }
            Stage::Done => None,
        }
    }
}

impl Saved {
    /// About as many rows as a piece takes, after a key.
    fn rows_after(&self, after: Option<&[u8]>) -> Vec<SavedRow> {
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        match &self.rows {
            Rows::Available(cut) => {
                let rows = cut.rows().from(from).filter(|row| row.is_live(self.wall)).map(|row| SavedRow {
                    key: row.key().into(),
                    value: row.value().into(),
                    expires_at: row.expires_at(),
                    stamp: row.hlc().bits(),
                    origin: cut.origin_of(row),
                    number: cut.id_of(row).number,
                });
                piece(rows)
            }
            Rows::Quorum { view, id } => {
                // One that the group does not know of yet has no row.
                let Ok(rows) = view.rows(*id) else { return Vec::new() };
                let rows = rows.from(from).filter(|row| row.is_live(self.wall)).map(|row| SavedRow {
                    key: row.key().into(),
                    value: row.value().into(),
                    expires_at: row.expires_at(),
                    stamp: row.version(),
                    origin: 0,
                    number: 0,
                });
                piece(rows)
            }
        }
    }
}

fn piece(rows: impl Iterator<Item = SavedRow>) -> Vec<SavedRow> {
    let (mut piece, mut bytes) = (Vec::new(), 0);
    for row in rows {
        bytes += row.size();
        if bytes > PIECE_BYTES && !piece.is_empty() {
            break;
        }
        piece.push(row);
    }
    piece
}
