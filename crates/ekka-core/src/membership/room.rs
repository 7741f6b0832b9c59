//! The room itself: inputs, what goes on the wire, timers.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;
use core::time::Duration;

use super::contact::Contact;
use super::evidence::{Row, start};
use super::farewell::{Farewell, Parting};
use super::gossip::{Gossip, Wish};
use super::{Input, Message, Output, Record, Roster};
use crate::id::{ClusterId, Incarnation, NodeId};
use crate::limits::HEARTBEAT_INTERVAL;
use crate::machine::Machine;
use crate::rng::Rng;
use crate::time::{Instant, Now};
use crate::view::Status;

/// How often liveness is looked at.
const WATCH_INTERVAL: Duration = Duration::from_millis(100);
/// How long a verdict of foca waits for the member's answer.
const DOUBT: Duration = Duration::from_secs(1);

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
    pub(super) gossip: Gossip,
    pub(super) rng: Rng,
    heartbeat_at: Instant,
    watch_at: Instant,
    /// Nodes whose entries changed and are to be told to everybody in contact, but not back to who told them.
    pub(super) fresh: BTreeMap<NodeId, Option<NodeId>>,
    pub(super) neighbours: BTreeSet<NodeId>,
    /// Whom gossip watched until a moment ago, and whether it said that they run.
    pub(super) taken_over: BTreeMap<NodeId, bool>,
    /// All members in the order of their node ids, while they are too many for a full mesh.
    pub(super) ring: Vec<NodeId>,
    pub(super) voters: Vec<NodeId>,
    /// Who votes, as committed; empty while that is not known here.
    pub(super) committed_voters: Vec<NodeId>,
    /// All members, the oldest first.
    pub(super) by_seniority: Vec<NodeId>,
    /// Newcomers wait to be counted in neighbours, ring, voters and seniority, until the next look at liveness.
    pub(super) stale: bool,
    /// Whom foca holds for down, and from when on that counts.
    pub(super) doubted: BTreeMap<NodeId, (Incarnation, Instant)>,
    /// Digest of the roster, until something in it changes.
    pub(super) digest: Option<u64>,
    pub(super) beats: u64,
    /// Clusters that this node left.
    pub(super) partings: BTreeMap<ClusterId, Parting>,
    /// Beyond the full mesh, when this node may next compare rosters with anybody.
    pub(super) exchange_at: Instant,
}

