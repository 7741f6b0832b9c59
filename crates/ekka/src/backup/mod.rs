//! The file of a backup: what is in it, how it is written piece by piece, how it is read and checked.
//!
//! `EKKABKUP`, the number of the form (two bytes, the lowest first), and pieces: the length (four bytes), the piece
//! (`postcard`), and the first eight bytes of the SHA-256 of the file up to there, so that damage is found where it is. At
//! the end stands the SHA-256 of all that is in front of it. Rows come table by table, in the order of their keys.

mod form;
mod read;
#[cfg(test)]
mod tests;
mod write;

pub use self::form::{Head, SavedRow, TableHead};
pub(crate) use self::form::{PIECE_BYTES, Piece};
pub use self::read::{Damaged, ReadError, Reader, Summary, TableSummary, check};
pub(crate) use self::write::Encoder;
