//! What foca says and is told: packets on their way, verdicts about nodes that are no neighbours.

use alloc::vec::Vec;

use super::gossip::Gossip;
use super::room::Membership;
use super::{Message, Output};
use crate::id::{Incarnation, NodeId};
use crate::time::Now;

impl Membership {
    /// A packet of foca came: for this node, or to be passed on to one that it is linked with.
    pub(super) fn gossip_came(&mut self, from: NodeId, packet: Vec<u8>, now: Now, out: &mut Vec<Output>) {
        let Some(to) = Gossip::addressee(&packet) else { return };
        if to == self.me() {
            let mut wishes = Vec::new();
            self.gossip.packet(&packet, now.mono, &mut wishes);
            self.wishes(wishes, now, out);
        } else if to != from && self.is_linked(to) {
            out.push(Output::Send { to, message: Message::Gossip(packet) });
        }
    }

    fn is_linked(&self, node_id: NodeId) -> bool {
        self.contacts.get(&node_id).is_some_and(|contact| contact.connected)
    }

    /// On which link a packet for that node goes: its own, or that of one which hears it, or a voter's, whom all know.
    pub(super) fn way_to(&mut self, to: NodeId) -> Option<NodeId> {
        if self.is_linked(to) {
            return Some(to);
        }
        let hears = self.witnesses(to).map(|(by, _)| by).find(|by| self.is_linked(*by));
        if hears.is_some() || !self.is_large() {
            return hears;
        }
        let voters: Vec<NodeId> = self.voters.iter().copied().filter(|id| *id != to && self.is_linked(*id)).collect();
        let at = self.rng.index(voters.len());
        voters.get(at).copied()
    }

    /// Beyond the full mesh foca carries what heartbeats found, unless this node itself is the one that is cut off.
    pub(super) fn spread_down(&mut self, id: Incarnation, now: Now, out: &mut Vec<Output>) {
        if !self.is_large() {
            return;
        }
        let linked = self.neighbours.iter().filter(|id| self.is_linked(**id)).count();
        if linked * 2 < self.neighbours.len() {
            return;
        }
        let mut wishes = Vec::new();
        self.gossip.found_down(id, now.mono, &mut wishes);
        self.wishes(wishes, now, out);
    }

    /// Verdicts of foca that nobody refuted in time.
    pub(super) fn believe_doubts(&mut self, now: Now, out: &mut Vec<Output>) {
        let due: Vec<Incarnation> =
            self.doubted.values().filter(|(_, at)| *at <= now.mono).map(|(id, _)| *id).collect();
        for id in due {
            self.doubted.remove(&id.node_id);
            self.suggest(id, false, out);
        }
    }

    /// foca's word, which counts only for nodes that this one does not watch itself.
    pub(super) fn suggest(&mut self, id: Incarnation, up: bool, out: &mut Vec<Output>) {
        let node_id = id.node_id;
        if self.record(node_id).is_some_and(|record| record.id.guid > id.guid) {
            return;
        }
        let before = self.suggested.insert(node_id, up);
        let watched = self.is_neighbour(node_id) || self.contacts.get(&node_id).is_some_and(|c| c.connected);
        if let Some(contact) = self.contacts.get_mut(&node_id).filter(|_| !watched && !up) {
            // What was heard on its last connection says nothing against it, and is not told once more.
            (contact.alive, contact.declared) = (false, true);
        }
        if before.unwrap_or(false) != up && !watched && self.roster.is_member(node_id) {
            out.push(Output::Liveness { id, up, evidence: "gossip".into(), lines: Vec::new() });
            out.push(Output::Changed);
        }
    }
}
