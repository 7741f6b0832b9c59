//! The methods that a node serves, registered before it starts: no call can miss its handler.

use std::collections::BTreeMap;
use std::fmt;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use ekka_core::id::{Guid, Incarnation, NodeId, NodeName};
use ekka_core::limits::CALL_PAYLOAD_MAX;
use ekka_core::rpc::{Codec, Refusal, Trace};
use tokio::time::Instant;

use super::builtin;
use super::inbound::StreamHandler;
use super::method::{Method, name_problem};

/// Who is at the other end of a connection.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Peer {
    pub(super) incarnation: Incarnation,
    pub(super) name: NodeName,
}

/// Who calls, and how long it waits.
#[derive(Clone, Debug)]
pub struct Caller {
    pub(super) peer: Arc<Peer>,
    pub(super) deadline: Instant,
    pub(super) trace: Option<Trace>,
}

impl Caller {
    /// Who it is.
    #[must_use]
    pub fn node_id(&self) -> NodeId {
        self.peer.incarnation.node_id
    }

    /// Which start of it.
    #[must_use]
    pub fn guid(&self) -> Guid {
        self.peer.incarnation.guid
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &NodeName {
        &self.peer.name
    }

    /// When it stops waiting; the handler is dropped then.
    #[must_use]
    pub fn deadline(&self) -> Instant {
        self.deadline
    }

    /// What is left until then.
    #[must_use]
    pub fn time_left(&self) -> Duration {
        self.deadline.saturating_duration_since(Instant::now())
    }

    /// Its place in a trace.
    #[must_use]
    pub fn trace(&self) -> Option<Trace> {
        self.trace
    }
}

/// What a handler gives in place of an answer: words for the caller. Any error becomes one by `?`.
#[derive(Clone, PartialEq, Eq)]
pub struct HandlerError {
    text: String,
}

impl HandlerError {
    /// An error in these words.
    pub fn new(text: impl Into<String>) -> Self {
        Self { text: text.into() }
    }
}

impl<E: std::error::Error> From<E> for HandlerError {
    fn from(error: E) -> Self {
        Self { text: error.to_string() }
    }
}

impl fmt::Display for HandlerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Debug for HandlerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.text, f)
    }
}

/// Why there is no answer, as it goes over the wire.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Failed {
    pub(super) why: Refusal,
    pub(super) text: String,
}

/// One call being carried out: what it comes to.
pub(super) type Work = Pin<Box<dyn Future<Output = Result<Vec<u8>, Failed>> + Send>>;

type Begin = Box<dyn Fn(Caller, &[u8]) -> Result<Work, String> + Send + Sync>;

/// Where a handler begins.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Way {
    /// On the thread of the calls; it moves to the application's runtime where it has to wait.
    Inline,
    /// On the application's runtime.
    Task,
}

/// What is known of one method.
pub(super) struct Handler {
    pub(super) codec: Codec,
    pub(super) way: Way,
    pub(super) begin: Begin,
}

/// The methods that a node serves.
///
/// ```
/// use ekka::rpc::{Handlers, Method};
///
/// const LENGTH: Method<String, usize> = Method::new("text.length");
/// let handlers = Handlers::new().serve(&LENGTH, async |_caller, text| Ok(text.len()));
/// ```
#[derive(Default)]
pub struct Handlers {
    pub(super) methods: BTreeMap<String, Arc<Handler>>,
    pub(super) streams: BTreeMap<String, Arc<StreamHandler>>,
    pub(super) problems: Vec<String>,
}

impl Handlers {
    /// None yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Serves a method.
    ///
    /// The handler begins on the thread of the node's calls, where it costs least, and is looked at once there. A handler
    /// that has to wait goes on as a task of the runtime in which the node was started. So it may await what it likes,
    /// and use that runtime from its first line on; it must not compute or block for long before it first awaits, or
    /// all calls of this node wait for it: [`Self::serve_as_task`] is for those.
    ///
    /// It is dropped when the caller stops waiting, its deadline passes, or the connection ends. A panic is the
    /// caller's [`HandlerFailed`](super::CallError::HandlerFailed) and ends nothing else.
    #[must_use]
    pub fn serve<Q, A, F, R>(self, method: &Method<Q, A>, handler: F) -> Self
    where
        Q: Send + 'static,
        A: Send + 'static,
        F: Fn(Caller, Q) -> R + Send + Sync + 'static,
        R: Future<Output = Result<A, HandlerError>> + Send + 'static,
    {
        self.add(method, Way::Inline, handler)
    }

