//! How good the claim of one start to an identity, or to a name, is.

use core::cmp::Reverse;

use serde::{Deserialize, Serialize};

use crate::id::Guid;
use crate::view::Status;
use crate::wire::Hello;

/// What one start shows for its claim. Whoever compares two claims comes to the same result.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Claim {
    /// Which start.
    pub guid: Guid,
    /// It is in its cluster, and not only on its way into it.
    pub is_in: bool,
    /// It is up, and reaches a majority of its cluster's voters.
    pub holds: bool,
}

impl Claim {
    /// What a Hello shows.
    #[must_use]
    pub fn of(hello: &Hello) -> Self {
        Self { guid: hello.guid, is_in: hello.status != Status::Joining, holds: hello.holds }
    }

    /// Whoever holds a majority has the better claim, then whoever is in its cluster, and of equals the older start:
    /// the newer of two is the copy.
    #[must_use]
    pub fn beats(self, other: Self) -> bool {
        let rank = |claim: Self| (claim.holds, claim.is_in, Reverse(claim.guid));
        rank(self) > rank(other)
    }
}
