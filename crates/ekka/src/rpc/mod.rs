//! Typed calls between nodes: methods as constants, handlers registered before start, deadlines that travel.
//!
//! A call goes over a connection of its own lane (`transport`), opened on demand and used both ways: `hub` opens and
//! keeps them, `driver` carries one, `client` is its calling side and `server` its called side. What they must agree on
//! without a socket — messages, windows, the order of keys, credit — is `ekka_core::rpc`.
//!
//! **Threads.** A node carries its calls on a thread of their own, so that they neither starve heartbeats nor wait for
//! the application. A handler begins on that thread; one that has to wait goes on as a task of the runtime in which the
//! node was started (see [`Handlers::serve`]). Callers await on whatever runtime they are.
//!
//! **Memory.** Towards each peer at most `limits::CALLS_WINDOW` calls and `limits::CALLS_WINDOW_BYTES` of requests are under
//! way; further callers wait, up to their deadline. Where answers wait to be read, no handler begins. A peer that does
//! not read costs no more than that, and costs others nothing.

#[cfg(feature = "admin")]
mod bench;
mod builtin;
mod client;
mod connection;
mod context;
mod debts;
mod driver;
mod error;
mod figures;
pub mod fuzz;
mod handlers;
mod hub;
mod inbound;
mod method;
mod queue;
mod request;
mod server;
mod stream;
#[cfg(feature = "admin")]
mod untyped;

#[cfg(feature = "admin")]
pub use bench::{BenchFigures, BenchPlan, bench};
pub use builtin::{ECHO, INFO, Info, MethodInfo, PING};
pub use context::{Trace, current_trace, time_left, with_trace};
pub use ekka_core::rpc::Codec;
pub use error::CallError;
pub use figures::{MethodCounts, RESULTS};
pub use handlers::{Caller, HandlerError, Handlers};
pub(crate) use hub::Hub;
pub use inbound::Receiver;
pub use method::{Method, Stream};
pub use request::{Call, Cast, Multicall};
pub use stream::{Acks, OpenStream, Sender};
#[cfg(feature = "admin")]
pub(crate) use untyped::call_json;

use std::sync::Arc;

use ekka_core::view::View;
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use connection::Service;
use figures::Figures;

use crate::home::Home;

/// Makes the calls of a node ready: nothing is carried until the transport gives or opens connections. `own` adds what
/// nodes ask of each other, which is no business of programs: nobody is told of it.
///
/// # Errors
/// A handler cannot be served; the words say which and why.
pub(crate) fn prepare(
    (handlers, own): (Handlers, impl FnOnce(Handlers) -> Handlers),
    views: watch::Receiver<Arc<View>>,
    home: &Home,
    stop: CancellationToken,
) -> Result<Arc<Hub>, String> {
    if let Some(problem) = handlers.problem() {
        return Err(problem);
    }
    let seen = views.clone();
    let who = move || {
        let view = seen.borrow();
        (view.me, view.name.to_string())
    };
    let handlers = own(builtin::add(handlers, who));
    let service = Arc::new(Service {
        figures: Figures::new(handlers.methods.keys().map(String::as_str)),
        handlers,
        app: Handle::current(),
        epoch: tokio::time::Instant::now(),
    });
    Ok(Hub::new(service, views, home.handle.clone(), home.own.clone(), stop))
}
