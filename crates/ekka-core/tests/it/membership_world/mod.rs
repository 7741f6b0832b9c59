//! A world of pure rooms in virtual time: processes, connections that stall instead of losing, cuts, kills, freezes.
//!
//! A connection is a TCP stream: nothing on it is lost, but a lost packet makes it stall (200 ms, doubling), and a cut
//! holds everything back until the cut ends or a side gives up. Everything follows from one seed.

mod net;

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap};
use std::time::Duration;

use ekka_core::id::{ClusterId, Endpoint, Guid, Incarnation, NodeId};
use ekka_core::machine::Machine;
use ekka_core::membership::{Input, Membership, Message, Options, Output, Record, RemovalCause, Roster, Seat};
use ekka_core::rng::Rng;
use ekka_core::time::{Instant, Now, Wall};
use ekka_core::view::{Role, Status};

use net::Net;

const WALL: u64 = 1_700_000_000_000;

/// What happens at a moment.
#[derive(Debug)]
pub(crate) enum Event {
    Tick(usize),
    Arrive { conn: u64, to: usize, message: Message },
    Retry { conn: u64, to: usize },
    Dialled { from: usize, to: usize, attempt: u32 },
    Give { to: usize, start: Guid, input: Input },
}

struct Entry {
    at: Instant,
    order: u64,
    event: Event,
}

impl PartialEq for Entry {
    fn eq(&self, other: &Self) -> bool {
        (self.at, self.order) == (other.at, other.order)
    }
}
impl Eq for Entry {}
impl PartialOrd for Entry {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for Entry {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.at, self.order).cmp(&(other.at, other.order))
    }
}

/// One process and the disc under it.
pub(crate) struct Node {
    pub(crate) id: Incarnation,
    pub(crate) room: Option<Membership>,
    pub(crate) saved: Roster,
    pub(crate) frozen: Option<Instant>,
    inbox: Vec<Input>,
    tick_at: Option<Instant>,
    pub(crate) endpoint: Endpoint,
}

/// A change of liveness that a node reported.
#[derive(Clone, Debug)]
pub(crate) struct Report {
    #[expect(dead_code, reason = "read in the text of a report that should not be")]
    pub(crate) at: Instant,
    pub(crate) by: usize,
    pub(crate) id: Incarnation,
    pub(crate) up: bool,
    pub(crate) evidence: String,
}

pub(crate) struct World {
    pub(crate) now: Instant,
    pub(crate) nodes: Vec<Node>,
    pub(crate) net: Net,
    pub(crate) rng: Rng,
    pub(crate) reports: Vec<Report>,
    pub(crate) options: Options,
    /// Messages sent, and cells and records in them.
    pub(crate) sent: u64,
    pub(crate) sent_by: Vec<u64>,
    pub(crate) records_sent: u64,
    /// Invariants are asserted after each step; off only for the largest worlds.
    pub(crate) checked: bool,
    pub(crate) removed_self: BTreeSet<usize>,
    by_id: BTreeMap<NodeId, usize>,
    queue: BinaryHeap<Reverse<Entry>>,
    order: u64,
    /// The last place in the log that this world is spared.
    places: u64,
}

pub(crate) fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

pub(crate) fn endpoint(i: usize) -> Endpoint {
    format!("n{i}@h{i}")
        .parse::<ekka_core::id::NodeName>()
        .expect("valid in this world")
        .endpoint(4370)
        .expect("valid in this world")
}

impl World {
    /// `n` processes that are not members of anything yet.
    pub(crate) fn new(seed: u64, n: usize, options: Options) -> Self {
        let mut world = Self {
            now: Instant::from_nanos(1_000_000_000),
            nodes: Vec::new(),
            net: Net::default(),
            rng: Rng::new(seed),
            reports: Vec::new(),
            options,
            sent: 0,
            sent_by: vec![0; n],
            records_sent: 0,
            checked: true,
            removed_self: BTreeSet::new(),
            by_id: BTreeMap::new(),
            queue: BinaryHeap::new(),
            order: 0,
            places: 100,
        };
        for i in 0..n {
            let node_id = NodeId::from_random(world.rng.next_u128());
            let guid = Guid::next(Wall::from_millis(WALL), world.rng.next_u128(), None);
            world.by_id.insert(node_id, i);
            world.nodes.push(Node {
                id: Incarnation { node_id, guid },
                room: None,
                saved: Roster::default(),
                frozen: None,
                inbox: Vec::new(),
                tick_at: None,
                endpoint: endpoint(i),
            });
            world.boot(i);
        }
        world
    }

