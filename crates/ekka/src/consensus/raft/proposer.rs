//! Gathers the commands that wait into entries, and has them committed: here, or by the leader, one hop away.
//!
//! Nothing is ever tried again that may have been handed to a log: a command is applied once or its outcome is said to
//! be unknown.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use ekka_core::consensus::{LogPlace, VoterId};
use ekka_core::limits::{
    GROUP_ANSWER_TIMEOUT, GROUP_ENTRY_BYTES_MAX, GROUP_ENTRY_COMMANDS_MAX, GROUP_LEADER_WAIT, GROUP_WAITING_BYTES,
    GROUP_WAITING_MAX,
};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::time::{Instant, sleep_until, timeout_at};

use super::message::{Proposed, Reply, Request};
use super::router::NoReply;
use super::shared::{Shared, lock};
use super::types::{Batch, Blob, place};
use crate::answers::{Answers, Asker, Offices};
use crate::meeting::{Caller, Company, Meeting};

/// How long a replica without a leader waits before it looks again, where nothing tells it earlier.
pub(super) const LOOK_AGAIN: Duration = Duration::from_millis(50);

/// Commands that came together, from a caller here or from another replica.
pub(super) struct Waiting {
    pub(super) commands: Vec<Blob>,
    /// How often they may be passed on.
    pub(super) hops: u8,
    pub(super) since: Instant,
    pub(super) asker: Asker<Proposed>,
    caller: Caller,
    /// Of the bytes that may wait.
    _room: OwnedSemaphorePermit,
}

/// The way into the queue. Clones are handles to the same one.
#[derive(Clone)]
pub(super) struct Proposals {
    waiting: mpsc::Sender<Waiting>,
    /// In KiB.
    room: Arc<Semaphore>,
    company: Company,
    offices: Offices<Proposed>,
}

impl Proposals {
    /// The callers that there are.
    pub(super) fn company(&self) -> Company {
        self.company.clone()
    }
}

impl Waiting {
    fn bytes(&self) -> usize {
        self.commands.iter().map(|command| command.0.len()).sum()
    }

    /// Its answer is among those that are given out next. It is no caller from here on, so that it does not count twice
    /// where it comes back at once.
    fn answered(self, proposed: Proposed, answers: &mut Answers<Proposed>) {
        drop(self.caller);
        answers.push(self.asker, proposed);
    }
}

/// Who is to be asked.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Route {
    Here,
    /// This voter, who may pass it on so often.
    To(VoterId, u8),
    Nobody,
}

impl Shared {
    /// Who leads, as far as is known, and how to get there.
    pub(super) fn route(&self) -> Route {
        if *lock(&self.yielding_from_callers) {
            return Route::Nobody;
        }
        let now = self.clock.now().mono;
        let campaign = lock(&self.campaign);
        match (campaign.hears(now), campaign.relay(now)) {
            (Some((leader, _)), _) if leader == self.me => Route::Here,
            (Some((leader, _)), _) => Route::To(leader, 0),
            (None, Some((_, via))) => Route::To(via, 1),
            (None, None) => {
                drop(campaign);
                self.route_of_an_outsider()
            }
        }
    }

    /// Who is taken out of the group hears of no leader any more, and may have a last word to commit: its own removal.
    /// Some voter that it knew will pass that on.
    fn route_of_an_outsider(&self) -> Route {
        let standing = self.standing();
        let configuration = &standing.configuration;
        let voters = configuration.all_voters();
        if voters.is_empty() || configuration.has_voter(self.me) || configuration.learners.contains(&self.me) {
            return Route::Nobody;
        }
        let turn = self.router.next_number() % voters.len() as u64;
        usize::try_from(turn).map_or(Route::Nobody, |turn| Route::To(voters[turn], 1))
    }
}

/// The queue of a replica's proposer.
pub(super) fn queue() -> (Proposals, mpsc::Receiver<Waiting>) {
    let (waiting, queue) = mpsc::channel(GROUP_WAITING_MAX);
    let room = Arc::new(Semaphore::new(GROUP_WAITING_BYTES / 1024));
    (Proposals { waiting, room, company: Company::default(), offices: Offices::default() }, queue)
}

