//! Two starts of one node: who is asked before one of them is let in, and what is done with the answers.
//!
//! A Hello of another start than the latest one known is held back. This node asks the start that it is linked with,
//! and everybody else in reach asks the one that it is linked with (`WhoRuns`); each answer comes from that start itself.
//! So a node that has no link to the original (a broken cable, the far side of the ring) does not take a copied data
//! directory for a restart, and one that was deceived all the same finds out when it meets the original.
//!
//! **Owns** the Hellos that are held back, and the questions that this node asks for others. **Invariants**: a Hello is
//! held for at most [`DETECTION_TIME`]; nobody waits for the answer of one that is not linked.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use super::{CloseCause, ConnId, Control, Message, Output};
use crate::id::{Endpoint, Guid, Incarnation, NodeId};
use crate::identity::{Asked, Known};
use crate::limits::{DETECTION_TIME, FULL_MESH_MAX};
use crate::time::{Instant, Now};
use crate::wire::Hello;

/// Questions that this node asks for others at once; more are answered with "nobody here".
const RELAYS_MAX: usize = 256;

/// What a connection brought with its Hello.
#[derive(Clone, Debug)]
pub(super) struct Arrival {
    pub(super) conn: ConnId,
    pub(super) hello: Hello,
    pub(super) addr: String,
    pub(super) dialed: Option<Endpoint>,
    /// When it came: the sign of life that it is.
    pub(super) at: Instant,
}

/// A Hello that waits for answers.
#[derive(Clone, Debug)]
struct Held {
    arrival: Arrival,
    nonce: u64,
    /// Who has not answered yet.
    waiting: BTreeSet<NodeId>,
    asked: Asked,
    until: Instant,
}

/// A question that this node asks for another.
#[derive(Clone, Copy, Debug)]
struct Relay {
    asker: NodeId,
    nonce: u64,
    about: NodeId,
    until: Instant,
}

/// See the module's head.
#[derive(Default, Debug)]
pub(super) struct Twins {
    held: BTreeMap<ConnId, Held>,
    relays: BTreeMap<u64, Relay>,
}

impl Twins {
    pub(super) fn deadline(&self) -> Option<Instant> {
        let held = self.held.values().map(|held| held.until);
        held.chain(self.relays.values().map(|relay| relay.until)).min()
    }

    /// The connection ended: nobody waits for its verdict any more.
    pub(super) fn forget(&mut self, conn: ConnId) {
        self.held.remove(&conn);
    }

    /// This process did not run for so long: nobody had a chance to be heard in that time.
    pub(super) fn held_longer(&mut self, by: core::time::Duration) {
        self.held.values_mut().for_each(|held| held.until = held.until + by);
        self.relays.values_mut().for_each(|relay| relay.until = relay.until + by);
    }
}

impl Control {
    /// The latest start known of a node that is, or was, a member: how often its directory was started, and its guid.
    pub(super) fn latest_start(&self, node_id: NodeId) -> Option<(u64, Guid)> {
        self.membership.record(node_id).map(|record| (record.start_counter, record.id.guid))
    }

    /// Holds a Hello back and asks everybody who may hear another start of its node.
    pub(super) fn hold(&mut self, arrival: Arrival, now: Now, out: &mut Vec<Output>) {
        let node_id = arrival.hello.node_id;
        let latest = self.latest_start(node_id);
        let newer = latest.is_some_and(|(_, guid)| guid < arrival.hello.guid);
        // A goodbye proves that the start before is over.
        let over = newer && latest.is_some_and(|(_, guid)| self.membership.said_goodbye(Incarnation { node_id, guid }));
        let nonce = self.rng.next_u64();
        let mut waiting = BTreeSet::new();
        if !over {
            if newer && self.conns.is_linked(node_id) {
                self.send(node_id, &Message::AreYouThere { nonce }, out);
                waiting.insert(node_id);
            }
            for to in self.who_may_hear(node_id) {
                self.send(to, &Message::WhoRuns { node_id, nonce }, out);
                waiting.insert(to);
            }
        }
        let conn = arrival.conn;
        let until = now.mono + DETECTION_TIME;
        self.twins.held.insert(conn, Held { arrival, nonce, waiting, asked: Asked::default(), until });
        self.judge_if_answered(conn, now, out);
    }

    /// Linked peers other than that node: all in a small cluster; in a large one the voters, who hear everybody, first.
    fn who_may_hear(&self, node_id: NodeId) -> Vec<NodeId> {
        let linked = || self.conns.nodes().filter(|id| *id != node_id);
        let voters = self.membership.voters();
        let mut whom: Vec<NodeId> = linked().filter(|id| voters.contains(id)).collect();
        whom.extend(linked().filter(|id| !voters.contains(id)));
        whom.truncate(FULL_MESH_MAX);
        whom
    }

