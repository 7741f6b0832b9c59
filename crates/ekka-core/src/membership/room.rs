//! The room itself: inputs, what goes on the wire, timers.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;
use core::time::Duration;

use super::contact::Contact;
use super::evidence::Row;
use super::gossip::{Gossip, Wish};
use super::{Heard, Input, Lost, Message, Output, Record, RemovalCause, Roster, Seat};
use crate::id::{Endpoint, Incarnation, NodeId, NodeName};
use crate::limits::{
    FULL_MESH_MAX, HEARTBEAT_INTERVAL, RECONTACT_INTERVAL, RECONTACT_SLOW_AFTER, RECONTACT_SLOW_INTERVAL,
    RING_NEIGHBOURS,
};
use crate::machine::Machine;
use crate::rng::Rng;
use crate::time::{Instant, Now};
use crate::view::Status;

/// How often two nodes whose rosters differ exchange them.
const EXCHANGE_INTERVAL: Duration = Duration::from_millis(500);
/// How often liveness is looked at.
const WATCH_INTERVAL: Duration = Duration::from_millis(100);

/// Planted faults. All off in production.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Options {
    /// A down member is never contacted again.
    pub no_recontact: bool,
    /// A stale incarnation wins over a newer one.
    pub stale_wins: bool,
}

/// See the module's head.
pub struct Membership {
    pub(super) own: Record,
    pub(super) roster: Roster,
    pub(super) contacts: BTreeMap<NodeId, Contact>,
    pub(super) rows: BTreeMap<NodeId, Row>,
    /// What foca says of nodes that are no neighbours.
    pub(super) suggested: BTreeMap<NodeId, bool>,
    pub(super) options: Options,
    /// Own lateness, which stretches every suspicion (Lifeguard).
    pub(super) late: Duration,
    gossip: Gossip,
    rng: Rng,
    heartbeat_at: Instant,
    watch_at: Instant,
    /// Nodes whose entries changed and are to be told to everybody in contact, but not back to who told them.
    fresh: BTreeMap<NodeId, Option<NodeId>>,
    neighbours: BTreeSet<NodeId>,
}

impl Membership {
    /// The room at the start of a node.
    #[must_use]
    pub fn new(own: Record, mut roster: Roster, mut rng: Rng, options: Options) -> Self {
        roster.records.insert(own.id.node_id, own.clone());
        let gossip = Gossip::new(own.id, rng.child("foca"));
        let mut room = Self {
            own,
            roster,
            contacts: BTreeMap::new(),
            rows: BTreeMap::new(),
            suggested: BTreeMap::new(),
            options,
            late: Duration::ZERO,
            gossip,
            rng,
            heartbeat_at: Instant::ZERO,
            watch_at: Instant::ZERO,
            fresh: BTreeMap::new(),
            neighbours: BTreeSet::new(),
        };
        room.choose_neighbours();
        room
    }

    /// Who belongs to the cluster.
    #[must_use]
    pub fn roster(&self) -> &Roster {
        &self.roster
    }

    /// This node's own record.
    #[must_use]
    pub fn own(&self) -> &Record {
        &self.own
    }

    /// The latest record of a node.
    #[must_use]
    pub fn record(&self, node_id: NodeId) -> Option<&Record> {
        self.roster.records.get(&node_id)
    }

    /// How many members there are.
    #[must_use]
    pub fn size(&self) -> usize {
        self.roster.size()
    }

    /// Who votes.
    #[must_use]
    pub fn voters(&self) -> Vec<NodeId> {
        self.roster.voters()
    }

    /// The node with this name that runs, or else one that had it.
    #[must_use]
    pub fn holder_of(&self, name: &NodeName) -> Option<NodeId> {
        let named = || self.roster.records.values().filter(|r| r.name == *name).map(|r| r.id.node_id);
        named().find(|id| self.is_running(*id)).or_else(|| named().next())
    }

    fn me(&self) -> NodeId {
        self.own.id.node_id
    }

    /// Whether this node sends heartbeats to that one.
    pub(super) fn is_neighbour(&self, node_id: NodeId) -> bool {
        self.neighbours.contains(&node_id)
    }

