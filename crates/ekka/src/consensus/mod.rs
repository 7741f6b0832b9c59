//! The consensus port: what the node, the tables and the locks ask of a group, whatever engine is behind it.
//!
//! Nobody outside this module names the engine's types. Proposals of all callers are gathered into entries (at most
//! [`limits`](ekka_core::limits) each, one in flight), readers that wait share one round, and a replica that does not
//! lead passes both on to the one that does, one hop.

pub mod raft;

use std::collections::BTreeSet;
use std::sync::Arc;

use ekka_core::consensus::{LogPlace, Standing, VoterId};
use tokio::sync::watch;

use crate::env::BoxFuture;

/// A command that was committed and applied.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Applied {
    /// Where it stands.
    pub at: LogPlace,
    /// What the state machine answered.
    pub answer: Vec<u8>,
}

/// Why a group did not do what it was asked.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum GroupError {
    /// No leader is known, or none with a majority in reach answered in time. Nothing was given to any log.
    #[error("no majority of the voters is in reach: {0}")]
    NoQuorum(String),
    /// It was handed in, and no answer came: it may be committed, now or later, or never.
    #[error("no answer from the group: whether it was done is not known ({0})")]
    Unknown(String),
    /// Above the limit of one command.
    #[error("a command of {length} bytes, at most {limit} are taken")]
    TooLarge {
        /// Its length.
        length: usize,
        /// The limit.
        limit: usize,
    },
    /// Another change of the voters is under way, or this one makes no sense, in words. Nothing was changed.
    #[error("{0}")]
    Refused(String),
    /// This replica has ended.
    #[error("this node serves the group no more: {0}")]
    Ended(String),
}

impl GroupError {
    /// Whether it may have been done all the same.
    #[must_use]
    pub fn outcome_unknown(&self) -> bool {
        matches!(self, Self::Unknown(_))
    }

    /// Whether trying again can help.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        matches!(self, Self::NoQuorum(_) | Self::Unknown(_))
    }
}

/// One replica of one group, or a door to it.
pub trait Group: Send + Sync + 'static {
    /// Founds the group with exactly these voters, on a replica whose log is empty. All founders may call it, with the
    /// same set; on a replica that has a log it does nothing.
    ///
    /// # Errors
    /// `Refused`, `Ended`.
    fn found(&self, voters: BTreeSet<VoterId>) -> BoxFuture<'_, Result<(), GroupError>>;

    /// Has a command committed and applied on the leader. *Dropping the future does not undo.*
    ///
    /// # Errors
    /// See [`GroupError`].
    fn propose(&self, command: Vec<u8>) -> BoxFuture<'_, Result<Applied, GroupError>>;

    /// Waits until this replica has applied everything that was committed anywhere before this call (the read index of
    /// Raft, section 6.4 of Ongaro's thesis); what is read from its state then is linearizable. Gives the place up to
    /// which it had to wait. *Cancel safe.*
    ///
    /// # Errors
    /// `NoQuorum`, `Ended`.
    fn barrier(&self) -> BoxFuture<'_, Result<LogPlace, GroupError>>;

    /// On the leader: makes these the voters, by learner, catching up, and one joint change. Done when the last of it is
    /// committed; who is no voter any more learns no more.
    ///
    /// # Errors
    /// `Refused` (this replica does not lead, or another change is under way), `NoQuorum`, `Unknown`, `Ended`.
    fn change_voters(&self, voters: BTreeSet<VoterId>) -> BoxFuture<'_, Result<(), GroupError>>;

    /// Lets these learn beside the voters: replicas that are to be caught up, or to follow for ever.
    ///
    /// # Errors
    /// As for `change_voters`.
    fn set_learners(&self, learners: BTreeSet<VoterId>) -> BoxFuture<'_, Result<(), GroupError>>;

    /// Cuts the log: makes a snapshot now.
    ///
    /// # Errors
    /// `Ended`.
    fn snapshot(&self) -> BoxFuture<'_, Result<(), GroupError>>;

    /// On the leader: gives leadership to one of these voters that is caught up, as far as one is in reach; to any other
    /// voter where none is named.
    fn hand_over_to(&self, among: BTreeSet<VoterId>) -> BoxFuture<'_, ()>;

    /// The same, to any other voter.
    fn hand_over(&self) -> BoxFuture<'_, ()> {
        self.hand_over_to(BTreeSet::new())
    }

    /// What this replica knows, whenever it changes.
    fn standing(&self) -> watch::Receiver<Arc<Standing>>;

    /// Ends the replica; what it has promised stays on its disc.
    fn close(&self) -> BoxFuture<'_, ()>;
}