    /// Asks, for another, which start of a node runs.
    pub(super) fn who_runs(&mut self, asker: NodeId, about: NodeId, nonce: u64, now: Now, out: &mut Vec<Output>) {
        let here = about == self.me().node_id;
        if here || !self.conns.is_linked(about) || about == asker || self.twins.relays.len() >= RELAYS_MAX {
            let id = here.then_some(self.me());
            return self.send(asker, &Message::Runs { nonce, id }, out);
        }
        let own = self.rng.next_u64();
        let until = now.mono + DETECTION_TIME;
        self.twins.relays.insert(own, Relay { asker, nonce, about, until });
        self.send(about, &Message::AreYouThere { nonce: own }, out);
    }

    /// A start of a node answered on this node's own link.
    pub(super) fn is_here(&mut self, id: Incarnation, nonce: u64, now: Now, out: &mut Vec<Output>) {
        if let Some(relay) = self.twins.relays.get(&nonce).copied().filter(|relay| relay.about == id.node_id) {
            self.twins.relays.remove(&nonce);
            return self.send(relay.asker, &Message::Runs { nonce: relay.nonce, id: Some(id) }, out);
        }
        self.answered(id.node_id, nonce, Some(id), now, out);
    }

    /// Somebody says which start of a node answered it, if one did.
    pub(super) fn answered(
        &mut self,
        from: NodeId,
        nonce: u64,
        id: Option<Incarnation>,
        now: Now,
        out: &mut Vec<Output>,
    ) {
        let Some((conn, held)) = self.twins.held.iter_mut().find(|(_, held)| held.nonce == nonce) else { return };
        let conn = *conn;
        if !held.waiting.remove(&from) {
            return;
        }
        let claimed = held.arrival.hello.incarnation();
        if let Some(id) = id.filter(|id| id.node_id == claimed.node_id) {
            held.asked.itself |= id == claimed;
            if id.guid < claimed.guid {
                let addr = self.conns.addr(id.node_id).map(ToString::to_string);
                let record = self.membership.record(id.node_id);
                let name = record.map_or_else(|| held.arrival.hello.name.clone(), |record| record.name.clone());
                let addr = addr.or_else(|| record.map(|record| record.endpoint.to_string())).unwrap_or_default();
                held.asked.older = Some(Known { id, name, addr });
                held.waiting.clear();
            }
        }
        self.judge_if_answered(conn, now, out);
    }

    /// This start of a node is linked now: its other Hellos wait for nothing.
    pub(super) fn release_others(&mut self, peer: Incarnation, now: Now, out: &mut Vec<Output>) {
        let free = |(conn, held): (&ConnId, &mut Held)| {
            let same = held.arrival.hello.incarnation() == peer;
            same.then(|| held.waiting.clear()).map(|()| *conn)
        };
        let free: Vec<ConnId> = self.twins.held.iter_mut().filter_map(free).collect();
        for conn in free {
            self.judge_if_answered(conn, now, out);
        }
    }

    /// A node is not linked any more: nobody waits for it.
    pub(super) fn nobody_to_ask(&mut self, node_id: NodeId, now: Now, out: &mut Vec<Output>) {
        let gone: Vec<(u64, Relay)> = self
            .twins
            .relays
            .iter()
            .filter(|(_, relay)| relay.about == node_id)
            .map(|(nonce, relay)| (*nonce, *relay))
            .collect();
        for (own, Relay { asker, nonce, .. }) in gone {
            self.twins.relays.remove(&own);
            self.send(asker, &Message::Runs { nonce, id: None }, out);
        }
        let free: Vec<ConnId> = self
            .twins
            .held
            .iter_mut()
            .filter_map(|(conn, held)| held.waiting.remove(&node_id).then_some(*conn))
            .collect();
        for conn in free {
            self.judge_if_answered(conn, now, out);
        }
    }

    /// Whoever has not answered within the detection time is not there.
    pub(super) fn end_waits(&mut self, now: Now, out: &mut Vec<Output>) {
        self.twins.relays.retain(|_, relay| relay.until > now.mono);
        let due: Vec<ConnId> =
            self.twins.held.iter().filter(|(_, held)| held.until <= now.mono).map(|(conn, _)| *conn).collect();
        for conn in due {
            let Some(held) = self.twins.held.get_mut(&conn) else { continue };
            let node_id = held.arrival.hello.node_id;
            let silent = held.waiting.contains(&node_id);
            held.waiting.clear();
            if silent {
                self.drop_links(node_id, &CloseCause::Silent, now, out);
            }
            self.judge_if_answered(conn, now, out);
        }
    }

    fn judge_if_answered(&mut self, conn: ConnId, now: Now, out: &mut Vec<Output>) {
        if !self.stopped
            && self.twins.held.get(&conn).is_some_and(|held| held.waiting.is_empty())
            && let Some(held) = self.twins.held.remove(&conn)
        {
            self.greet(held.arrival, Some(held.asked), now, out);
        }
    }
}
