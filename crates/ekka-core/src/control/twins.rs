//! Two starts of one node: who is asked before one of them is let in, and what is done with the answers.
//!
//! A Hello of another start than the latest one known is held back. This node asks the start that it is linked with,
//! and everybody else in reach asks the one that it is linked with (`WhoRuns`); each answer comes from that start
//! itself, with its claim. So a node that has no link to the original (a broken cable, the far side of the ring) does not
//! take a copied data directory for a restart, and one that was deceived all the same finds out when it meets the
//! original.
//!
//! **Owns** the Hellos that are held back, the connections that were welcomed and on which nothing came yet, and the
//! questions that this node asks for others. **Invariants**: each waits for at most [`DETECTION_TIME`] in which this
//! process ran; nobody waits for the answer of one that is not linked; no connection waits in two ways.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::string::ToString;
use alloc::vec::Vec;

use super::{CloseCause, ConnId, Control, Message, Output, Work};
use crate::id::{Endpoint, Guid, Incarnation, NodeId};
use crate::identity::{Asked, Claim, Known};
use crate::limits::{DETECTION_TIME, FULL_MESH_MAX};
use crate::time::{Instant, Now};
use crate::wire::Hello;

/// Questions that this node asks for others at once; more are not answered, and the asker waits its time.
const RELAYS_MAX: usize = 4096;

/// What a connection brought with its Hello.
#[derive(Clone, Debug)]
pub(super) struct Arrival {
    pub(super) conn: ConnId,
    pub(super) hello: Hello,
    pub(super) addr: alloc::string::String,
    pub(super) dialed: Option<Endpoint>,
    /// When it came: the sign of life, and the comparison of clocks, that it is.
    pub(super) at: Now,
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

/// An accepted connection on which nothing came yet.
#[derive(Clone, Debug)]
struct Welcomed {
    arrival: Arrival,
    asked: Option<Asked>,
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
    welcomed: BTreeMap<ConnId, Welcomed>,
    relays: BTreeMap<u64, Relay>,
}

impl Twins {
    pub(super) fn deadline(&self) -> Option<Instant> {
        let held = self.held.values().map(|held| held.until);
        let welcomed = self.welcomed.values().map(|welcomed| welcomed.until);
        held.chain(welcomed).chain(self.relays.values().map(|relay| relay.until)).min()
    }

    /// The connection ended; whether it had been welcomed.
    pub(super) fn forget(&mut self, conn: ConnId) -> bool {
        self.held.remove(&conn);
        self.welcomed.remove(&conn).is_some()
    }

    /// An accepted connection that waits for its first frame.
    pub(super) fn welcome(&mut self, arrival: Arrival, asked: Option<Asked>, now: Instant) {
        self.welcomed.insert(arrival.conn, Welcomed { arrival, asked, until: now + DETECTION_TIME });
    }

    /// Its first frame came.
    pub(super) fn confirm(&mut self, conn: ConnId) -> Option<(Arrival, Option<Asked>)> {
        self.welcomed.remove(&conn).map(|welcomed| (welcomed.arrival, welcomed.asked))
    }

    /// All connections that wait.
    pub(super) fn conns(&self) -> impl Iterator<Item = ConnId> + '_ {
        self.held.keys().chain(self.welcomed.keys()).copied()
    }

    /// This process did not run for so long: nobody had a chance to be heard in that time.
    pub(super) fn wait_longer(&mut self, by: core::time::Duration) {
        self.held.values_mut().for_each(|held| held.until = held.until + by);
        self.welcomed.values_mut().for_each(|welcomed| welcomed.until = welcomed.until + by);
        self.relays.values_mut().for_each(|relay| relay.until = relay.until + by);
    }

    pub(super) fn check(&self) {
        assert!(self.held.keys().all(|conn| !self.welcomed.contains_key(conn)), "a connection waits in one way");
    }
}

impl Control {
    /// The latest start known of a node that is, or was, a member: how often its directory was started, and its guid.
    pub(super) fn latest_start(&self, node_id: NodeId) -> Option<(u64, Guid)> {
        self.membership.record(node_id).map(|record| (record.start_counter, record.id.guid))
    }

