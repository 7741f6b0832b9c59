//! What goes into an `available` table and comes out of it beside rows: settings, receipts, sizes, errors.

use super::faults::Faults;
use super::stamp::{Hlc, StampError};
use super::vector::OpNumber;
use crate::id::Incarnation;
use crate::limits::{TABLE_KEY_MAX, TABLE_VALUE_MAX};
use crate::schema::Storage;

/// What a table has to know when it is opened.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// This node, this start.
    pub me: Incarnation,
    /// Where the rows are kept.
    pub storage: Storage,
    /// The bound of stamps that the start before this one left on disc; zero where there was none.
    pub bound: Hlc,
    /// Faults put in on purpose.
    pub faults: Faults,
}

/// A write was taken: in the rows of this node, and on its way to the others.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Receipt {
    /// Its number among those of this incarnation.
    pub number: OpNumber,
    /// Its stamp.
    pub hlc: Hlc,
    /// The position in the log up to which a `disc` table has to be synced for it.
    pub position: u64,
}

/// How much there is of a table on this node.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Size {
    /// Rows that are there.
    pub rows: usize,
    /// Rows that are deleted or have expired, and are kept until everybody knows.
    pub tombstones: usize,
    /// Bytes of both.
    pub bytes: usize,
}

/// Why a write was not taken. Nothing has changed then.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WriteError {
    /// The key is too long.
    #[error("a key of {len} bytes is too long: at most {TABLE_KEY_MAX} are taken")]
    KeyTooLong {
        /// Its length.
        len: usize,
    },
    /// The value is too long.
    #[error("a value of {len} bytes is too long: at most {TABLE_VALUE_MAX} are taken")]
    ValueTooLong {
        /// Its length.
        len: usize,
    },
    /// There is no stamp for it now.
    #[error(transparent)]
    Stamp(#[from] StampError),
}
