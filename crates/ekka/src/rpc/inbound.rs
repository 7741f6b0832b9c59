//! The receiving side of a stream: items wait for the handler, at most as many as the window allows.

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use ekka_core::limits::{CALL_DEADLINE_MAX, STREAM_WINDOW_MAX, STREAMS_MAX};
use ekka_core::rpc::{Acknowledged, CallHead, Codec, Head, Refusal};
use tokio::sync::mpsc;
use tokio::task::AbortHandle;
use tokio::time::Instant;

use super::connection::Connection;
use super::context::Context;
use super::handlers::{Caller, Failed, HandlerError, Handlers, Work, poll_work};
use super::method::{Stream, name_problem};
use crate::codec::Coding;

/// The streams that come on one connection.
#[derive(Default)]
pub(super) struct Inbound {
    streams: Mutex<BTreeMap<u64, Receiving>>,
}

/// One stream.
struct Receiving {
    /// Gone once the sender has sent all.
    items: Option<mpsc::Sender<Vec<u8>>>,
    counts: Arc<Mutex<Acknowledged>>,
    task: Option<AbortHandle>,
}

/// What a handler of a stream begins with.
type Begin = Box<dyn Fn(Caller, RawItems) -> Work + Send + Sync>;

/// What is known of one stream by its name.
pub(super) struct StreamHandler {
    pub(super) codec: Codec,
    begin: Begin,
}

/// Items as they came.
pub(super) struct RawItems {
    items: mpsc::Receiver<Vec<u8>>,
    counts: Arc<Mutex<Acknowledged>>,
    connection: Weak<Connection>,
    id: u64,
    /// The item given last is being handled.
    holds: bool,
}

/// The items of a stream, in the order in which they were sent.
pub struct Receiver<T> {
    raw: RawItems,
    coding: Coding<T>,
}

impl<T> Receiver<T> {
    /// The next item; `None` once the sender has sent all. Asking for it says that the one before is handled, and so lets
    /// the sender go on. *Cancel safe.*
    ///
    /// # Errors
    /// The item cannot be read with the types of this side.
    pub async fn next(&mut self) -> Result<Option<T>, HandlerError> {
        self.raw.done();
        let Some(bytes) = self.raw.items.recv().await else { return Ok(None) };
        self.raw.holds = true;
        (self.coding.decode)(&bytes).map(Some).map_err(HandlerError::new)
    }
}

impl RawItems {
    /// Counts the item given last as handled, and says so where enough have gathered.
    fn done(&mut self) {
        if !std::mem::take(&mut self.holds) {
            return;
        }
        let said = self.counts.lock().unwrap_or_else(PoisonError::into_inner).handled();
        if let (Some(count), Some(connection)) = (said, self.connection.upgrade()) {
            let _ = connection.queue.push(&Head::Handled { id: self.id, count }, &[]);
        }
    }
}

impl Handlers {
    /// Receives a stream: the handler is called once for each stream that a peer opens, as a task of the runtime in
    /// which the node was started. It is dropped when the sender gives up or the connection ends; ending it ends the
    /// stream.
    #[must_use]
    pub fn receive<T, F, R>(mut self, stream: &Stream<T>, handler: F) -> Self
    where
        T: Send + 'static,
        F: Fn(Caller, Receiver<T>) -> R + Send + Sync + 'static,
        R: Future<Output = Result<(), HandlerError>> + Send + 'static,
    {
        let coding = stream.item;
        let handler = Arc::new(handler);
        let begin: Begin = Box::new(move |caller, raw| {
            let handler = handler.clone();
            let context = Context { deadline: None, trace: caller.trace };
            Box::pin(context.scope(async move {
                let failed = |error: HandlerError| Failed { why: Refusal::HandlerFailed, text: error.to_string() };
                handler(caller, Receiver { raw, coding }).await.map_err(failed)?;
                Ok(Vec::new())
            }))
        });
        let handler = StreamHandler { codec: stream.codec(), begin };
        if let Some(problem) = name_problem(stream.name()) {
            self.problems.push(problem);
        } else if self.streams.insert(stream.name().to_owned(), Arc::new(handler)).is_some() {
            self.problems.push(format!("the stream `{}` has two handlers", stream.name()));
        }
        self
    }
}