    /// This node's own claim.
    pub(super) fn claim(&self) -> Claim {
        Claim { guid: self.me().guid, is_in: self.standing.was_up, holds: self.standing.holds() }
    }

    /// Holds a Hello back and asks everybody who may hear another start of its node.
    pub(super) fn hold(&mut self, arrival: Arrival, now: Now, out: &mut Vec<Output>) {
        let (conn, claimed) = (arrival.conn, arrival.hello.incarnation());
        let until = now.mono + DETECTION_TIME;
        // Another Hello of the same start waits already: one question serves both.
        let other = self.twins.held.values().find(|held| held.arrival.hello.incarnation() == claimed);
        let held = if let Some(other) = other {
            Held { arrival, ..other.clone() }
        } else {
            let nonce = self.rng.next_u64();
            let waiting = self.ask_around(claimed, nonce, out);
            Held { arrival, nonce, waiting, asked: Asked::default(), until }
        };
        self.twins.held.insert(conn, held);
        self.judge_if_answered(conn);
    }

    fn ask_around(&mut self, claimed: Incarnation, nonce: u64, out: &mut Vec<Output>) -> BTreeSet<NodeId> {
        let node_id = claimed.node_id;
        let before = self.latest_start(node_id).filter(|(_, guid)| *guid < claimed.guid);
        // A goodbye proves that the start before is over; so does the entry by which it is gone.
        let is_over = |id| self.membership.said_goodbye(id) || self.group.durable.record().is_over(id);
        let over = before.is_some_and(|(_, guid)| is_over(Incarnation { node_id, guid }));
        let mut waiting = BTreeSet::new();
        if over && !self.conns.is_linked(node_id) {
            return waiting;
        }
        if self.conns.linked(node_id).is_some_and(|linked| linked != claimed) {
            self.send(node_id, &Message::AreYouThere { nonce }, out);
            waiting.insert(node_id);
        }
        for to in self.who_may_hear(node_id) {
            self.send(to, &Message::WhoRuns { node_id, nonce }, out);
            waiting.insert(to);
        }
        waiting
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
        if here || about == asker || !self.conns.is_linked(about) {
            let claim = here.then(|| self.claim());
            return self.send(asker, &Message::Runs { nonce, claim }, out);
        }
        if self.twins.relays.len() >= RELAYS_MAX {
            return;
        }
        let own = self.rng.next_u64();
        let until = now.mono + DETECTION_TIME;
        self.twins.relays.insert(own, Relay { asker, nonce, about, until });
        self.send(about, &Message::AreYouThere { nonce: own }, out);
    }

    /// A start of a node answered on this node's own link.
    pub(super) fn is_here(&mut self, id: Incarnation, nonce: u64, claim: Claim, out: &mut Vec<Output>) {
        let claim = Claim { guid: id.guid, ..claim };
        if let Some(relay) = self.twins.relays.get(&nonce).copied().filter(|relay| relay.about == id.node_id) {
            self.twins.relays.remove(&nonce);
            return self.send(relay.asker, &Message::Runs { nonce: relay.nonce, claim: Some(claim) }, out);
        }
        self.answered(id.node_id, nonce, Some(claim));
    }

    /// Somebody says which start of a node answered it, if one did.
    pub(super) fn answered(&mut self, from: NodeId, nonce: u64, claim: Option<Claim>) {
        let asked: Vec<ConnId> =
            self.twins.held.iter().filter(|(_, held)| held.nonce == nonce).map(|(conn, _)| *conn).collect();
        for conn in asked {
            let Some(held) = self.twins.held.get_mut(&conn) else { continue };
            if !held.waiting.remove(&from) {
                continue;
            }
            let claimed = held.arrival.hello.incarnation();
            match claim {
                Some(claim) if claim.guid == claimed.guid => held.asked.itself = true,
                Some(claim) if held.asked.rival.as_ref().is_none_or(|(_, best)| claim.beats(*best)) => {
                    let id = Incarnation { node_id: claimed.node_id, guid: claim.guid };
                    let name = held.arrival.hello.name.clone();
                    let known = self.known_start(id, name);
                    if let Some(held) = self.twins.held.get_mut(&conn) {
                        held.asked.rival = Some((known, claim));
                    }
                }
                _ => {}
            }
            self.judge_if_answered(conn);
        }
    }

