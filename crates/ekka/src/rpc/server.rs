//! The called side of one connection: runs handlers within the window, in the order of their keys, up to their deadlines.

use std::collections::BTreeMap;
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use ekka_core::limits::CALL_DEADLINE_MAX;
use ekka_core::rpc::{Admitted, CallHead, Refusal, Serving};
use tokio::task::{AbortHandle, unconstrained};
use tokio::time::Instant;

use super::connection::Connection;
use super::figures::MethodFigures;
use super::handlers::{Caller, Failed, Handler, Way, Work, poll_work};

/// The called side.
pub(super) struct Server {
    state: Mutex<State>,
}

struct State {
    serving: Serving<Turn>,
    tasks: BTreeMap<u64, Task>,
    /// Nothing is begun any more.
    stopping: bool,
}

/// A call that is being carried out as a task.
#[derive(Default)]
struct Task {
    /// There once it is spawned.
    handle: Option<AbortHandle>,
    /// Nobody wants its answer any more.
    silent: bool,
}

impl Task {
    /// Drops the handler as soon as it is not in the middle of a step; whether it was wanted until now.
    fn silence(&mut self) -> bool {
        if let Some(handle) = &self.handle {
            handle.abort();
        }
        !std::mem::replace(&mut self.silent, true)
    }
}

/// A call that can be carried out.
struct Turn {
    work: Work,
    way: Way,
    cast: bool,
    begun: Instant,
    figures: Arc<MethodFigures>,
}

impl Server {
    pub(super) fn new(window: usize) -> Self {
        Self { state: Mutex::new(State { serving: Serving::new(window), tasks: BTreeMap::new(), stopping: false }) }
    }

    /// When the next call runs out of time.
    pub(super) fn deadline(&self) -> Option<ekka_core::time::Instant> {
        self.locked().serving.deadline()
    }

    /// The connection is over: nobody can be answered.
    pub(super) fn end(&self) {
        let mut state = self.locked();
        let waiting = std::mem::replace(&mut state.serving, Serving::new(0));
        let mut tasks = std::mem::take(&mut state.tasks);
        drop(state);
        for task in tasks.values_mut() {
            task.silence();
        }
        drop(waiting);
    }

    fn locked(&self) -> MutexGuard<'_, State> {
        // Nothing that holds this lock can leave it half-changed.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Says that a call is over once its task is really gone: an aborted handler may still be in the middle of a step, and
/// the next call with its key must not begin before that ends.
struct Running {
    connection: Arc<Connection>,
    id: u64,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.connection.after(self.id);
    }
}

impl Connection {
    /// A request has come.
    pub(super) fn serve(self: &Arc<Self>, head: &CallHead<'_>, cast: bool, payload: &[u8]) {
        let begun = Instant::now();
        let service = &self.service;
        let Some(handler) = service.handlers.methods.get(head.method) else {
            service.figures.unknown().count("no_such_method", Duration::ZERO);
            let text = format!("no method `{}`; there are {}", head.method, service.handlers.names());
            let _ = self.refuse(head.id, Refusal::NoSuchMethod, &text);
            return;
        };
        // The handlers were counted in when the service was made.
        let Some(figures) = service.figures.served(head.method) else { return };
        let result = self.accept(head, handler, payload, begun, (cast, figures.clone()));
        if let Err(failed) = result {
            figures.count(word(failed.why), begun.elapsed());
            let _ = self.refuse(head.id, failed.why, &failed.text);
        }
    }

    fn accept(
        self: &Arc<Self>,
        head: &CallHead<'_>,
        handler: &Arc<Handler>,
        payload: &[u8],
        begun: Instant,
        (cast, figures): (bool, Arc<MethodFigures>),
    ) -> Result<(), Failed> {
        if head.codec != handler.codec {
            let text = format!(
                "`{}` is written as {} by the caller and as {} here",
                head.method,
                head.codec.as_str(),
                handler.codec.as_str()
            );
            return Err(Failed { why: Refusal::VersionMismatch, text });
        }
        let deadline = begun + Duration::from_micros(head.deadline_us).min(CALL_DEADLINE_MAX);
        let caller = Caller { peer: self.peer.clone(), deadline, trace: head.trace };
        let work = (handler.begin)(caller, payload).map_err(|error| Failed {
            why: Refusal::VersionMismatch,
            text: format!("the request of `{}` cannot be read here: {error}", head.method),
        })?;
        let turn = Turn { work, way: handler.way, cast, begun, figures };
        let admitted = {
            let mut state = self.server.locked();
            if state.stopping {
                return Err(busy("the node is stopping"));
            }
            state.serving.admit(head.id, head.key, self.service.at(deadline), turn)
        };
        match admitted {
            Admitted::Full => Err(busy("as many calls of this caller as are taken are under way")),
            Admitted::Waits => Ok(()),
            Admitted::Run(turn) => {
                self.start(head.id, turn);
                Ok(())
            }
        }
    }

