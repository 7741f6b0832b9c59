//! Changes of the voters: learners first, then one joint change, one at a time.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use ekka_core::consensus::{Configuration, GroupId, VoterId};
use ekka_core::id::NodeId;
use openraft::error::{ClientWriteError, RaftError};
use openraft::{ChangeMembers, EmptyNode};
use tokio::time::timeout;

use super::shared::Shared;
use super::types::Raft;
use crate::consensus::GroupError;

/// Time for new voters to get the log, or a snapshot and the rest of it.
const CATCH_UP: Duration = Duration::from_secs(60);
/// The same in a volatile group where a later start of a node takes the place of an earlier one. That one is over, so
/// nothing is lost by counting the later one before it has the log; and were it waited for, one that ends while it
/// learns would keep the next out.
const CATCH_UP_AGAIN: Duration = Duration::from_secs(3);
/// Time for one committed entry of a change.
const STEP: Duration = Duration::from_secs(10);
/// A new voter counts as caught up when it lacks at most so many entries.
const BEHIND_MAX: u64 = 64;

type Change = ChangeMembers<VoterId, EmptyNode>;

fn refused(why: &str) -> GroupError {
    GroupError::Refused(why.into())
}

fn leading(shared: &Shared) -> Result<&Raft, GroupError> {
    let standing = shared.standing();
    if let Some(failed) = &standing.failed {
        return Err(GroupError::Ended(failed.clone()));
    }
    match shared.raft() {
        Some(raft) if standing.leads => Ok(raft),
        _ => Err(refused("only the leader changes the configuration, and this replica does not lead")),
    }
}

/// Refuses where this leader has taken itself out of the group.
///
/// Such a leader stays one until the engine's next tick, and the engine takes a change from it: an assertion of its
/// debug builds says that it must not. In a build without assertions the change is legal, for an entry of a leader's own
/// term is the leader's to write; but its successor is due to decide. The question is asked in the engine's own task,
/// where every change that was given to it before has been taken; whoever asks holds `changing`, so none comes between
/// the answer and the change that follows.
async fn ensure_member(shared: &Shared, raft: &Raft) -> Result<(), GroupError> {
    let me = shared.me;
    let asked = raft.with_raft_state(move |state| state.membership_state.effective().get_node(&me).is_some());
    match timeout(STEP, asked).await {
        Ok(Ok(true)) => Ok(()),
        Ok(Ok(false)) => Err(refused("this leader is no member of the group any more, and about to step down")),
        Ok(Err(error)) => Err(GroupError::Ended(error.to_string())),
        Err(_) => Err(GroupError::NoQuorum("the engine has not answered in time: its disc may hang".into())),
    }
}

/// Refuses voters of whom no majority has answered lately: once the change is in the log the group waits for them. One
/// that is new counts once it has answered as a learner, for which there is time until it has caught up.
fn ensure_heard(shared: &Shared, voters: &BTreeSet<VoterId>) -> Result<(), GroupError> {
    let heard = |voter: &&VoterId| **voter == shared.me || shared.has_answered_lately(**voter);
    let (count, needed) = (voters.iter().filter(heard).count(), voters.len() / 2 + 1);
    if count >= needed {
        return Ok(());
    }
    Err(refused(&format!("{count} of the {} that would vote have answered lately, {needed} are needed", voters.len())))
}

/// Commits one change. The caller holds `changing`.
async fn commit(shared: &Shared, raft: &Raft, change: Change, retain: bool) -> Result<(), GroupError> {
    ensure_member(shared, raft).await?;
    let unknown = |why: String| GroupError::Unknown(why);
    match timeout(STEP, raft.change_membership(change, retain)).await {
        Ok(Ok(_)) => Ok(()),
        Ok(Err(RaftError::APIError(ClientWriteError::ChangeMembershipError(error)))) => {
            Err(GroupError::Refused(error.to_string()))
        }
        // It may have been given to the log before the leadership was lost.
        Ok(Err(RaftError::APIError(ClientWriteError::ForwardToLeader(error)))) => Err(unknown(error.to_string())),
        Ok(Err(RaftError::Fatal(error))) => Err(unknown(error.to_string())),
        Err(_) => Err(unknown("no majority has answered in time".into())),
    }
}

#[expect(clippy::zero_sized_map_values, reason = "the engine wants a node for each voter, and ours are empty")]
pub(super) fn nodes(voters: impl IntoIterator<Item = VoterId>) -> BTreeMap<VoterId, EmptyNode> {
    voters.into_iter().map(|voter| (voter, EmptyNode::default())).collect()
}

