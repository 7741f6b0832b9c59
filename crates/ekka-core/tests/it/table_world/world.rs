//! Nodes, links that deliver in order or end, and a roster; and what happens to them by chance.

mod chaos;
mod compare;
mod parts;
mod rest;
mod script;

use std::collections::{BTreeMap, VecDeque};
use std::ops::AddAssign;

use ekka_core::id::Incarnation;
use ekka_core::rng::Rng;
use ekka_core::table::{Event, Message, OpId, PeerClocks, Table, Version};
use ekka_core::time::Wall;

use crate::table_world::node::Node;
use crate::table_world::plan::Plan;
use crate::table_world::truth::{Truth, Written};

/// Bytes of operations in one message: few, so that there are many messages.
const BUDGET: usize = 120;

/// What a run did.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Tried {
    pub(crate) acked: u64,
    pub(crate) kills: u64,
    pub(crate) copies: u64,
    pub(crate) returns: u64,
    pub(crate) dropped: u64,
    pub(crate) journaled: u64,
    pub(crate) folded: u64,
    pub(crate) compared: u64,
}

impl AddAssign for Tried {
    fn add_assign(&mut self, more: Self) {
        self.acked += more.acked;
        self.kills += more.kills;
        self.copies += more.copies;
        self.returns += more.returns;
        self.dropped += more.dropped;
        self.journaled += more.journaled;
        self.folded += more.folded;
        self.compared += more.compared;
    }
}

/// What is on its way from one node to another: operations and answers, and bulk data.
#[derive(Default)]
struct Link {
    queues: [VecDeque<Message>; 2],
}

pub(crate) struct World {
    pub(crate) plan: Plan,
    pub(crate) nodes: Vec<Node>,
    pub(crate) truth: Truth,
    pub(crate) tried: Tried,
    pub(crate) ms: u64,
    rng: Rng,
    side: Vec<u8>,
    links: BTreeMap<(usize, usize), Link>,
    violation: Option<String>,
    cleaned_any: bool,
}

impl World {
    pub(crate) fn new(plan: Plan) -> Self {
        let mut rng = Rng::new(plan.seed);
        let mut nodes: Vec<Node> = (0..plan.nodes)
            .map(|n| Node::new(n, plan.storage, 1_000_000 + rng.below(plan.skew_ms + 1), plan.faults))
            .collect();
        if plan.newcomer
            && let Some(last) = nodes.last_mut()
        {
            last.member = false;
        }
        let mut world = Self {
            plan,
            side: vec![0; nodes.len()],
            nodes,
            truth: Truth::default(),
            tried: Tried::default(),
            ms: 1_000,
            rng,
            links: BTreeMap::new(),
            violation: None,
            cleaned_any: false,
        };
        for i in 0..world.nodes.len() {
            if world.nodes[i].member {
                world.nodes[i].start(world.ms);
            }
        }
        world.tell_roster();
        world.relink();
        world
    }

    /// Whether two nodes have a connection: both run and are let in, and nothing is between them.
    pub(crate) fn linked(&self, i: usize, j: usize) -> bool {
        let in_cluster = |n: usize| self.nodes[n].member || self.nodes[n].cleaned && self.side[n] != 0;
        let runs = |n: usize| self.nodes[n].table.is_some();
        i != j && self.side[i] == self.side[j] && runs(i) && runs(j) && in_cluster(i) && in_cluster(j)
    }

    /// Makes and ends connections, as who can reach whom has changed.
    pub(crate) fn relink(&mut self) {
        for i in 0..self.nodes.len() {
            for j in 0..i {
                let (is, was) = (self.linked(i, j), self.links.contains_key(&(i, j)));
                if is && !was {
                    self.open(i, j);
                } else if was && !is {
                    self.close(i, j);
                }
            }
        }
    }

    fn open(&mut self, i: usize, j: usize) {
        for (a, b) in [(i, j), (j, i)] {
            self.links.insert((a, b), Link::default());
            let (peer, now) = (self.nodes[b].id, self.nodes[a].now(self.ms));
            let node = &mut self.nodes[a];
            if let Some(table) = node.table.as_mut() {
                table.connect(peer, now);
            }
            if let Some(estate) = node.estate.as_mut().filter(|estate| estate.judge() == Some(peer)) {
                let offer = estate.offer(peer);
                self.send(a, b, 1, offer);
            }
        }
    }

