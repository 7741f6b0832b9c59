//! What the shell, and through it people, are told of a table.

use super::stamp::StampError;
use super::vector::OpId;
use crate::id::Incarnation;

/// Something that happened to a table. Taken with [`super::Table::take_events`].
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Event {
    /// A full copy has been merged; what its giver held is held.
    CopyTaken {
        /// Who gave it.
        giver: Incarnation,
    },
    /// An operation was not taken because of its stamp; it is asked for again.
    StampRefused {
        /// Who sent it.
        from: Incarnation,
        /// Why.
        error: StampError,
    },
    /// Nothing is merged: the journal is full, and could not be set aside on disc.
    Stuck,
    /// A member that was cleaned gave a version that is in no table: it is in the journal.
    SetAside {
        /// Who gave it.
        from: Incarnation,
        /// Who wrote it.
        id: OpId,
        /// Whether another version won; else its fate was unknown, since it is older than what was deleted and dropped.
        lost: bool,
    },
    /// An origin that is over has left the vectors; its last number is to be kept.
    Folded {
        /// Its last operation.
        last: OpId,
    },
    /// All that a member gave that was cleaned, or whose cluster went into this one, is decided on.
    EstateJudged {
        /// Who gave it.
        from: Incarnation,
        /// How many versions are passed on as rows.
        taken: u64,
        /// How many are in the journal.
        aside: u64,
    },
}