    /// Serves a method whose handler computes, or calls what may block: it begins as a task of the runtime in which the
    /// node was started.
    #[must_use]
    pub fn serve_as_task<Q, A, F, R>(self, method: &Method<Q, A>, handler: F) -> Self
    where
        Q: Send + 'static,
        A: Send + 'static,
        F: Fn(Caller, Q) -> R + Send + Sync + 'static,
        R: Future<Output = Result<A, HandlerError>> + Send + 'static,
    {
        self.add(method, Way::Task, handler)
    }

    fn add<Q, A, F, R>(mut self, method: &Method<Q, A>, way: Way, handler: F) -> Self
    where
        Q: Send + 'static,
        A: Send + 'static,
        F: Fn(Caller, Q) -> R + Send + Sync + 'static,
        R: Future<Output = Result<A, HandlerError>> + Send + 'static,
    {
        let (codec, request, answer) = (method.codec(), method.request, method.answer);
        let handler = Arc::new(handler);
        let begin: Begin = Box::new(move |caller, payload| {
            let request = (request.decode)(payload)?;
            let handler = handler.clone();
            let context = super::context::Context { deadline: Some(caller.deadline), trace: caller.trace };
            Ok(Box::pin(context.scope(async move {
                let value = handler(caller, request).await.map_err(|error| failed(error.text))?;
                let bytes = (answer.encode)(&value)
                    .map_err(|error| failed(format!("its answer cannot be written as {}: {error}", codec.as_str())))?;
                if bytes.len() > CALL_PAYLOAD_MAX {
                    return Err(Failed { why: Refusal::AnswerTooLarge, text: bytes.len().to_string() });
                }
                Ok(bytes)
            })))
        });
        self.put(method.name(), Handler { codec, way, begin });
        self
    }

    fn put(&mut self, name: &str, handler: Handler) {
        if let Some(problem) = name_problem(name) {
            self.problems.push(problem);
        } else if self.methods.insert(name.to_owned(), Arc::new(handler)).is_some() {
            self.problems.push(format!("the method `{name}` has two handlers"));
        }
    }

    /// Why a node cannot start with these: all that is wrong with them, in words.
    pub(super) fn problem(&self) -> Option<String> {
        let reserved = self.methods.keys().filter(|name| name.starts_with("ekka."));
        let reserved =
            reserved.map(|name| format!("the method `{name}` takes a name of ekka's own: use a prefix of yours"));
        let problems: Vec<String> = self.problems.iter().cloned().chain(reserved).collect();
        (!problems.is_empty()).then(|| problems.join("; "))
    }

    /// The names, for words.
    pub(super) fn names(&self) -> String {
        let told: Vec<&str> = self.methods.keys().map(String::as_str).filter(|name| builtin::is_told(name)).collect();
        let names = &told[..told.len().min(NAMES_SHOWN)];
        let more = told.len() - names.len();
        let names = names.join(", ");
        if more > 0 { format!("{names} and {more} more") } else { names }
    }
}

/// Names of methods that an error lists.
const NAMES_SHOWN: usize = 20;

fn failed(text: String) -> Failed {
    Failed { why: Refusal::HandlerFailed, text }
}

/// Polls work; a panic is an error of the call.
pub(super) fn poll_work(work: &mut Work, cx: &mut Context<'_>) -> Poll<Result<Vec<u8>, Failed>> {
    // The work is dropped after a panic: nobody sees what it left half-done but through what it shares itself.
    catch_unwind(AssertUnwindSafe(|| work.as_mut().poll(cx))).unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
        let text = text.or_else(|| panic.downcast_ref::<String>().cloned());
        Poll::Ready(Err(failed(format!("it panicked: {}", text.as_deref().unwrap_or("no message")))))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: Method<(), ()> = Method::new("shop.one");

    #[test]
    fn what_cannot_be_served_is_said_in_words() {
        let nothing = async |_: Caller, ()| Ok(());
        assert_eq!(Handlers::new().serve(&ONE, nothing).problem(), None);
        let twice = Handlers::new().serve(&ONE, nothing).serve(&ONE, nothing);
        assert_eq!(twice.problem().unwrap(), "the method `shop.one` has two handlers");
        let reserved = Handlers::new().serve(&Method::<(), ()>::new("ekka.mine"), nothing).problem().unwrap();
        assert!(reserved.contains("ekka's own"), "{reserved}");
        let bad = Handlers::new().serve(&Method::<(), ()>::new("Shop price"), nothing).problem().unwrap();
        assert!(bad.contains("shop.price"), "{bad}");
    }
}
