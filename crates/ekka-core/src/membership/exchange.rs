//! How the roster gets round: what changed goes to all in contact at once, what differs is exchanged.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;
use core::time::Duration;

use super::room::Membership;
use super::{Message, Output, Record, Roster, Seat};
use crate::id::NodeId;
use crate::limits::{DETECTION_TIME, MEMBERS_MAX};
use crate::time::Now;
use crate::view::Status;

/// How often two nodes whose rosters differ exchange them.
const EXCHANGE_INTERVAL: Duration = Duration::from_millis(500);
/// Entries in one message: far below the limit of a control frame with the longest names and many tags.
const ENTRIES_MAX: usize = 64;
/// To how many peers of a large cluster news of others is passed on.
const FANOUT: usize = 4;

impl Membership {
    /// Compares rosters with a peer whose digest differs.
    pub(super) fn exchange(&mut self, with: NodeId, now: Now, out: &mut Vec<Output>) {
        // Beyond the full mesh a comparison costs an entry for each member, and news come by other ways first: one with
        // anybody at a time is enough.
        if self.is_large() && self.exchange_at > now.mono {
            return;
        }
        let Some(contact) = self.contacts.get_mut(&with) else { return };
        if contact.next_exchange > now.mono {
            return;
        }
        contact.next_exchange = now.mono + EXCHANGE_INTERVAL;
        self.exchange_at = now.mono + EXCHANGE_INTERVAL;
        self.offer(with, out);
    }

    /// Sends what this node holds: a small roster whole, a large one as digests of its entries.
    pub(super) fn offer(&mut self, to: NodeId, out: &mut Vec<Output>) {
        let message = if self.roster.seats.len() <= ENTRIES_MAX {
            Message::Roster { roster: self.roster.clone(), reply: true }
        } else {
            self.summary(true)
        };
        out.push(Output::Send { to, message });
    }

    fn summary(&self, reply: bool) -> Message {
        let entries = self.roster.seats.keys().map(|id| (*id, self.roster.entry_digest(*id))).collect();
        Message::Summary { cluster_id: self.roster.cluster_id, entries, reply }
    }

    /// Sends the entries that a peer lacks or holds otherwise; asks for those that this node lacks.
    pub(super) fn compare(&mut self, with: NodeId, theirs: &[(NodeId, u64)], reply: bool, out: &mut Vec<Output>) {
        let theirs: BTreeMap<NodeId, u64> = theirs.iter().take(MEMBERS_MAX).copied().collect();
        let differs = |id: &&NodeId| theirs.get(id) != Some(&self.roster.entry_digest(**id));
        let mine: Vec<NodeId> = self.roster.seats.keys().filter(differs).copied().collect();
        let lacking = theirs.iter().any(|(id, digest)| self.roster.entry_digest(*id) != *digest);
        self.tell(with, &mine, out);
        if reply && lacking {
            out.push(Output::Send { to: with, message: self.summary(false) });
        }
    }

    /// Sends these entries, in messages of bounded size.
    fn tell(&self, to: NodeId, nodes: &[NodeId], out: &mut Vec<Output>) {
        for part in nodes.chunks(ENTRIES_MAX) {
            let roster = self.roster.part(part);
            out.push(Output::Send { to, message: Message::Roster { roster, reply: false } });
        }
    }

    /// Whether entries of that roster concern this node's cluster.
    fn concerns(&self, roster: &Roster) -> bool {
        self.roster.cluster_id.is_some() && self.roster.cluster_id == roster.cluster_id
    }

