//! Watching tables: a snapshot, then every change once, in order for each key; never a silent gap.

mod ahead;
mod available;
mod cursor;
mod kept;
mod owned;
#[cfg(test)]
mod tests;

pub use self::available::{Change, RawChange, RawWatch, Watch};
pub use self::cursor::{CursorError, CursorWatch};
pub(in crate::table) use self::kept::Cursors;
pub use self::owned::{OwnedChange, OwnedWatch, RawOwnedChange, RawOwnedWatch};
