//! What callers hold: a call, a cast, a call to many, each a request that is awaited.

use std::borrow::Cow;
use std::future::{Future, IntoFuture};
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use ekka_core::id::NodeId;
use ekka_core::limits::CALL_PAYLOAD_MAX;
use ekka_core::rpc::{Codec, Refusal, key_of};
use tokio::time::Instant;

use super::client::{Ask, Unanswered};
use super::context::Context;
use super::error::CallError;
use super::figures::MethodFigures;
use super::hub::{Hub, NotOpened};
use super::method::Method;
use crate::codec::Coding;

/// A future on the heap.
type Boxed<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// What a request of any kind holds until it is awaited.
pub(super) struct Request {
    hub: Arc<Hub>,
    method: Cow<'static, str>,
    codec: Codec,
    /// The payload, or why there is none.
    payload: Result<Arc<[u8]>, String>,
    key: Option<u64>,
    deadline: Option<Duration>,
}

impl Request {
    pub(super) fn new<Q, A>(hub: Arc<Hub>, method: &Method<Q, A>, request: &Q) -> Self {
        let payload = (method.request.encode)(request).map(Arc::from);
        Self { hub, method: method.name().into(), codec: method.codec(), payload, key: None, deadline: None }
    }

    /// A request whose method is known by its name only.
    #[cfg(feature = "admin")]
    pub(super) fn untyped(hub: Arc<Hub>, method: String, codec: Codec, payload: Vec<u8>, deadline: Duration) -> Self {
        let payload = Ok(Arc::from(payload));
        Self { hub, method: method.into(), codec, payload, key: None, deadline: Some(deadline) }
    }

    /// What goes over the wire, and when the caller stops waiting: counted from now.
    fn ask(&self, node: NodeId, context: Context, now: Instant) -> Result<Ask, CallError> {
        let payload = match &self.payload {
            Ok(payload) if payload.len() <= CALL_PAYLOAD_MAX => payload.clone(),
            Ok(payload) => {
                let (what, size) = ("a request", payload.len());
                return Err(CallError::TooLarge { node, what, size, limit: CALL_PAYLOAD_MAX, ran: false });
            }
            Err(error) => {
                let (method, codec) = (&self.method, self.codec.as_str());
                let text = format!("the request of `{method}` cannot be written as {codec}: {error}");
                return Err(CallError::VersionMismatch { node, text, ran: false });
            }
        };
        let deadline = context.deadline(self.deadline, now);
        let (method, codec, key) = (self.method.clone(), self.codec, self.key);
        Ok(Ask { method, codec, payload, key, trace: context.trace, deadline })
    }

    /// Calls one node; the answer as bytes.
    pub(super) async fn call(&self, node: NodeId, context: Context) -> Result<Vec<u8>, CallError> {
        let mut counted = Counted::begin(self);
        let result = async {
            let ask = self.ask(node, context, counted.begun)?;
            let called = async {
                let connection = self.hub.connection(node, ask.deadline).await.map_err(Failure::NotOpened)?;
                connection.call(&ask).await.map_err(Failure::Unanswered)
            };
            called.await.map_err(|failure| failure.of(node, ask.deadline - counted.begun))
        };
        let result = result.await;
        counted.end(&result);
        result
    }

    async fn cast(&self, node: NodeId, context: Context) -> Result<(), CallError> {
        let mut counted = Counted::begin(self);
        let result = async {
            let ask = self.ask(node, context, counted.begun)?;
            let cast = async {
                let connection = self.hub.connection(node, ask.deadline).await.map_err(Failure::NotOpened)?;
                connection.cast(&ask).await.map_err(Failure::Unanswered)
            };
            cast.await.map_err(|failure| failure.of(node, ask.deadline - counted.begun))
        };
        let result = result.await;
        counted.end(&result);
        result
    }
}

/// Counts one call; one whose future is dropped counts as cancelled.
struct Counted {
    figures: Arc<MethodFigures>,
    begun: Instant,
    result: &'static str,
}

impl Counted {
    fn begin(request: &Request) -> Self {
        Self { figures: request.hub.called(&request.method), begun: Instant::now(), result: "cancelled" }
    }

    fn end<T>(&mut self, result: &Result<T, CallError>) {
        self.result = result.as_ref().map_or_else(CallError::code, |_| "ok");
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.figures.count(self.result, self.begun.elapsed());
    }
}

/// Why there is no answer, before it is the caller's error.
pub(super) enum Failure {
    NotOpened(NotOpened),
    Unanswered(Unanswered),
}

impl Failure {
    pub(super) fn of(self, node: NodeId, after: Duration) -> CallError {
        match self {
            Self::NotOpened(NotOpened::Unreachable(text)) => CallError::Unreachable { node, text, sent: false },
            Self::NotOpened(NotOpened::Version(text)) => CallError::VersionMismatch { node, text, ran: false },
            Self::NotOpened(NotOpened::Late) => CallError::TimedOut { node, after, sent: false },
            Self::Unanswered(Unanswered::Late { sent }) => CallError::TimedOut { node, after, sent },
            Self::Unanswered(Unanswered::Lost { sent, text }) => CallError::Unreachable { node, text, sent },
            Self::Unanswered(Unanswered::Refused(why, text)) => match why {
                Refusal::NoSuchMethod => CallError::NoSuchMethod { node, text },
                Refusal::Busy => CallError::Busy { node, text },
                Refusal::VersionMismatch => CallError::VersionMismatch { node, text, ran: false },
                Refusal::HandlerFailed => CallError::HandlerFailed { node, text },
                Refusal::TimedOut => CallError::TimedOut { node, after, sent: true },
                Refusal::Cancelled => CallError::Cancelled { node },
                Refusal::AnswerTooLarge => {
                    let size = text.parse().unwrap_or(0);
                    CallError::TooLarge { node, what: "an answer", size, limit: CALL_PAYLOAD_MAX, ran: true }
                }
            },
        }
    }
}

