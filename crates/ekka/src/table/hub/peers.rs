//! A link to each peer that holds tables: dialled by one of the two, carried to its end.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, MutexGuard, PoisonError};

use ekka_core::control::DialError;
use ekka_core::id::{Endpoint, NodeId};
use ekka_core::view::{Role, View};
use ekka_core::wire::Lane;
use tokio::time::{Instant, timeout};
use tracing::{debug, warn};

use super::super::copies;
use super::super::link::Link;
use super::super::wire::Wire;
use super::{AGAIN, DIAL, Tables};
use crate::env::BoxStream;
use crate::transport::{LaneConnection, LaneHost};

impl Tables {
    fn locked_dials(&self) -> MutexGuard<'_, BTreeMap<NodeId, Instant>> {
        self.dials.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Of two nodes the one with the smaller id dials; the other one does where it is asked to.
    pub(super) fn look_after_links(&self, view: &View) {
        let linked: BTreeSet<NodeId> = self.world.links.all().iter().map(|link| link.peer.node_id).collect();
        for member in &view.members {
            let node = member.id.node_id;
            let wanted = member.status.is_running() && member.role != Role::Witness && node > view.me.node_id;
            if wanted && !linked.contains(&node) && self.gate.is_open_for(node) {
                self.dial(node, member.endpoint.clone(), true);
            }
        }
    }

    /// Dials a peer, unless that is under way, or was tried just now.
    fn dial(&self, node: NodeId, endpoint: Endpoint, asks: bool) {
        let (Some(transport), Some(tables)) = (self.transport(), self.this.upgrade()) else { return };
        let now = Instant::now();
        {
            let mut dials = self.locked_dials();
            if dials.get(&node).is_some_and(|until| *until > now) {
                return;
            }
            dials.insert(node, now + DIAL);
        }
        self.home.spawn(async move {
            let opened = timeout(DIAL, transport.open_lane(Lane::Tables, &endpoint, node)).await;
            tables.locked_dials().insert(node, Instant::now() + AGAIN);
            match opened {
                Ok(Ok((port, stream))) => tables.carry(port, stream).await,
                Ok(Err(error)) => {
                    let asked = asks && !is_final(&error) && transport.ask_for_lane(Lane::Tables, node);
                    debug!(peer = %endpoint, err = %error, asked, "no link for tables");
                }
                Err(_) => debug!(peer = %endpoint, "no link for tables within its time"),
            }
        });
    }

    /// Carries a link to its end.
    pub(super) async fn carry(self: Arc<Self>, port: LaneConnection, stream: BoxStream) {
        let (peer, name) = (port.peer().incarnation(), port.peer().name.clone());
        tokio::select! {
            biased;
            () = self.stop.cancelled() => return,
            _ = port.closing() => return,
            opened = timeout(DIAL, self.gate.opened_for(peer.node_id)) => if opened.is_err() {
                debug!(peer = %name, "no link for tables: it is no member, or this node is none, as far as is known here");
                return;
            }
        }
        if !self.gate.is_of(port.peer().cluster_id, self.view().cluster_id) {
            debug!(peer = %name, "no link for tables: it was in another cluster, or this node was");
            return;
        }
        let link = Arc::new(Link::new(peer, name));
        self.begin(&link);
        let (giver, given) = (self.clone(), link.clone());
        let copies = self.home.spawn(async move { copies::give(giver, given).await });
        let wire = Wire::new(self.clone(), Arc::new(port), stream, self.vigil.clone());
        let cause = link.carry(wire, &self.stop).await;
        debug!(peer = %link.name, lane = "tables", reason = ?cause, "connection ended");
        copies.abort();
        link.end.cancel();
        if self.world.links.remove(&link) {
            let now = self.now();
            for slot in &*self.slots() {
                slot.loses(peer);
                slot.disconnect(peer, now);
            }
        }
    }

    fn begin(&self, link: &Arc<Link>) {
        let now = self.now();
        if let Some(replaced) = self.world.links.insert(link) {
            // What the new connection has to say first must not go out on the old one.
            replaced.cut();
            self.slots().iter().for_each(|slot| slot.disconnect(replaced.peer, now));
        }
        for slot in &*self.slots() {
            slot.connect(link.peer, now);
            link.mark(slot.id());
        }
    }
}

/// Whether a dial failed for a reason that the other direction would not mend.
fn is_final(error: &DialError) -> bool {
    matches!(error, DialError::Credentials(_) | DialError::Rejected(_) | DialError::Garbage(_))
}

impl LaneHost for Tables {
    fn accepted(&self, port: LaneConnection, mut stream: BoxStream) {
        let Some(tables) = self.this.upgrade() else { return };
        self.home.spawn(async move {
            if tables.vigil.is_some()
                && let Err(error) = LaneConnection::rehome(&mut stream)
            {
                warn!(err = %error, "a connection for tables could not be moved to its thread");
                return;
            }
            tables.carry(port, stream).await;
        });
    }

    fn asked(&self, by: NodeId) {
        if let Some(member) = self.view().member(by) {
            self.dial(by, member.endpoint.clone(), false);
        }
    }
}
