//! Replicas with a fault put in on purpose, for proving that a harness sees.

use crate::consensus::GroupError;
use crate::consensus::raft::{Faults, RaftGroup, Setup};

/// A fault of one replica.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum PlantedFault {
    /// A barrier waits for nothing.
    StaleRead,
    /// The vote of an earlier start is not found.
    ForgottenVote,
    /// Each command is applied twice.
    DoubleApply,
}

/// Opens a replica that has this fault, where there is one.
///
/// # Errors
/// As for [`RaftGroup::open`].
pub async fn open_replica(setup: Setup, fault: Option<PlantedFault>) -> Result<RaftGroup, GroupError> {
    let mut faults = Faults::default();
    match fault {
        Some(PlantedFault::StaleRead) => faults.stale_read = true,
        Some(PlantedFault::ForgottenVote) => faults.forgotten_vote = true,
        Some(PlantedFault::DoubleApply) => faults.double_apply = true,
        None => {}
    }
    RaftGroup::open_with(setup, faults).await
}
