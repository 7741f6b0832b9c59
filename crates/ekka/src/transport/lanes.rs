//! The lanes for calls and for tables: connections of their own, each used both ways, so that neither queues behind the
//! other or behind full copies, nor before heartbeats.
//!
//! The transport admits them, counts, and says when they are to end; what goes over them is its host's: the room `rpc`, or
//! that of tables.

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

/// Who serves the connections of such a lane. Neither may wait: they are called by the transport's own tasks.
pub trait LaneHost: Send + Sync + 'static {
    /// A peer opened a connection.
    fn accepted(&self, connection: LaneConnection, stream: BoxStream);

    /// A peer cannot open the connection, and asks this node to do it.
    fn asked(&self, by: NodeId);
}

/// The transport's part of a connection of such a lane. Dropping it takes the connection out of the transport.
pub struct LaneConnection {
    hello: Hello,
    conn: ConnId,
    outbox: Arc<Outbox>,
    counters: Arc<PeerCounters>,
    shared: Arc<Shared>,
    _token: TaskTrackerToken,
}

impl LaneConnection {
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

impl Drop for LaneConnection {
    fn drop(&mut self) {
        self.outbox.close(CloseCause::Reset);
        self.shared.registry().remove(self.conn, &CloseCause::Reset);
    }
}

/// Opens a connection of a lane to the node that is expected at an endpoint, and that has a control connection with
/// this one.
pub(super) async fn open(
    shared: &Arc<Shared>,
    lane: Lane,
    endpoint: &Endpoint,
    node: NodeId,
) -> Result<(LaneConnection, BoxStream), DialError> {
    let credentials = shared.credentials();
    let ours = (shared.hello)(Purpose::Peer(lane));
    let dialer = Dialer { env: &shared.env, credentials: &credentials, limits: &shared.limits };
    let (greeting, hello, addr) = dialer.dial(endpoint, &ours).await?;
    let greeted = Greeted { greeting, hello, addr, dialed: None };
    let admitted = if greeted.hello.node_id == node {
        admit(shared, greeted.claim(), lane).await
    } else {
        Err(refuse("another node is there than the one that is meant"))
    };
    match admitted {
        Ok(Registered { conn, outbox, .. }) => {
            let Greeted { greeting, hello, .. } = greeted;
            Ok((LaneConnection::new(shared, hello, conn, outbox), greeting.into_stream()))
        }
        Err(failure) => {
            part(greeted.greeting.into_stream(), shared.limits.linger).await;
            Err(failure.into_dial_error(&endpoint.to_string(), &credentials.describe()))
        }
    }
}

/// The accepting side: admitted beside a link, then its host's.
pub(super) async fn accept(shared: &Arc<Shared>, lane: Lane, greeted: Greeted) {
    let host = shared.hosts.of(lane).ok_or_else(|| refuse("this node takes no connections of this lane"));
    let admitted = match host {
        Err(failure) => Err(failure),
        Ok(host) => admit(shared, greeted.claim(), lane).await.map(|registered| (registered, host)),
    };
    let (Registered { conn, outbox, .. }, host) = match admitted {
        Ok(admitted) => admitted,
        Err(failure) => return shared.turn_away(greeted, failure).await,
    };
    let Greeted { mut greeting, hello, .. } = greeted;
    let connection = LaneConnection::new(shared, hello, conn, outbox);
    let answer = HelloReply::Welcome((shared.hello)(Purpose::Peer(lane)));
    let sent = timeout(shared.limits.flush, greeting.send_reply(&answer)).await;
    if matches!(sent, Ok(Ok(()))) {
        host.accepted(connection, greeting.into_stream());
    }
}

/// Asks for a connection by the link with a node: an empty frame of the kind of its lane.
pub(super) fn ask(shared: &Shared, lane: Lane, node: NodeId) -> bool {
    let kind = match lane {
        Lane::Tables => FrameKind::Table,
        Lane::Calls | Lane::Control | Lane::Bulk => FrameKind::Call,
    };
    let link = {
        let registry = shared.registry();
        registry.links().filter(|link| link.incarnation.node_id == node).last().map(|link| link.outbox.clone())
    };
    let Some(outbox) = link else { return false };
    let mut frame = Vec::new();
    let encoded = encode_frame(kind, &[], &mut frame);
    debug_assert!(encoded.is_ok(), "an empty frame is within every limit");
    outbox.push(frame) == Pushed::Queued
}

/// Who serves the connections of these lanes; without a host they are refused.
#[derive(Clone, Default)]
pub struct Hosts {
    /// Of the lane for calls.
    pub calls: Option<Arc<dyn LaneHost>>,
    /// Of the lane for tables.
    pub tables: Option<Arc<dyn LaneHost>>,
}

impl Hosts {
    fn of(&self, lane: Lane) -> Option<Arc<dyn LaneHost>> {
        match lane {
            Lane::Calls => self.calls.clone(),
            Lane::Tables => self.tables.clone(),
            Lane::Control | Lane::Bulk => None,
        }
    }

    /// A node asks for a connection of the lane whose frames have this kind.
    pub(super) fn asked(&self, kind: FrameKind, by: NodeId) {
        let host = if kind == FrameKind::Table { &self.tables } else { &self.calls };
        if let Some(host) = host {
            host.asked(by);
        }
    }
}
