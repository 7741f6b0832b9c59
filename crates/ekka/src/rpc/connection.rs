//! One connection for calls, as its users share it: whoever calls over it, the driver, and the handlers that it runs.

use std::sync::Arc;
use std::sync::atomic::AtomicUsize;

use ekka_core::limits::{CALLS_WINDOW, CALLS_WINDOW_BYTES};
use ekka_core::rpc::{Head, Refusal};
use ekka_core::time::Instant;
use tokio::runtime::Handle;

use super::client::Client;
use super::figures::Figures;
use super::handlers::{Failed, Handlers, Peer};
use super::inbound::Inbound;
use super::queue::{Pushed, Queue};
use super::server::Server;
use super::stream::Outbound;

/// What all connections of a node share.
pub(super) struct Service {
    pub(super) handlers: Handlers,
    pub(super) figures: Figures,
    /// The application's runtime.
    pub(super) app: Handle,
    /// The start of the clock for deadlines.
    pub(super) epoch: tokio::time::Instant,
}

impl Service {
    /// A moment as the pure parts count it.
    pub(super) fn at(&self, moment: tokio::time::Instant) -> Instant {
        let since = moment.saturating_duration_since(self.epoch);
        Instant::from_nanos(u64::try_from(since.as_nanos()).unwrap_or(u64::MAX))
    }

    /// The same moment for the runtime.
    pub(super) fn moment(&self, at: Instant) -> tokio::time::Instant {
        self.epoch + at.since(Instant::ZERO)
    }
}

/// One connection.
pub(super) struct Connection {
    pub(super) peer: Arc<Peer>,
    pub(super) queue: Queue,
    pub(super) client: Client,
    pub(super) server: Server,
    /// Streams that this side sends, and those that come.
    pub(super) outbound: Outbound,
    pub(super) inbound: Inbound,
    pub(super) service: Arc<Service>,
}

impl Connection {
    /// A connection that says in `waiting` how many bytes wait to be written.
    pub(super) fn new(peer: Arc<Peer>, service: Arc<Service>, waiting: Arc<AtomicUsize>) -> Arc<Self> {
        Arc::new(Self {
            peer,
            queue: Queue::new(waiting),
            client: Client::new(CALLS_WINDOW, CALLS_WINDOW_BYTES),
            server: Server::new(CALLS_WINDOW),
            outbound: Outbound::new(),
            inbound: Inbound::default(),
            service,
        })
    }

    /// Whether nothing can be called over it any more.
    pub(super) fn is_over(&self) -> bool {
        self.client.is_over()
    }

    /// Answers a call.
    pub(super) fn answer(&self, id: u64, result: &Result<Vec<u8>, Failed>) {
        // A connection that is over needs no answers.
        let _ = match result {
            Ok(payload) => self.queue.push(&Head::Answer { id }, payload),
            Err(failed) => self.refuse(id, failed.why, &failed.text),
        };
    }

    pub(super) fn refuse(&self, id: u64, why: Refusal, text: &str) -> Pushed {
        self.queue.push(&Head::Refused { id, why }, cut(text).as_bytes())
    }

    /// So many bytes were given to the socket.
    pub(super) fn wrote(&self, bytes: usize) {
        self.queue.wrote(bytes);
        let handed = self.queue.handed();
        self.client.written(handed);
        self.outbound.written(handed);
    }

    /// Ends both sides of it; `text` says why.
    pub(super) fn end(&self, text: &str) {
        self.queue.close();
        self.client.end(self.queue.handed(), text);
        self.server.end();
        self.outbound.end(text);
        self.inbound.end();
    }
}

/// The words of an error are cut to a length that any peer takes.
fn cut(text: &str) -> &str {
    let mut end = text.len().min(ekka_core::limits::REASON_LEN_MAX);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}
