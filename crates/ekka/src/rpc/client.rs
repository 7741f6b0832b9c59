//! The calling side of one connection: who waits for what, and the window that callers wait for.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use ekka_core::rpc::{CallHead, Codec, Head, Refusal, Trace};
use tokio::sync::{Semaphore, oneshot};
use tokio::time::{Instant, timeout_at};

use super::connection::Connection;
use super::debts::Debts;
use super::queue::{Pushed, Queue};

/// One request, ready to be sent.
#[derive(Clone)]
pub(super) struct Ask {
    pub(super) method: Cow<'static, str>,
    pub(super) codec: Codec,
    pub(super) payload: Arc<[u8]>,
    pub(super) key: Option<u64>,
    pub(super) trace: Option<Trace>,
    pub(super) deadline: Instant,
}

/// Why a request got no answer.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Unanswered {
    /// The other side said why.
    Refused(Refusal, String),
    /// The deadline passed.
    Late { sent: bool },
    /// The connection ended; why.
    Lost { sent: bool, text: String },
}

type Reply = Result<Vec<u8>, Unanswered>;

/// The calling side.
pub(super) struct Client {
    slots: Semaphore,
    bytes: Semaphore,
    bytes_max: usize,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    last_id: u64,
    calls: BTreeMap<u64, Waiter>,
    /// Of calls that nobody waits for any more, and that still wait to be written.
    debts: Debts,
    /// Why it is over.
    over: Option<String>,
}

struct Waiter {
    /// Nobody waits for a cast.
    reply: Option<oneshot::Sender<Reply>>,
    /// Where the request begins in all that was queued.
    at: u64,
    /// Its part of the window in bytes.
    cost: usize,
}

impl Client {
    pub(super) fn new(calls: usize, bytes_max: usize) -> Self {
        Self { slots: Semaphore::new(calls), bytes: Semaphore::new(bytes_max), bytes_max, state: Mutex::default() }
    }

    pub(super) fn is_over(&self) -> bool {
        self.locked().over.is_some()
    }

    /// A number for a stream, of the same row as those of calls.
    pub(super) fn next_id(&self) -> u64 {
        let mut state = self.locked();
        state.last_id += 1;
        state.last_id
    }

    /// Waits for a place in the window; gives what it costs.
    async fn enter(&self, length: usize, deadline: Instant) -> Result<usize, Unanswered> {
        let cost = length.min(self.bytes_max);
        let permits = u32::try_from(cost).unwrap_or(u32::MAX);
        if let Ok(slot) = self.slots.try_acquire()
            && let Ok(bytes) = self.bytes.try_acquire_many(permits)
        {
            slot.forget();
            bytes.forget();
            return Ok(cost);
        }
        let wait = async {
            let slot = self.slots.acquire().await?;
            let bytes = self.bytes.acquire_many(permits).await?;
            slot.forget();
            bytes.forget();
            Ok::<(), tokio::sync::AcquireError>(())
        };
        match timeout_at(deadline, wait).await {
            Ok(Ok(())) => Ok(cost),
            Ok(Err(_)) => Err(self.lost_unsent()),
            Err(_) => Err(Unanswered::Late { sent: false }),
        }
    }

    fn leave(&self, cost: usize) {
        self.slots.add_permits(1);
        self.bytes.add_permits(cost);
    }

    /// Something was written: `handed` bytes of all that was queued.
    pub(super) fn written(&self, handed: u64) {
        let paid = self.locked().debts.paid(handed);
        for cost in paid {
            self.leave(cost);
        }
    }

    /// Nobody waits for a call any more. Its place is free once it is written.
    fn forsake(&self, waiter: &Waiter, queue: &Queue) {
        let mut state = self.locked();
        if waiter.at < queue.handed() {
            drop(state);
            self.leave(waiter.cost);
        } else {
            state.debts.keep(waiter.at, waiter.cost);
        }
    }