impl Membership {
    /// The room at the start of a node.
    #[must_use]
    pub fn new(own: Record, mut roster: Roster, farewells: Vec<Farewell>, mut rng: Rng, options: Options) -> Self {
        roster.records.insert(own.id.node_id, own.clone());
        let mut gossip = Gossip::new(own.id, rng.child("foca"));
        if let Some(copy) = roster.copies.get(&own.id.node_id) {
            // Nobody is known yet, so there is nobody to tell.
            gossip.outrank(*copy, Instant::ZERO, &mut Vec::new());
        }
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
            taken_over: BTreeMap::new(),
            ring: Vec::new(),
            voters: Vec::new(),
            committed_voters: Vec::new(),
            by_seniority: Vec::new(),
            stale: false,
            exchange_at: Instant::ZERO,
            doubted: BTreeMap::new(),
            digest: None,
            beats: 0,
            partings: BTreeMap::new(),
        };
        // A farewell to the present cluster is an old one: the node came back since.
        let left = farewells.into_iter().filter(|farewell| room.roster.cluster_id != Some(farewell.cluster_id));
        room.partings = left.map(|farewell| (farewell.cluster_id, Parting::from(farewell))).collect();
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
        self.by_seniority.len()
    }

    /// Who votes.
    #[must_use]
    pub fn voters(&self) -> &[NodeId] {
        &self.voters
    }

    /// Whether there are too many members for everybody to be everybody's neighbour.
    #[must_use]
    pub fn is_large(&self) -> bool {
        !self.ring.is_empty()
    }

    /// The roster is not what it was.
    pub(super) fn roster_changed(&mut self) {
        self.digest = None;
        self.choose_neighbours();
    }

    /// Others told of seats. Newcomers of a large cluster come many at a time, and who they are neighbours of is worked
    /// out once for all; whoever goes is taken out at once.
    pub(super) fn seats_told(&mut self, removed: bool) {
        if self.is_large() && !removed {
            self.stale = true;
        } else {
            self.choose_neighbours();
        }
    }

    pub(super) fn digest(&mut self) -> u64 {
        *self.digest.get_or_insert_with(|| self.roster.digest())
    }

    /// Whether this start said goodbye: it is over, and whoever comes with a newer guid is its successor.
    #[must_use]
    pub fn said_goodbye(&self, id: Incarnation) -> bool {
        let contact = self.contacts.get(&id.node_id).is_some_and(|c| c.id == id && c.goodbye);
        contact || self.record(id.node_id).is_some_and(|record| record.id == id && record.status == Status::Stopped)
    }

    pub(super) fn me(&self) -> NodeId {
        self.own.id.node_id
    }

    fn bump_own(&mut self, out: &mut Vec<Output>) {
        self.own.version += 1;
        self.digest = None;
        self.roster.records.insert(self.me(), self.own.clone());
        self.fresh.insert(self.me(), None);
        out.push(Output::Changed);
    }

    pub(super) fn contact(&mut self, id: Incarnation, now: Now) -> &mut Contact {
        let copy = self.roster.is_disproved(id);
        let contact = self.contacts.entry(id.node_id).or_insert_with(|| Contact::new(id, now.mono, now.wall));
        if contact.id.guid < id.guid && !copy {
            contact.id = id;
            contact.goodbye = false;
            contact.forget_rtt();
        }
        contact
    }

    fn received(&mut self, from: Incarnation, message: Message, now: Now, out: &mut Vec<Output>) {
        let goodbye = matches!(message, Message::Goodbye);
        if !goodbye {
            self.heard(from, now, out);
        }
        match message {
            Message::Heartbeat { number, wall: _, heard, digest } => {
                out.push(Output::Send { to: from.node_id, message: Message::HeartbeatAck { number, wall: now.wall } });
                if !heard.is_empty() {
                    self.rows.insert(from.node_id, Row::new(&heard, now.mono));
                }
                if digest != self.digest() {
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
                let start = self.contacts.get(&target).map_or(0, |contact| start(contact.id));
                let ago_ms = self.own_age_ms(target, now.mono);
                let message = Message::IndirectAck { target, start, ago_ms };
                out.push(Output::Send { to: from.node_id, message });
            }
            Message::IndirectAck { target, start, ago_ms } => {
                if let Some(row) = self.rows.get_mut(&from.node_id) {
                    row.set(target, start, ago_ms, now.mono);
                }
            }
            Message::Gossip(packet) => {
                self.gossip_came(from.node_id, packet, now, out);
            }
            Message::Summary { cluster_id, entries, reply } => {
                if cluster_id.is_some() && cluster_id == self.roster.cluster_id {
                    self.compare(from.node_id, &entries, reply, out);
                }
            }
            Message::Roster { roster, reply } => {
                self.look_for_own_seat(&roster, out);
                self.merge(from.node_id, &roster, reply, now, out);
            }
            Message::Goodbye => self.goodbye(from, now, out),
            Message::Farewell { cluster_id, seat } => self.farewell_came(from, cluster_id, seat, out),
            Message::FarewellHeard { cluster_id } => self.farewell_heard(from.node_id, cluster_id, out),
        }
    }

    fn goodbye(&mut self, from: Incarnation, now: Now, out: &mut Vec<Output>) {
        let contact = self.contact(from, now);
        if contact.id != from {
            return;
        }
        contact.goodbye = true;
        contact.heard = Some(now.mono);
        contact.heard_wall = Some(now.wall);
        if let Some(record) = self.roster.records.get_mut(&from.node_id)
            && record.id == from
        {
            record.status = Status::Stopped;
        }
        self.fall(from, "goodbye", Vec::new(), now, out);
        out.push(Output::Changed);
    }

    fn reset(&mut self, farewell: bool, now: Now, out: &mut Vec<Output>) {
        let me = self.me();
        let old = core::mem::take(&mut self.roster);
        if farewell {
            self.part_from(&old, now, out);
        }
        self.roster.records.insert(me, self.own.clone());
        self.rows.clear();
        self.suggested.clear();
        self.fresh.clear();
        self.doubted.clear();
        self.roster_changed();
        out.push(Output::Persist);
        out.push(Output::Changed);
    }

    pub(super) fn wishes(&mut self, wishes: Vec<Wish>, now: Now, out: &mut Vec<Output>) {
        for wish in wishes {
            match wish {
                Wish::Send { to, packet } => {
                    if let Some(by) = self.way_to(to) {
                        out.push(Output::Send { to: by, message: Message::Gossip(packet) });
                    }
                }
                Wish::Up(id) => {
                    self.doubted.remove(&id.node_id);
                    self.suggest(id, true, out);
                }
                // A member that lives refutes at once, so the verdict waits a little.
                Wish::Down(id) => {
                    self.doubted.insert(id.node_id, (id, now.mono + DOUBT));
                }
            }
        }
    }
}