    /// `n` members of one cluster, which have met.
    pub(crate) fn formed(seed: u64, n: usize, options: Options) -> Self {
        let mut world = Self::new(seed, n, options);
        world.form(n);
        world.run(ms(3_000));
        world.reports.clear();
        world
    }

    /// The first `n` become members of one cluster at the same time.
    pub(crate) fn form(&mut self, n: usize) {
        let mut roster = Roster { cluster_id: Some(ClusterId::from_u128(7)), ..Roster::default() };
        for (number, node) in (1..).zip(&self.nodes[..n]) {
            let seat = Seat { number, by: self.nodes[0].id.node_id, removed: None };
            roster.seats.insert(node.id.node_id, seat);
            roster.records.insert(node.id.node_id, node.room.as_ref().expect("valid in this world").own().clone());
        }
        for i in 0..n {
            self.give(i, Input::Enter { roster: roster.clone(), farewell: false });
            self.give(i, Input::SetStatus(Status::Up));
        }
    }

    pub(crate) fn wall(&self) -> Wall {
        Wall::from_millis(WALL + self.now.as_nanos() / 1_000_000)
    }

    pub(crate) fn clock(&self) -> Now {
        Now { mono: self.now, wall: self.wall() }
    }

    fn boot(&mut self, i: usize) {
        let node = &self.nodes[i];
        let record = Record {
            process: node.id.guid,
            id: node.id,
            version: 1,
            name: format!("n{i}@h{i}").parse().expect("valid in this world"),
            endpoint: node.endpoint.clone(),
            role: Role::Core,
            status: Status::Joining,
            software: "0.1.0".into(),
            start_counter: 1,
            started: self.wall(),
            store: ekka_core::id::StoreId::MIN,
            tags: BTreeMap::new(),
        };
        let room = Membership::new(record, node.saved.clone(), Vec::new(), self.rng.child("room"), self.options);
        self.nodes[i].room = Some(room);
        self.nodes[i].tick_at = None;
        self.arm(i);
    }

    /// Starts the process again: same disc, new guid.
    pub(crate) fn restart(&mut self, i: usize) {
        assert!(self.nodes[i].room.is_none(), "kill it first");
        let last = self.nodes[i].id.guid;
        let guid = Guid::next(self.wall(), self.rng.next_u128(), Some(last));
        self.nodes[i].id.guid = guid;
        self.boot(i);
        self.give(i, Input::SetStatus(Status::Up));
    }

    /// The process ends without a word.
    pub(crate) fn kill(&mut self, i: usize) {
        self.nodes[i].room = None;
        self.nodes[i].frozen = None;
        self.nodes[i].inbox.clear();
        self.close_all(i);
    }

    pub(crate) fn freeze(&mut self, i: usize) {
        self.nodes[i].frozen = Some(self.now);
    }

    pub(crate) fn thaw(&mut self, i: usize) {
        let Some(since) = self.nodes[i].frozen.take() else { return };
        let for_ms = u64::try_from(self.now.since(since).as_millis()).expect("valid in this world");
        self.give(i, Input::Paused { for_ms });
        for input in std::mem::take(&mut self.nodes[i].inbox) {
            self.give(i, input);
        }
        self.arm(i);
    }

    pub(crate) fn room(&self, i: usize) -> &Membership {
        self.nodes[i].room.as_ref().expect("it runs")
    }

    pub(crate) fn node_id(&self, i: usize) -> NodeId {
        self.nodes[i].id.node_id
    }

    /// What node `by` says of node `of`.
    pub(crate) fn status(&self, by: usize, of: usize) -> Option<Status> {
        let members = self.room(by).members(self.clock());
        members.iter().find(|m| m.id.node_id == self.node_id(of)).map(|m| m.status)
    }

    pub(crate) fn running(&self) -> Vec<usize> {
        (0..self.nodes.len()).filter(|i| self.nodes[*i].room.is_some() && self.nodes[*i].frozen.is_none()).collect()
    }

    /// Whether all that run say so of `of`.
    pub(crate) fn all_say(&self, of: usize, status: Status) -> bool {
        self.running().into_iter().filter(|by| *by != of).all(|by| self.status(by, of) == Some(status))
    }

    pub(crate) fn all_see_all_up(&self) -> bool {
        let running = self.running();
        running.iter().all(|by| running.iter().all(|of| self.status(*by, *of) == Some(Status::Up)))
    }

    /// Runs until `done` holds; how long it took, or `None` where it did not within `limit`.
    pub(crate) fn until(&mut self, limit: Duration, mut done: impl FnMut(&Self) -> bool) -> Option<Duration> {
        let from = self.now;
        while self.now.since(from) <= limit {
            if done(self) {
                return Some(self.now.since(from));
            }
            self.run(ms(10));
        }
        None
    }

