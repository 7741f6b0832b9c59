//! The table of links: which connections belong to which incarnation, and which one carries.
//!
//! **Invariants**: of one node only one incarnation is linked; every connection in the table is in the list of its
//! peer.

use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::vec::Vec;
use core::time::Duration;

use super::{CloseCause, ConnId, Control, DialError, Input, Message, Output, Work};
use crate::autocluster;
use crate::id::{Endpoint, Incarnation, NodeId, NodeName};
use crate::limits::{CANDIDATES_MAX, LINK_SILENCE};
use crate::membership::{self, Lost};
use crate::time::{Instant, Now};
use crate::wire::RefusalReason;

/// Who is at the other end of a connection.
#[derive(Clone, Debug)]
pub(super) struct Link {
    pub(super) peer: Incarnation,
    /// As its Hello said.
    pub(super) name: NodeName,
    /// Where this node dialled, if it did.
    pub(super) dialed: Option<Endpoint>,
    /// Its address, for words.
    pub(super) addr: String,
}

/// One connection that is a link: both sides have let each other in.
#[derive(Clone, Debug)]
pub(super) struct Conn {
    pub(super) link: Link,
    heard: Option<Instant>,
}

/// All links.
#[derive(Default, Debug)]
pub(super) struct Conns {
    table: BTreeMap<ConnId, Conn>,
    linked: BTreeMap<NodeId, (Incarnation, Vec<ConnId>)>,
    /// Who answered at an endpoint that was dialled, and when: a name of the list may not be the node's own.
    answered: BTreeMap<Endpoint, (NodeId, Instant)>,
}

/// So long the node that answered at an endpoint is taken for the one that is there; then it is dialled to see.
const ANSWER_KEPT: Duration = Duration::from_secs(60);

impl Conns {
    /// Takes a connection in; whether it is the first of its peer.
    pub(super) fn insert(&mut self, conn: ConnId, link: Link, now: Instant) -> bool {
        let peer = link.peer;
        if let Some(endpoint) = &link.dialed {
            self.note_answer(endpoint, peer.node_id, now);
        }
        self.table.insert(conn, Conn { link, heard: Some(now) });
        let (_, list) = self.linked.entry(peer.node_id).or_insert_with(|| (peer, Vec::new()));
        list.push(conn);
        list.len() == 1
    }

    /// This node answered at this endpoint.
    pub(super) fn note_answer(&mut self, endpoint: &Endpoint, node_id: NodeId, now: Instant) {
        if self.answered.len() >= CANDIDATES_MAX && !self.answered.contains_key(endpoint) {
            self.answered.retain(|_, (_, at)| now.since(*at) < ANSWER_KEPT);
        }
        if self.answered.len() < CANDIDATES_MAX || self.answered.contains_key(endpoint) {
            self.answered.insert(endpoint.clone(), (node_id, now));
        }
    }

    /// Whether this very start of a node is linked by a connection that carries.
    pub(super) fn carries(&self, peer: Incarnation, now: Instant) -> bool {
        let heard = self.best(peer.node_id).and_then(|conn| self.table.get(&conn)?.heard);
        self.linked(peer.node_id) == Some(peer) && heard.is_some_and(|heard| now.since(heard) < LINK_SILENCE)
    }

    /// Takes a connection out; the peer, and whether it was the last one of it.
    pub(super) fn remove(&mut self, conn: ConnId) -> Option<(Conn, bool)> {
        let entry = self.table.remove(&conn)?;
        let last = match self.linked.get_mut(&entry.link.peer.node_id) {
            Some((_, list)) => {
                list.retain(|c| *c != conn);
                list.is_empty()
            }
            None => true,
        };
        if last {
            self.linked.remove(&entry.link.peer.node_id);
        }
        Some((entry, last))
    }

    pub(super) fn get(&self, conn: ConnId) -> Option<&Conn> {
        self.table.get(&conn)
    }

    pub(super) fn is_linked(&self, node_id: NodeId) -> bool {
        self.linked.contains_key(&node_id)
    }

