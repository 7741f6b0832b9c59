//! Peers that come, are heard, and go.

use alloc::vec::Vec;

use super::contact::Contact;
use super::room::Membership;
use super::{Lost, Output};
use crate::id::{Endpoint, Guid, Incarnation, NodeId, NodeName};
use crate::limits::LINK_SILENCE;
use crate::time::{Instant, Now};
use crate::view::Status;

impl Membership {
    /// A member that came back, maybe at another address, is dialled there from now on, before its own record arrives.
    fn renew_record(
        &mut self,
        id: Incarnation,
        (name, endpoint, start_counter): (&NodeName, &Endpoint, u64),
        out: &mut Vec<Output>,
    ) {
        let Some(record) = self.roster.records.get_mut(&id.node_id) else { return };
        if record.id.guid > id.guid || (record.endpoint == *endpoint && record.id == id) {
            return;
        }
        record.endpoint = endpoint.clone();
        record.name = name.clone();
        record.start_counter = record.start_counter.max(start_counter);
        if record.id != id {
            record.id = id;
            record.version = 0;
            record.start_counter = start_counter;
            record.status = Status::Joining;
            self.digest = None;
        }
        out.push(Output::Persist);
    }

    pub(super) fn connected(
        &mut self,
        id: Incarnation,
        said: (&NodeName, &Endpoint, u64),
        heard: Instant,
        now: Now,
        out: &mut Vec<Output>,
    ) {
        if self.contacts.get(&id.node_id).is_some_and(|c| c.id.guid > id.guid) && !self.options.stale_wins {
            return;
        }
        // To be met is no news of one whom gossip calls up.
        let same = self.record(id.node_id).is_some_and(|record| record.id == id);
        let watched = self.is_neighbour(id.node_id) && self.taken_over.remove(&id.node_id).is_none();
        let known = same && !watched && self.is_running(id.node_id);
        self.renew_record(id, said, out);
        let contact = self.contact(id, now);
        contact.id = id;
        contact.connected = true;
        if known {
            contact.rises();
        }
        contact.reset = None;
        contact.goodbye = false;
        self.heard_at(id, heard, now, out);
        // What this node knows is compared once with whom it meets; later only what changes is told.
        if self.is_large() {
            self.exchange(id.node_id, now, out); // or with a later heartbeat, whose digest says that it is needed
        } else {
            self.offer(id.node_id, out);
        }
        let mut wishes = Vec::new();
        if self.roster.is_member(id.node_id) && !self.is_large() {
            self.gossip.announce(id, now.mono, &mut wishes);
        }
        self.wishes(wishes, now, out);
        out.push(Output::Changed);
    }

    pub(super) fn disconnected(&mut self, id: Incarnation, lost: Lost, now: Now, out: &mut Vec<Output>) {
        let Some(contact) = self.contacts.get_mut(&id.node_id) else { return };
        if contact.id.guid < id.guid {
            return;
        }
        // Also where a newer start is known by hearsay already: it is not connected.
        contact.connected = false;
        if contact.id != id {
            return;
        }
        contact.forget_rtt();
        if lost == Lost::Reset && !contact.goodbye {
            contact.reset = Some(now.mono);
            contact.next_dial = now.mono;
        }
        // Of those who never were members nothing is kept.
        if !self.roster.seats.contains_key(&id.node_id) {
            self.contacts.remove(&id.node_id);
            self.rows.remove(&id.node_id);
        }
        out.push(Output::Changed);
        self.dial_wanted(now, out);
    }

    /// Back to an earlier start: the later one was a copy of its directory. Everybody is told.
    pub(super) fn disproved(&mut self, original: Incarnation, copy: Guid, now: Now, out: &mut Vec<Output>) {
        if self.take_copy(original.node_id, copy, now, out) {
            self.fresh.insert(original.node_id, None);
            self.digest = None;
            out.push(Output::Persist);
            out.push(Output::Changed);
        }
    }

    /// Forgets what was taken from a copy; whether that was news.
    pub(super) fn take_copy(&mut self, node_id: NodeId, copy: Guid, now: Now, out: &mut Vec<Output>) -> bool {
        // Were it this very process, it would be refused by all whom it meets.
        let own = self.own.id == Incarnation { node_id, guid: copy };
        if own || !self.roster.disprove(node_id, copy) {
            return false;
        }
        if node_id == self.me() {
            let mut wishes = Vec::new();
            self.gossip.outrank(copy, now.mono, &mut wishes);
            self.wishes(wishes, now, out);
        }
        if let Some(contact) = self.contacts.get_mut(&node_id)
            && contact.id.guid == copy
        {
            *contact = Contact::new(Incarnation { node_id, guid: Guid::MIN }, now.mono, now.wall);
        }
        true
    }

    /// Anything came from this peer just now.
    pub(super) fn heard(&mut self, id: Incarnation, now: Now, out: &mut Vec<Output>) {
        self.heard_at(id, now.mono, now, out);
    }

    /// The same at an earlier time: what is too old says nothing of now.
    pub(super) fn heard_at(&mut self, id: Incarnation, at: Instant, now: Now, out: &mut Vec<Output>) {
        let contact = self.contact(id, now);
        if contact.id != id || contact.heard.is_some_and(|heard| heard > at) {
            return;
        }
        contact.heard = Some(at);
        contact.heard_wall = Some(now.wall);
        if !contact.goodbye && !contact.alive && now.mono.since(at) <= LINK_SILENCE {
            self.rise(id, "heard", now, out);
        }
    }
}
