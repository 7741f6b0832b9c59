//! Nodes, connections that deliver in order or end, and what the cluster commits; and what happens to them by chance.

mod chance;
mod judge;
mod life;
mod rest;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::ops::AddAssign;

use ekka_core::id::Incarnation;
use ekka_core::rng::Rng;
use ekka_core::table::{OwnedMessage, Sequence};

use crate::owned_world::node::{Committed, Node};
use crate::owned_world::plan::Plan;
use crate::owned_world::truth::Truth;

/// Bytes of operations in one message: few, so that there are many messages.
const BUDGET: usize = 60;
/// Bytes of a long value: a full copy of three is two messages.
const LONG: usize = 100 * 1024;

/// What a run did.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Tried {
    pub(crate) writes: u64,
    pub(crate) states: u64,
    pub(crate) kills: u64,
    pub(crate) renewals: u64,
    pub(crate) removals: u64,
    pub(crate) hidden: u64,
    pub(crate) looks: u64,
    pub(crate) resyncs: u64,
}

impl AddAssign for Tried {
    fn add_assign(&mut self, more: Self) {
        self.writes += more.writes;
        self.states += more.states;
        self.kills += more.kills;
        self.renewals += more.renewals;
        self.removals += more.removals;
        self.hidden += more.hidden;
        self.looks += more.looks;
        self.resyncs += more.resyncs;
    }
}

/// What is on its way from one node to another, and what the sender had written when they got in touch.
#[derive(Default)]
struct Link {
    queue: VecDeque<OwnedMessage>,
    before: Sequence,
}

pub(crate) struct World {
    pub(crate) tried: Tried,
    plan: Plan,
    nodes: Vec<Node>,
    truth: Truth,
    rng: Rng,
    /// The side of a partition on which a node is; what is committed is known on side 0.
    side: Vec<u8>,
    /// Pairs whose connection has ended, and is not there again.
    broken: BTreeSet<(usize, usize)>,
    links: BTreeMap<(usize, usize), Link>,
    /// Everything that was ever committed, one entry after the other.
    committed: Vec<Committed>,
    violation: Option<String>,
}

impl World {
    pub(crate) fn new(plan: Plan) -> Self {
        let newcomer = |n: usize| plan.newcomer && n + 1 == plan.nodes;
        let mut world = Self {
            tried: Tried::default(),
            plan,
            nodes: (0..plan.nodes).map(|n| Node::new(n, !newcomer(n), plan.faults)).collect(),
            truth: Truth::default(),
            rng: Rng::new(plan.seed),
            side: vec![0; plan.nodes],
            broken: BTreeSet::new(),
            links: BTreeMap::new(),
            committed: vec![Committed::default()],
            violation: None,
        };
        for i in (0..plan.nodes).filter(|i| !newcomer(*i)) {
            world.start(i);
            world.commit_start(i);
        }
        for i in 0..plan.nodes {
            world.follow(i, true);
        }
        world.relink();
        world
    }

    /// Whether two nodes can have a connection.
    fn linked(&self, i: usize, j: usize) -> bool {
        let runs = |n: usize| self.nodes[n].table.is_some();
        i != j && self.side[i] == self.side[j] && runs(i) && runs(j) && !self.broken.contains(&(i.max(j), i.min(j)))
    }

    /// Makes and ends connections, as who can reach whom has changed.
    fn relink(&mut self) {
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
            let peer = self.nodes[b].id;
            if let Some(table) = self.nodes[a].table.as_mut() {
                table.connect(peer);
                let link = Link { queue: VecDeque::new(), before: table.sequence() };
                self.links.insert((a, b), link);
            }
        }
    }

    fn close(&mut self, i: usize, j: usize) {
        for (a, b) in [(i, j), (j, i)] {
            self.links.remove(&(a, b));
            let peer = self.nodes[b].id;
            if let Some(table) = self.nodes[a].table.as_mut() {
                table.disconnect(peer);
            }
        }
    }

    /// Ends all connections of a node, before it is another start.
    fn close_all(&mut self, i: usize) {
        for j in 0..self.nodes.len() {
            if self.links.contains_key(&(i, j)) {
                self.close(i, j);
            }
        }
    }

    /// Lets a node put its next message on a link; whether there was one.
    fn pump(&mut self, from: usize, to: usize) -> bool {
        let peer = self.nodes[to].id;
        let (Some(link), Some(table)) = (self.links.get_mut(&(from, to)), self.nodes[from].table.as_mut()) else {
            return false;
        };
        let has = table.has_more_for(peer);
        let message = table.poll(peer, BUDGET);
        if has != message.is_some() {
            self.violation
                .get_or_insert(format!("{:?} has more for {peer:?}: {has}, and says {message:?}", table.me()));
        }
        let Some(message) = message else { return false };
        let bytes = postcard::to_allocvec(&message).unwrap();
        link.queue.push_back(postcard::from_bytes(&bytes).unwrap());
        self.settle(from);
        true
    }

    /// Delivers the first message of a link; whether there was one.
    fn deliver(&mut self, from: usize, to: usize) -> bool {
        let queue = self.links.get_mut(&(from, to)).map(|link| &mut link.queue);
        let Some(message) = queue.and_then(VecDeque::pop_front) else { return false };
        let (peer, node) = (self.nodes[from].id, &mut self.nodes[to]);
        let Some(table) = node.table.as_mut() else { return true };
        self.tried.states += u64::from(matches!(message, OwnedMessage::StateEnd { .. }));
        if let Err(error) = table.receive(peer, message) {
            self.violation.get_or_insert(format!("a message is refused: {error}"));
        }
        self.settle(to);
        true
    }

    /// What must hold after a table was driven.
    fn settle(&mut self, i: usize) {
        if let Some(table) = self.nodes[i].table.as_ref() {
            table.check();
        }
    }

    fn some(&mut self) -> usize {
        self.rng.index(self.nodes.len())
    }

    fn latest(&self) -> &Committed {
        self.committed.last().expect("there is a first entry")
    }

    /// The present starts of the members.
    fn members(&self) -> Vec<Incarnation> {
        self.latest().present.values().copied().collect()
    }
}