    /// Ends what there is of connections between two nodes; also of an incarnation that is no more.
    pub(crate) fn close(&mut self, i: usize, j: usize) {
        for (a, b) in [(i, j), (j, i)] {
            self.links.remove(&(a, b));
            let (peer, now) = (self.nodes[b].id, self.nodes[a].now(self.ms));
            if let Some(table) = self.nodes[a].table.as_mut() {
                table.disconnect(peer, now);
            }
        }
    }

    fn send(&mut self, from: usize, to: usize, lane: usize, message: Message) {
        if let Some(link) = self.links.get_mut(&(from, to)) {
            link.queues[lane].push_back(message);
        }
    }

    fn find(&self, id: Incarnation) -> Option<usize> {
        self.nodes.iter().position(|node| node.id == id)
    }

    /// Lets a node put its next message on a link; whether there was one.
    pub(crate) fn pump(&mut self, from: usize, to: usize, lane: usize) -> bool {
        let (peer, now) = (self.nodes[to].id, self.nodes[from].now(self.ms));
        let Some(table) = self.nodes[from].table.as_mut() else { return false };
        let message = if lane == 0 { table.poll(peer, BUDGET) } else { table.poll_copy(peer, now) };
        let estate = self.nodes[from].estate.as_mut().filter(|estate| lane == 1 && estate.judge() == Some(peer));
        match message.or_else(|| estate.and_then(ekka_core::table::Estate::poll)) {
            Some(message) => {
                let bytes = postcard::to_allocvec(&message).unwrap();
                self.send(from, to, lane, postcard::from_bytes(&bytes).unwrap());
                true
            }
            None => false,
        }
    }

    /// Delivers the first message of a link; whether there was one.
    pub(crate) fn deliver(&mut self, from: usize, to: usize, lane: usize) -> bool {
        let queue = self.links.get_mut(&(from, to)).map(|link| &mut link.queues[lane]);
        let Some(message) = queue.and_then(VecDeque::pop_front) else { return false };
        let (peer, now) = (self.nodes[from].id, self.nodes[to].now(self.ms));
        self.nodes[to].keep_bound(self.ms);
        let node = &mut self.nodes[to];
        let Some(table) = node.table.as_mut() else { return true };
        if let Some(estate) = node.estate.as_mut() {
            estate.receive(peer, &message, table, now);
        }
        if let Err(error) = table.receive(peer, message, now) {
            self.violation.get_or_insert(format!("a message is refused: {error}"));
        }
        self.settle(to);
        true
    }

    /// What the shell does after a table was driven.
    pub(crate) fn settle(&mut self, i: usize) {
        self.nodes[i].keep_bound(self.ms);
        let node = &mut self.nodes[i];
        let Some(table) = node.table.as_mut() else { return };
        table.check();
        for event in table.take_events() {
            match &event {
                Event::CopyTaken { .. } => self.tried.copies += 1,
                Event::Folded { .. } => self.tried.folded += 1,
                Event::SetAside { .. } => self.tried.journaled += 1,
                _ => {}
            }
            if node.estate.as_ref().is_some_and(|estate| estate.is_done_by(&event)) {
                node.estate = None;
                self.tried.returns += 1;
            }
            node.events.push(event);
        }
        self.answer(i);
    }

    /// Gives the answers that writes of a node wait for.
    fn answer(&mut self, i: usize) {
        let up: Vec<Incarnation> =
            (0..self.nodes.len()).filter(|j| self.linked(i, *j)).map(|j| self.nodes[j].id).collect();
        let (kills, node) = (self.plan.kills, &mut self.nodes[i]);
        let Some(table) = node.table.as_ref() else { return };
        let disc = self.plan.storage == ekka_core::table::Storage::Disc;
        node.waiting.retain(|(number, id)| match table.answer(*number, self.plan.ack, false, &up) {
            None => true,
            Some(answer) => {
                // One copy in memory is not promised to survive the kill of its node.
                let promised = answer.is_ok_and(|answer| answer.copies > 1 || disc || !kills);
                if promised && let Some(written) = self.truth.writes.get_mut(id) {
                    written.acked = true;
                    self.tried.acked += 1;
                }
                false
            }
        });
    }