fn read<A>(coding: Coding<A>, codec: Codec, node: NodeId, payload: &[u8]) -> Result<A, CallError> {
    (coding.decode)(payload).map_err(|error| {
        let text = format!("the answer cannot be read as {}: {error}", codec.as_str());
        CallError::VersionMismatch { node, text, ran: true }
    })
}

/// A call: made when it is awaited. Dropping its future cancels the work at the other side.
#[must_use = "a call is made when it is awaited"]
pub struct Call<A> {
    request: Request,
    node: NodeId,
    answer: Coding<A>,
}

impl<A> Call<A> {
    pub(crate) fn new<Q>(hub: Arc<Hub>, node: NodeId, method: &Method<Q, A>, request: &Q) -> Self {
        Self { request: Request::new(hub, method, request), node, answer: method.answer }
    }

    /// How long it waits, connecting and waiting for its place in the window included; 5 s where nothing is said. Inside
    /// a handler it is never longer than what is left of the handler's own request, which is also the default there.
    pub fn deadline(mut self, deadline: Duration) -> Self {
        self.request.deadline = Some(deadline);
        self
    }

    /// Calls of this node with one key to one peer run there one after the other, in the order in which they were first
    /// polled.
    pub fn key(mut self, key: impl AsRef<[u8]>) -> Self {
        self.request.key = Some(key_of(key.as_ref()));
        self
    }
}

impl<A: Send + 'static> IntoFuture for Call<A> {
    type Output = Result<A, CallError>;
    type IntoFuture = Boxed<Self::Output>;

    fn into_future(self) -> Self::IntoFuture {
        let context = Context::current();
        Box::pin(async move {
            let payload = self.request.call(self.node, context).await?;
            read(self.answer, self.request.codec, self.node, &payload)
        })
    }
}

/// A request that nobody answers: made when it is awaited, done when it is on its way. Whether it arrives, and what
/// becomes of it there, is not told; it is counted at both sides.
#[must_use = "a cast is made when it is awaited"]
pub struct Cast {
    request: Request,
    node: NodeId,
}

impl Cast {
    pub(crate) fn new<Q, A>(hub: Arc<Hub>, node: NodeId, method: &Method<Q, A>, request: &Q) -> Self {
        Self { request: Request::new(hub, method, request), node }
    }

    /// How long it may wait to get on its way, and how long the handler may then take.
    pub fn deadline(mut self, deadline: Duration) -> Self {
        self.request.deadline = Some(deadline);
        self
    }

    /// As [`Call::key`]; calls and casts with one key are one order.
    pub fn key(mut self, key: impl AsRef<[u8]>) -> Self {
        self.request.key = Some(key_of(key.as_ref()));
        self
    }
}

impl IntoFuture for Cast {
    type Output = Result<(), CallError>;
    type IntoFuture = Boxed<Self::Output>;

    fn into_future(self) -> Self::IntoFuture {
        let context = Context::current();
        Box::pin(async move { self.request.cast(self.node, context).await })
    }
}

/// One call to many nodes at once: every result, each with its own error, in the order of the nodes.
#[must_use = "calls are made when they are awaited"]
pub struct Multicall<A> {
    request: Request,
    nodes: Vec<NodeId>,
    answer: Coding<A>,
}

impl<A> Multicall<A> {
    pub(crate) fn new<Q>(hub: Arc<Hub>, nodes: Vec<NodeId>, method: &Method<Q, A>, request: &Q) -> Self {
        Self { request: Request::new(hub, method, request), nodes, answer: method.answer }
    }

    /// As [`Call::deadline`], for each of them.
    pub fn deadline(mut self, deadline: Duration) -> Self {
        self.request.deadline = Some(deadline);
        self
    }

    /// As [`Call::key`].
    pub fn key(mut self, key: impl AsRef<[u8]>) -> Self {
        self.request.key = Some(key_of(key.as_ref()));
        self
    }
}

impl<A: Send + 'static> IntoFuture for Multicall<A> {
    type Output = Vec<(NodeId, Result<A, CallError>)>;
    type IntoFuture = Boxed<Self::Output>;

    fn into_future(self) -> Self::IntoFuture {
        let context = Context::current();
        Box::pin(async move {
            let request = &self.request;
            let calls = self.nodes.iter().map(|node| {
                Box::pin(async move {
                    let payload = request.call(*node, context).await?;
                    read(self.answer, request.codec, *node, &payload)
                })
            });
            let results = join(calls.collect()).await;
            self.nodes.iter().copied().zip(results).collect()
        })
    }
}

/// Runs futures beside each other in one task; results in their order.
async fn join<F: Future + Unpin>(futures: Vec<F>) -> Vec<F::Output> {
    let mut slots: Vec<(Option<F>, Option<F::Output>)> = futures.into_iter().map(|f| (Some(f), None)).collect();
    std::future::poll_fn(|cx| {
        for (future, result) in &mut slots {
            if let Some(running) = future
                && let Poll::Ready(value) = Pin::new(running).poll(cx)
            {
                (*future, *result) = (None, Some(value));
            }
        }
        if slots.iter().any(|(future, _)| future.is_some()) {
            return Poll::Pending;
        }
        Poll::Ready(())
    })
    .await;
    slots.into_iter().filter_map(|(_, result)| result).collect()
}