    /// Up to [`FULL_MESH_MAX`] members everybody; beyond it the next ones on the ring of node ids in both
    /// directions, and the voters.
    fn choose_neighbours(&mut self) {
        let me = self.me();
        let members: Vec<NodeId> =
            self.roster.seats.iter().filter(|(_, s)| s.removed.is_none()).map(|(id, _)| *id).collect();
        self.gossip.resize(members.len());
        if members.len() <= FULL_MESH_MAX {
            self.neighbours = members.into_iter().filter(|id| *id != me).collect();
            return;
        }
        let at = members.partition_point(|id| *id < me);
        let around = |step: usize| members[(at + step) % members.len()];
        let half = RING_NEIGHBOURS / 2;
        let mut chosen: BTreeSet<NodeId> = (0..=half).map(around).collect();
        chosen.extend((1..=half).map(|back| around(members.len() - back)));
        chosen.extend(self.voters());
        chosen.remove(&me);
        self.neighbours = chosen;
    }

    fn bump_own(&mut self, out: &mut Vec<Output>) {
        self.own.version += 1;
        self.roster.records.insert(self.me(), self.own.clone());
        self.fresh.insert(self.me(), None);
        out.push(Output::Changed);
    }

    fn contact(&mut self, id: Incarnation, now: Now) -> &mut Contact {
        let contact = self.contacts.entry(id.node_id).or_insert_with(|| Contact::new(id, now.mono, now.wall));
        if contact.id.guid < id.guid {
            contact.id = id;
            contact.goodbye = None;
            contact.forget_rtt();
        }
        contact
    }

    fn connected(&mut self, id: Incarnation, name: &NodeName, endpoint: &Endpoint, now: Now, out: &mut Vec<Output>) {
        if self.contacts.get(&id.node_id).is_some_and(|c| c.id.guid > id.guid) && !self.options.stale_wins {
            return;
        }
        // A member that came back at another address is dialled there from now on, before its record arrives.
        if let Some(record) = self.roster.records.get_mut(&id.node_id)
            && record.id.guid <= id.guid
            && (record.endpoint != *endpoint || record.id != id)
        {
            record.endpoint = endpoint.clone();
            record.name = name.clone();
            if record.id != id {
                record.id = id;
                record.version = 0;
                record.status = Status::Joining;
            }
            out.push(Output::Persist);
        }
        let contact = self.contact(id, now);
        contact.id = id;
        contact.connected = true;
        contact.reset = None;
        contact.goodbye = None;
        self.heard(id, now, out);
        // Everything this node knows goes once to whom it meets; later only what changes.
        let roster = self.roster.clone();
        out.push(Output::Send { to: id.node_id, message: Message::Roster { roster, reply: true } });
        let mut wishes = Vec::new();
        if self.roster.is_member(id.node_id) {
            self.gossip.announce(id, now.mono, &mut wishes);
        }
        self.wishes(wishes, now, out);
        out.push(Output::Changed);
    }

    fn disconnected(&mut self, id: Incarnation, lost: Lost, now: Now, out: &mut Vec<Output>) {
        let Some(contact) = self.contacts.get_mut(&id.node_id) else { return };
        if contact.id != id {
            return;
        }
        contact.connected = false;
        contact.forget_rtt();
        if lost == Lost::Reset && contact.goodbye.is_none() {
            contact.reset = Some(now.mono);
            contact.next_dial = now.mono;
        }
        if lost == Lost::Goodbye {
            contact.goodbye.get_or_insert(false);
        }
        out.push(Output::Changed);
        self.dial_wanted(now, out);
    }

    /// Anything came from this peer.
    pub(super) fn heard(&mut self, id: Incarnation, now: Now, out: &mut Vec<Output>) {
        let contact = self.contact(id, now);
        if contact.id != id {
            return;
        }
        contact.heard = Some(now.mono);
        contact.heard_wall = Some(now.wall);
        if contact.goodbye.is_none() && !contact.alive {
            self.rise(id, "heard", now, out);
        }
    }

