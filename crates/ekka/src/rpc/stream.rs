//! The sending side of a stream: items in order, as many on their way as the window allows, and how far the receiver is.

use std::collections::{BTreeMap, VecDeque};
use std::future::{Future, IntoFuture};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use ekka_core::id::NodeId;
use ekka_core::limits::{CALL_PAYLOAD_MAX, CALLS_WINDOW_BYTES, STREAM_WINDOW_MAX, STREAMS_MAX};
use ekka_core::rpc::{CallHead, Credit, Head, Overrun, Refusal};
use tokio::sync::{Semaphore, watch};
use tokio::time::{Instant, timeout_at};

use super::client::Unanswered;
use super::connection::Connection;
use super::context::Context;
use super::debts::Debts;
use super::error::CallError;
use super::hub::Hub;
use super::method::Stream;
use super::queue::{Pushed, Queue};
use super::request::Failure;
use crate::codec::Coding;

/// Items on their way where nothing else is said.
const WINDOW: u32 = 1024;

/// The streams that this side of a connection sends.
pub(super) struct Outbound {
    state: Mutex<State>,
    /// Bytes of items that were not handled yet, of all streams.
    bytes: Semaphore,
}

#[derive(Default)]
struct State {
    streams: BTreeMap<u64, Arc<Sending>>,
    /// Of streams that were given up, and whose items still wait to be written.
    debts: Debts,
    over: bool,
}

/// One stream.
struct Sending {
    flow: Mutex<Flow>,
    progress: watch::Sender<Progress>,
}

struct Flow {
    credit: Credit,
    /// What each item on its way takes of the bytes.
    costs: VecDeque<usize>,
    /// Where the last item begins in all that was queued.
    last_at: u64,
}

/// How a stream stands.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
struct Progress {
    opened: bool,
    handled: u64,
    end: Option<Result<(), Unanswered>>,
}

impl Sending {
    fn flow(&self) -> MutexGuard<'_, Flow> {
        // Nothing that holds this lock can leave it half-changed.
        self.flow.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn end(&self, end: Result<(), Unanswered>) {
        self.progress.send_if_modified(|progress| {
            let first = progress.end.is_none();
            progress.end.get_or_insert(end);
            first
        });
    }
}

impl Outbound {
    pub(super) fn new() -> Self {
        Self { state: Mutex::default(), bytes: Semaphore::new(CALLS_WINDOW_BYTES) }
    }

    fn locked(&self) -> MutexGuard<'_, State> {
        // Nothing that holds this lock can leave it half-changed.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a stream out. What its items take of the bytes is free once they are written.
    fn take(&self, id: u64, queue: &Queue) -> Option<Arc<Sending>> {
        let mut state = self.locked();
        let sending = state.streams.remove(&id)?;
        let (left, last_at) = {
            let mut flow = sending.flow();
            (flow.costs.drain(..).sum(), flow.last_at)
        };
        if last_at < queue.handed() {
            self.bytes.add_permits(left);
        } else {
            state.debts.keep(last_at, left);
        }
        drop(state);
        Some(sending)
    }

    /// Something was written: `handed` bytes of all that was queued.
    pub(super) fn written(&self, handed: u64) {
        let paid = self.locked().debts.paid(handed);
        self.bytes.add_permits(paid.into_iter().sum());
    }

    /// The receiver has handled so many items in all; the first such word says that it takes the stream.
    pub(super) fn handled(&self, id: u64, count: u64) -> Result<(), Overrun> {
        // A stream that was given up here may still be spoken of.
        let Some(sending) = self.locked().streams.get(&id).cloned() else { return Ok(()) };
        let freed: usize = {
            let mut flow = sending.flow();
            let before = flow.credit.handled_count();
            flow.credit.handled(count)?;
            let done = usize::try_from(count - before).unwrap_or(usize::MAX).min(flow.costs.len());
            flow.costs.drain(..done).sum()
        };
        self.bytes.add_permits(freed);
        sending.progress.send_modify(|progress| (progress.opened, progress.handled) = (true, count));
        Ok(())
    }

    /// The receiver of a stream has ended.
    pub(super) fn ended(&self, id: u64, end: Result<(), Unanswered>, queue: &Queue) {
        if let Some(sending) = self.take(id, queue) {
            sending.end(end);
        }
    }

