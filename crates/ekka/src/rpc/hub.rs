//! The connections for calls of one node: opened on demand, one for each peer where it can be, used both ways.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use ekka_core::control::DialError;
use ekka_core::id::{Endpoint, NodeId};
use ekka_core::limits::DIAL_TIMEOUT;
use ekka_core::view::{Status, View};
use ekka_core::wire::{Lane, RefusalReason};
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::time::{Instant, timeout, timeout_at};
use tokio_util::sync::CancellationToken;

use super::connection::{Connection, Service};
use super::driver::Driver;
use super::figures::{MethodCounts, MethodFigures};
use super::handlers::Peer;
use crate::env::BoxStream;
use crate::home::Vigil;
use crate::transport::{LaneConnection, LaneHost, Transport};

/// A dial that takes longer than this is helped by asking the peer to dial.
const ASK_AFTER: Duration = Duration::from_millis(300);
/// Bytes on their way from a node to itself.
const SELF_BYTES: usize = 256 * 1024;

/// All connections for calls of one node.
pub(crate) struct Hub {
    pub(super) service: Arc<Service>,
    /// The runtime that carries the connections.
    home: Handle,
    /// Where sockets are to be moved to it: what keeps its thread awake.
    vigil: Option<Arc<Vigil>>,
    views: watch::Receiver<Arc<View>>,
    state: Mutex<State>,
    stop: CancellationToken,
    this: Weak<Self>,
}

#[derive(Default)]
struct State {
    transport: Option<Transport>,
    peers: BTreeMap<NodeId, Slot>,
}

/// What there is with one peer.
#[derive(Default)]
struct Slot {
    /// The first is the one in use; a second one comes where both sides opened at once.
    open: Vec<Arc<Connection>>,
    opening: Option<watch::Receiver<Option<Opened>>>,
    opener: Option<Arc<watch::Sender<Option<Opened>>>>,
}

type Opened = Result<Arc<Connection>, NotOpened>;

/// Why there is no connection. Nothing was sent.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum NotOpened {
    /// The node cannot be reached; why.
    Unreachable(String),
    /// It speaks another version.
    Version(String),
    /// The deadline passed.
    Late,
}

impl Hub {
    /// A hub whose connections are carried by `home`; sockets are moved there where it is a thread of its own.
    pub(super) fn new(
        service: Arc<Service>,
        views: watch::Receiver<Arc<View>>,
        home: Handle,
        vigil: Option<Arc<Vigil>>,
        stop: CancellationToken,
    ) -> Arc<Self> {
        Arc::new_cyclic(|this| Self { service, home, vigil, views, state: Mutex::default(), stop, this: this.clone() })
    }

    /// Gives it the transport, once there is one.
    pub(crate) fn use_transport(&self, transport: Transport) {
        self.locked().transport = Some(transport);
    }

    /// The node is about to say goodbye: callers of handlers that still run are told that these are dropped.
    pub(crate) fn cancel_served(&self) {
        let open: Vec<_> = self.locked().peers.values().flat_map(|slot| slot.open.iter().cloned()).collect();
        for connection in open {
            connection.cancel_all();
        }
    }

    /// Ends all connections. Whoever waits is told.
    pub(crate) fn stop(&self) {
        self.stop.cancel();
        let state = std::mem::take(&mut *self.locked());
        drop(state);
    }

    /// What was counted, by method and side.
    pub(crate) fn counts(&self) -> BTreeMap<(String, &'static str), MethodCounts> {
        self.service.figures.snapshot()
    }

    pub(super) fn called(&self, method: &str) -> Arc<MethodFigures> {
        self.service.figures.called(method)
    }

    /// The connection with a node; opens one where there is none, and waits for it.
    pub(super) async fn connection(&self, node: NodeId, deadline: Instant) -> Opened {
        let mut opening = {
            let mut state = self.locked();
            if let Some(open) = state.peers.get(&node).and_then(Slot::usable) {
                return Ok(open);
            }
            if self.stop.is_cancelled() {
                return Err(NotOpened::Unreachable("this node has stopped".to_owned()));
            }
            let endpoint = self.endpoint(node)?;
            self.begin(&mut state, node, endpoint, true)?
        };
        let opened = timeout_at(deadline, opening.wait_for(Option::is_some)).await;
        match opened {
            Ok(Ok(opened)) => opened.clone().unwrap_or(Err(NotOpened::Late)),
            Ok(Err(_)) => Err(NotOpened::Unreachable("this node is stopping".to_owned())),
            Err(_) => Err(NotOpened::Late),
        }
    }