    fn received(&mut self, from: Incarnation, message: Message, now: Now, out: &mut Vec<Output>) {
        let goodbye = matches!(message, Message::Goodbye { .. });
        if !goodbye {
            self.heard(from, now, out);
        }
        match message {
            Message::Heartbeat { number, wall: _, heard, digest } => {
                out.push(Output::Send { to: from.node_id, message: Message::HeartbeatAck { number, wall: now.wall } });
                self.rows.insert(from.node_id, Row::new(&heard, now.mono));
                if digest != self.roster.digest() {
                    self.exchange(from.node_id, now, out);
                }
            }
            Message::HeartbeatAck { number, wall } => {
                let contact = self.contact(from, now);
                if let Some(rtt_us) = contact.heartbeat_answered(number, now.mono) {
                    out.push(Output::RoundTrip { node_id: from.node_id, rtt_us, peer_wall: wall });
                }
            }
            Message::IndirectProbe { target } => {
                let ago_ms = self.own_age_ms(target, now.mono);
                out.push(Output::Send { to: from.node_id, message: Message::IndirectAck { target, ago_ms } });
            }
            Message::IndirectAck { target, ago_ms } => {
                let row = self.rows.entry(from.node_id).or_insert_with(|| Row::new(&[], now.mono));
                row.set(target, ago_ms, now.mono);
            }
            Message::Gossip(packet) => {
                let mut wishes = Vec::new();
                self.gossip.packet(&packet, now.mono, &mut wishes);
                self.wishes(wishes, now, out);
            }
            Message::Roster { roster, reply } => self.merge(from.node_id, &roster, reply, now, out),
            Message::Goodbye { left } => self.goodbye(from, left, now, out),
        }
    }

    fn exchange(&mut self, with: NodeId, now: Now, out: &mut Vec<Output>) {
        let Some(contact) = self.contacts.get_mut(&with) else { return };
        if contact.next_exchange > now.mono {
            return;
        }
        contact.next_exchange = now.mono + EXCHANGE_INTERVAL;
        let roster = self.roster.clone();
        out.push(Output::Send { to: with, message: Message::Roster { roster, reply: true } });
    }

    /// Whether entries of that roster concern this node's cluster.
    fn concerns(&self, roster: &Roster) -> bool {
        self.roster.cluster_id.is_some() && self.roster.cluster_id == roster.cluster_id
    }

