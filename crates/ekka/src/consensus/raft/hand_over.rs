//! Leadership from one voter to another without waiting for silence.
//!
//! The engine has no message for it. The leader stops taking commands, waits until the other has its whole log, falls
//! silent so that leases end, and asks the other to campaign with its permission; the voters grant that. If nothing
//! comes of it the leader speaks again, and leads on.
//!
//! Whole means whole: the leader does not vote for a log that lacks one entry of its own, and says nothing more that
//! could bring it. A command that was on its way to the engine when commands were stopped would be such an entry, so the
//! end of the log is asked for in the engine's own task, and again once the leader is silent.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use ekka_core::consensus::{LogPlace, VoterId};
use openraft::ServerState;
use tokio::sync::mpsc::error::TrySendError;
use tokio::time::{Instant, sleep, timeout};

use super::campaign::Event;
use super::log::LogStore;
use super::message::{Body, Notice};
use super::owed;
use super::shared::{Shared, lock};
use super::types::{Metrics, Raft, place_or_start};

/// Time for the other to get the rest of the log.
const CATCH_UP: Duration = Duration::from_millis(500);
/// How often it is looked who could lead.
const LOOK_AGAIN: Duration = Duration::from_millis(50);
/// Time for its election.
const ELECTION: Duration = Duration::from_millis(1_500);

/// Speaks again, however the hand-over ends.
struct Yielding<'a> {
    shared: &'a Arc<Shared>,
}

impl Drop for Yielding<'_> {
    fn drop(&mut self) {
        *lock(&self.shared.yielding) = None;
        // Not lost where the queue is full: a leader that says for ever that it yields is no leader to anybody.
        if let Err(TrySendError::Full(event)) = self.shared.events.try_send(Event::Yielding(None)) {
            let events = self.shared.events.clone();
            self.shared.tasks.spawn(async move { events.send(event).await });
        }
    }
}

/// Of these voters, of all where none is named, the one that is nearest to this leader's log, and has answered lately. A core
/// voter is waited for a little; a witness would hand over again.
pub(super) async fn best(shared: &Shared, raft: &Raft, among: &BTreeSet<VoterId>) -> Option<VoterId> {
    let witnesses = lock(&shared.witnesses).clone();
    let is_core = |voter: &VoterId| !witnesses.contains(&voter.node_id);
    let until = Instant::now() + CATCH_UP;
    loop {
        let metrics = raft.metrics().borrow().clone();
        let matched = metrics.replication.as_ref()?;
        let voters: BTreeSet<VoterId> = metrics.membership_config.membership().voter_ids().collect();
        let may = |voter: &VoterId| *voter != shared.me && (among.is_empty() || among.contains(voter));
        let heard: Vec<VoterId> =
            voters.iter().copied().filter(|voter| may(voter) && shared.has_answered_lately(*voter)).collect();
        let best = heard.into_iter().max_by_key(|voter| (is_core(voter), matched.get(voter).copied().flatten()));
        let cores = voters.iter().any(|voter| may(voter) && is_core(voter));
        if Instant::now() >= until || best.is_some_and(|best| is_core(&best) || !cores) {
            return best;
        }
        sleep(LOOK_AGAIN).await;
    }
}

/// Hands over to this voter, where it can be done.
pub(super) async fn to(shared: &Arc<Shared>, log: &LogStore, to: VoterId) {
    let Some(raft) = shared.raft() else { return };
    let Ok(_one) = shared.changing.try_lock() else { return };
    let mut metrics = raft.metrics();
    if !leads(&metrics.borrow()) {
        return;
    }
    let term = metrics.borrow().current_term;
    // Commands wait from here on; those under way still go to the others.
    *lock(&shared.yielding_from_callers) = true;
    let _callers = Callers { shared };
    let Ok(Some(_speak)) = timeout(CATCH_UP, fall_silent(shared, raft, log, to)).await else { return };
    if shared.events.send(Event::Yielding(Some(to))).await.is_err() {
        return;
    }
    if !shared.router.send(shared.group, shared.me, to, Body::Notice(Notice::TakeOver { term })) {
        return;
    }
    let _ = timeout(ELECTION, metrics.wait_for(|metrics| !leads(metrics))).await;
}

fn leads(metrics: &Metrics) -> bool {
    metrics.state == ServerState::Leader
}

/// Waits until the other has all of this leader's log, and falls silent; `None` where it leads no more.
async fn fall_silent<'a>(shared: &'a Arc<Shared>, raft: &Raft, log: &LogStore, to: VoterId) -> Option<Yielding<'a>> {
    let mut metrics = raft.metrics();
    let silent = Yielding { shared };
    let mut last = written(raft, log).await?;
    loop {
        let has_all = |metrics: &Metrics| {
            let at = metrics.replication.as_ref().and_then(|matched| matched.get(&to)?.as_ref());
            !leads(metrics) || place_or_start(at) >= last
        };
        if !leads(&*metrics.wait_for(has_all).await.ok()?) {
            return None;
        }
        owed::all_now(shared);
        *lock(&shared.yielding) = Some(Instant::now() + ELECTION);
        let now = written(raft, log).await?;
        if now == last {
            return Some(silent);
        }
        // It speaks again: somebody came between.
        *lock(&shared.yielding) = None;
        last = now;
    }
}

/// The end of the log, with all that was given to the engine until now: it takes one thing after the other.
async fn written(raft: &Raft, log: &LogStore) -> Option<LogPlace> {
    raft.with_raft_state(|_| ()).await.ok()?;
    Some(log.last())
}

/// Lets commands pass again.
struct Callers<'a> {
    shared: &'a Shared,
}

impl Drop for Callers<'_> {
    fn drop(&mut self) {
        *lock(&self.shared.yielding_from_callers) = false;
    }
}
