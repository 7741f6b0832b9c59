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
    append: Box<Append>,
    since: Instant,
}

/// What one client knows of its voter.
#[derive(Default)]
pub(super) struct Heard {
    /// What it said last: under which vote, up to where its log is the leader's, and when it was asked.
    said: Option<(Vote, Option<Id>, Instant)>,
    /// The last commit that was sent to it.
    told: Option<Id>,
}

impl Heard {
    /// Whether the voter can only say to this what it has just said.
    fn knows(&self, append: &Append) -> bool {
        let says = self.said.as_ref().is_some_and(|(vote, matching, asked)| {
            *vote == append.vote && *matching == append.prev_log_id && asked.elapsed() < GROUP_COMMIT_FRESH
        });
        says && append.entries.is_empty() && append.leader_commit > self.told
    }

    /// This is sent; what it will be if the voter takes it.
    pub(super) fn sends(&mut self, append: &Append, asked: Instant) -> (Vote, Option<Id>, Instant) {
        self.told = append.leader_commit;
        self.said = None;
        let last = append.entries.last().map(|entry| entry.log_id).or(append.prev_log_id);
        (append.vote, last, asked)
    }

    /// The voter has taken what was sent.
    pub(super) fn took(&mut self, said: (Vote, Option<Id>, Instant)) {
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
    let owed = Some(Owed { append: Box::new(append.clone()), since: Instant::now() });
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
            Ok(left) => sleep(left).await,
            Err(owed) => return send(shared, to, owed),
        }
    }
}

/// How long it is to wait, or what is to be sent now: the task that asks waits no more.
fn left(all: &mut BTreeMap<VoterId, Option<Owed>>, to: VoterId) -> Result<Duration, Option<Owed>> {
    let since = all.get(&to).and_then(|owed| owed.as_ref()).map(|owed| owed.since);
    let left = since.and_then(|since| GROUP_COMMIT_LINGER.checked_sub(since.elapsed()));
    left.filter(|left| !left.is_zero()).ok_or_else(|| all.remove(&to).flatten())
}

/// Sends what a voter is owed before anything that is sent after this.
pub(super) fn now(shared: &Shared, to: VoterId) {
    let owed = lock(&shared.owed).get_mut(&to).and_then(Option::take);
    send(shared, to, owed);
}

/// Sends what all voters are owed: this leader is about to fall silent, or to end.
pub(super) fn all_now(shared: &Shared) {
    let owed: Vec<_> = lock(&shared.owed).iter_mut().map(|(to, owed)| (*to, owed.take())).collect();
    for (to, owed) in owed {
        send(shared, to, owed);
    }
}

/// Nobody waits for its answer; if this is lost, the next sign of life tells it.
fn send(shared: &Shared, to: VoterId, owed: Option<Owed>) {
    // One that hands over is silent.
    if let Some(Owed { append: rpc, .. }) = owed.filter(|_| !shared.is_yielding()) {
        let append = Request::Append { rpc: *rpc, has_majority: shared.has_majority() };
        let body = Body::Request(shared.router.next_number(), append);
        let _ = shared.router.send(shared.group, shared.me, to, body);
    }
}