    pub(super) fn merge(&mut self, from: NodeId, theirs: &Roster, reply: bool, now: Now, out: &mut Vec<Output>) {
        let mut changed: BTreeSet<NodeId> = BTreeSet::new();
        let mut seats_changed = false;
        let mut removed = false;
        let sum = |room: &Self| {
            // A record counts for the node that it names: a peer may have put it under another.
            let named = theirs.records.values().map(|record| &record.id.node_id);
            let ids: BTreeSet<&NodeId> = theirs.seats.keys().chain(theirs.copies.keys()).chain(named).collect();
            ids.into_iter().fold(0, |sum: u64, id| sum.wrapping_add(room.roster.entry_digest(*id)))
        };
        let before = sum(self);
        if self.concerns(theirs) {
            for (node_id, seat) in &theirs.seats {
                let was = self.roster.is_member(*node_id);
                if self.roster.merge_seat(*node_id, *seat) {
                    changed.insert(*node_id);
                    seats_changed = true;
                    removed |= seat.removed.is_some();
                    self.seated(*node_id, was, *seat, out);
                }
            }
        }
        if self.concerns(theirs) {
            for (node_id, copy) in &theirs.copies {
                if self.take_copy(*node_id, *copy, now, out) {
                    changed.insert(*node_id);
                }
            }
        }
        for record in theirs.records.values() {
            let role = self.record(record.id.node_id).map(|known| known.role);
            if self.take_record(record, now, out) {
                changed.insert(record.id.node_id);
                seats_changed |= role != Some(record.role);
            }
        }
        if !changed.is_empty() {
            // Only what came can have changed the digest; counting all anew would cost more than the merge.
            let digest = self.digest.map(|all| all.wrapping_sub(before).wrapping_add(sum(self)));
            if seats_changed {
                self.seats_told(removed);
            }
            self.digest = digest;
            out.push(Output::Changed);
        }
        for node_id in changed {
            self.fresh.insert(node_id, Some(from));
        }
        let lacks = |id: &&NodeId| {
            let seat = self.roster.seats.get(id) != theirs.seats.get(id);
            let record = self.roster.records.get(id) != theirs.records.get(id);
            seat || record || self.roster.copies.get(id) != theirs.copies.get(id)
        };
        if reply && self.roster.cluster_id != theirs.cluster_id && self.roster.is_member(from) {
            // It is counted here, and is elsewhere: it may have to say farewell.
            self.tell(from, &[from, self.me()], out);
        }
        if reply && self.roster.cluster_id == theirs.cluster_id {
            let missing: Vec<NodeId> = self.roster.seats.keys().filter(lacks).copied().collect();
            self.tell(from, &missing, out);
        }
    }

    fn seated(&mut self, node_id: NodeId, was: bool, seat: Seat, out: &mut Vec<Output>) {
        out.push(Output::Persist);
        match seat.removed {
            Some(cause) if node_id == self.me() => out.push(Output::SelfRemoved { cause, by: seat.by }),
            Some(cause) if was => out.push(Output::Seated { node_id, removed: Some(cause) }),
            None if !was => out.push(Output::Seated { node_id, removed: None }),
            _ => {}
        }
    }

    /// Takes another's record of itself; whether it was news.
    pub(super) fn take_record(&mut self, record: &Record, now: Now, out: &mut Vec<Output>) -> bool {
        let node_id = record.id.node_id;
        if node_id == self.me() {
            // An old life of this node: its present record wins, by guid.
            return false;
        }
        let seated = self.roster.seats.contains_key(&node_id);
        let direct = self.contacts.get(&node_id).is_some_and(|c| c.connected && c.id == record.id);
        if !seated && !direct {
            return false;
        }
        // Somebody let in a newer start of a node whose older one this node hears at this moment: a copied directory
        // looks like that. The older one is believed until its own connection ends.
        let hears_older = self
            .contacts
            .get(&node_id)
            .is_some_and(|c| c.connected && c.id.guid < record.id.guid && c.is_heard_within(DETECTION_TIME, now.mono));
        if hears_older && !self.options.stale_wins {
            return false;
        }
        let old = self.roster.records.get(&node_id);
        let moved =
            old.is_none_or(|old| old.id != record.id || old.endpoint != record.endpoint || old.name != record.name);
        if !self.roster.merge_record(record) {
            return false;
        }
        if moved {
            out.push(Output::Persist);
        }
        if let Some(contact) = self.contacts.get_mut(&node_id)
            && contact.id.guid < record.id.guid
        {
            // A newer start, known by hearsay: the older one is over, the newer one is looked for.
            contact.id = record.id;
            contact.goodbye = false;
            contact.next_dial = now.mono;
        }
        if record.status == Status::Stopped
            && let Some(contact) = self.contacts.get_mut(&node_id)
            && contact.id == record.id
        {
            contact.goodbye = true;
        }
        true
    }