    fn lost_unsent(&self) -> Unanswered {
        let text = self.locked().over.clone();
        Unanswered::Lost { sent: false, text: text.unwrap_or_else(|| "the connection ended".to_owned()) }
    }

    /// The other side has spoken about a call. Answers to calls that nobody waits for any more are dropped.
    pub(super) fn take_reply(&self, id: u64, reply: impl FnOnce() -> Reply) {
        let waiter = self.locked().calls.remove(&id);
        if let Some(waiter) = waiter {
            self.leave(waiter.cost);
            if let Some(sender) = waiter.reply {
                // Whoever asked may have gone.
                let _ = sender.send(reply());
            }
        }
    }

    /// The connection is over; of what was queued, `handed` bytes were given to the socket.
    pub(super) fn end(&self, handed: u64, text: &str) {
        let calls = {
            let mut state = self.locked();
            state.over.get_or_insert_with(|| text.to_owned());
            std::mem::take(&mut state.calls)
        };
        self.slots.close();
        self.bytes.close();
        for waiter in calls.into_values() {
            if let Some(sender) = waiter.reply {
                let lost = Unanswered::Lost { sent: waiter.at < handed, text: text.to_owned() };
                let _ = sender.send(Err(lost));
            }
        }
    }

    fn locked(&self) -> MutexGuard<'_, State> {
        // Nothing that holds this lock can leave it half-changed.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Takes a call back when its future is dropped.
struct Pending<'a> {
    connection: &'a Connection,
    id: u64,
}

impl Drop for Pending<'_> {
    fn drop(&mut self) {
        let client = &self.connection.client;
        let waiter = client.locked().calls.remove(&self.id);
        if let Some(waiter) = waiter {
            client.forsake(&waiter, &self.connection.queue);
            let _ = self.connection.queue.push(&Head::Cancel { id: self.id }, &[]);
        }
    }
}

impl Connection {
    /// Calls, and waits for the answer. Dropping the future cancels the work at the other side.
    pub(super) async fn call(&self, ask: &Ask) -> Reply {
        let cost = self.client.enter(ask.payload.len(), ask.deadline).await?;
        let (sender, receiver) = oneshot::channel();
        let id = self.begin(ask, cost, Some(sender))?;
        let pending = Pending { connection: self, id };
        let reply = timeout_at(ask.deadline, receiver).await;
        drop(pending);
        match reply {
            Ok(Ok(reply)) => reply,
            Ok(Err(_)) => Err(self.client.lost_unsent()),
            Err(_) => Err(Unanswered::Late { sent: true }),
        }
    }

    /// Sends a request that nobody waits for; waits for its place in the window.
    pub(super) async fn cast(&self, ask: &Ask) -> Result<(), Unanswered> {
        let cost = self.client.enter(ask.payload.len(), ask.deadline).await?;
        self.begin(ask, cost, None).map(|_| ())
    }

    /// Queues a request. Numbers are given in the order in which requests leave.
    fn begin(&self, ask: &Ask, cost: usize, reply: Option<oneshot::Sender<Reply>>) -> Result<u64, Unanswered> {
        let left = ask.deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            self.client.leave(cost);
            return Err(Unanswered::Late { sent: false });
        }
        let mut state = self.client.locked();
        let id = state.last_id + 1;
        let call = CallHead {
            id,
            method: &ask.method,
            codec: ask.codec,
            deadline_us: u64::try_from(left.as_micros()).unwrap_or(u64::MAX),
            key: ask.key,
            trace: ask.trace,
        };
        let head = if reply.is_some() { Head::Call(call) } else { Head::Cast(call) };
        match self.queue.push(&head, &ask.payload) {
            Pushed::At(at) if state.over.is_none() => {
                state.last_id = id;
                state.calls.insert(id, Waiter { reply, at, cost });
                Ok(id)
            }
            Pushed::At(_) | Pushed::Closed => {
                drop(state);
                self.client.leave(cost);
                Err(self.client.lost_unsent())
            }
        }
    }
}
