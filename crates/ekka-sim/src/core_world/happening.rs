//! What the event heap holds.

use ekka_core::id::ClusterId;

use super::backend::Deed;
use super::net::Delivery;

/// What happens at a point in time.
#[derive(Clone, Debug)]
pub(super) enum Happening {
    Wake { machine: usize, life: u64 },
    Deliver { machine: usize, life: u64, delivery: Delivery },
    DialDeadline { conn: usize },
    Backend(Deed),
    Group { cluster_id: ClusterId, again: bool },
}

impl Happening {
    /// A number for the hash of the trace.
    pub(super) fn mark(&self) -> u64 {
        match self {
            Self::Wake { machine, life } => (*machine as u64) << 40 | life << 2,
            Self::Deliver { machine, life, .. } => (*machine as u64) << 40 | life << 2 | 1,
            Self::DialDeadline { conn } => (*conn as u64) << 2 | 2,
            Self::Backend(Deed::News) => 11,
            Self::Group { again, .. } => 0x13 | u64::from(*again) << 2,
            Self::Backend(Deed::Claim { machine, life, .. }) => (*machine as u64) << 40 | life << 3 | 3,
            Self::Backend(Deed::Upkeep { machine, life }) => (*machine as u64) << 40 | life << 3 | 7,
        }
    }
}