    /// A start of a node, for words.
    pub(super) fn known_start(&self, id: Incarnation, or_name: crate::id::NodeName) -> Known {
        let record = self.membership.record(id.node_id);
        let name = record.map_or(or_name, |record| record.name.clone());
        let linked = self.conns.linked(id.node_id) == Some(id);
        let addr = self.conns.addr(id.node_id).filter(|_| linked).map(ToString::to_string);
        let addr = addr.or_else(|| record.map(|record| record.endpoint.to_string())).unwrap_or_default();
        Known { id, name, addr }
    }

    /// This start of a node is linked now: its other Hellos wait for nothing.
    pub(super) fn release_others(&mut self, peer: Incarnation) {
        let free = |(conn, held): (&ConnId, &mut Held)| {
            let same = held.arrival.hello.incarnation() == peer;
            same.then(|| held.waiting.clear()).map(|()| *conn)
        };
        let free: Vec<ConnId> = self.twins.held.iter_mut().filter_map(free).collect();
        for conn in free {
            self.judge_if_answered(conn);
        }
    }

    /// A node is not linked any more: nobody waits for it.
    pub(super) fn nobody_to_ask(&mut self, node_id: NodeId, out: &mut Vec<Output>) {
        let gone: Vec<(u64, Relay)> = self
            .twins
            .relays
            .iter()
            .filter(|(_, relay)| relay.about == node_id)
            .map(|(nonce, relay)| (*nonce, *relay))
            .collect();
        for (own, Relay { asker, nonce, .. }) in gone {
            self.twins.relays.remove(&own);
            self.send(asker, &Message::Runs { nonce, claim: None }, out);
        }
        let free: Vec<ConnId> = self
            .twins
            .held
            .iter_mut()
            .filter_map(|(conn, held)| held.waiting.remove(&node_id).then_some(*conn))
            .collect();
        for conn in free {
            self.judge_if_answered(conn);
        }
    }

    /// Whoever has not answered, or not spoken, within the detection time is not there.
    pub(super) fn end_waits(&mut self, now: Now, out: &mut Vec<Output>) {
        self.twins.relays.retain(|_, relay| relay.until > now.mono);
        let due = |until: &Instant| *until <= now.mono;
        let mute: Vec<ConnId> =
            self.twins.welcomed.iter().filter(|(_, w)| due(&w.until)).map(|(conn, _)| *conn).collect();
        for conn in mute {
            self.close(conn, &CloseCause::Silent, now, out);
        }
        let held: Vec<ConnId> = self.twins.held.iter().filter(|(_, h)| due(&h.until)).map(|(conn, _)| *conn).collect();
        for conn in held {
            let Some(held) = self.twins.held.get_mut(&conn) else { continue };
            let node_id = held.arrival.hello.node_id;
            let silent = held.waiting.contains(&node_id);
            held.waiting.clear();
            if silent {
                self.drop_links(node_id, &CloseCause::Silent, out);
            }
            self.judge_if_answered(conn);
        }
    }

    /// Judging may end connections and so free others: each is judged by itself, later in this step.
    fn judge_if_answered(&mut self, conn: ConnId) {
        if self.twins.held.get(&conn).is_some_and(|held| held.waiting.is_empty()) {
            self.work.push_back(Work::Judge(conn));
        }
    }

    /// All whom it waited for have answered, or are gone.
    pub(super) fn judge_held(&mut self, conn: ConnId, now: Now, out: &mut Vec<Output>) {
        if let Some(held) = self.twins.held.remove(&conn) {
            self.greet(held.arrival, Some(held.asked), now, out);
        }
    }
}