    /// Where a node is, as far as this one knows: no member, or one that is down, is not dialled for a call.
    fn endpoint(&self, node: NodeId) -> Result<Option<Endpoint>, NotOpened> {
        let view = self.views.borrow();
        if node == view.me.node_id {
            return Ok(None);
        }
        let Some(member) = view.member(node) else {
            return Err(NotOpened::Unreachable(format!("no member has the node_id {node}")));
        };
        match member.status {
            Status::Down => Err(NotOpened::Unreachable(format!("{} is down: nobody hears it", member.name))),
            status if !status.is_running() => {
                Err(NotOpened::Unreachable(format!("{} is {}", member.name, status.as_str())))
            }
            _ => Ok(Some(member.endpoint.clone())),
        }
    }

    /// Begins to open a connection, where nobody does yet. No endpoint: with itself.
    fn begin(
        &self,
        state: &mut State,
        node: NodeId,
        endpoint: Option<Endpoint>,
        asks: bool,
    ) -> Result<watch::Receiver<Option<Opened>>, NotOpened> {
        let transport = state.transport.clone();
        let slot = state.peers.entry(node).or_default();
        if let Some(opening) = &slot.opening {
            return Ok(opening.clone());
        }
        let Some(hub) = self.this.upgrade() else {
            return Err(NotOpened::Unreachable("this node has stopped".to_owned()));
        };
        let (sender, receiver) = watch::channel(None);
        let opening = receiver.clone();
        let Some(endpoint) = endpoint else {
            let near = self.open_self();
            sender.send_replace(Some(Ok(near.clone())));
            slot.open.push(near);
            return Ok(receiver);
        };
        let Some(transport) = transport else {
            return Err(NotOpened::Unreachable("this node is starting, or has stopped".to_owned()));
        };
        let sender = Arc::new(sender);
        (slot.opening, slot.opener) = (Some(receiver), Some(sender.clone()));
        self.home.spawn(async move {
            let opened = hub.open(&transport, node, &endpoint, asks).await;
            let mut state = hub.locked();
            if let Some(slot) = state.peers.get_mut(&node)
                && slot.opener.as_ref().is_some_and(|opener| Arc::ptr_eq(opener, &sender))
            {
                (slot.opening, slot.opener) = (None, None);
            }
            drop(state);
            tell_first(&sender, opened);
        });
        Ok(opening)
    }

    /// Dials, and asks the peer to dial where that takes long or fails: it may be that only one side can.
    ///
    /// It goes on where a connection of the peer is accepted meanwhile: the peer may have accepted this one already, and
    /// uses it. Were each side to drop what it dialled, both would be left with what the other one dropped.
    async fn open(self: &Arc<Self>, transport: &Transport, node: NodeId, endpoint: &Endpoint, asks: bool) -> Opened {
        let ask = || asks && transport.ask_for_lane(Lane::Calls, node);
        let helped_dial = async {
            let mut dial = std::pin::pin!(transport.open_lane(Lane::Calls, endpoint, node));
            let dialed = if let Ok(dialed) = timeout(ASK_AFTER, &mut dial).await {
                dialed
            } else {
                let asked = ask();
                tracing::trace!(asked, "the dial for calls takes long");
                dial.await
            };
            match dialed {
                Ok((port, stream)) => Ok(self.carry(port, stream)),
                Err(error) if matters(&error) || !ask() => Err(error),
                Err(error) => {
                    tokio::time::sleep(DIAL_TIMEOUT).await;
                    Err(error)
                }
            }
        };
        tokio::select! {
            biased;
            () = self.stop.cancelled() => Err(NotOpened::Unreachable("this node is stopping".to_owned())),
            dialed = helped_dial => dialed.map_err(|error| not_opened(endpoint, &error)),
        }
    }