    /// Begins a call whose turn it is: here, and as a task where it has to wait.
    fn start(self: &Arc<Self>, id: u64, mut turn: Turn) {
        // Where answers wait to be read, no new ones are made: it begins as a task, which waits for room.
        if turn.way == Way::Inline && !self.queue.is_full() {
            // Where it is not ready it is looked at again as a task, with the waker of that: this one is not needed.
            let mut cx = Context::from_waker(Waker::noop());
            let stepped = pin!(unconstrained(std::future::poll_fn(|cx| poll_work(&mut turn.work, cx)))).poll(&mut cx);
            if let Poll::Ready(result) = stepped {
                self.conclude(id, &turn, &result, false);
                self.after(id);
                return;
            }
        }
        self.server.locked().tasks.insert(id, Task::default());
        self.spawn(id, turn);
    }

    /// Goes on with a call as a task; its place among the tasks is taken already. No lock is held here: a runtime that has
    /// ended drops the task at once.
    fn spawn(self: &Arc<Self>, id: u64, turn: Turn) {
        let running = Running { connection: self.clone(), id };
        let task = self.service.app.spawn(async move {
            let mut turn = turn;
            let running = running;
            running.connection.queue.room().await;
            let result = std::future::poll_fn(|cx| poll_work(&mut turn.work, cx)).await;
            running.connection.queue.room().await;
            let silent = running.connection.server.locked().tasks.get(&id).is_none_or(|task| task.silent);
            running.connection.conclude(id, &turn, &result, silent);
            // What the handler holds goes before the next one with its key begins.
            drop(turn);
        });
        let mut state = self.server.locked();
        if let Some(known) = state.tasks.get_mut(&id) {
            if known.silent {
                task.abort();
            }
            known.handle = Some(task.abort_handle());
        }
    }

    fn conclude(&self, id: u64, turn: &Turn, result: &Result<Vec<u8>, Failed>, silent: bool) {
        if silent {
            return;
        }
        turn.figures.count(result.as_ref().map_or_else(|failed| word(failed.why), |_| "ok"), turn.begun.elapsed());
        match result {
            Ok(_) if turn.cast => self.answer(id, &Ok(Vec::new())),
            result => self.answer(id, result),
        }
    }

    /// A call is over: its place is free, and the next with its key begins.
    fn after(self: &Arc<Self>, id: u64) {
        let next = {
            let mut state = self.server.locked();
            state.tasks.remove(&id);
            let (_, next) = state.serving.end(id);
            if let Some((next, _)) = &next {
                state.tasks.insert(*next, Task::default());
            }
            next
        };
        if let Some((next, turn)) = next {
            self.spawn(next, turn);
        }
    }

    /// Asserts what always holds of the called side.
    pub(super) fn check(&self) {
        self.server.locked().serving.check();
    }

    /// The caller does not wait any more.
    pub(super) fn cancel(&self, id: u64) {
        let waited = {
            let mut state = self.server.locked();
            match state.tasks.get_mut(&id) {
                Some(task) => {
                    task.silence();
                    None
                }
                // It waits for its turn, or is over already.
                None => Some(state.serving.end(id)),
            }
        };
        drop(waited);
    }

    /// This node stops: every caller is told that its handler is dropped, and nothing new is begun.
    pub(super) fn cancel_all(&self) {
        let ids: Vec<u64> = {
            let mut state = self.server.locked();
            state.stopping = true;
            let ids: Vec<u64> = state.serving.ids().collect();
            ids.into_iter().filter(|id| state.tasks.get_mut(id).is_none_or(Task::silence)).collect()
        };
        for id in ids {
            let _ = self.refuse(id, Refusal::Cancelled, "the node stops");
        }
    }

    /// Gives up what has run out of time.
    pub(super) fn expire(&self) {
        let now = self.service.at(Instant::now());
        let late: Vec<u64> = {
            let mut state = self.server.locked();
            let mut late = state.serving.expired(now);
            late.retain(|id| match state.tasks.get_mut(id) {
                Some(task) => task.silence(),
                None => state.serving.end(*id).0,
            });
            late
        };
        for id in late {
            let _ = self.refuse(id, Refusal::TimedOut, "the deadline passed");
        }
    }
}

fn busy(text: &str) -> Failed {
    Failed { why: Refusal::Busy, text: text.to_owned() }
}

/// The result in the metrics.
fn word(why: Refusal) -> &'static str {
    match why {
        Refusal::NoSuchMethod => "no_such_method",
        Refusal::Busy => "busy",
        Refusal::VersionMismatch => "version_mismatch",
        Refusal::HandlerFailed => "handler_failed",
        Refusal::AnswerTooLarge => "too_large",
        Refusal::TimedOut => "timed_out",
        Refusal::Cancelled => "cancelled",
    }
}
