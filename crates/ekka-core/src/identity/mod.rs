//! Whether a peer may be who it says it is.
//!
//! **Owns** nothing: [`judge`] is a function of a Hello and of what this node knows. [`clock`] owns the offsets of
//! the peers' clocks.
//!
//! **Rules** (design, section 4; schedules S1-2, S2-6): certain is only the same disc. A newer guid of one node id
//! supersedes the older one, unless the older one still answers somebody. Of two that answer, the one that holds a
//! majority of the cluster stays, then the one that is in it, then the older. A name under another node id supersedes nothing: of
//! two that run under one name, the one that is in a cluster keeps it, and else the older start, for all the same. A
//! directory whose start counter fell was restored from an old copy.

mod claim;
pub mod clock;
mod judge;

pub use claim::Claim;
pub use judge::{Asked, Facts, Judgement, Known, duplicate, judge, name_conflict};
