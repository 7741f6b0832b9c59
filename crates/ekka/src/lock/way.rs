//! The way to the desk of a node: for its programs, its replica, and other nodes.

use std::ops::Range;
use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};
use std::time::Duration;

use ekka_core::consensus::Standing;
use ekka_core::id::{Incarnation, NodeId};
use ekka_core::lock::{Answer, Command, LockName, Message, SessionId};
use ekka_core::schema::Storage;
use ekka_core::time::Instant;
use ekka_core::view::View;
use tokio::sync::{mpsc, oneshot, watch};

use super::asking::commit;
use super::ledger::{Book, News};
use super::sessions::{Done, Wanted};
use super::wire::{ASK, Ask as Question, Happened, Told};
use super::{LockError, list};
use crate::consensus::GroupError;
use crate::consensus::raft::RaftGroup;
use crate::env::{BoxFuture, Clock};
use crate::rpc::{Caller, Handlers, Hub};
use crate::table::Here;

/// Takes a range of tokens from the durable group.
pub(crate) type Take = Arc<dyn Fn(u64) -> BoxFuture<'static, Result<Range<u64>, String>> + Send + Sync>;

/// What comes in.
pub(crate) enum Ask {
    Acquire(Wanted),
    /// The future was dropped, or ran out of time.
    GiveUp(u64),
    Release(u64, Option<Done>),
    /// Of whom a request waits, or why it cannot be asked.
    What(u64, oneshot::Sender<WaitsFor>),
    /// The opening of a session was answered.
    Opened {
        session: SessionId,
        result: Result<Answer, GroupError>,
        asked: Instant,
    },
    Acquired {
        session: SessionId,
        number: u64,
        result: Result<Answer, GroupError>,
    },
    Released {
        number: u64,
        result: Result<Answer, GroupError>,
    },
    Ledger(News),
    /// This replica runs from now on, or none.
    Serves(Option<(u64, Weak<RaftGroup>, Book)>),
    Stands(u64, Arc<Standing>),
    Confirmed {
        generation: u64,
        round: u64,
        ok: bool,
    },
    /// Another node asks.
    Asked {
        from: NodeId,
        message: Message,
        reply: oneshot::Sender<Told>,
    },
    Happened(Vec<Happened>),
    /// Another node answers.
    Answered(Message),
    TokensEnded(u64),
    /// That this start of the node has begun is committed, or is not.
    Started(Incarnation, bool),
}

/// Of whom a request waits, where that is known, or why it could not be asked.
pub(super) type WaitsFor = ((Option<LockName>, Option<String>), Option<LockError>);

/// The way to the desk.
pub(crate) struct Locks {
    pub(super) to: mpsc::UnboundedSender<Ask>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) last: Mutex<u64>,
    pub(super) max_ttl: Duration,
    pub(super) hub: Arc<Hub>,
    pub(super) here: Arc<Here>,
    pub(super) views: watch::Receiver<Arc<View>>,
    pub(super) book: Mutex<Option<(Weak<RaftGroup>, Book)>>,
}

impl Locks {
    pub(super) fn tell(&self, ask: Ask) -> Result<(), LockError> {
        self.to.send(ask).map_err(|_| LockError::Stopping)
    }

    pub(super) fn now(&self) -> Instant {
        self.clock.now().mono
    }

    pub(super) fn max_ttl(&self) -> Duration {
        self.max_ttl
    }

    pub(super) async fn what_of(&self, number: u64) -> (Option<LockName>, Option<String>, Option<LockError>) {
        let (reply, answer) = oneshot::channel();
        if self.tell(Ask::What(number, reply)).is_err() {
            return (None, None, Some(LockError::Stopping));
        }
        let ((name, holder), why) = answer.await.unwrap_or(((None, None), Some(LockError::Stopping)));
        (name, holder, why)
    }

    /// This replica of the volatile group serves from now on, or none.
    pub(crate) fn serves(&self, replica: Option<(u64, &Arc<RaftGroup>, Book)>) {
        let replica = replica.map(|(generation, group, book)| (generation, Arc::downgrade(group), book));
        *self.book.lock().unwrap_or_else(PoisonError::into_inner) =
            replica.as_ref().map(|(_, group, book)| (group.clone(), book.clone()));
        let _ = self.tell(Ask::Serves(replica));
    }

    /// The replica that serves, and its state.
    pub(super) fn book(&self) -> Option<(Arc<RaftGroup>, Book)> {
        let book = self.book.lock().unwrap_or_else(PoisonError::into_inner);
        book.as_ref().and_then(|(group, book)| Some((group.upgrade()?, book.clone())))
    }

    /// Has a command committed.
    pub(super) async fn commit(&self, command: Command) -> Result<Answer, GroupError> {
        commit(self.here.group(Storage::Ram), command).await
    }

    pub(super) fn hub(&self) -> Arc<Hub> {
        self.hub.clone()
    }

    /// Who votes, as far as this node knows.
    pub(super) fn voters(&self) -> Vec<NodeId> {
        self.views.borrow().volatile.voters.clone()
    }

    /// Tells the desk of a request, under the next number: what comes first has the smaller one.
    pub(super) fn acquire(&self, ask: impl FnOnce(u64) -> Ask) -> Result<u64, LockError> {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        *last += 1;
        self.tell(ask(*last)).map(|()| *last)
    }

    pub(crate) fn stands(&self, generation: u64, standing: Arc<Standing>) {
        let _ = self.tell(Ask::Stands(generation, standing));
    }
}

/// Adds what other nodes ask of a desk. Which one is said later.
pub(crate) fn serve(handlers: Handlers, desk: Arc<OnceLock<Weak<Locks>>>) -> Handlers {
    handlers.serve(&ASK, move |caller: Caller, question: Question| {
        let locks = desk.get().and_then(Weak::upgrade);
        async move {
            let Some(locks) = locks else { return Ok(Told::Not) };
            Ok(match question {
                Question::Renew(message) => {
                    let (reply, answer) = oneshot::channel();
                    let from = caller.node_id();
                    match locks.tell(Ask::Asked { from, message, reply }) {
                        Ok(()) => answer.await.unwrap_or(Told::Not),
                        Err(_) => Told::Not,
                    }
                }
                Question::List => match list::here(&locks).await {
                    Some(rows) => Told::Rows(rows),
                    None => Told::Not,
                },
                Question::Happened(happened) => {
                    let told = locks.tell(Ask::Happened(happened));
                    if told.is_ok() { Told::Noted } else { Told::Not }
                }
            })
        }
    })
}