    /// Both ends of a connection of this node with itself. No socket, but the same rules: a handler cannot tell.
    fn open_self(&self) -> Arc<Connection> {
        let (near, far) = tokio::io::duplex(SELF_BYTES);
        let view = self.views.borrow().clone();
        let me = Arc::new(Peer { incarnation: view.me, name: view.name.clone() });
        let near_end = Connection::new(me.clone(), self.service.clone(), Arc::default());
        let far_end = Connection::new(me, self.service.clone(), Arc::default());
        for (connection, stream) in [(near_end.clone(), near), (far_end, far)] {
            let stop = self.stop.clone();
            self.home.spawn(async move {
                Driver::new(connection, Box::new(stream), None).run(None, stop.cancelled_owned()).await;
            });
        }
        near_end
    }

    /// Takes a connection with a peer into use; on the runtime that is its home.
    fn carry(self: &Arc<Self>, port: LaneConnection, stream: BoxStream) -> Arc<Connection> {
        let hello = port.peer();
        let peer = Arc::new(Peer { incarnation: hello.incarnation(), name: hello.name.clone() });
        let node = peer.incarnation.node_id;
        let connection = Connection::new(peer, self.service.clone(), port.waiting());
        {
            let mut state = self.locked();
            let slot = state.peers.entry(node).or_default();
            slot.open.retain(|open| !open.is_over());
            slot.open.push(connection.clone());
            slot.opening = None;
            if let Some(opener) = slot.opener.take() {
                tell_first(&opener, Ok(connection.clone()));
            }
        }
        let (hub, carried) = (self.clone(), connection.clone());
        self.home.spawn(async move {
            let vigil = hub.vigil.clone();
            Driver::new(carried.clone(), stream, vigil).run(Some(port), hub.stop.clone().cancelled_owned()).await;
            let mut state = hub.locked();
            if let Some(slot) = state.peers.get_mut(&node) {
                slot.open.retain(|open| !Arc::ptr_eq(open, &carried));
                if slot.open.is_empty() && slot.opening.is_none() {
                    state.peers.remove(&node);
                }
            }
        });
        connection
    }

    fn locked(&self) -> MutexGuard<'_, State> {
        // Nothing that holds this lock can leave it half-changed.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Slot {
    fn usable(&self) -> Option<Arc<Connection>> {
        // The first that lives, for as long as it does: calls with one key stay in order.
        self.open.iter().find(|open| !open.is_over()).cloned()
    }
}

impl LaneHost for Hub {
    fn accepted(&self, port: LaneConnection, mut stream: BoxStream) {
        let Some(hub) = self.this.upgrade() else { return };
        self.home.spawn(async move {
            if hub.vigil.is_some()
                && let Err(error) = LaneConnection::rehome(&mut stream)
            {
                tracing::warn!(err = %error, "a connection for calls could not be moved to its thread");
                return;
            }
            hub.carry(port, stream);
        });
    }

    fn asked(&self, by: NodeId) {
        let mut state = self.locked();
        if state.peers.get(&by).and_then(Slot::usable).is_some() || self.stop.is_cancelled() {
            return;
        }
        if let Ok(Some(endpoint)) = self.endpoint(by) {
            // It asks once more where it still wants one.
            let begun = self.begin(&mut state, by, Some(endpoint), false);
            tracing::trace!(peer = %by, begun = begun.is_ok(), "asked to open a connection for calls");
        }
    }
}

/// Tells whoever waits how an opening ended; later ends of the same are no news.
fn tell_first(opener: &watch::Sender<Option<Opened>>, opened: Opened) {
    opener.send_if_modified(|present| {
        let first = present.is_none();
        if first {
            *present = Some(opened);
        }
        first
    });
}

/// Whether a dial failed for a reason that the other direction would not mend.
fn matters(error: &DialError) -> bool {
    matches!(error, DialError::Credentials(_) | DialError::Rejected(_) | DialError::Garbage(_))
}

fn not_opened(endpoint: &Endpoint, error: &DialError) -> NotOpened {
    match error {
        DialError::Rejected(refusal) if refusal.reason == RefusalReason::Version => {
            NotOpened::Version(refusal.text.clone())
        }
        error => NotOpened::Unreachable(format!("no connection for calls with {endpoint}: {error}")),
    }
}