    /// A write of the application.
    pub(crate) fn write(&mut self, i: usize, key: &[u8], delete: bool, ttl_ms: Option<u64>) -> Option<OpId> {
        let now = self.nodes[i].now(self.ms);
        let expires_at = ttl_ms.map(|ttl| Wall::from_millis(self.ms + 1_000_000 + ttl));
        let node = &mut self.nodes[i];
        let table = node.table.as_mut()?;
        let value = self.rng.next_u64().to_le_bytes();
        let written = if delete { table.delete(key, now.wall) } else { table.put(key, &value, expires_at, now.wall) };
        let receipt = written.ok()?;
        let row = table.rows().get(key).cloned().expect("a write is in the rows");
        let id = self.note(i, &row, expires_at);
        assert_eq!(id.number, receipt.number);
        self.settle(i);
        Some(id)
    }

    /// Notes what a node has just written.
    fn note(&mut self, i: usize, row: &Version, expires_at: Option<Wall>) -> OpId {
        let table = self.nodes[i].table.as_ref().expect("who writes runs");
        let id = table.id_of(row);
        assert_eq!(id.origin, table.me());
        let written = Written {
            key: row.key().to_vec(),
            stamp: table.stamp_of(row),
            replaced: table.replaced_by(row),
            delete: row.is_delete(),
            expires_at,
            acked: false,
        };
        self.truth.writes.insert(id, written);
        self.nodes[i].waiting.push((id.number, id));
        id
    }

    /// A step of a full copy that is being merged; whether there was one.
    pub(crate) fn merge(&mut self, i: usize, most: usize) -> bool {
        let now = self.nodes[i].now(self.ms);
        let Some(table) = self.nodes[i].table.as_mut().filter(|table| table.is_merging()) else { return false };
        table.merge_some(most, now);
        self.settle(i);
        true
    }

    /// How the clock of a node stands among those of its peers.
    fn clocks(&self, i: usize) -> PeerClocks {
        let others = self.nodes.iter().enumerate().filter(|(n, node)| *n != i && node.table.is_some());
        let mut ahead: Vec<u64> = others.map(|(_, node)| node.ahead_ms).collect();
        ahead.sort_unstable();
        let (Some(furthest), mine) = (ahead.last(), self.nodes[i].ahead_ms) else { return PeerClocks::default() };
        let signed = |ms: u64| i64::try_from(ms).unwrap();
        let ahead_ms = signed(mine) - signed(ahead[ahead.len() / 2]);
        PeerClocks { ahead_ms, furthest_ms: furthest.saturating_sub(mine), compared: true }
    }

    pub(crate) fn tick(&mut self, i: usize) {
        let (now, clocks) = (self.nodes[i].now(self.ms), self.clocks(i));
        let node = &mut self.nodes[i];
        let Some(table) = node.table.as_mut() else { return };
        table.peer_clocks_are(clocks);
        let rows = table.rows().len();
        table.tick(now);
        self.tried.dropped += rows.saturating_sub(table.rows().len()) as u64;
        if let Some(estate) = node.estate.as_mut() {
            let (judge, offer) = (estate.judge(), estate.tick(table, now));
            let to = judge.and_then(|judge| self.find(judge));
            if let (Some(to), Some(offer)) = (to, offer) {
                self.send(i, to, 1, offer);
            }
        }
        self.settle(i);
    }

    /// Everybody who can hear it learns who is a member, and which incarnations are over.
    pub(crate) fn tell_roster(&mut self) {
        let members: Vec<_> = self.nodes.iter().filter(|node| node.member).map(|node| node.id.node_id).collect();
        let ids: Vec<Incarnation> = self.nodes.iter().map(|node| node.id).collect();
        let over: Vec<bool> = self.nodes.iter().map(|node| node.cleaned || node.declared).collect();
        for i in 0..self.nodes.len() {
            if self.side[i] != 0 || self.nodes[i].cleaned {
                continue;
            }
            let Some(table) = self.nodes[i].table.as_mut() else { continue };
            table.members_are(members.iter().copied());
            for (id, over) in ids.iter().zip(&over) {
                let guid = if *over { id.guid.as_u128() } else { id.guid.as_u128() - 1 };
                if guid > 0 {
                    let guid = ekka_core::id::Guid::from_u128(guid);
                    table.gone(Incarnation { node_id: id.node_id, guid });
                }
            }
        }
    }

    pub(crate) fn table(&self, i: usize) -> &Table {
        self.nodes[i].table.as_ref().expect("the node runs")
    }

    pub(crate) fn table_mut(&mut self, i: usize) -> &mut Table {
        self.nodes[i].table.as_mut().expect("the node runs")
    }
}
