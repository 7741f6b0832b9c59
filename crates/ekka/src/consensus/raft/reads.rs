//! Read rounds: the readers that wait when a round starts share it; one that comes later waits for the next, since a
//! round vouches only for what was committed before it started.

use std::sync::Arc;

use ekka_core::consensus::{LogPlace, VoterId};
use ekka_core::limits::{GROUP_LEADER_WAIT, GROUP_MAJORITY_SILENCE, GROUP_WAITING_MAX};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until, timeout, timeout_at};

use super::RaftGroup;
use super::message::{Reply, Request};
use super::proposer::{LOOK_AGAIN, Route};
use super::shared::Shared;
use super::types::place_or_start;
use crate::answers::{Answers, Asker, Offices};
use crate::consensus::Group;

/// A reader that waits for a round.
pub(super) struct Reader {
    hops: u8,
    since: Instant,
    asker: Asker<Place>,
}

/// Where a round says that the log was, or why there was none.
type Place = Result<LogPlace, String>;

/// Whether this replica leads that term in the eyes of a majority that was asked after this call. The barrier asks the
/// voters anew and costs no entry; the place that it gives is at or after the first entry of whoever was asked as the
/// leader, here or elsewhere, so its term is the one that was confirmed.
pub(crate) async fn leads(group: &RaftGroup, term: u64) -> bool {
    let Ok(at) = group.barrier().await else { return false };
    let standing = group.standing().borrow().clone();
    at.term == term && standing.term == term && standing.leader == Some(standing.me)
}

/// The way into the queue. Clones are handles to the same one.
#[derive(Clone)]
pub(super) struct Readers {
    waiting: mpsc::Sender<Reader>,
    offices: Offices<Place>,
}

pub(super) fn queue() -> (Readers, mpsc::Receiver<Reader>) {
    let (waiting, queue) = mpsc::channel(GROUP_WAITING_MAX);
    (Readers { waiting, offices: Offices::default() }, queue)
}

/// Makes round after round until the replica ends.
pub(super) async fn run(shared: Arc<Shared>, mut queue: mpsc::Receiver<Reader>) {
    let mut readers = Vec::new();
    loop {
        tokio::select! {
            biased;
            () = shared.stop.cancelled() => return,
            came = queue.recv_many(&mut readers, GROUP_WAITING_MAX) => if came == 0 { return },
        }
        tokio::select! {
            biased;
            () = shared.stop.cancelled() => return,
            () = serve(&shared, &mut readers) => {}
        }
    }
}

/// One round, for all who wait; tried again as long as one of them has time. Reading changes nothing, so that is safe.
async fn serve(shared: &Shared, readers: &mut Vec<Reader>) {
    let mut standing = shared.standing.subscribe();
    loop {
        readers.retain(|reader| !reader.asker.is_closed());
        let hops = readers.iter().map(|reader| reader.hops).max().unwrap_or(0);
        standing.mark_unchanged();
        let outcome = round(shared, hops).await;
        let mut answers = Answers::default();
        match outcome {
            Ok(at) => {
                readers.drain(..).for_each(|reader| answers.push(reader.asker, Ok(at)));
                return;
            }
            Err(why) => {
                let now = Instant::now();
                // Whoever asked this replica as the leader is told at once; others have time to find one.
                let over = |reader: &mut Reader| reader.hops == 0 || now >= reader.since + GROUP_LEADER_WAIT;
                readers.extract_if(.., over).for_each(|reader| answers.push(reader.asker, Err(why.clone())));
            }
        }
        drop(answers);
        if readers.is_empty() {
            return;
        }
        tokio::select! {
            biased;
            _ = standing.changed() => {}
            () = sleep_until(Instant::now() + LOOK_AGAIN) => {}
        }
    }
}

async fn round(shared: &Shared, hops: u8) -> Result<LogPlace, String> {
    if let Some(failed) = &shared.standing().failed {
        return Err(failed.clone());
    }
    match shared.route() {
        Route::Here => {
            let Some(raft) = shared.raft() else { return Err("the replica is starting".into()) };
            // An engine whose disc hangs answers nothing, and another voter leads by then.
            match timeout(GROUP_MAJORITY_SILENCE, raft.get_read_log_id()).await {
                Ok(Ok((read, _))) => Ok(place_or_start(read.as_ref())),
                Ok(Err(error)) => Err(error.to_string()),
                Err(_) => Err("this leader has not answered in time: its disc, or the others, are slow".into()),
            }
        }
        Route::To(voter, more) if hops > 0 => ask(shared, voter, more.min(hops - 1)).await,
        Route::To(leader, _) => Err(format!("not the leader: {leader} may be")),
        Route::Nobody => Err("no leader is known".into()),
    }
}

async fn ask(shared: &Shared, to: VoterId, hops: u8) -> Result<LogPlace, String> {
    let way = (shared.group, shared.me, to);
    match shared.router.ask(way, Request::ReadIndex { hops }, GROUP_MAJORITY_SILENCE).await {
        Ok(Reply::ReadIndex(Some(at))) => Ok(at),
        Ok(Reply::Failed(why)) => Err(why),
        Ok(_) => Err(format!("{to} gave a reply to something else")),
        Err(_) => Err(format!("no answer from {to}")),
    }
}

/// The place up to which a reader that comes now has to wait.
pub(super) async fn index(readers: &Readers, hops: u8) -> Result<LogPlace, String> {
    let since = Instant::now();
    let (asker, place) = readers.offices.ask();
    match timeout_at(since + GROUP_LEADER_WAIT, readers.waiting.send(Reader { hops, since, asker })).await {
        Ok(Ok(())) => place.await.unwrap_or_else(|_| Err("the replica has ended".into())),
        Ok(Err(_)) => Err("the replica has ended".into()),
        Err(_) => Err("too many readers wait already".into()),
    }
}

/// Waits until this replica has applied everything up to `at`.
pub(super) async fn applied(shared: &Shared, at: LogPlace) -> Result<(), String> {
    let mut applied = shared.applied.clone();
    let reached = applied.wait_for(|now| now.index >= at.index);
    match timeout_at(Instant::now() + GROUP_LEADER_WAIT, reached).await {
        Ok(Ok(_)) => Ok(()),
        Ok(Err(_)) => Err("the replica has ended".into()),
        Err(_) => Err(format!("this replica is behind: entry {} has not come", at.index)),
    }
}