impl Inbound {
    fn locked(&self) -> MutexGuard<'_, BTreeMap<u64, Receiving>> {
        // Nothing that holds this lock can leave it half-changed.
        self.streams.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The connection is over: all handlers are dropped.
    pub(super) fn end(&self) {
        let streams = std::mem::take(&mut *self.locked());
        streams.values().filter_map(|stream| stream.task.as_ref()).for_each(AbortHandle::abort);
    }

    /// The sender has sent all.
    pub(super) fn finish(&self, id: u64) {
        if let Some(stream) = self.locked().get_mut(&id) {
            stream.items = None;
        }
    }

    /// The sender gave up; whether there was such a stream.
    pub(super) fn cancel(&self, id: u64) -> bool {
        let stream = self.locked().remove(&id);
        if let Some(task) = stream.as_ref().and_then(|stream| stream.task.as_ref()) {
            task.abort();
        }
        stream.is_some()
    }

    /// An item has come. Items of streams that have ended here are dropped: the sender hears of the end soon.
    ///
    /// # Errors
    /// The sender had no credit for it.
    pub(super) fn item(&self, id: u64, payload: &[u8]) -> Result<(), String> {
        let streams = self.locked();
        let Some(stream) = streams.get(&id) else { return Ok(()) };
        stream.counts.lock().unwrap_or_else(PoisonError::into_inner).came().map_err(|error| error.to_string())?;
        if let Some(items) = &stream.items {
            // The channel is as wide as the credit; a handler that has ended takes no more.
            let _ = items.try_send(payload.to_vec());
        }
        Ok(())
    }
}

impl Connection {
    /// A peer opens a stream.
    pub(super) fn receive(self: &Arc<Self>, head: &CallHead<'_>, window: u32) {
        let service = &self.service;
        let Some(handler) = service.handlers.streams.get(head.method) else {
            let names: Vec<&str> = service.handlers.streams.keys().map(String::as_str).collect();
            let text = format!("no stream `{}` is received here; there are: {}", head.method, names.join(", "));
            let _ = self.refuse(head.id, Refusal::NoSuchMethod, &text);
            return;
        };
        if head.codec != handler.codec {
            let (theirs, ours) = (head.codec.as_str(), handler.codec.as_str());
            let text = format!("`{}` is written as {theirs} by the sender and as {ours} here", head.method);
            let _ = self.refuse(head.id, Refusal::VersionMismatch, &text);
            return;
        }
        let window = window.clamp(1, STREAM_WINDOW_MAX);
        let (sender, items) = mpsc::channel(usize::try_from(window).unwrap_or(1));
        let counts = Arc::new(Mutex::new(Acknowledged::new(window)));
        {
            let mut streams = self.inbound.locked();
            if streams.len() >= STREAMS_MAX || streams.contains_key(&head.id) {
                drop(streams);
                let _ = self.refuse(head.id, Refusal::Busy, "as many streams of this sender as are taken are open");
                return;
            }
            streams.insert(head.id, Receiving { items: Some(sender), counts: counts.clone(), task: None });
        }
        let caller =
            Caller { peer: self.peer.clone(), deadline: Instant::now() + CALL_DEADLINE_MAX, trace: head.trace };
        let raw = RawItems { items, counts, connection: Arc::downgrade(self), id: head.id, holds: false };
        let _ = self.queue.push(&Head::Handled { id: head.id, count: 0 }, &[]);
        let work = (handler.begin)(caller, raw);
        let (connection, id) = (Arc::downgrade(self), head.id);
        let task = service.app.spawn(run(connection, id, work));
        match self.inbound.locked().get_mut(&id) {
            Some(stream) => stream.task = Some(task.abort_handle()),
            // The handler has ended already, or the connection has.
            None => task.abort(),
        }
    }
}

async fn run(connection: Weak<Connection>, id: u64, mut work: Work) {
    let result = std::future::poll_fn(|cx| poll_work(&mut work, cx)).await;
    drop(work);
    let Some(connection) = connection.upgrade() else { return };
    let stream = connection.inbound.locked().remove(&id);
    // How far it got is said before its end.
    let rest = stream.and_then(|stream| stream.counts.lock().unwrap_or_else(PoisonError::into_inner).rest());
    if let Some(count) = rest {
        let _ = connection.queue.push(&Head::Handled { id, count }, &[]);
    }
    match result {
        Ok(_) => drop(connection.queue.push(&Head::Finished { id }, &[])),
        Err(failed) => drop(connection.refuse(id, failed.why, &failed.text)),
    }
}
