//! Full copies, for a peer that is behind the tail of the log, and for newcomers.
//!
//! The giver takes one clone (`give`): rows, tombstones, vector, journal, folded numbers, the floor of dropped tombstones.
//! It goes over in parts, in the order of the keys, and is gone on with where a connection ended (`take`). Each try has a
//! number that its giver gives once, so that a part of an earlier try, or of an earlier start of the giver, which was on
//! its way all the time, is known for what it is. Once all is in it is merged *by vectors*, both ways (`merge`): a version
//! that the other side covers and no longer has was replaced or dropped there, and only what neither side covers is
//! compared by stamp (schedule M4).

mod give;
mod merge;
mod take;
#[cfg(test)]
mod tests;

pub(super) use self::give::before_first_copy;
pub use self::give::{Giving, Waste};
pub(super) use self::take::Taking;