    /// The connection is over.
    pub(super) fn end(&self, text: &str) {
        let streams = {
            let mut state = self.locked();
            state.over = true;
            std::mem::take(&mut state.streams)
        };
        self.bytes.close();
        for sending in streams.into_values() {
            // What was not acknowledged may have arrived: how far it got is in the acknowledgements.
            sending.end(Err(Unanswered::Lost { sent: true, text: text.to_owned() }));
        }
    }
}

/// The opening of a stream: done when it is awaited.
#[must_use = "a stream is opened when it is awaited"]
pub struct OpenStream<T> {
    hub: Arc<Hub>,
    node: NodeId,
    stream: Stream<T>,
    window: u32,
    deadline: Option<Duration>,
}

impl<T> OpenStream<T> {
    pub(crate) fn new(hub: Arc<Hub>, node: NodeId, stream: &Stream<T>) -> Self {
        Self { hub, node, stream: *stream, window: WINDOW, deadline: None }
    }

    /// Items that may be on their way, handed over but not handled; 1024 where nothing is said.
    pub fn window(mut self, items: u32) -> Self {
        self.window = items.clamp(1, STREAM_WINDOW_MAX);
        self
    }

    /// How long the receiver has to take the stream; as for a call where nothing is said.
    pub fn deadline(mut self, deadline: Duration) -> Self {
        self.deadline = Some(deadline);
        self
    }

    async fn open(self, context: Context) -> Result<(Sender<T>, Acks), CallError> {
        let begun = Instant::now();
        let deadline = context.deadline(self.deadline, begun);
        let (node, after) = (self.node, deadline - begun);
        let opened = async {
            let connection = self.hub.connection(node, deadline).await.map_err(Failure::NotOpened)?;
            let call = CallHead {
                id: connection.client.next_id(),
                method: self.stream.name(),
                codec: self.stream.codec(),
                deadline_us: u64::try_from(after.as_micros()).unwrap_or(u64::MAX),
                key: None,
                trace: context.trace,
            };
            let (id, sending) = connection.open(call, self.window).map_err(Failure::Unanswered)?;
            let mut progress = sending.progress.subscribe();
            // Dropping it gives the stream up.
            let sender = Sender { connection, id, sending, coding: self.stream.item, node, done: false };
            let answer = timeout_at(deadline, progress.wait_for(|now| now.opened || now.end.is_some())).await;
            match answer.map(|answer| answer.map(|now| now.end.clone())) {
                Ok(Ok(None | Some(Ok(())))) => Ok((sender, Acks { progress, node })),
                Ok(Ok(Some(Err(why)))) => Err(Failure::Unanswered(why)),
                Ok(Err(_)) | Err(_) => Err(Failure::Unanswered(Unanswered::Late { sent: true })),
            }
        };
        opened.await.map_err(|failure: Failure| failure.of(node, after))
    }
}

impl<T: Send + 'static> IntoFuture for OpenStream<T> {
    type Output = Result<(Sender<T>, Acks), CallError>;
    type IntoFuture = Pin<Box<dyn Future<Output = Self::Output> + Send>>;

    fn into_future(self) -> Self::IntoFuture {
        let context = Context::current();
        Box::pin(self.open(context))
    }
}

impl Connection {
    fn open(&self, call: CallHead<'_>, window: u32) -> Result<(u64, Arc<Sending>), Unanswered> {
        let id = call.id;
        let lost = || Unanswered::Lost { sent: false, text: "the connection ended".to_owned() };
        let flow = Flow { credit: Credit::new(window), costs: VecDeque::new(), last_at: 0 };
        let sending = Arc::new(Sending { flow: Mutex::new(flow), progress: watch::Sender::default() });
        let mut state = self.outbound.locked();
        if state.over {
            return Err(lost());
        }
        if state.streams.len() >= STREAMS_MAX {
            let text = format!("{STREAMS_MAX} streams to this node are open already");
            return Err(Unanswered::Refused(Refusal::Busy, text));
        }
        if self.queue.push(&Head::Open { call, window }, &[]) == Pushed::Closed {
            return Err(lost());
        }
        state.streams.insert(id, sending.clone());
        Ok((id, sending))
    }
}

/// The sending end. Dropping it without [`finish`](Self::finish) gives the stream up: the receiver's handler is dropped,
/// and what it had not handled is lost.
pub struct Sender<T> {
    connection: Arc<Connection>,
    id: u64,
    sending: Arc<Sending>,
    coding: Coding<T>,
    node: NodeId,
    done: bool,
}