/// Works the queue off until the replica ends.
pub(super) async fn run(
    shared: Arc<Shared>,
    entries_in_flight: usize,
    company: Company,
    mut queue: mpsc::Receiver<Waiting>,
) {
    let in_flight = Arc::new(Semaphore::new(entries_in_flight.max(1)));
    let mut meeting = Meeting::new(company.clone());
    let mut left = None;
    loop {
        let permit = tokio::select! {
            biased;
            () = shared.stop.cancelled() => return,
            permit = in_flight.clone().acquire_owned() => permit.expect("the semaphore is never closed"),
        };
        let first = if let Some(first) = left.take() {
            first
        } else {
            tokio::select! {
                biased;
                () = shared.stop.cancelled() => return,
                first = queue.recv() => match first {
                    Some(first) => first,
                    None => return,
                },
            }
        };
        meeting.wait().await;
        let group = gather(first, &mut queue, &mut left);
        let (task, company) = (shared.clone(), company.clone());
        shared.tasks.spawn(async move {
            tokio::select! {
                biased;
                () = task.stop.cancelled() => {}
                () = carry(&task, group, permit, &company) => {}
            }
        });
    }
}

/// What goes into one entry: at least the first, then what fits. One that does not fit is left for the next.
fn gather(first: Waiting, queue: &mut mpsc::Receiver<Waiting>, left: &mut Option<Waiting>) -> Vec<Waiting> {
    let (mut bytes, mut commands) = (first.bytes(), first.commands.len());
    let hops = first.hops;
    let mut group = vec![first];
    while let Ok(next) = queue.try_recv() {
        bytes += next.bytes();
        commands += next.commands.len();
        if bytes > GROUP_ENTRY_BYTES_MAX || commands > GROUP_ENTRY_COMMANDS_MAX || next.hops != hops {
            *left = Some(next);
            break;
        }
        group.push(next);
    }
    group
}

/// Has the commands of one entry committed, and gives each caller its answers.
async fn carry(shared: &Shared, mut group: Vec<Waiting>, permit: OwnedSemaphorePermit, company: &Company) {
    // Nobody waits for it any more, and it was given to nobody.
    group.retain(|waiting| !waiting.asker.is_closed());
    let Some(since) = group.iter().map(|waiting| waiting.since).min() else { return };
    let hops = group[0].hops;
    let commands: Vec<Blob> = group.iter().flat_map(|waiting| waiting.commands.iter().cloned()).collect();
    let mut permit = Some(permit);
    let outcome = commit(shared, commands, hops, since + GROUP_LEADER_WAIT, &mut permit).await;
    // Before the next entry begins.
    company.note();
    drop(permit);
    let mut given = Answers::default();
    let Proposed::Done { at, answers } = outcome else {
        for waiting in group {
            waiting.answered(outcome.clone(), &mut given);
        }
        return;
    };
    let mut answers = answers.into_iter();
    for waiting in group {
        let answers = answers.by_ref().take(waiting.commands.len()).collect();
        waiting.answered(Proposed::Done { at, answers }, &mut given);
    }
}

async fn commit(
    shared: &Shared,
    commands: Vec<Blob>,
    hops: u8,
    deadline: Instant,
    permit: &mut Option<OwnedSemaphorePermit>,
) -> Proposed {
    let mut standing = shared.standing.subscribe();
    let mut why = String::from("no leader is known");
    loop {
        if let Some(failed) = &standing.borrow_and_update().failed {
            return Proposed::NotHanded(failed.clone());
        }
        let outcome = match shared.route() {
            Route::Here => lead(shared, commands.clone(), permit).await,
            // Whoever was asked as the leader, and is none, says so instead of asking further.
            Route::To(voter, more) if hops > 0 => forward(shared, (voter, more.min(hops - 1)), &commands, permit).await,
            Route::To(leader, _) => return Proposed::NotHanded(format!("not the leader: {leader} may be")),
            Route::Nobody if hops == 0 => return Proposed::NotHanded(why),
            Route::Nobody => Proposed::NotHanded(why),
        };
        match outcome {
            Proposed::NotHanded(reason) => why = reason,
            known => return known,
        }
        if Instant::now() >= deadline {
            return Proposed::NotHanded(why);
        }
        let again = deadline.min(Instant::now() + LOOK_AGAIN);
        tokio::select! {
            biased;
            _ = standing.changed() => {}
            () = sleep_until(again) => {}
        }
    }
}

/// Has commands committed by this replica, which leads, and answers those that its gate refuses.
async fn lead(shared: &Shared, mut commands: Vec<Blob>, permit: &mut Option<OwnedSemaphorePermit>) -> Proposed {
    let refusals = shared.gate.get().and_then(|gate| gate.refusals(&commands));
    let Some(refusals) = refusals else { return write(shared, commands, permit).await };
    let mut refused = refusals.iter().map(Option::is_some);
    commands.retain(|_| !refused.next().unwrap_or_default());
    let done = if commands.is_empty() {
        Proposed::Done { at: LogPlace::default(), answers: Vec::new() }
    } else {
        write(shared, commands, permit).await
    };
    // What became of the rest is said of all: of those that were refused it says less than is known, and nothing wrong.
    let Proposed::Done { at, answers } = done else { return done };
    let mut answers = answers.into_iter();
    let answers = refusals.into_iter().filter_map(|refusal| refusal.or_else(|| answers.next())).collect();
    Proposed::Done { at, answers }
}

