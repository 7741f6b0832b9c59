//! A door to a group of which this node has no replica, or one that is cut off: commands and barriers go to nodes that
//! have one, over calls.
//!
//! What may have been handed to the group anywhere is never given to another node.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use ekka_core::consensus::{LogPlace, Standing, VoterId};
use ekka_core::id::NodeId;
use ekka_core::limits::{GROUP_ANSWER_TIMEOUT, GROUP_COMMAND_MAX, GROUP_LEADER_WAIT};
use ekka_core::table::quorum::Octets;
use tokio::sync::watch;
use tokio::time::timeout;

use super::rows::Rows;
use super::wire::{Lane, Told, What};
use crate::consensus::{Applied, Group, GroupError};
use crate::env::BoxFuture;

/// How long one node may take to answer a command. It has its own time to find a leader, and for the leader to answer.
const PROPOSED: Duration = Duration::from_secs(GROUP_ANSWER_TIMEOUT.as_secs() + GROUP_LEADER_WAIT.as_secs() + 1);
/// Nodes that are asked, one after the other.
const ASKED_MAX: usize = 3;

/// A door to one history of a group.
pub(super) struct Door {
    lane: Lane,
    history: String,
    /// Who is asked, the best first.
    whom: Mutex<Vec<NodeId>>,
    /// What is followed: readers wait for it.
    rows: Arc<Rows>,
    standing: watch::Sender<Arc<Standing>>,
}

impl Door {
    pub(super) fn new(lane: Lane, history: String, rows: Arc<Rows>) -> Self {
        let standing = watch::Sender::new(Arc::default());
        Self { lane, history, whom: Mutex::default(), rows, standing }
    }

    /// These are to be asked from now on, the best first.
    pub(super) fn asks(&self, mut whom: Vec<NodeId>) {
        whom.truncate(ASKED_MAX);
        *self.whom.lock().unwrap_or_else(PoisonError::into_inner) = whom;
    }

    /// Who votes, as a replica says.
    pub(super) fn votes(&self, voters: Vec<Vec<VoterId>>) {
        self.standing.send_if_modified(|standing| {
            let changed = standing.configuration.voters != voters;
            if changed {
                Arc::make_mut(standing).configuration.voters = voters;
            }
            changed
        });
    }

    fn whom(&self) -> Vec<NodeId> {
        self.whom.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    async fn propose_now(&self, command: Vec<u8>) -> Result<Applied, GroupError> {
        if command.len() > GROUP_COMMAND_MAX {
            return Err(GroupError::TooLarge { length: command.len(), limit: GROUP_COMMAND_MAX });
        }
        let mut why = NOBODY.to_owned();
        for node in self.whom() {
            let what = What::Propose { history: self.history.clone(), command: Octets(command.clone()) };
            match self.lane.ask(node, what, PROPOSED).await {
                Ok(Told::Applied { at, answer }) => return Ok(Applied { at, answer: answer.0 }),
                Ok(Told::Not(words)) => why = words,
                Ok(Told::Unknown(words)) => return Err(GroupError::Unknown(words)),
                Ok(_) => return Err(GroupError::Unknown(format!("{node} gave an answer to something else"))),
                Err(error) if error.outcome_unknown() => return Err(GroupError::Unknown(error.to_string())),
                Err(error) => why = error.to_string(),
            }
        }
        Err(GroupError::NoQuorum(why))
    }

    async fn barrier_now(&self) -> Result<LogPlace, GroupError> {
        let mut why = NOBODY.to_owned();
        for node in self.whom() {
            let what = What::Barrier { history: self.history.clone() };
            match self.lane.ask(node, what, GROUP_ANSWER_TIMEOUT).await {
                Ok(Told::At(mark)) => {
                    let mut marks = self.rows.changes();
                    let here = marks.wait_for(|now| now.reaches(&mark));
                    return match timeout(GROUP_LEADER_WAIT, here).await {
                        // Where in the log that is nobody here knows, and nobody asks.
                        Ok(Ok(_)) => Ok(LogPlace::default()),
                        _ => Err(GroupError::NoQuorum("what was committed last has not come to this node".into())),
                    };
                }
                Ok(Told::Not(words)) => why = words,
                Ok(_) => why = format!("{node} gave an answer to something else"),
                Err(error) => why = error.to_string(),
            }
        }
        Err(GroupError::NoQuorum(why))
    }
}

const NOBODY: &str = "no node with a replica of the group is in reach";

fn no_replica<T: Send>() -> BoxFuture<'static, Result<T, GroupError>> {
    Box::pin(async { Err(GroupError::Refused("this node has no replica of the group".into())) })
}

impl Group for Door {
    fn found(&self, _: BTreeSet<VoterId>) -> BoxFuture<'_, Result<(), GroupError>> {
        no_replica()
    }

    fn propose(&self, command: Vec<u8>) -> BoxFuture<'_, Result<Applied, GroupError>> {
        Box::pin(self.propose_now(command))
    }

    fn barrier(&self) -> BoxFuture<'_, Result<LogPlace, GroupError>> {
        Box::pin(self.barrier_now())
    }

    fn change_voters(&self, _: BTreeSet<VoterId>) -> BoxFuture<'_, Result<(), GroupError>> {
        no_replica()
    }

    fn set_learners(&self, _: BTreeSet<VoterId>) -> BoxFuture<'_, Result<(), GroupError>> {
        no_replica()
    }

    fn snapshot(&self) -> BoxFuture<'_, Result<(), GroupError>> {
        no_replica()
    }

    fn hand_over_to(&self, _: BTreeSet<VoterId>) -> BoxFuture<'_, ()> {
        Box::pin(async {})
    }

    fn standing(&self) -> watch::Receiver<Arc<Standing>> {
        self.standing.subscribe()
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        Box::pin(async {})
    }
}
