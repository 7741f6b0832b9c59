//! What can go wrong with a table, an enum for each kind of operation.

use ekka_core::control::CommandError;
use ekka_core::limits::{TABLE_KEY_MAX, TABLE_VALUE_MAX};
use ekka_core::schema::SchemaError;
use ekka_core::table::{StampError, TooFewCopies, WriteError};

use super::quorum::QuorumError;

/// Why a table could not be opened.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// The cluster has this table with another schema.
    #[error("the table is {ours} here, and {theirs} in the cluster")]
    Mismatch {
        /// What was asked for.
        ours: String,
        /// What there is.
        theirs: String,
    },
    /// The schema is none.
    #[error(transparent)]
    Schema(#[from] SchemaError),
    /// There is no such table, and it could not be made: making one takes a majority.
    #[error("the table {table} is not there and could not be made: {why}")]
    NotMade {
        /// Its name.
        table: String,
        /// Why.
        why: CommandError,
    },
    /// It is there, and has not got from its peers what they hold.
    #[error("the table {table} is not loaded yet: {why}")]
    NotLoaded {
        /// Its name.
        table: String,
        /// What it waits for.
        why: String,
    },
    /// The node has ended.
    #[error("the node is stopping")]
    Stopping,
}

impl OpenError {
    /// Whether trying again can help.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        matches!(self, Self::NotMade { why: CommandError::Failed(_), .. } | Self::NotLoaded { .. })
    }
}

/// Not all tables that were waited for have what their peers hold.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct NotLoaded {
    /// Each that has not, and what it waits for.
    pub tables: Vec<(String, String)>,
    /// The node is stopping.
    pub stopping: bool,
}

impl std::fmt::Display for NotLoaded {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.stopping {
            return f.write_str("the node is stopping");
        }
        let words = self.tables.iter().map(|(table, waits)| format!("table {table}: {waits}"));
        f.write_str(&words.collect::<Vec<_>>().join("; "))
    }
}

impl std::error::Error for NotLoaded {}

/// Why a write was not acknowledged.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PutError {
    /// The key is too long. Nothing was written.
    #[error("a key of {len} bytes is too long: at most {} are taken", TABLE_KEY_MAX)]
    KeyTooLong {
        /// Its length.
        len: usize,
    },
    /// The value is too long. Nothing was written.
    #[error("a value of {len} bytes is too long: at most {} are taken", TABLE_VALUE_MAX)]
    ValueTooLong {
        /// Its length.
        len: usize,
    },
    /// The value cannot be written in the table's codec. Nothing was written.
    #[error("the value cannot be written as {codec}: {why}")]
    Codec {
        /// The codec.
        codec: String,
        /// Why.
        why: String,
    },
    /// This node's clock is too far from those of its peers to write. Nothing was written.
    #[error("{0}")]
    Clock(StampError),
    /// The table does not take this kind of write. Nothing was written.
    #[error("{0}")]
    WrongKind(String),
    /// The disc of the data directory is nearly full. Nothing was written.
    #[error("nothing was written: the disc of the data directory is nearly full; deletes are taken, and reads go on")]
    DiscFull,
    /// The store of the data directory has failed, and this node writes to no table on disc until it is started again.
    #[error("{}: the store of the data directory has failed: {why}", written_words(*written))]
    DiscFailed {
        /// Why.
        why: String,
        /// It is in the rows of this node, and may get to the others.
        written: bool,
    },
    /// It is on this node, and two copies were asked for strictly while no other node is up. It will get to the others.
    #[error(transparent)]
    TooFewCopies(#[from] TooFewCopies),
    /// It is on this node, and those who should have it have not said so in time. It will get to them.
    #[error(
        "written here, and not known on as many nodes as was asked for within the deadline: {missing} did not answer"
    )]
    TimedOut {
        /// Who did not say that it holds it.
        missing: String,
    },
    /// It is a quorum table, and that says why.
    #[error(transparent)]
    Quorum(#[from] QuorumError),
    /// The table waits for what its peers hold. Nothing was written.
    #[error("the table has not got from its peers what they hold: nothing was written")]
    NotLoaded,
    /// The table was dropped, or the node has ended, or goes on under a new guid. Whether it was written is not known.
    #[error("the table was dropped, or the node is stopping, or goes on under a new guid")]
    Closed,
}

impl PutError {
    /// Whether the same write can be tried again with hope.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Quorum(error) => error.is_retryable(),
            other => {
                matches!(
                    other,
                    Self::TooFewCopies(_) | Self::TimedOut { .. } | Self::Clock(_) | Self::DiscFull | Self::NotLoaded
                )
            }
        }
    }

    /// Whether it is written, or may be, although this is an error.
    #[must_use]
    pub fn outcome_unknown(&self) -> bool {
        match self {
            Self::Quorum(error) => error.outcome_unknown(),
            Self::DiscFailed { written, .. } => *written,
            other => matches!(other, Self::TooFewCopies(_) | Self::TimedOut { .. } | Self::Closed),
        }
    }
}

fn written_words(written: bool) -> &'static str {
    if written { "whether it is on disc is not known" } else { "nothing was written" }
}

impl From<WriteError> for PutError {
    fn from(error: WriteError) -> Self {
        match error {
            WriteError::KeyTooLong { len } => Self::KeyTooLong { len },
            WriteError::ValueTooLong { len } => Self::ValueTooLong { len },
            WriteError::Stamp(error) => Self::Clock(error),
            // The enum of the core may grow.
            other => Self::WrongKind(other.to_string()),
        }
    }
}

/// Why a row could not be read.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReadError {
    /// Its bytes are no value, or no key, of the type that was asked for.
    #[error("the row is not of this type: {0}")]
    WrongType(String),
    /// The constant with which the table was opened has no index of this name.
    #[error("the table {table} was opened without an index {index:?}; it has: {known}")]
    NoIndex {
        /// The table.
        table: String,
        /// The name.
        index: String,
        /// The names that there are.
        known: String,
    },
}
