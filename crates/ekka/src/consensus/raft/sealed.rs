//! How a replica of a volatile group ends for good, and how one of the next generation begins with what it held.
//!
//! What is handed on is the state with everything that the log holds, also what this replica does not know to be
//! committed: others may have acknowledged it. The next generation counts its log from the start, so a replica begins
//! as if it had read one entry, the configuration of the founders, and had cut its log behind it: whoever learns later
//! gets the state as a snapshot.

use std::collections::BTreeSet;
use std::sync::Arc;

use ekka_core::consensus::{StateMachine, VoterId};
use tokio_util::sync::CancellationToken;

use super::snapshots::Snapshots;
use super::types::{Membership, Meta};
use super::whole::{Whole, first, whole};
use super::{RaftGroup, log, voters};
use crate::consensus::{Group, GroupError};
use crate::storage::{LogName, Storage};

fn ended(error: impl std::fmt::Display) -> GroupError {
    GroupError::Ended(error.to_string())
}

/// Ends a replica: it takes, votes for and answers nothing more, and its store takes no change. `machine` is an empty
/// state of its kind.
///
/// # Errors
/// `Ended`: what it held cannot be read. It has ended all the same.
pub async fn seal(
    group: &RaftGroup,
    storage: &Arc<dyn Storage>,
    log: &LogName,
    machine: Box<dyn StateMachine>,
) -> Result<Whole, GroupError> {
    group.close().await;
    // Whatever task of the engine is left writes nothing from here on.
    storage.close().await;
    whole(storage.clone(), log.clone(), machine).await
}

/// Writes into an empty store what a founder begins with: the state, and who votes.
///
/// # Errors
/// `Ended`: the store does not take it.
pub async fn seed(
    storage: &Arc<dyn Storage>,
    log: &LogName,
    founders: BTreeSet<VoterId>,
    state: &[u8],
) -> Result<(), GroupError> {
    let first = first();
    let membership = openraft::Membership::new(vec![founders.clone()], voters::nodes(founders));
    let meta = Meta {
        last_log_id: Some(first),
        last_membership: Membership::new(Some(first), membership),
        snapshot_id: "founded".into(),
    };
    let snapshots = Snapshots::new(storage.clone(), log.clone(), CancellationToken::new());
    snapshots.write(&meta, &state.to_vec()).await.map_err(ended)?;
    log::begin_after(storage.as_ref(), log, first).map_err(ended)
}
