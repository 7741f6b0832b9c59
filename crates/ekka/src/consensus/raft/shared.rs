//! What the tasks of one replica share.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use ekka_core::consensus::campaign::Campaign;
use ekka_core::consensus::{GroupId, LogPlace, Standing, VoterId};
use ekka_core::id::NodeId;
use ekka_core::limits::GROUP_MAJORITY_SILENCE;
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::Faults;
use super::campaign::Event;
use super::gate::Gate;
use super::owed::Owed;
use super::router::Router;
use super::transfer::Transfers;
use super::types::Raft;
use crate::env::Clock;

/// One replica.
pub(super) struct Shared {
    pub(super) group: GroupId,
    pub(super) me: VoterId,
    pub(super) faults: Faults,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) router: Router,
    /// The engine, once it runs.
    pub(super) raft: OnceLock<Raft>,
    pub(super) standing: watch::Sender<Arc<Standing>>,
    pub(super) applied: watch::Receiver<LogPlace>,
    /// Up to where whoever keeps a copy of the state was told; read after `applied`.
    pub(super) told: Arc<Mutex<LogPlace>>,
    pub(super) events: mpsc::Sender<Event>,
    /// Up to then this leader is silent, since it hands over.
    pub(super) yielding: Mutex<Option<Instant>>,
    /// It hands over: commands wait for the next leader.
    pub(super) yielding_from_callers: Mutex<bool>,
    pub(super) witnesses: Mutex<BTreeSet<NodeId>>,
    /// What it gives to no log although it leads.
    pub(super) gate: OnceLock<Gate>,
    /// Held while the configuration or the leader is changed on purpose.
    pub(super) changing: tokio::sync::Mutex<()>,
    /// When a majority answered this leader last.
    pub(super) majority_at: Mutex<Option<Instant>>,
    /// When what each voter has answered last was asked of it.
    pub(super) answered: Mutex<BTreeMap<VoterId, Instant>>,
    /// What voters were not told yet. Where one has a place here a task waits to tell it.
    pub(super) owed: Mutex<BTreeMap<VoterId, Option<Owed>>>,
    pub(super) campaign: Mutex<Campaign>,
    pub(super) transfers: Transfers,
    pub(super) stop: CancellationToken,
    pub(super) tasks: TaskTracker,
}

/// Nothing that is guarded here is left half changed by a panic.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Shared {
    pub(super) fn raft(&self) -> Option<&Raft> {
        self.raft.get()
    }

    pub(super) fn is_yielding(&self) -> bool {
        lock(&self.yielding).is_some_and(|until| Instant::now() < until)
    }

    /// Whether a majority has answered this leader lately. A young leader has it on credit.
    pub(super) fn has_majority(&self) -> bool {
        lock(&self.majority_at).is_some_and(|at| at.elapsed() < GROUP_MAJORITY_SILENCE)
    }

    /// A voter has answered what this leader asked of it then. The engine counts answers too, but not of those to whom it
    /// sends a snapshot, which may take long.
    pub(super) fn note_answer(&self, from: VoterId, asked: Instant) {
        let mut answered = lock(&self.answered);
        answered.insert(from, asked);
        let standing = self.standing();
        let since = |at: Instant| {
            let heard = |voter| voter == self.me || answered.get(&voter).is_some_and(|last| *last >= at);
            standing.configuration.is_majority(heard)
        };
        let latest = answered.values().copied().filter(|at| since(*at)).max();
        let mut majority_at = lock(&self.majority_at);
        // None where it does not lead.
        if majority_at.is_some() {
            *majority_at = (*majority_at).max(latest);
        }
    }

    /// Whether a voter, or a learner, has answered this leader within the time after which a majority counts as silent.
    pub(super) fn has_answered_lately(&self, voter: VoterId) -> bool {
        lock(&self.answered).get(&voter).is_some_and(|at| at.elapsed() < GROUP_MAJORITY_SILENCE)
    }

    pub(super) fn standing(&self) -> Arc<Standing> {
        self.standing.borrow().clone()
    }
}
