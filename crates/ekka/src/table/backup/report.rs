//! What a restore was told, what it did, and why it did not.

use crate::backup::ReadError;
use crate::table::{OpenError, PutError, QuorumError};

/// How rows of a backup meet those that are there.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum RestoreMode {
    /// The newer one stays.
    #[default]
    Merge,
    /// Those of the backup stay, and no others.
    Replace,
}

/// What becomes of a table, or would.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct TableRestored {
    /// Its name.
    pub table: String,
    /// What it is, in words.
    pub what: String,
    /// It was not there and was made.
    pub made: bool,
    /// Rows that were not there.
    pub added: u64,
    /// Rows that took the place of others.
    pub replaced: u64,
    /// Rows that are there as they should be, or newer.
    pub kept: u64,
    /// Rows of the backup that were deleted since, and stay so.
    pub stay_deleted: u64,
    /// Rows of the backup that have expired.
    pub expired: u64,
    /// Rows that are not in the backup and were deleted.
    pub deleted: u64,
}

impl TableRestored {
    /// Rows of the backup that were looked at.
    #[must_use]
    pub fn seen(&self) -> u64 {
        self.added + self.replaced + self.kept + self.stay_deleted + self.expired
    }
}

/// What a restore did, or would do.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Restored {
    /// Each table.
    pub tables: Vec<TableRestored>,
    /// The ceiling of fencing tokens was raised to this.
    pub token_ceiling: Option<u64>,
    /// What else there is to know.
    pub notes: Vec<String>,
}

/// Why a backup was not put back, or not all of it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RestoreError {
    /// The file is damaged, or cannot be read. Nothing was changed.
    #[error("the backup cannot be used: {0}")]
    Backup(#[from] ReadError),
    /// A table is there with another schema. Nothing was changed.
    #[error("the table {table} is {theirs} in the backup, and {ours} in this cluster: drop it, or leave it out there")]
    Mismatch {
        /// Its name.
        table: String,
        /// What it is here.
        ours: String,
        /// What it is in the backup.
        theirs: String,
    },
    /// Another one is under way, or the node is in no cluster. Nothing was changed.
    #[error("{0}")]
    Refused(String),
    /// A table could not be made.
    #[error(transparent)]
    Made(#[from] OpenError),
    /// A row could not be written. What was written before it stays; the same again goes on.
    #[error("the table {table}, after {rows} rows of the backup: {why}")]
    Row {
        /// Its name.
        table: String,
        /// How far it came.
        rows: u64,
        /// Why.
        why: PutError,
    },
    /// The tokens could not be raised. Nothing was changed.
    #[error("the ceiling of fencing tokens could not be raised: {0}")]
    Tokens(String),
    /// The work was broken off: the node ends.
    #[error("the node is stopping")]
    Stopping,
}

impl From<QuorumError> for RestoreError {
    fn from(error: QuorumError) -> Self {
        Self::Refused(error.to_string())
    }
}
