//! What a backup consists of.

use ekka_core::id::{ClusterId, Incarnation};
use ekka_core::schema::Schema;
use ekka_core::table::quorum::Octets;
use ekka_core::time::Wall;
use serde::{Deserialize, Serialize};

pub(super) const MAGIC: [u8; 8] = *b"EKKABKUP";
/// The form that this version writes and reads.
pub(super) const FORM: u16 = 1;
/// Bytes of the length of a piece.
pub(super) const LENGTH: usize = 4;
/// Bytes of the sum behind a piece.
pub(super) const SUM: usize = 8;
/// About so many bytes of rows make a piece.
pub(crate) const PIECE_BYTES: usize = 256 * 1024;
/// No piece is longer: one row of the largest, and room.
pub(super) const PIECE_MAX: usize = 20 * 1024 * 1024;

/// A piece. New ones are appended, never inserted.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub(crate) enum Piece {
    /// The first one.
    Head(Head),
    /// Rows of this table follow.
    Table(TableHead),
    /// Rows, in the order of their keys.
    Rows(Vec<SavedRow>),
    /// So many rows of the table were given.
    TableEnd { rows: u64 },
    /// So much was given; the SHA-256 follows.
    End { tables: u64, rows: u64 },
}

/// Where a backup comes from.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Head {
    /// The cluster.
    pub cluster: ClusterId,
    /// Its name.
    pub cluster_name: String,
    /// The node that wrote it.
    pub node: String,
    /// When.
    pub time: Wall,
    /// The version of its software.
    pub version: String,
    /// All fencing tokens that were ever issued by then are below this.
    pub token_ceiling: u64,
    /// How many tables there are.
    pub tables: u64,
}

/// A table, before its rows.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct TableHead {
    /// Its number: that of the entry which made it.
    pub id: u64,
    /// What it is.
    pub schema: Schema,
    /// Of a quorum table: the revision of the group. Of an `available` one: how many operations are in it.
    pub revision: u64,
    /// Of a quorum table: the history that revisions belong to.
    pub history: String,
    /// Of an `available` table: who wrote its rows, by the place that rows name.
    pub origins: Vec<Incarnation>,
}

/// A row.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct SavedRow {
    /// Its key.
    pub key: Octets,
    /// Its value.
    pub value: Octets,
    /// When it expires, if it does.
    pub expires_at: Option<Wall>,
    /// Of an `available` table its stamp, of a quorum table the revision that wrote it.
    pub stamp: u64,
    /// Of an `available` table: the place of who wrote it among the origins.
    pub origin: u32,
    /// Of an `available` table: the number of the operation that wrote it.
    pub number: u64,
}

impl SavedRow {
    /// About how many bytes it takes.
    pub(crate) fn size(&self) -> usize {
        self.key.len() + self.value.len() + 48
    }
}