impl Machine for Membership {
    type Input = Input;
    type Output = Output;

    fn handle(&mut self, input: Input, now: Now, out: &mut Vec<Output>) {
        match input {
            Input::Connected { id, name, endpoint, start_counter, heard } => {
                self.connected(id, (&name, &endpoint, start_counter), heard, now, out);
            }
            Input::Disconnected { id, lost } => self.disconnected(id, lost, now, out),
            Input::Refused { node_id } => self.refused(node_id, now, out),
            Input::Unreachable { node_id } => self.unreachable_after_reset(node_id, now),
            Input::Received { from, message } => self.received(from, message, now, out),
            Input::HeardFrom { id, at } => self.heard_at(id, at, now, out),
            Input::Disproved { original, copy } => self.disproved(original, copy, now, out),
            Input::Enter { roster, farewell } => self.enter(roster, farewell, now, out),
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
            Input::SetStore(store) => {
                self.own.store = store;
                self.bump_own(out);
            }
            Input::Seats(seats) => {
                for (node_id, seat) in seats {
                    self.take_seat(node_id, seat, out);
                }
            }
            Input::Voters(voters) => {
                self.committed_voters = voters;
                self.roster_changed();
                out.push(Output::Changed);
            }
            Input::Record(record) => {
                if self.take_record(&record, now, out) {
                    self.fresh.insert(record.id.node_id, None);
                    self.digest = None;
                    out.push(Output::Changed);
                }
            }
            Input::Reset { farewell } => self.reset(farewell, now, out),
            Input::Part(roster) => self.part_from(&roster, now, out),
            Input::Paused { for_ms } => {
                let by = Duration::from_millis(for_ms);
                self.contacts.values_mut().for_each(|contact| contact.paused(by));
                self.rows.values_mut().for_each(|row| row.shift(by));
            }
        }
        if !self.is_large() {
            self.flush(out); // larger clusters collect what changes until the next tick
        }
    }

    fn tick(&mut self, now: Now, out: &mut Vec<Output>) {
        // Own lateness stretches suspicion, and is forgotten by half with each look that was in time.
        let late = now.mono.since(self.watch_at);
        if now.mono >= self.watch_at {
            let late = if self.watch_at == Instant::ZERO { Duration::ZERO } else { late };
            self.late = late.max(self.late / 2).min(Duration::from_secs(2));
            self.watch_at = now.mono + WATCH_INTERVAL;
            if self.stale {
                self.choose_neighbours();
                out.push(Output::Changed);
            }
            self.watch(now, out);
            self.believe_doubts(now, out);
            self.dial_wanted(now, out);
            self.say_farewells(now, out);
            self.flush(out);
        }
        if now.mono >= self.heartbeat_at {
            self.heartbeat_at =
                now.mono + HEARTBEAT_INTERVAL - HEARTBEAT_INTERVAL / 10 + self.rng.up_to(HEARTBEAT_INTERVAL / 10);
            self.send_heartbeats(now, out);
        }
        if self.gossip.deadline().is_none_or(|at| at <= now.mono) {
            let (contacts, roster) = (&self.contacts, &self.roster);
            let peers = || {
                let members = contacts.values().filter(|c| c.connected && roster.is_member(c.id.node_id));
                members.map(|c| c.id).collect()
            };
            let mut wishes = Vec::new();
            self.gossip.tick(peers, now.mono, &mut wishes);
            self.wishes(wishes, now, out);
        }
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
        for (id, contact) in &self.contacts {
            let known = self.roster.records.get(id).map(|record| record.id.guid);
            assert!(known.is_none_or(|guid| guid <= contact.id.guid), "the start in contact never falls");
        }
        assert!(self.digest.is_none_or(|digest| digest == self.roster.digest()), "the digest is that of the roster");
        if !self.stale {
            assert_eq!(self.by_seniority, self.roster.by_seniority(), "the order is that of the roster");
            let hint = || self.roster.voters();
            let voters = if self.committed_voters.is_empty() { hint() } else { self.committed_voters.clone() };
            assert_eq!(self.voters, voters, "the voters are those committed, or who they will be");
        }
        assert!(!self.neighbours.contains(&me), "this node is not its own neighbour");
        for id in &self.neighbours {
            assert!(self.roster.is_member(*id), "a removed node is no neighbour");
        }
    }
}