    /// The incarnation of this node that is linked.
    pub(super) fn linked(&self, node_id: NodeId) -> Option<Incarnation> {
        self.linked.get(&node_id).map(|(id, _)| *id)
    }

    /// Whether the node that answered at this endpoint not long ago is linked.
    pub(super) fn is_linked_at(&self, endpoint: &Endpoint, now: Instant) -> bool {
        self.answered
            .get(endpoint)
            .is_some_and(|(node_id, at)| self.is_linked(*node_id) && now.since(*at) < ANSWER_KEPT)
    }

    /// All connections of a node.
    pub(super) fn of(&self, node_id: NodeId) -> Vec<ConnId> {
        self.linked.get(&node_id).map(|(_, list)| list.clone()).unwrap_or_default()
    }

    /// The address of a peer, for words.
    pub(super) fn addr(&self, node_id: NodeId) -> Option<&str> {
        let conn = self.best(node_id)?;
        self.table.get(&conn).map(|conn| conn.link.addr.as_str())
    }

    /// The connection that carries: the one on which something was heard last.
    pub(super) fn best(&self, node_id: NodeId) -> Option<ConnId> {
        let (_, list) = self.linked.get(&node_id)?;
        if let [only] = list[..] {
            return Some(only);
        }
        list.iter().copied().max_by_key(|conn| self.table.get(conn).and_then(|c| c.heard))
    }

    /// Notes that a frame came; the peer of the connection.
    pub(super) fn heard(&mut self, conn: ConnId, now: Instant) -> Option<Incarnation> {
        let entry = self.table.get_mut(&conn)?;
        entry.heard = Some(now);
        Some(entry.link.peer)
    }

    /// Everybody who is linked.
    pub(super) fn nodes(&self) -> impl Iterator<Item = NodeId> + '_ {
        self.linked.keys().copied()
    }

    /// Everybody who is linked under this name, with the address.
    pub(super) fn named<'a>(&'a self, name: &'a NodeName) -> impl Iterator<Item = (Incarnation, &'a str)> {
        self.table.values().filter(move |c| c.link.name == *name).map(|c| (c.link.peer, c.link.addr.as_str()))
    }

    pub(super) fn all(&self) -> impl Iterator<Item = ConnId> + '_ {
        self.table.keys().copied()
    }

    pub(super) fn check(&self) {
        for (id, conn) in &self.table {
            let (peer, list) = self.linked.get(&conn.link.peer.node_id).expect("a connection's peer is linked");
            assert_eq!(*peer, conn.link.peer, "one incarnation of a node is linked");
            assert!(list.contains(id), "a connection is in the list of its peer");
        }
        let listed: usize = self.linked.values().map(|(_, list)| list.len()).sum();
        assert_eq!(listed, self.table.len(), "each connection is listed once");
    }
}

impl Control {
    pub(super) fn send(&mut self, to: NodeId, message: &Message, out: &mut Vec<Output>) {
        if let Some(conn) = self.conns.best(to) {
            Self::send_on(conn, message, out);
        }
    }

    pub(super) fn send_on(conn: ConnId, message: &Message, out: &mut Vec<Output>) {
        // Serialising to memory fails only for types that postcard cannot hold; the envelope has none.
        if let Ok(bytes) = postcard::to_allocvec(message) {
            out.push(Output::Send { conn, bytes });
        }
    }

    /// Closes this node's own dialled twin of a connection that has just proved to carry, where the peer has the
    /// smaller node id. Only the dialling side closes, so both sides never close different twins.
    pub(super) fn close_redundant(&mut self, conn: ConnId, out: &mut Vec<Output>) {
        let Some(entry) = self.conns.get(conn) else { return };
        let peer = entry.link.peer.node_id;
        if entry.link.dialed.is_some() || peer > self.setup.identity.node_id {
            return;
        }
        let twins: Vec<ConnId> = self
            .conns
            .of(peer)
            .into_iter()
            .filter(|twin| *twin != conn && self.conns.get(*twin).is_some_and(|c| c.link.dialed.is_some()))
            .collect();
        for twin in twins {
            self.conns.remove(twin);
            out.push(Output::Close { conn: twin, cause: CloseCause::Redundant });
        }
    }

