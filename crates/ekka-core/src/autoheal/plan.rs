//! The plan of one heal: components of nodes between which no parting stands, and which of them the others come back to.

use alloc::vec::Vec;

use serde::{Deserialize, Serialize};

use super::HealId;
use crate::id::Incarnation;

/// One node of a plan.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Side {
    /// Which start of it.
    pub id: Incarnation,
    /// Its component; 0 is the coordinator's.
    pub part: u32,
    /// Partings of it up to this number are answered by this heal.
    pub upto: u64,
}

impl Side {
    /// Whether the node stays as it is: it is in the coordinator's component.
    #[must_use]
    pub fn stays(&self) -> bool {
        self.part == 0
    }
}

/// What one heal does, as the leader decided it: everybody of it gets the whole plan.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Plan {
    /// Which heal.
    pub id: HealId,
    /// Who decided.
    pub leader: Incarnation,
    /// Who carries it out.
    pub coordinator: Incarnation,
    /// All whose views were collected.
    pub nodes: Vec<Side>,
}