/// Waits until these have all but the newest of the log.
async fn caught_up(
    shared: &Shared,
    raft: &Raft,
    voters: &BTreeSet<VoterId>,
    limit: Duration,
) -> Result<(), GroupError> {
    let mut metrics = raft.metrics();
    let behind = |metrics: &super::types::Metrics| {
        let last = metrics.last_log_index.unwrap_or(0);
        let matched = metrics.replication.as_ref()?;
        let has =
            |voter: &VoterId| matched.get(voter).copied().flatten().is_some_and(|id| id.index + BEHIND_MAX >= last);
        voters.iter().find(|voter| **voter != shared.me && !has(voter)).copied()
    };
    let ready = async {
        loop {
            let lost = metrics.borrow_and_update().replication.is_none();
            if lost {
                return Err(GroupError::Unknown("leadership was lost while new voters learned".into()));
            }
            if behind(&metrics.borrow()).is_none() {
                return Ok(());
            }
            if metrics.changed().await.is_err() {
                return Err(GroupError::Ended("the engine has ended".into()));
            }
        }
    };
    if let Ok(ready) = timeout(limit, ready).await {
        return ready;
    }
    let who = behind(&raft.metrics().borrow()).map_or_else(String::new, |voter| voter.to_string());
    Err(GroupError::NoQuorum(format!("the new voter {who} does not catch up")))
}

/// Whether the same nodes vote as before, some of them by a later start, in a group in which that is all there can be.
fn starts_again(group: GroupId, old: &BTreeSet<VoterId>, new: &BTreeSet<VoterId>) -> bool {
    let nodes = |voters: &BTreeSet<VoterId>| voters.iter().map(|voter| voter.node_id).collect::<BTreeSet<NodeId>>();
    matches!(group, GroupId::Volatile { .. }) && nodes(old) == nodes(new)
}

/// Makes these the voters.
pub(super) async fn change(shared: &Arc<Shared>, voters: BTreeSet<VoterId>) -> Result<(), GroupError> {
    let Ok(_one) = shared.changing.try_lock() else { return Err(refused("another change is under way")) };
    if voters.is_empty() {
        return Err(refused("a group needs a voter"));
    }
    let raft = leading(shared)?;
    let now = shared.standing().configuration.clone();
    let old: BTreeSet<VoterId> = now.all_voters().into_iter().collect();
    if now.voters.len() == 1 && old == voters {
        return Ok(());
    }
    let known = |voter: &&VoterId| !old.contains(voter) && !now.learners.contains(voter);
    let new: BTreeSet<VoterId> = voters.iter().filter(known).copied().collect();
    if !new.is_empty() {
        commit(shared, raft, Change::AddNodes(nodes(new.iter().copied())), true).await?;
    }
    let again = starts_again(shared.group, &old, &voters);
    let limit = if again { CATCH_UP_AGAIN } else { CATCH_UP };
    let learned = match caught_up(shared, raft, &voters.difference(&old).copied().collect(), limit).await {
        Err(error) if !(again && matches!(error, GroupError::NoQuorum(_))) => Err(error),
        _ => match ensure_heard(shared, &voters) {
            Ok(()) => commit(shared, raft, Change::ReplaceAllVoters(voters.clone()), false).await,
            Err(error) => Err(error),
        },
    };
    if matches!(learned, Err(GroupError::NoQuorum(_) | GroupError::Refused(_))) && !new.is_empty() {
        // As it was before: who was added for this change learns no more.
        commit(shared, raft, Change::RemoveNodes(new), false).await?;
    }
    learned
}

/// Makes these the learners.
pub(super) async fn learners(shared: &Arc<Shared>, learners: BTreeSet<VoterId>) -> Result<(), GroupError> {
    let Ok(_one) = shared.changing.try_lock() else { return Err(refused("another change is under way")) };
    let raft = leading(shared)?;
    let now = shared.standing().configuration.clone();
    let old: BTreeSet<VoterId> = now.learners.iter().copied().collect();
    let voters: BTreeSet<VoterId> = now.all_voters().into_iter().collect();
    if learners.iter().any(|learner| voters.contains(learner)) {
        return Err(refused("a voter cannot become a learner this way: change the voters"));
    }
    let new: BTreeSet<VoterId> = learners.difference(&old).copied().collect();
    if !new.is_empty() {
        commit(shared, raft, Change::AddNodes(nodes(new)), true).await?;
    }
    let gone: BTreeSet<VoterId> = old.difference(&learners).copied().collect();
    if gone.is_empty() { Ok(()) } else { commit(shared, raft, Change::RemoveNodes(gone), false).await }
}

/// Ends a joint change that an earlier leader has left, unless one is under way.
pub(super) fn finish(shared: &Arc<Shared>, configuration: &Configuration) {
    let [_, last] = &configuration.voters[..] else { return };
    let voters: BTreeSet<VoterId> = last.iter().copied().collect();
    if !configuration.committed || !shared.standing().leads {
        return;
    }
    let (task, left) = (shared.clone(), configuration.clone());
    shared.tasks.spawn(async move {
        let Ok(_one) = task.changing.try_lock() else { return };
        // Another change may have come between.
        if task.standing().configuration != left {
            return;
        }
        let Ok(raft) = leading(&task) else { return };
        let stop = task.stop.clone();
        tokio::select! {
            biased;
            () = stop.cancelled() => {}
            done = commit(&task, raft, Change::ReplaceAllVoters(voters), false) => if let Err(error) = done {
                tracing::debug!(group = ?task.group, err = %error, "the change of voters is not ended yet");
            }
        }
    });
}