    /// Takes a seat as it was committed.
    pub(super) fn take_seat(&mut self, node_id: NodeId, seat: Seat, out: &mut Vec<Output>) {
        let was = self.roster.is_member(node_id);
        if self.roster.merge_seat(node_id, seat) {
            self.fresh.insert(node_id, None);
            self.seated(node_id, was, seat, out);
            self.roster_changed();
            out.push(Output::Changed);
        }
    }

    pub(super) fn enter(&mut self, roster: Roster, farewell: bool, now: Now, out: &mut Vec<Output>) {
        let old = core::mem::replace(&mut self.roster, roster);
        if let Some(cluster_id) = &self.roster.cluster_id {
            self.partings.remove(cluster_id);
        }
        if farewell && old.cluster_id != self.roster.cluster_id {
            self.part_from(&old, now, out);
        }
        let mut known = old.records;
        known.insert(self.me(), self.own.clone());
        // What was heard of a member directly may be newer than what the roster says.
        for record in known.values() {
            if self.roster.seats.contains_key(&record.id.node_id) {
                self.roster.merge_record(record);
            }
        }
        self.roster.records.insert(self.me(), self.own.clone());
        for contact in self.contacts.values_mut() {
            if let Some(record) = self.roster.records.get(&contact.id.node_id)
                && record.id.guid > contact.id.guid
            {
                contact.id = record.id;
            }
        }
        // Whoever gave this roster has it; the others compare it with the first heartbeat.
        self.fresh.insert(self.me(), None);
        self.roster_changed();
        out.push(Output::Persist);
        out.push(Output::Changed);
        let mut wishes = Vec::new();
        for contact in self.contacts.values().filter(|c| c.connected && self.roster.is_member(c.id.node_id)) {
            self.gossip.announce(contact.id, now.mono, &mut wishes);
        }
        self.wishes(wishes, now, out);
        self.dial_wanted(now, out);
    }

    /// Tells everybody in contact what changed, each entry at most once, and not back to who told it.
    pub(super) fn flush(&mut self, out: &mut Vec<Output>) {
        if self.fresh.is_empty() {
            return;
        }
        let fresh = core::mem::take(&mut self.fresh);
        let mut peers: Vec<NodeId> = self.contacts.values().filter(|c| c.connected).map(|c| c.id.node_id).collect();
        // Beyond the full mesh what others told goes on to a few, as an epidemic; digests find whom it missed.
        let mut chosen = BTreeSet::new();
        if self.is_large() && peers.len() > FANOUT {
            while chosen.len() < FANOUT {
                let at = self.rng.index(peers.len());
                chosen.insert(peers[at]);
            }
        } else {
            chosen.extend(peers.iter().copied());
        }
        let own_news = fresh.values().any(Option::is_none);
        peers.retain(|peer| chosen.contains(peer) || own_news && (!self.is_large() || self.is_neighbour(*peer)));
        for peer in peers {
            let wanted = |id: &NodeId, from: &Option<NodeId>| {
                *id != peer && *from != Some(peer) && (from.is_none() || chosen.contains(&peer))
            };
            let nodes: Vec<NodeId> = fresh.iter().filter(|(id, from)| wanted(id, from)).map(|(id, _)| *id).collect();
            self.tell(peer, &nodes, out);
        }
    }
}
