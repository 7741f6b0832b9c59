//! The connections of one transport: who is connected, what waits for them, and what they stand on.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use ekka_core::control::{CloseCause, ConnId};
use ekka_core::id::{Endpoint, Incarnation, NodeId, NodeName};
use ekka_core::wire::{Hello, Lane, Refusal};
use tokio::sync::oneshot;

use super::known::Known;
use super::outbox::Outbox;
use super::secure::Trust;
use super::stats::{Counters, PeerCounters};

/// The answer of `Control` to a Hello.
pub(super) type Verdict = Result<Box<Hello>, Refusal>;

/// One connection whose Hello was read.
pub(super) struct Connection {
    pub(super) peer: NodeName,
    pub(super) incarnation: Incarnation,
    pub(super) lane: Lane,
    pub(super) trust: Trust,
    /// The address of the other end, and whether this side dialled it.
    pub(super) remote: (IpAddr, bool),
    pub(super) outbox: Arc<Outbox>,
    /// Its own until the verdict, then those of the peer's name.
    pub(super) counters: Arc<PeerCounters>,
    /// There until the verdict is given.
    pub(super) verdict: Option<oneshot::Sender<Verdict>>,
    /// Whether the verdict was to let it in.
    pub(super) open: bool,
}

impl Connection {
    /// Whether it is an open control connection.
    fn is_link(&self) -> bool {
        self.open && self.lane == Lane::Control
    }
}

/// All connections and dials.
#[derive(Default)]
pub(super) struct Registry {
    last_id: u64,
    pub(super) connections: BTreeMap<ConnId, Connection>,
    pub(super) dialing: BTreeSet<Endpoint>,
    pub(super) stopping: bool,
    known: Known,
}

impl Registry {
    /// Numbers and keeps a connection.
    pub(super) fn insert(&mut self, connection: Connection) -> ConnId {
        self.last_id += 1;
        let id = ConnId(self.last_id);
        self.connections.insert(id, connection);
        id
    }

    /// Gives the verdict; the connection counts as open from here on, so frames may be queued at once.
    pub(super) fn decide(&mut self, id: ConnId, verdict: Verdict, counters: &Counters) {
        let Some(connection) = self.connections.get_mut(&id) else { return };
        let Some(waiting) = connection.verdict.take() else { return };
        connection.open = verdict.is_ok();
        if connection.open {
            connection.counters = counters.of(&connection.peer);
            if connection.lane == Lane::Control {
                connection.counters.opened();
                let (addr, dialed) = connection.remote;
                self.known.seen(connection.incarnation.node_id, addr, dialed);
            }
        }
        // Where the task is gone it gives `Closed` itself.
        let _ = waiting.send(verdict);
    }

    /// The open control connections.
    pub(super) fn links(&self) -> impl Iterator<Item = &Connection> {
        self.connections.values().filter(|c| c.is_link())
    }

    /// Replaces the members, each with the address in its name; gives all addresses by which members are known.
    pub(super) fn set_members(&mut self, members: BTreeMap<NodeId, Option<IpAddr>>) -> BTreeSet<IpAddr> {
        self.known.set_members(members);
        // Of those who became members just now.
        for connection in self.connections.values().filter(|c| c.is_link()) {
            let (addr, dialed) = connection.remote;
            self.known.seen(connection.incarnation.node_id, addr, dialed);
        }
        self.known.addrs()
    }

    /// All addresses by which members are known.
    pub(super) fn known_addrs(&self) -> BTreeSet<IpAddr> {
        self.known.addrs()
    }

    /// Whether an open control connection of this incarnation is there.
    pub(super) fn has_link(&self, incarnation: Incarnation) -> bool {
        self.links().any(|link| link.incarnation == incarnation)
    }

    /// Takes a connection out. With the last link of an incarnation its connections of the other lanes end too: whether
    /// a peer lives is known by the control lane alone.
    pub(super) fn remove(&mut self, id: ConnId, cause: &CloseCause) {
        let Some(gone) = self.connections.remove(&id) else { return };
        if !gone.is_link() || self.has_link(gone.incarnation) {
            return;
        }
        gone.counters.ended(cause);
        let others = self.connections.values().filter(|c| c.lane != Lane::Control && c.incarnation == gone.incarnation);
        others.for_each(|c| c.outbox.close(cause.clone()));
    }
}
