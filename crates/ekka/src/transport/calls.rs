//! The lane for calls: connections of their own, used both ways, so that calls queue neither behind tables nor before
//! heartbeats.
//!
//! The transport admits them, counts, and says when they are to end; what goes over them is the room `rpc`'s.

use std::io;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::time::Duration;

use ekka_core::control::{CloseCause, ConnId, DialError};
use ekka_core::id::{Endpoint, NodeId};
use ekka_core::wire::{FrameKind, Hello, HelloReply, Lane, Purpose, encode_frame};
use tokio::time::timeout;
use tokio_util::task::task_tracker::TaskTrackerToken;

use super::bulk::{admit, refuse};
use super::dial::Dialer;
use super::link::part;
use super::outbox::{Outbox, Pushed};
use super::secure;
use super::shared::{Greeted, Registered, Shared};
use super::stats::PeerCounters;
use crate::env::BoxStream;

/// Who serves connections of the lane for calls. Neither may wait: they are called by the transport's own tasks.
pub trait CallsHost: Send + Sync + 'static {
    /// A peer opened a connection.
    fn accepted(&self, connection: CallsConnection, stream: BoxStream);

    /// A peer wants to call and asks this node to open the connection.
    fn asked(&self, by: NodeId);
}

/// The transport's part of a connection for calls. Dropping it takes the connection out of the transport.
pub struct CallsConnection {
    hello: Hello,
    conn: ConnId,
    outbox: Arc<Outbox>,
    counters: Arc<PeerCounters>,
    shared: Arc<Shared>,
    _token: TaskTrackerToken,
}

impl CallsConnection {
    fn new(shared: &Arc<Shared>, hello: Hello, conn: ConnId, outbox: Arc<Outbox>) -> Self {
        let counters = shared.counters.of(&hello.name);
        Self { hello, conn, outbox, counters, shared: shared.clone(), _token: shared.tasks.token() }
    }

    /// Who is at the other end.
    #[must_use]
    pub fn peer(&self) -> &Hello {
        &self.hello
    }

    /// Lets the runtime that calls wait for the socket.
    ///
    /// # Errors
    /// The system refused; the connection is of no use any more.
    pub fn rehome(stream: &mut BoxStream) -> io::Result<()> {
        secure::rehome(stream)
    }

    /// Waits until the connection is to end: with the last link of its peer, when the node stops, when its
    /// credentials are not trusted any more.
    pub async fn closing(&self) -> CloseCause {
        tokio::select! {
            biased;
            () = self.shared.kill.cancelled() => CloseCause::Stopping,
            cause = self.outbox.closing() => cause,
        }
    }

    /// Time for what was queued to go out before it ends.
    #[must_use]
    pub fn flush_limit(&self) -> Duration {
        self.shared.limits.flush
    }

    /// Counts bytes read.
    pub fn read(&self, bytes: usize) {
        self.counters.read(bytes);
    }

    /// Counts bytes written.
    pub fn wrote(&self, bytes: usize) {
        self.counters.wrote(bytes);
    }

    /// Where the host says how many bytes wait to be written.
    #[must_use]
    pub fn waiting(&self) -> Arc<AtomicUsize> {
        self.outbox.beside()
    }
}

impl Drop for CallsConnection {
    fn drop(&mut self) {
        self.outbox.close(CloseCause::Reset);
        self.shared.registry().remove(self.conn, &CloseCause::Reset);
    }
}

/// Opens a connection for calls to the node that is expected at an endpoint, and that has a control connection with
/// this one.
pub(super) async fn open(
    shared: &Arc<Shared>,
    endpoint: &Endpoint,
    node: NodeId,
) -> Result<(CallsConnection, BoxStream), DialError> {
    let credentials = shared.credentials();
    let ours = (shared.hello)(Purpose::Peer(Lane::Calls));
    let dialer = Dialer { env: &shared.env, credentials: &credentials, limits: &shared.limits };
    let (greeting, hello, addr) = dialer.dial(endpoint, &ours).await?;
    let greeted = Greeted { greeting, hello, addr, dialed: None };
    let admitted = if greeted.hello.node_id == node {
        admit(shared, greeted.claim(), Lane::Calls).await
    } else {
        Err(refuse("another node is there than the one that is called"))
    };
    match admitted {
        Ok(Registered { conn, outbox, .. }) => {
            let Greeted { greeting, hello, .. } = greeted;
            Ok((CallsConnection::new(shared, hello, conn, outbox), greeting.into_stream()))
        }
        Err(failure) => {
            part(greeted.greeting.into_stream(), shared.limits.linger).await;
            Err(failure.into_dial_error(&endpoint.to_string(), &credentials.describe()))
        }
    }
}

/// The accepting side: admitted beside a link, then its host's.
pub(super) async fn accept(shared: &Arc<Shared>, greeted: Greeted) {
    let host = shared.calls.clone().ok_or_else(|| refuse("this node takes no calls"));
    let admitted = match host {
        Err(failure) => Err(failure),
        Ok(host) => admit(shared, greeted.claim(), Lane::Calls).await.map(|registered| (registered, host)),
    };
    let (Registered { conn, outbox, .. }, host) = match admitted {
        Ok(admitted) => admitted,
        Err(failure) => return shared.turn_away(greeted, failure).await,
    };
    let Greeted { mut greeting, hello, .. } = greeted;
    let connection = CallsConnection::new(shared, hello, conn, outbox);
    let answer = HelloReply::Welcome((shared.hello)(Purpose::Peer(Lane::Calls)));
    let sent = timeout(shared.limits.flush, greeting.send_reply(&answer)).await;
    if matches!(sent, Ok(Ok(()))) {
        host.accepted(connection, greeting.into_stream());
    }
}

/// Asks for a connection by the link with a node: an empty frame of the kind for calls.
pub(super) fn ask(shared: &Shared, node: NodeId) -> bool {
    let link = {
        let registry = shared.registry();
        registry.links().filter(|link| link.incarnation.node_id == node).last().map(|link| link.outbox.clone())
    };
    let Some(outbox) = link else { return false };
    let mut frame = Vec::new();
    let encoded = encode_frame(FrameKind::Call, &[], &mut frame);
    debug_assert!(encoded.is_ok(), "an empty frame is within every limit");
    outbox.push(frame) == Pushed::Queued
}