    fn merge(&mut self, from: NodeId, theirs: &Roster, reply: bool, now: Now, out: &mut Vec<Output>) {
        let mut changed: Vec<NodeId> = Vec::new();
        if self.concerns(theirs) {
            for (node_id, seat) in &theirs.seats {
                let was = self.roster.is_member(*node_id);
                if self.roster.merge_seat(*node_id, *seat) {
                    changed.push(*node_id);
                    self.seated(*node_id, was, *seat, out);
                }
            }
        }
        for record in theirs.records.values() {
            if self.take_record(record, now, out) {
                changed.push(record.id.node_id);
            }
        }
        for node_id in &changed {
            self.fresh.insert(*node_id, Some(from));
        }
        if !changed.is_empty() {
            self.choose_neighbours();
            out.push(Output::Changed);
        }
        let lacks = |id: &&NodeId| {
            let seat = self.roster.seats.get(id) != theirs.seats.get(id);
            let record = self.roster.records.get(id) != theirs.records.get(id);
            seat || record
        };
        if reply && self.roster.cluster_id == theirs.cluster_id {
            let missing: Vec<NodeId> = self.roster.seats.keys().filter(lacks).copied().collect();
            if !missing.is_empty() {
                let roster = self.roster.part(&missing);
                out.push(Output::Send { to: from, message: Message::Roster { roster, reply: false } });
            }
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
    fn take_record(&mut self, record: &Record, now: Now, out: &mut Vec<Output>) -> bool {
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
        let old = self.roster.records.get(&node_id).cloned();
        if !self.roster.merge_record(record) {
            return false;
        }
        if old
            .as_ref()
            .is_none_or(|old| old.id != record.id || old.endpoint != record.endpoint || old.name != record.name)
        {
            out.push(Output::Persist);
        }
        if let Some(contact) = self.contacts.get_mut(&node_id)
            && contact.id.guid < record.id.guid
        {
            // A newer start, known by hearsay: the older one is over, the newer one is looked for.
            contact.id = record.id;
            contact.goodbye = None;
            contact.next_dial = now.mono;
        }
        if record.status == Status::Stopped
            && let Some(contact) = self.contacts.get_mut(&node_id)
            && contact.id == record.id
        {
            contact.goodbye.get_or_insert(false);
        }
        true
    }

    fn goodbye(&mut self, from: Incarnation, left: bool, now: Now, out: &mut Vec<Output>) {
        let contact = self.contact(from, now);
        if contact.id != from {
            return;
        }
        contact.goodbye = Some(left);
        contact.heard = Some(now.mono);
        contact.heard_wall = Some(now.wall);
        if let Some(record) = self.roster.records.get_mut(&from.node_id)
            && record.id == from
            && !left
        {
            record.status = Status::Stopped;
        }
        self.fall(from, "goodbye", Vec::new(), now, out);
        if left && self.roster.is_member(from.node_id) {
            self.unseat(from.node_id, RemovalCause::Leave, from.node_id, out);
        }
        out.push(Output::Changed);
    }

    fn unseat(&mut self, node_id: NodeId, cause: RemovalCause, by: NodeId, out: &mut Vec<Output>) {
        let was = self.roster.is_member(node_id);
        let seat = Seat { number: self.roster.next_number(), by, removed: Some(cause) };
        if self.roster.merge_seat(node_id, seat) {
            self.fresh.insert(node_id, None);
            self.seated(node_id, was, seat, out);
            self.choose_neighbours();
            out.push(Output::Changed);
        }
    }

    fn admit(&mut self, record: &Record, now: Now, out: &mut Vec<Output>) {
        let node_id = record.id.node_id;
        if !self.roster.is_member(node_id) {
            let seat = Seat { number: self.roster.next_number(), by: self.me(), removed: None };
            if self.roster.merge_seat(node_id, seat) {
                self.seated(node_id, false, seat, out);
            }
        }
        self.take_record(record, now, out);
        self.fresh.insert(node_id, None);
        self.choose_neighbours();
        out.push(Output::Changed);
    }

    fn enter(&mut self, roster: Roster, now: Now, out: &mut Vec<Output>) {
        let mut known = core::mem::replace(&mut self.roster, roster).records;
        known.insert(self.me(), self.own.clone());
        // What was heard of a member directly may be newer than what the roster says.
        for record in known.values() {
            if self.roster.seats.contains_key(&record.id.node_id) {
                self.roster.merge_record(record);
            }
        }
        self.roster.records.insert(self.me(), self.own.clone());
        for node_id in self.roster.seats.keys() {
            self.fresh.insert(*node_id, None);
        }
        self.choose_neighbours();
        out.push(Output::Persist);
        out.push(Output::Changed);
        let mut wishes = Vec::new();
        for contact in self.contacts.values().filter(|c| c.connected && self.roster.is_member(c.id.node_id)) {
            self.gossip.announce(contact.id, now.mono, &mut wishes);
        }
        self.wishes(wishes, now, out);
        self.dial_wanted(now, out);
    }

    fn reset(&mut self, out: &mut Vec<Output>) {
        let me = self.me();
        self.roster = Roster::default();
        self.roster.records.insert(me, self.own.clone());
        self.rows.clear();
        self.suggested.clear();
        self.fresh.clear();
        self.choose_neighbours();
        out.push(Output::Persist);
        out.push(Output::Changed);
    }

    pub(super) fn wishes(&mut self, wishes: Vec<Wish>, now: Now, out: &mut Vec<Output>) {
        for wish in wishes {
            match wish {
                Wish::Send { to, packet } => out.push(Output::Send { to, message: Message::Gossip(packet) }),
                Wish::Up(id) => self.suggest(id, true, now, out),
                Wish::Down(id) => self.suggest(id, false, now, out),
            }
        }
    }

    /// Tells everybody in contact what changed, each entry at most once, and not back to who told it.
    fn flush(&mut self, out: &mut Vec<Output>) {
        if self.fresh.is_empty() {
            return;
        }
        let fresh = core::mem::take(&mut self.fresh);
        let peers: Vec<NodeId> = self.contacts.values().filter(|c| c.connected).map(|c| c.id.node_id).collect();
        for peer in peers {
            let nodes: Vec<NodeId> =
                fresh.iter().filter(|(id, from)| **id != peer && **from != Some(peer)).map(|(id, _)| *id).collect();
            if !nodes.is_empty() {
                let roster = self.roster.part(&nodes);
                let mut roster = roster;
                if let Some(own) = nodes.contains(&self.me()).then(|| self.own.clone()) {
                    roster.records.insert(self.me(), own);
                }
                out.push(Output::Send { to: peer, message: Message::Roster { roster, reply: false } });
            }
        }
    }

    fn send_heartbeats(&mut self, now: Now, out: &mut Vec<Output>) {
        let digest = self.roster.digest();
        let row: Vec<Heard> = self
            .contacts
            .values()
            .filter(|c| self.roster.is_member(c.id.node_id))
            .map(|c| Heard {
                node_id: c.id.node_id,
                ago_ms: if c.goodbye.is_some() { None } else { self.own_age_ms(c.id.node_id, now.mono) },
                rtt_us: c.rtt_us().and_then(|rtt| u32::try_from(rtt).ok()).unwrap_or(0),
            })
            .collect();
        for contact in self.contacts.values_mut().filter(|c| c.connected) {
            let to = contact.id.node_id;
            if !self.roster.is_member(to) || !self.neighbours.contains(&to) {
                continue;
            }
            let number = contact.send_heartbeat(now.mono);
            let message = Message::Heartbeat { number, wall: now.wall, heard: row.clone(), digest };
            out.push(Output::Send { to, message });
        }
    }

    /// Dials every neighbour that is not connected, and down members again and again.
    pub(super) fn dial_wanted(&mut self, now: Now, out: &mut Vec<Output>) {
        let me = self.me();
        let members: Vec<NodeId> = self
            .roster
            .seats
            .iter()
            .filter(|(id, seat)| seat.removed.is_none() && **id != me && self.neighbours.contains(id))
            .map(|(id, _)| *id)
            .collect();
        for node_id in members {
            let Some(record) = self.roster.records.get(&node_id).cloned() else { continue };
            let no_recontact = self.options.no_recontact;
            let contact = self.contact(record.id, now);
            if contact.connected || contact.next_dial > now.mono {
                continue;
            }
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

impl Machine for Membership {
    type Input = Input;
    type Output = Output;

    fn handle(&mut self, input: Input, now: Now, out: &mut Vec<Output>) {
        match input {
            Input::Connected { id, name, endpoint } => self.connected(id, &name, &endpoint, now, out),
            Input::Disconnected { id, lost } => self.disconnected(id, lost, now, out),
            Input::Refused { node_id } => self.refused(node_id, now, out),
            Input::Unreachable { .. } => {}
            Input::Received { from, message } => self.received(from, message, now, out),
            Input::HeardFrom { id } => self.heard(id, now, out),
            Input::Enter(roster) => self.enter(roster, now, out),
            Input::SetStatus(status) => {
                if self.own.status != status {
                    self.own.status = status;
                    self.bump_own(out);
                }
            }
            Input::SetTags(tags) => {
                if self.own.tags != tags {
                    self.own.tags = tags;
                    self.bump_own(out);
                }
            }
            Input::Admit(record) => self.admit(&record, now, out),
            Input::Remove { node_id, cause } => self.unseat(node_id, cause, self.me(), out),
            Input::Reset => self.reset(out),
            Input::Paused { for_ms } => {
                let by = Duration::from_millis(for_ms);
                self.contacts.values_mut().for_each(|contact| contact.shift(by));
                self.rows.values_mut().for_each(|row| row.shift(by));
            }
        }
        self.flush(out);
    }

    fn tick(&mut self, now: Now, out: &mut Vec<Output>) {
        // Own lateness stretches suspicion, and is forgotten by half with each look that was in time.
        let late = now.mono.since(self.watch_at);
        if now.mono >= self.watch_at {
            let late = if self.watch_at == Instant::ZERO { Duration::ZERO } else { late };
            self.late = late.max(self.late / 2).min(Duration::from_secs(2));
            self.watch_at = now.mono + WATCH_INTERVAL;
            self.watch(now, out);
            self.dial_wanted(now, out);
        }
        if now.mono >= self.heartbeat_at {
            self.heartbeat_at =
                now.mono + HEARTBEAT_INTERVAL - HEARTBEAT_INTERVAL / 10 + self.rng.up_to(HEARTBEAT_INTERVAL / 10);
            self.send_heartbeats(now, out);
        }
        if self.gossip.deadline().is_none_or(|at| at <= now.mono) || self.size() > 1 {
            let peers: Vec<Incarnation> = self
                .contacts
                .values()
                .filter(|c| c.connected && self.roster.is_member(c.id.node_id))
                .map(|c| c.id)
                .collect();
            let mut wishes = Vec::new();
            self.gossip.tick(&peers, now.mono, &mut wishes);
            self.wishes(wishes, now, out);
        }
        self.flush(out);
    }

    fn deadline(&self) -> Option<Instant> {
        let own = self.watch_at.min(self.heartbeat_at);
        Some(self.gossip.deadline().map_or(own, |gossip| gossip.min(own)))
    }

    fn check(&self) {
        let me = self.me();
        assert_eq!(self.roster.records.get(&me).map(|r| r.id), Some(self.own.id), "this node's own record is its own");
        for (id, record) in &self.roster.records {
            assert_eq!(*id, record.id.node_id, "a record stands under its node");
        }
        assert!(!self.neighbours.contains(&me), "this node is not its own neighbour");
        for id in &self.neighbours {
            assert!(self.roster.is_member(*id), "a removed node is no neighbour");
        }
    }
}
