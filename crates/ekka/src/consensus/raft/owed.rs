//! Word of a commit goes with the next entries.
//!
//! The engine tells each voter of a commit by an append without entries, and sends that voter no entries before it is
//! answered: a round trip more for each entry. Such an append is answered here, with what the voter itself has just
//! said; what it was to say goes with the next append, or alone a moment later. That is a matter of when bytes move: a
//! voter learns a little later what is committed, as with a slower network.
//!
//! Rounds of readers, which want to hear the voter itself, come by clients of their own, and each of those begins with
//! a voter that has said nothing.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;

use ekka_core::consensus::VoterId;
use ekka_core::limits::{GROUP_COMMIT_FRESH, GROUP_COMMIT_LINGER};
use openraft::raft::AppendEntriesRequest;
use tokio::time::{Instant, sleep};

use super::message::{Body, Request};
use super::shared::{Shared, lock};
use super::types::{Id, Types, Vote};

type Append = AppendEntriesRequest<Types>;

/// What a voter was not told yet, since when.
pub(super) struct Owed {
    append: Append,
    since: Instant,
}

/// That a voter has taken an append.
pub(super) struct Said {
    vote: Vote,
    /// Up to there its log is the leader's.
    matching: Option<Id>,
    asked: Instant,
}

/// What one client knows of its voter.
#[derive(Default)]
pub(super) struct Heard {
    /// What it said last.
    said: Option<Said>,
    /// The last commit that was sent to it.
    told: Option<Id>,
}

impl Heard {
    /// Whether the voter can only say to this what it has just said.
    fn knows(&self, append: &Append) -> bool {
        let says = self.said.as_ref().is_some_and(|said| {
            said.vote == append.vote && said.matching == append.prev_log_id && said.asked.elapsed() < GROUP_COMMIT_FRESH
        });
        says && append.entries.is_empty() && append.leader_commit > self.told
    }

    /// This is sent; what it will be if the voter takes it.
    pub(super) fn sends(&mut self, append: &Append, asked: Instant) -> Said {
        self.told = append.leader_commit;
        self.said = None;
        let matching = append.entries.last().map(|entry| entry.log_id).or(append.prev_log_id);
        Said { vote: append.vote, matching, asked }
    }

    /// The voter has taken what was sent.
    pub(super) fn took(&mut self, said: Said) {
        self.said = Some(said);
    }
}

/// Puts an append off that only tells of a commit; false where it has to be sent now.
pub(super) fn put_off(shared: &Arc<Shared>, to: VoterId, heard: &Heard, append: &Append) -> bool {
    if !heard.knows(append) {
        if let Some(waiting) = lock(&shared.owed).get_mut(&to) {
            // A round of readers may have been made up before the commit that is put off.
            waiting.take_if(|owed| owed.append.leader_commit <= append.leader_commit);
        }
        return false;
    }
    let owed = Some(Owed { append: append.clone(), since: Instant::now() });
    match lock(&shared.owed).entry(to) {
        Entry::Occupied(mut waiting) => *waiting.get_mut() = owed,
        Entry::Vacant(none) => {
            none.insert(owed);
            let task = shared.clone();
            shared.tasks.spawn(async move {
                tokio::select! {
                    biased;
                    () = task.stop.cancelled() => {}
                    () = later(&task, to) => {}
                }
            });
        }
    }
    true
}

/// Sends what a voter is owed, once nothing else has gone to it for a moment.
async fn later(shared: &Shared, to: VoterId) {
    loop {
        let left = left(&mut lock(&shared.owed), to);
        match left {
            ControlFlow::Continue(left) => sleep(left).await,
            ControlFlow::Break(owed) => return send(shared, to, owed),
        }
    }
}

/// How long it is to wait, or what is to be sent now: the task that asks waits no more.
fn left(all: &mut BTreeMap<VoterId, Option<Owed>>, to: VoterId) -> ControlFlow<Option<Owed>, Duration> {
    let since = all.get(&to).and_then(|owed| owed.as_ref()).map(|owed| owed.since);
    let left = since.and_then(|since| GROUP_COMMIT_LINGER.checked_sub(since.elapsed()));
    match left.filter(|left| !left.is_zero()) {
        Some(left) => ControlFlow::Continue(left),
        None => ControlFlow::Break(all.remove(&to).flatten()),
    }
}

/// Sends what a voter is owed before anything that is sent after this.
pub(super) fn now(shared: &Shared, to: VoterId) {
    let owed = lock(&shared.owed).get_mut(&to).and_then(Option::take);
    send(shared, to, owed);
}

/// Sends what all voters are owed: this leader is about to fall silent, or to end.
pub(super) fn all_now(shared: &Shared) {
    let voters: Vec<_> = lock(&shared.owed).keys().copied().collect();
    for to in voters {
        now(shared, to);
    }
}

/// Nobody waits for its answer; if this is lost, the next sign of life tells it.
fn send(shared: &Shared, to: VoterId, owed: Option<Owed>) {
    // One that hands over is silent.
    if let Some(Owed { append: rpc, .. }) = owed.filter(|_| !shared.is_yielding()) {
        let append = Request::Append { rpc, has_majority: shared.has_majority() };
        let body = Body::Request(shared.router.next_number(), append);
        let _ = shared.router.send(shared.group, shared.me, to, body);
    }
}