impl<T> Sender<T> {
    /// Sends the next item and gives its number, the first is 1; waits while the window is full. *Cancel safe*: an item
    /// whose future was dropped was not sent.
    ///
    /// # Errors
    /// The stream has ended: what the receiver has not acknowledged may or may not have been handled. `TooLarge` and
    /// `VersionMismatch` are the item's own, and the stream goes on.
    pub async fn send(&mut self, item: &T) -> Result<u64, CallError> {
        let node = self.node;
        let payload =
            (self.coding.encode)(item).map_err(|error| CallError::VersionMismatch { node, text: error, ran: false })?;
        let (size, limit) = (payload.len(), CALL_PAYLOAD_MAX);
        if size > limit {
            return Err(CallError::TooLarge { node, what: "an item", size, limit, ran: false });
        }
        let permits = u32::try_from(size).unwrap_or(u32::MAX);
        let mut progress = self.sending.progress.subscribe();
        let bytes = tokio::select! {
            biased;
            ended = progress.wait_for(|now| now.end.is_some()) => {
                let end = ended.ok().and_then(|now| now.end.clone());
                return Err(self.ended(end));
            }
            bytes = self.connection.outbound.bytes.acquire_many(permits) => bytes,
        };
        let Ok(bytes) = bytes else { return Err(self.ended(None)) };
        loop {
            progress.mark_unchanged();
            {
                let mut flow = self.sending.flow();
                if let Some(number) = flow.credit.take() {
                    flow.costs.push_back(size);
                    bytes.forget();
                    let Pushed::At(at) = self.connection.queue.push(&Head::Item { id: self.id }, &payload) else {
                        drop(flow);
                        return Err(self.ended(None));
                    };
                    flow.last_at = at;
                    return Ok(number);
                }
            }
            if progress.changed().await.is_err() {
                return Err(self.ended(None));
            }
            if let Some(end) = progress.borrow().end.clone() {
                return Err(self.ended(Some(end)));
            }
        }
    }

    /// Says that all is sent, and waits until the receiver has handled all of it and ended. Gives the number of items.
    ///
    /// # Errors
    /// The receiver failed, or the connection ended before it was done.
    pub async fn finish(mut self) -> Result<u64, CallError> {
        let _ = self.connection.queue.push(&Head::Finish { id: self.id }, &[]);
        let mut progress = self.sending.progress.subscribe();
        let end = progress.wait_for(|now| now.end.is_some()).await.ok().and_then(|now| now.end.clone());
        let sent = self.sending.flow().credit.sent_count();
        if end == Some(Ok(())) {
            self.done = true;
            return Ok(sent);
        }
        Err(self.ended(end))
    }

    fn ended(&self, end: Option<Result<(), Unanswered>>) -> CallError {
        let why = match end {
            Some(Err(why)) => why,
            Some(Ok(())) => {
                let text = "the receiver ended the stream before all was sent".to_owned();
                Unanswered::Refused(Refusal::HandlerFailed, text)
            }
            None => Unanswered::Lost { sent: true, text: "the connection ended".to_owned() },
        };
        Failure::Unanswered(why).of(self.node, Duration::ZERO)
    }
}

impl<T> Drop for Sender<T> {
    fn drop(&mut self) {
        if let (Some(sending), false) = (self.connection.outbound.take(self.id, &self.connection.queue), self.done) {
            sending.end(Err(Unanswered::Lost { sent: true, text: "the stream was given up".to_owned() }));
            let _ = self.connection.queue.push(&Head::Cancel { id: self.id }, &[]);
        }
    }
}

/// How far the receiver has come.
#[derive(Clone)]
pub struct Acks {
    progress: watch::Receiver<Progress>,
    node: NodeId,
}

impl Acks {
    /// Items that the receiver has handled, by their number: all up to this one. Readable after the end too.
    #[must_use]
    pub fn handled(&self) -> u64 {
        self.progress.borrow().handled
    }

    /// Waits until the receiver has handled the item of this number. *Cancel safe.*
    ///
    /// # Errors
    /// The stream ended before that.
    pub async fn reached(&mut self, number: u64) -> Result<(), CallError> {
        let reached = |now: &Progress| now.handled >= number;
        let end = match self.progress.wait_for(|now| reached(now) || now.end.is_some()).await {
            Ok(now) if reached(&now) || now.end == Some(Ok(())) => return Ok(()),
            Ok(now) => now.end.clone(),
            Err(_) => None,
        };
        let lost = || Unanswered::Lost { sent: true, text: "the stream was given up".to_owned() };
        let why = end.and_then(Result::err).unwrap_or_else(lost);
        Err(Failure::Unanswered(why).of(self.node, Duration::ZERO))
    }
}
