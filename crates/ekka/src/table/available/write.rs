//! Writes to an `available` table.

use ekka_core::table::{Receipt, Table, WriteError};
use ekka_core::time::Wall;

/// A write, as the application wants it.
#[derive(Clone, Copy, Debug)]
pub(in crate::table) enum Write<'a> {
    /// A row.
    Put { key: &'a [u8], value: &'a [u8], expires_at: Option<Wall> },
    /// No row.
    Delete { key: &'a [u8] },
    /// An element of a bag.
    Add { key: &'a [u8], value: &'a [u8], expires_at: Option<Wall> },
    /// No such elements, or none at all.
    Remove { key: &'a [u8], value: Option<&'a [u8]> },
    /// So much more in a counter.
    Sum { key: &'a [u8], by: i64 },
    /// At least so much.
    Max { key: &'a [u8], to: i64 },
    /// No counter.
    Reset { key: &'a [u8] },
}

impl Write<'_> {
    /// Whether there is less in the table after it.
    pub(super) fn makes_room(self) -> bool {
        matches!(self, Self::Delete { .. } | Self::Remove { .. } | Self::Reset { .. })
    }

    /// Changes the table.
    pub(super) fn carry_out(self, table: &mut Table, wall: Wall) -> Result<Option<Receipt>, WriteError> {
        match self {
            Self::Put { key, value, expires_at } => table.put(key, value, expires_at, wall).map(Some),
            Self::Delete { key } => table.delete(key, wall).map(Some),
            Self::Add { key, value, expires_at } => table.bag_add(key, value, expires_at, wall).map(Some),
            Self::Remove { key, value } => table.bag_remove(key, value, wall),
            Self::Sum { key, by } => table.sum_add(key, by, wall).map(Some),
            Self::Max { key, to } => table.max_raise(key, to, wall),
            Self::Reset { key } => table.parts_delete(key, wall),
        }
    }
}
