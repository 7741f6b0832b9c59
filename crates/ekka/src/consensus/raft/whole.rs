//! What a log adds up to, all of it, for a group that goes on without the majority of its voters, and for the next
//! generation of a volatile one.

use std::sync::Arc;

use ekka_core::consensus::{Gathered, LogPlace, StateMachine, VoterId};
use openraft::storage::RaftStateMachine;
use openraft::{CommittedLeaderId, LogId, RaftLogReader};
use tokio_util::sync::CancellationToken;

use super::log::LogStore;
use super::snapshots::Snapshots;
use super::state::Applier;
use super::types::{self, Id, place_or_start};
use crate::consensus::GroupError;
use crate::storage::{LogName, Storage};

/// What the log of a replica that has ended adds up to.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Whole {
    /// The last entry of its log; index 0 where it has none.
    pub last: LogPlace,
    /// The state after that entry.
    pub state: Vec<u8>,
}

/// Applies the snapshot and every entry after it, committed or not, and gives the state: one that was acknowledged may
/// be the last in this log, before word of its commitment came. No replica may run on that log; `machine` is an empty
/// state of its kind.
///
/// # Errors
/// `Ended`: the store cannot be read, or lacks entries.
pub async fn whole(
    storage: Arc<dyn Storage>,
    log: LogName,
    machine: Box<dyn StateMachine>,
) -> Result<Whole, GroupError> {
    let ended = |error: &dyn std::fmt::Display| GroupError::Ended(error.to_string());
    let snapshots = Arc::new(Snapshots::new(storage, log, CancellationToken::new()));
    let mut applier = Applier::new(machine, snapshots.clone());
    applier.recover().await.map_err(|error| ended(&error))?;
    let mut entries = LogStore::open(snapshots, VoterId::default(), false).map_err(|error| ended(&error))?;
    let end = entries.last();
    let next = applier.last.map_or(0, |id| id.index + 1);
    let entries = entries.try_get_log_entries(next..).await.map_err(|error| ended(&error))?;
    if let Some(first) = entries.first().filter(|first| first.log_id.index != next) {
        let why = format!("entries {} to {} of the log are missing", next + 1, first.log_id.index);
        return Err(GroupError::Ended(why));
    }
    applier.apply(entries).await.map_err(|error| ended(&error))?;
    let last = place_or_start(applier.last.as_ref());
    if last < end {
        return Err(GroupError::Ended(format!(
            "the log goes up to {}, and can be read up to {}",
            end.index, last.index
        )));
    }
    Ok(Whole { last, state: applier.state() })
}

/// Keeps bytes under a name, whatever was kept there before, until a new log begins with them; done when they are on
/// disc.
///
/// # Errors
/// `Ended`: the store does not take them.
pub async fn keep(storage: &Arc<dyn Storage>, name: &LogName, bytes: &[u8]) -> Result<(), GroupError> {
    let ended = |error: &dyn std::fmt::Display| GroupError::Ended(error.to_string());
    let snapshots = Snapshots::new(storage.clone(), name.clone(), CancellationToken::new());
    snapshots.forget().map_err(|error| ended(&error))?;
    let meta = types::Meta { last_log_id: Some(first()), snapshot_id: "kept".into(), ..types::Meta::default() };
    snapshots.write(&meta, &bytes.to_vec()).await.map_err(|error| ended(&error))
}

/// What is kept under a name.
///
/// # Errors
/// `Ended`: the store cannot be read.
pub async fn kept(storage: &Arc<dyn Storage>, name: &LogName) -> Result<Option<Vec<u8>>, GroupError> {
    let snapshots = Snapshots::new(storage.clone(), name.clone(), CancellationToken::new());
    let found = snapshots.restored(|| Box::new(Gathered::default())).await;
    let found = found.map_err(|error| GroupError::Ended(error.to_string()))?;
    Ok(found.and_then(|(_, bytes)| bytes.into_state()))
}

/// The place that the first entry of a group has: that of its first configuration.
pub(super) fn first() -> Id {
    LogId::new(CommittedLeaderId::new(0, VoterId::default()), 0)
}
