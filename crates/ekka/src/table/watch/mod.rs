//! Watching tables: a snapshot, then every change once, in order for each key; never a silent gap.

mod ahead;
mod available;
mod owned;

pub use self::available::{Change, RawChange, RawWatch, Watch};
pub use self::owned::{OwnedChange, OwnedWatch, RawOwnedChange, RawOwnedWatch};
