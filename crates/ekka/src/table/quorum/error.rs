//! What can go wrong with a quorum table.

use ekka_core::limits::GROUP_COMMAND_MAX;
use ekka_core::table::quorum::{self, DraftError};

use super::super::error::ReadError;
use crate::consensus::GroupError;

/// Why a quorum table could not be read or written.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum QuorumError {
    /// No majority of the voters answers here. Nothing was written.
    #[error("no majority of the voters answers: {0}")]
    NoQuorum(String),
    /// The row is not as was expected, or others wrote what a transaction had read each time that it was tried. Nothing
    /// was written.
    #[error("what was read is not so any more: another writer was faster")]
    Conflict,
    /// The row or the transaction is too large. Nothing was written.
    #[error("{0}")]
    TooLarge(String),
    /// It was handed to the group, and no answer came: it may be written, now or later, or never.
    #[error("whether it was written is not known: {0}")]
    Unknown(String),
    /// The disc of the data directory is nearly full, of this node or of the one that leads. Nothing was written.
    #[error(
        "nothing was written: the disc of the data directory is nearly full, here or where the group is led; deletes are taken, and reads go on"
    )]
    DiscFull,
    /// A row is no value, or no key, of the type that was asked for.
    #[error("the row is not of this type: {0}")]
    WrongType(String),
    /// The value cannot be written in the table's codec. Nothing was written.
    #[error("the value cannot be written as {codec}: {why}")]
    Codec {
        /// The codec.
        codec: String,
        /// Why.
        why: String,
    },
    /// It makes no sense for this table, or not now, in words. Nothing was written.
    #[error("{0}")]
    Refused(String),
    /// The table was dropped, or the node has ended. Nothing was written.
    #[error("the table was dropped, or the node is stopping")]
    Closed,
}

impl QuorumError {
    /// Whether the same can be tried again with hope. After [`outcome_unknown`](Self::outcome_unknown) only what is
    /// harmless to do twice.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        matches!(self, Self::NoQuorum(_) | Self::Conflict | Self::Unknown(_) | Self::DiscFull)
    }

    /// Whether it may be written although this is an error.
    #[must_use]
    pub fn outcome_unknown(&self) -> bool {
        matches!(self, Self::Unknown(_))
    }

    pub(super) fn command_too_large(length: usize) -> Self {
        Self::TooLarge(format!(
            "{length} bytes of a write or a transaction are too many: quorum tables take {GROUP_COMMAND_MAX} at once"
        ))
    }
}

impl From<quorum::TooLarge> for QuorumError {
    fn from(error: quorum::TooLarge) -> Self {
        Self::TooLarge(error.to_string())
    }
}

impl From<DraftError> for QuorumError {
    fn from(error: DraftError) -> Self {
        match error {
            DraftError::TooLarge(error) => error.into(),
            // The enum of the core may grow.
            other => Self::Refused(other.to_string()),
        }
    }
}

impl From<ReadError> for QuorumError {
    fn from(error: ReadError) -> Self {
        match error {
            ReadError::WrongType(words) => Self::WrongType(words),
            ReadError::NoIndex { .. } => Self::Refused(error.to_string()),
        }
    }
}

/// Why a command was not committed.
pub(super) enum NotDone {
    /// It was handed to nobody: another replica, or the same a little later, may take it.
    NotHanded(String),
    /// That is the end of it.
    End(QuorumError),
}

impl From<GroupError> for NotDone {
    fn from(error: GroupError) -> Self {
        match error {
            GroupError::NoQuorum(words) | GroupError::Ended(words) => Self::NotHanded(words),
            GroupError::Unknown(words) => Self::End(QuorumError::Unknown(words)),
            GroupError::TooLarge { length, .. } => Self::End(QuorumError::command_too_large(length)),
            GroupError::Refused(words) => Self::End(QuorumError::Refused(words)),
        }
    }
}
