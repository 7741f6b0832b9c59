//! Who is sent heartbeats, what they say, and who is dialled.

use alloc::collections::BTreeSet;
use alloc::vec::Vec;
use core::time::Duration;

use super::contact::Contact;
use super::evidence::start;
use super::room::Membership;
use super::{Heard, Message, Output};
use crate::id::NodeId;
use crate::limits::{
    FULL_MESH_MAX, RECONTACT_INTERVAL, RECONTACT_SLOW_AFTER, RECONTACT_SLOW_INTERVAL, RING_NEIGHBOURS,
};
use crate::time::Now;
use crate::view::Status;

/// Beyond the full mesh one heartbeat in so many carries a row.
const ROW_EVERY: u64 = 3;

impl Membership {
    /// Whether this node sends heartbeats to that one.
    pub(super) fn is_neighbour(&self, node_id: NodeId) -> bool {
        self.neighbours.contains(&node_id)
    }

    /// Up to [`FULL_MESH_MAX`] members everybody; beyond it the next ones on the ring of node ids in both
    /// directions, and the voters (who answer, but send heartbeats only along the ring).
    pub(super) fn choose_neighbours(&mut self) {
        let me = self.me();
        self.stale = false;
        let members: Vec<NodeId> =
            self.roster.seats.iter().filter(|(_, s)| s.removed.is_none()).map(|(id, _)| *id).collect();
        self.gossip.resize(members.len());
        self.by_seniority = self.roster.by_seniority();
        self.voters = match self.committed_voters.as_slice() {
            [] => self.roster.voters_among(&self.by_seniority),
            committed => committed.to_vec(),
        };
        let before = core::mem::take(&mut self.neighbours);
        let was_large = self.is_large();
        if members.len() <= FULL_MESH_MAX {
            self.ring.clear();
            self.neighbours = members.into_iter().collect();
        } else {
            self.ring = members;
            self.neighbours = self.around(me).collect();
            self.neighbours.extend(self.voters.iter().copied());
        }
        self.neighbours.remove(&me);
        if was_large {
            self.neighbours_came(&before);
        }
    }

    /// Whom gossip watched until now, and this node from now on. Calling them takes a moment.
    fn neighbours_came(&mut self, before: &BTreeSet<NodeId>) {
        self.taken_over.retain(|node_id, _| self.neighbours.contains(node_id));
        for node_id in self.neighbours.difference(before) {
            let Some(up) = self.suggested.get(node_id).copied() else { continue };
            let stopped = self.roster.records.get(node_id).is_some_and(|record| record.status == Status::Stopped);
            let up = up && !stopped;
            match self.contacts.get_mut(node_id) {
                Some(contact) if contact.connected || contact.goodbye => continue,
                Some(contact) => (contact.alive, contact.declared) = (up, !up),
                None => {}
            }
            self.taken_over.insert(*node_id, up);
        }
    }

    /// The next ones on the ring in both directions.
    fn around(&self, node_id: NodeId) -> impl Iterator<Item = NodeId> + '_ {
        let length = self.ring.len();
        let at = self.ring.partition_point(|id| *id < node_id);
        let half = RING_NEIGHBOURS / 2;
        (1..=half).flat_map(move |step| [(at + step) % length, (at + length - step) % length]).map(|at| self.ring[at])
    }

    fn cell(&self, contact: &Contact, now: Now) -> Heard {
        Heard {
            node_id: contact.id.node_id,
            start: start(contact.id),
            ago_ms: if contact.goodbye { None } else { self.own_age_ms(contact.id.node_id, now.mono) },
            rtt_us: contact.rtt_us().and_then(|rtt| u32::try_from(rtt).ok()).unwrap_or(0),
        }
    }

    /// This node's row as far as it concerns `to`: in large clusters itself, its neighbours and the voters.
    fn row_for(&self, to: NodeId, now: Now) -> Vec<Heard> {
        let whom: BTreeSet<NodeId> =
            self.around(to).chain(self.voters.iter().copied()).chain(core::iter::once(to)).collect();
        whom.iter().filter_map(|id| self.contacts.get(id)).map(|contact| self.cell(contact, now)).collect()
    }

    pub(super) fn send_heartbeats(&mut self, now: Now, out: &mut Vec<Output>) {
        let digest = self.digest();
        let members = self.contacts.values().filter(|c| self.roster.is_member(c.id.node_id));
        let large = self.is_large();
        let row: Vec<Heard> = if large { Vec::new() } else { members.map(|c| self.cell(c, now)).collect() };
        self.beats += 1;
        for to in self.neighbours.clone() {
            let Some(contact) = self.contacts.get_mut(&to).filter(|contact| contact.connected) else { continue };
            let number = contact.send_heartbeat(now.mono);
            let heard = match large {
                false => row.clone(),
                true if self.beats.is_multiple_of(ROW_EVERY) => self.row_for(to, now),
                true => Vec::new(),
            };
            out.push(Output::Send { to, message: Message::Heartbeat { number, wall: now.wall, heard, digest } });
        }
    }

    /// Dials every neighbour that is not connected, and down members again and again.
    pub(super) fn dial_wanted(&mut self, now: Now, out: &mut Vec<Output>) {
        self.take_over(now);
        let contacts = &self.contacts;
        let waits = |id: &&NodeId| contacts.get(*id).is_none_or(|c| !c.connected && c.next_dial <= now.mono);
        let due: Vec<NodeId> = self.neighbours.iter().filter(waits).copied().collect();
        for node_id in due {
            let Some(record) = self.roster.records.get(&node_id).cloned() else { continue };
            let no_recontact = self.options.no_recontact;
            let contact = self.contact(record.id, now);
            let down_for = contact.down_since.map_or(Duration::ZERO, |since| now.mono.since(since));
            if no_recontact && contact.heard.is_some() && !contact.alive {
                continue;
            }
            let slow = down_for > RECONTACT_SLOW_AFTER;
            let interval = if slow { RECONTACT_SLOW_INTERVAL } else { RECONTACT_INTERVAL };
            contact.next_dial = now.mono + interval;
            out.push(Output::Dial { node_id, endpoint: record.endpoint });
        }
    }
}