    /// Ends a connection by this node's decision.
    pub(super) fn close(&mut self, conn: ConnId, cause: &CloseCause, now: Now, out: &mut Vec<Output>) {
        out.push(Output::Close { conn, cause: cause.clone() });
        self.closed(conn, cause, now, out);
    }

    /// Ends all connections of a node, which stays known.
    pub(super) fn drop_links(&mut self, node_id: NodeId, cause: &CloseCause, out: &mut Vec<Output>) {
        for conn in self.conns.of(node_id) {
            out.push(Output::Close { conn, cause: cause.clone() });
            if let Some((entry, true)) = self.conns.remove(conn) {
                let lost = if *cause == CloseCause::Silent { Lost::Silent } else { Lost::Replaced };
                self.unlinked(entry.link.peer, lost, out);
            }
        }
    }

    fn unlinked(&mut self, id: Incarnation, lost: Lost, out: &mut Vec<Output>) {
        self.clocks.forget(id.node_id);
        self.work.push_back(Work::Membership(membership::Input::Disconnected { id, lost }));
        self.work.push_back(Work::Autocluster(autocluster::Input::Disconnected { id }));
        self.nobody_to_ask(id.node_id, out);
    }

    /// A connection ended by the other side or by the network.
    pub(super) fn closed(&mut self, conn: ConnId, cause: &CloseCause, now: Now, out: &mut Vec<Output>) {
        let let_in = self.twins.forget(conn) || self.conns.get(conn).is_some();
        // Only a connection that this node had let in can be refused by the other side; for one that this node itself
        // turned away the cause is its own refusal.
        if let CloseCause::Refused(refusal) = cause
            && let_in
            && self.refused_by_peer(refusal, now, out)
        {
            return;
        }
        let Some((entry, last)) = self.conns.remove(conn) else { return };
        if last {
            let lost = match cause {
                CloseCause::Reset | CloseCause::Garbage(_) | CloseCause::Credentials => Lost::Reset,
                CloseCause::Silent | CloseCause::Stuck => Lost::Silent,
                CloseCause::Redundant | CloseCause::Refused(_) | CloseCause::Superseded | CloseCause::Stopping => {
                    Lost::Replaced
                }
            };
            self.unlinked(entry.link.peer, lost, out);
        }
    }

    pub(super) fn dial_failed(&mut self, endpoint: &Endpoint, error: &DialError, now: Now, out: &mut Vec<Output>) {
        if let DialError::Rejected(refusal) = error
            && refusal.reason == RefusalReason::OurSelf
        {
            let (endpoint, node_id) = (endpoint.clone(), self.me().node_id);
            self.work.push_back(Work::Autocluster(autocluster::Input::Answered { endpoint, node_id }));
            return;
        }
        if let DialError::Rejected(refusal) = error
            && self.refused_by_peer(refusal, now, out)
        {
            return;
        }
        let members: Vec<NodeId> = self
            .membership
            .roster()
            .records
            .values()
            .filter(|r| r.endpoint == *endpoint)
            .map(|r| r.id.node_id)
            .collect();
        for node_id in members {
            let input = match error {
                DialError::Refused => membership::Input::Refused { node_id },
                _ => membership::Input::Unreachable { node_id },
            };
            self.work.push_back(Work::Membership(input));
        }
        let why = alloc::format!("{error}");
        self.work.push_back(Work::Autocluster(autocluster::Input::DialFailed { endpoint: endpoint.clone(), why }));
    }

    /// What still needs an answer after this node has ended.
    pub(super) fn refuse_while_stopped(&mut self, input: &Input, out: &mut Vec<Output>) {
        match input {
            Input::Command { id, .. } => {
                out.push(Output::Reply { id: *id, result: Err(super::CommandError::Stopping) });
            }
            Input::Hello { conn, .. } => {
                let refusal = crate::wire::Refusal::new(
                    RefusalReason::Stopping,
                    alloc::format!("{} is stopping", self.setup.name),
                );
                out.push(Output::Verdict { conn: *conn, verdict: Err(refusal) });
            }
            _ => {}
        }
    }
}