    pub(crate) fn run(&mut self, time: Duration) {
        let end = self.now + time;
        while let Some(Reverse(entry)) = self.queue.peek() {
            if entry.at > end {
                break;
            }
            let Some(Reverse(entry)) = self.queue.pop() else { break };
            self.now = self.now.max(entry.at);
            self.happen(entry.event);
        }
        self.now = end;
    }

    pub(crate) fn later(&mut self, at: Instant, event: Event) {
        self.order += 1;
        self.queue.push(Reverse(Entry { at, order: self.order, event }));
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Tick(i) => {
                if self.nodes[i].tick_at != Some(self.now) {
                    return;
                }
                self.nodes[i].tick_at = None;
                let now = self.clock();
                let Node { room: Some(room), frozen: None, .. } = &mut self.nodes[i] else { return };
                let mut out = Vec::new();
                room.tick(now, &mut out);
                self.after(i, out);
            }
            Event::Give { to, start, input } => {
                if self.nodes[to].id.guid == start {
                    self.give(to, input);
                }
            }
            Event::Arrive { conn, to, message } => self.arrive(conn, to, message),
            Event::Retry { conn, to } => self.retry(conn, to),
            Event::Dialled { from, to, attempt } => self.dialled(from, to, attempt),
        }
    }

    /// Gives an input to a node; one that is frozen gets it when it thaws.
    /// A seat is committed, and `by` is the first to apply it.
    pub(crate) fn seat(&mut self, by: usize, node_id: NodeId, removed: Option<RemovalCause>) {
        self.places += 1;
        let seat = Seat { number: self.places, by: self.nodes[by].id.node_id, removed };
        self.give(by, Input::Seats(BTreeMap::from([(node_id, seat)])));
    }

    /// Another node is admitted by `by`, and enters with the roster that it is told.
    pub(crate) fn admit(&mut self, by: usize, i: usize) {
        let record = self.room(i).own().clone();
        self.seat(by, record.id.node_id, None);
        self.give(by, Input::Record(record));
        let roster = self.room(by).roster().clone();
        self.give(i, Input::Enter { roster, farewell: false });
    }

    pub(crate) fn give(&mut self, i: usize, input: Input) {
        let now = self.clock();
        let node = &mut self.nodes[i];
        if node.frozen.is_some() {
            node.inbox.push(input);
            return;
        }
        let Some(room) = &mut node.room else { return };
        let mut out = Vec::new();
        room.handle(input, now, &mut out);
        self.after(i, out);
    }

    fn after(&mut self, i: usize, out: Vec<Output>) {
        if self.checked
            && let Some(room) = &self.nodes[i].room
        {
            room.check();
        }
        for output in out {
            match output {
                Output::Send { to, message } => {
                    self.sent += 1;
                    self.sent_by[i] += 1;
                    if let Message::Roster { roster, .. } = &message {
                        self.records_sent += roster.records.len() as u64;
                    }
                    let to = self.by_id[&to];
                    self.send(i, to, message);
                }
                Output::Dial { node_id, endpoint } | Output::Redial { node_id, endpoint } => {
                    let to = self.by_id[&node_id];
                    if endpoint == self.nodes[to].endpoint {
                        self.dial(i, to);
                    }
                }
                Output::Drop { node_id } => self.drop_links(i, self.by_id[&node_id]),
                Output::Persist => self.nodes[i].saved = self.room(i).roster().clone(),
                Output::Liveness { id, up, evidence, .. } => {
                    self.reports.push(Report { at: self.now, by: i, id, up, evidence });
                }
                Output::SelfRemoved { .. } => {
                    self.removed_self.insert(i);
                }
                Output::Changed
                | Output::Seated { .. }
                | Output::RoundTrip { .. }
                | Output::FarewellHeard { .. }
                | Output::CountedIn(_) => {}
                // The disc of this world is written at once.
                Output::FarewellCame { from, cluster_id, member } => {
                    if member {
                        self.seat(i, from, Some(RemovalCause::Leave));
                    }
                    let message = Message::FarewellHeard { cluster_id };
                    self.send(i, self.by_id[&from], message);
                }
            }
        }
        self.arm(i);
    }

    fn arm(&mut self, i: usize) {
        let Some(room) = &self.nodes[i].room else { return };
        let Some(at) = room.deadline() else { return };
        let at = at.max(self.now);
        if self.nodes[i].tick_at.is_none_or(|armed| at < armed) {
            self.nodes[i].tick_at = Some(at);
            self.later(at, Event::Tick(i));
        }
    }
}