/// Gives an entry to the engine of this replica, which leads.
async fn write(shared: &Shared, commands: Vec<Blob>, permit: &mut Option<OwnedSemaphorePermit>) -> Proposed {
    let Some(raft) = shared.raft() else { return Proposed::NotHanded("the replica is starting".into()) };
    let batch = Batch::new(commands);
    let handed = batch.handed();
    let lost = |why: String| {
        if handed.load(Ordering::Acquire) { Proposed::Unknown(why) } else { Proposed::NotHanded(why) }
    };
    let mut answer = match raft.client_write_ff(batch).await {
        Ok(answer) => answer,
        Err(fatal) => return lost(fatal.to_string()),
    };
    let deadline = Instant::now() + GROUP_ANSWER_TIMEOUT;
    let mut standing = shared.standing.subscribe();
    loop {
        tokio::select! {
            biased;
            answer = &mut answer => return match answer {
                Ok(Ok(done)) => Proposed::Done { at: place(&done.log_id), answers: done.data.0 },
                Ok(Err(error)) => lost(error.to_string()),
                Err(_) => lost("the engine has ended".into()),
            },
            changed = standing.changed(), if permit.is_some() => {
                // What this leader could not commit must not hold up those who now ask another one.
                if changed.is_err() || shared.route() != Route::Here {
                    permit.take();
                }
            }
            () = sleep_until(deadline) => return Proposed::Unknown("no majority has answered in time".into()),
        }
    }
}

/// Gives the commands to another voter. Once that one is not the way to the leader any more, those who come later are
/// not held up by it; once another leader is known, nor is whoever waits for its answer.
async fn forward(
    shared: &Shared,
    (to, hops): (VoterId, u8),
    commands: &[Blob],
    permit: &mut Option<OwnedSemaphorePermit>,
) -> Proposed {
    let request = Request::Propose { commands: commands.to_vec(), hops };
    // It answers in its own time, after which its answer helps nobody.
    let limit = GROUP_ANSWER_TIMEOUT + GROUP_LEADER_WAIT;
    let mut answer = std::pin::pin!(shared.router.ask((shared.group, shared.me, to), request, limit));
    loop {
        let answered = tokio::select! {
            biased;
            answered = &mut answer => answered,
            () = tokio::time::sleep(LOOK_AGAIN) => match shared.route() {
                Route::To(same, _) if same == to => continue,
                Route::Nobody => {
                    permit.take();
                    continue;
                }
                Route::Here | Route::To(..) => {
                    return Proposed::Unknown(format!("{to} was asked, and another voter leads since"));
                }
            },
        };
        return match answered {
            Ok(Reply::Proposed(proposed)) => proposed,
            Ok(_) => Proposed::Unknown(format!("{to} gave a reply to something else")),
            Err(NoReply::NotSent) => Proposed::NotHanded(format!("there is no link with {to}")),
            Err(NoReply::Silent) => Proposed::Unknown(format!("no answer from {to}")),
        };
    }
}

/// Puts commands into the queue and waits for what becomes of them.
pub(super) async fn propose(queue: &Proposals, commands: Vec<Blob>, hops: u8) -> Proposed {
    let since = Instant::now();
    let deadline = since + GROUP_LEADER_WAIT;
    let bytes: usize = commands.iter().map(|command| command.0.len()).sum();
    // More than there is in all waits for all of it.
    let room = u32::try_from(bytes.div_ceil(1024).clamp(1, GROUP_WAITING_BYTES / 1024)).unwrap_or(u32::MAX);
    let Ok(room) = timeout_at(deadline, queue.room.clone().acquire_many_owned(room)).await else {
        return Proposed::NotHanded("too many bytes of commands wait already".into());
    };
    let room = room.expect("the semaphore is never closed");
    let (asker, outcome) = queue.offices.ask();
    let waiting = Waiting { commands, hops, since, asker, caller: queue.company.one_more(), _room: room };
    match timeout_at(deadline, queue.waiting.send(waiting)).await {
        Ok(Ok(())) => {}
        Ok(Err(_)) => return Proposed::NotHanded("the replica has ended".into()),
        Err(_) => return Proposed::NotHanded("too many commands wait already".into()),
    }
    // The task that carries it may end with the replica after it was handed in.
    outcome.await.unwrap_or_else(|_| Proposed::Unknown("the replica has ended".into()))
}
