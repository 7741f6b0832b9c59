//! Answers nodes that have no replica of a group, from the one that this node has.
//!
//! Only from a replica of its own, never from what it follows itself: a question goes one hop, and the replica's own
//! way to the leader is the next.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use ekka_core::table::PageLimits;
use ekka_core::table::quorum::{Mark, Octets, Pieces};
use tokio::time::{Instant, timeout};

use super::here::{Here, Replica};
use super::wire::{ASK, Ask, Told, WAIT, What};
use crate::consensus::GroupError;
use crate::rpc::{Caller, Handlers};

/// States that are given out at once. One more takes the place of the one that was asked for least lately.
const BEGUN_MAX: usize = 8;
/// One that nobody has asked for so long is given out no more.
const BEGUN_KEPT: Duration = Duration::from_secs(30);
/// What one answer may hold, but for the one revision that ends it.
const NEWS: PageLimits = PageLimits { rows: 4_096, bytes: 1024 * 1024 };

/// Gives out what this node's replicas hold.
struct Lender {
    here: Arc<Here>,
    begun: Mutex<Begun>,
}

#[derive(Default)]
struct Begun {
    last: u64,
    states: BTreeMap<u64, State>,
}

/// A state that is being given out.
struct State {
    pieces: Pieces,
    next: u32,
    asked: Instant,
}

impl Begun {
    /// Drops what nobody asks for any more: each is all rows as they were.
    fn forget(&mut self) {
        self.states.retain(|_, state| state.asked.elapsed() < BEGUN_KEPT);
    }
}

/// Adds what other nodes ask of the replicas here.
pub(crate) fn lend(handlers: Handlers, here: Arc<Here>) -> Handlers {
    let lender = Arc::new(Lender { here, begun: Mutex::default() });
    handlers.serve(&ASK, move |caller: Caller, ask: Ask| {
        let lender = lender.clone();
        async move { Ok(lender.answer(&caller, ask).await) }
    })
}

impl Lender {
    async fn answer(&self, caller: &Caller, Ask { storage, what }: Ask) -> Told {
        let not = |words: &str| Told::Not(words.to_owned());
        if let What::Piece { number, piece } = what {
            return self.piece(number, piece);
        }
        self.begun.lock().unwrap_or_else(PoisonError::into_inner).forget();
        let Some(replica) = self.here.own(storage) else { return not("this node has no replica of the group") };
        let history = match &what {
            What::After { history, .. } | What::Barrier { history } | What::Propose { history, .. } => Some(history),
            What::All | What::Piece { .. } => None,
        };
        let is_other = history.is_some_and(|history| **history != *replica.history);
        match what {
            What::After { .. } if is_other => Told::Anew,
            _ if is_other => not("this node's replica is of another generation of the group"),
            What::After { mark, .. } => after(&replica, mark).await,
            What::All => self.begin(&replica),
            What::Piece { number, piece } => self.piece(number, piece),
            What::Barrier { .. } => barrier(&replica).await,
            What::Propose { command, .. } => match replica.group() {
                Some(group) => match timeout(caller.time_left(), group.propose(command.0)).await {
                    Ok(Ok(applied)) => Told::Applied { at: applied.at, answer: Octets(applied.answer) },
                    Ok(Err(GroupError::Unknown(words))) => Told::Unknown(words),
                    Ok(Err(error)) => Told::Not(words_of(error)),
                    Err(_) => not_in_time(),
                },
                None => not(ENDED),
            },
        }
    }

    fn begin(&self, replica: &Replica) -> Told {
        if !is_led(replica) {
            return Told::Not(UNLED.into());
        }
        let pieces = replica.rows.view().pieces();
        let mut begun = self.begun.lock().unwrap_or_else(PoisonError::into_inner);
        begun.forget();
        while begun.states.len() >= BEGUN_MAX {
            let oldest = begun.states.iter().min_by_key(|(_, state)| state.asked).map(|(number, _)| *number);
            oldest.and_then(|oldest| begun.states.remove(&oldest));
        }
        begun.last += 1;
        let number = begun.last;
        begun.states.insert(number, State { pieces, next: 0, asked: Instant::now() });
        Told::Begun { number, cluster: replica.cluster, history: replica.history.to_string() }
    }

    fn piece(&self, number: u64, piece: u32) -> Told {
        let mut begun = self.begun.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(mut state) = begun.states.remove(&number).filter(|state| state.next == piece) else {
            return Told::Not("this state is not given out any more".into());
        };
        // It is written without the lock: others have states of their own.
        drop(begun);
        let bytes = state.pieces.next();
        if bytes.is_some() {
            (state.next, state.asked) = (piece + 1, Instant::now());
            let mut begun = self.begun.lock().unwrap_or_else(PoisonError::into_inner);
            begun.states.insert(number, state);
        }
        Told::Piece(bytes.map(Octets))
    }
}

const ENDED: &str = "the replica there has ended";
const UNLED: &str = "no leader is known there";

fn not_in_time() -> Told {
    Told::Unknown("the group has not answered in time".into())
}

/// The words of an error after which nothing was done, without those that say what kind it is.
fn words_of(error: GroupError) -> String {
    match error {
        GroupError::NoQuorum(words) | GroupError::Ended(words) => words,
        other => other.to_string(),
    }
}

/// Whether the group works, as far as its replica knows.
pub(super) fn is_led(replica: &Replica) -> bool {
    replica.group().is_some_and(|group| {
        let standing = group.standing();
        let standing = standing.borrow();
        standing.leader.is_some() && standing.failed.is_none()
    })
}

async fn after(replica: &Replica, mark: Mark) -> Told {
    let mut marks = replica.rows.changes();
    // An error says that it has ended, and the standing is looked at below.
    let _ = timeout(WAIT, marks.wait_for(|now| *now != mark)).await;
    let Some(group) = replica.group() else { return Told::Not(ENDED.into()) };
    let standing = group.standing().borrow().clone();
    let Some(leader) = standing.leader.filter(|_| standing.failed.is_none()) else { return Told::Not(UNLED.into()) };
    let delta = replica.rows.read().delta(mark, NEWS);
    match delta {
        Ok(delta) => Told::News { delta, leader: Some(leader.node_id), voters: standing.configuration.voters.clone() },
        // It may only be a little behind the one that was followed before.
        Err(_) if replica.rows.view().mark().revision < mark.revision => Told::Not("it is behind".into()),
        Err(_) => Told::Anew,
    }
}

async fn barrier(replica: &Replica) -> Told {
    let Some(group) = replica.group() else { return Told::Not(ENDED.into()) };
    match group.barrier().await {
        Ok(_) => Told::At(replica.rows.view().mark()),
        Err(error) => Told::Not(words_of(error)),
    }
}
