//! Rooms of the durable group around an ideal log: one total order, a leader that may change at any moment, answers that
//! get lost, commands that are committed long after their proposer gave up, restarts, lost stores, snapshots.

mod group;
mod happen;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use ekka_core::consensus::{Configuration, LogPlace, Standing, VoterId};
use ekka_core::durable::{Admission, Ask, Durable, Fact, Faults, Founder, Input, Output, Record, Reply, Wish};
use ekka_core::id::{ClusterId, Guid, Incarnation, NodeId, NodeName};
use ekka_core::machine::Machine;
use ekka_core::membership::RemovalCause;
use ekka_core::rng::Rng;
use ekka_core::time::{Instant, Now, Wall};
use ekka_core::view::Role;

/// A node and its room.
#[derive(Debug)]
pub(crate) struct Node {
    pub(crate) id: Incarnation,
    pub(crate) name: NodeName,
    pub(crate) role: Role,
    pub(crate) store: u128,
    pub(crate) up: bool,
    pub(crate) leaving: bool,
    /// Its replica has so much of the log.
    pub(crate) applied: usize,
    /// What it had applied when it started.
    replay: usize,
    pub(crate) room: Durable,
}

/// What stands in the log.
#[derive(Clone, Debug)]
pub(crate) enum Item {
    Command(Vec<u8>),
    Configuration(Configuration),
}

/// A proposal, or an answer, on its way.
#[derive(Clone, Debug)]
pub(crate) enum Flight {
    /// To the log: whose, its token (`None`: nobody is told), what.
    Propose(Option<(usize, Guid, u64)>, Vec<u8>),
    /// Back to the proposer.
    Answer(usize, Guid, Box<Input>),
}

/// A wish that was made.
#[derive(Clone, Debug)]
pub(crate) struct Wished {
    wish: Wish,
    /// The length of the log then.
    at: usize,
    pub(crate) reply: Option<Reply>,
    /// Its node has stopped: nobody gets the reply.
    pub(crate) moot: bool,
    by: (usize, Guid),
}

/// The world.
#[derive(Debug)]
pub(crate) struct World {
    pub(crate) rng: Rng,
    now: Now,
    pub(crate) nodes: Vec<Node>,
    pub(crate) log: Vec<(LogPlace, Item)>,
    /// The record of everything that is committed.
    pub(crate) truth: Record,
    /// Bytes of the record at every length of the log.
    history: Vec<Vec<u8>>,
    pub(crate) leader: Option<usize>,
    term: u64,
    flights: Vec<(Instant, Flight)>,
    pub(crate) wishes: BTreeMap<u64, Wished>,
    /// Ranges of tokens that were given out, by their first.
    ranges: BTreeMap<u64, u64>,
    /// The place of the last removal of each node.
    removed: BTreeMap<NodeId, (usize, RemovalCause)>,
    founding: Vec<Founder>,
    /// How often what happened.
    pub(crate) seen: BTreeMap<String, u64>,
    /// Nothing goes wrong any more.
    calm: bool,
}

pub(crate) fn cluster() -> ClusterId {
    ClusterId::from_u128(77)
}

impl World {
    /// So many founders, of which all vote, and others that are in no cluster.
    pub(crate) fn new(seed: u64, founders: usize, others: usize) -> Self {
        let mut rng = Rng::new(seed);
        let nodes: Vec<Node> = (0..founders + others).map(|n| node(n, founders, &mut rng)).collect();
        let mut world = Self {
            rng,
            now: Now { mono: Instant::ZERO, wall: Wall::from_millis(1) },
            nodes,
            log: Vec::new(),
            truth: Record::default(),
            history: vec![Record::default().to_snapshot()],
            leader: None,
            term: 0,
            flights: Vec::new(),
            wishes: BTreeMap::new(),
            ranges: BTreeMap::new(),
            removed: BTreeMap::new(),
            founding: Vec::new(),
            seen: BTreeMap::new(),
            calm: false,
        };
        let founding: Vec<Founder> = world.nodes[..founders].iter().map(Node::founder).collect();
        let voters = founding.iter().map(|f| VoterId { node_id: f.id.node_id, start: f.store }).collect();
        world.append_configuration(Configuration { voters: vec![voters], ..Configuration::default() });
        world.founding = founding;
        for n in 0..founders {
            world.found(n);
        }
        world
    }

    /// Tells a founder of the vote, as long as the log has no first entry.
    fn found(&mut self, n: usize) {
        let node_id = self.nodes[n].id.node_id;
        if self.truth.cluster().is_none() && self.founding.iter().any(|founder| founder.id.node_id == node_id) {
            let founders = self.founding.clone();
            self.give(n, Input::Found { cluster_id: cluster(), founders });
        }
    }

    /// A process starts, perhaps with an empty store.
    pub(crate) fn restart(&mut self, n: usize, new_store: Option<u128>) {
        self.nodes[n].restart(new_store);
        self.found(n);
    }

    pub(crate) fn place(&self) -> LogPlace {
        LogPlace { term: self.term.max(1), index: self.log.len() as u64 + 1 }
    }

    /// Gives an input to a room and carries out what comes of it.
    pub(crate) fn give(&mut self, n: usize, input: Input) {
        let mut out = Vec::new();
        self.nodes[n].room.handle(input, self.now, &mut out);
        self.carry_out(n, out);
    }

    fn carry_out(&mut self, n: usize, out: Vec<Output>) {
        self.nodes[n].room.check();
        for output in out {
            match output {
                Output::Ask(Ask::Propose { token, command }) => self.propose(n, token, command),
                Output::Ask(Ask::ChangeVoters { token, voters }) => self.change_voters(n, token, &voters),
                Output::Ask(Ask::SetLearners { token, learners }) => self.set_learners(n, token, &learners),
                Output::Reply { id, reply } => self.replied(id, reply),
                Output::Seats(seats) => assert_eq!(seats, self.nodes[n].room.record().seats()),
                Output::HandOver { among } => self.hand_over(n, &among),
                Output::Outranked { words } => panic!("nobody recovers here: {words}"),
                Output::Ask(Ask::Found { .. })
                | Output::Changed(_)
                | Output::Event(_)
                | Output::Decision { .. }
                | Output::Waits(_) => {}
            }
        }
    }

    fn replied(&mut self, id: u64, reply: Reply) {
        let wished = self.wishes.get_mut(&id).expect("a wish that was made");
        assert!(wished.reply.is_none(), "one reply to one wish");
        wished.reply = Some(reply.clone());
        let Reply::Done { gave, .. } = reply else { return };
        match (&wished.wish, gave) {
            (Wish::Tokens(_), ekka_core::durable::Gave::Tokens { from, to }) => {
                let before = self.ranges.range(..to).next_back();
                assert!(
                    before.is_none_or(|(_, end)| *end <= from),
                    "tokens from {from} are another's: {:?}",
                    self.ranges
                );
                self.ranges.insert(from, to);
            }
            (Wish::Tokens(_), other) => panic!("tokens were asked for: {other:?}"),
            (Wish::Remove { node_id, .. }, _) => {
                assert!(self.removed.contains_key(node_id), "a removal that was done is in the log");
            }
            (Wish::Gone(entry), _) => assert!(self.truth.is_over(entry.id), "{:?} is over", entry.id),
            _ => {}
        }
    }

    /// What a node knows of the others now.
    pub(crate) fn facts(&self) -> BTreeMap<NodeId, Fact> {
        let fact = |node: &Node| Fact {
            id: node.id,
            name: node.name.clone(),
            role: node.role,
            store: Some(node.store),
            zone: String::new(),
            up: node.up,
            leaving: node.leaving,
            caught_up: node.up && node.applied + 3 >= self.log.len(),
        };
        self.nodes.iter().map(|node| (node.id.node_id, fact(node))).collect()
    }

    /// Lets a replica apply up to so many entries more, or take a snapshot in place of all.
    pub(crate) fn apply(&mut self, n: usize, entries: usize, snapshot: bool) {
        if !self.nodes[n].up || !self.has_log(n) {
            return;
        }
        if snapshot && self.nodes[n].applied < self.log.len() {
            self.nodes[n].applied = self.log.len();
            self.give(n, Input::Restored(self.truth.to_snapshot()));
        }
        for _ in 0..entries {
            let at = self.nodes[n].applied;
            let Some((place, item)) = self.log.get(at).cloned() else { break };
            self.nodes[n].applied += 1;
            match item {
                Item::Command(command) => {
                    let replay = at < self.nodes[n].replay;
                    self.give(n, Input::Applied { at: place, command, replay });
                }
                Item::Configuration(configuration) => self.give(n, Input::Configured(configuration)),
            }
        }
        let mine = self.nodes[n].room.record().to_snapshot();
        assert_eq!(mine, self.history[self.nodes[n].applied], "copies of one log are equal");
    }

    /// Whether the group gives this node its log: it votes or learns with the store that it has, or did so once.
    fn has_log(&self, n: usize) -> bool {
        let node = &self.nodes[n];
        let me = VoterId { node_id: node.id.node_id, start: node.store };
        let configuration = self.truth.configuration();
        configuration.learners.contains(&me) || configuration.voters.iter().flatten().any(|voter| *voter == me)
    }

    /// Tells every node that is up what its replica knows.
    pub(crate) fn tell_standing(&mut self) {
        for n in 0..self.nodes.len() {
            if !self.nodes[n].up {
                continue;
            }
            let leads = self.leader == Some(n);
            if leads {
                // It leads once an entry of its term is committed, so it has read everything.
                self.apply(n, usize::MAX, false);
            }
            let latest = Configuration { committed: true, ..self.truth.configuration().clone() };
            let configuration = if leads { latest } else { self.nodes[n].room.record().configuration().clone() };
            let leader = self.leader.map(|n| VoterId { node_id: self.nodes[n].id.node_id, start: self.nodes[n].store });
            let standing = Standing { term: self.term, leader, leads, configuration, ..Standing::default() };
            self.give(n, Input::Standing(standing));
        }
    }

    /// Lets time pass: what is due arrives, rooms tick.
    pub(crate) fn pass(&mut self, time: Duration) {
        self.now = Now { mono: self.now.mono + time, wall: Wall::from_millis(self.now.mono.as_nanos() / 1_000_000) };
        let (due, later) = std::mem::take(&mut self.flights).into_iter().partition(|(at, _)| *at <= self.now.mono);
        self.flights = later;
        let due: Vec<(Instant, Flight)> = due;
        for (_, flight) in due {
            self.arrive(flight);
        }
        for n in 0..self.nodes.len() {
            if self.nodes[n].up && self.nodes[n].room.deadline().is_some_and(|at| at <= self.now.mono) {
                let mut out = Vec::new();
                self.nodes[n].room.tick(self.now, &mut out);
                self.carry_out(n, out);
            }
        }
    }

    fn fly(&mut self, flight: Flight, at_most_ms: u64) {
        let delay = Duration::from_millis(self.rng.below(at_most_ms));
        self.flights.push((self.now.mono + delay, flight));
    }

    pub(crate) fn admission(&self, n: usize, asked: bool) -> Admission {
        let Node { id, name, role, store, .. } = &self.nodes[n];
        Admission { id: *id, name: name.clone(), role: *role, store: Some(*store), asked, basis: 0, chain: Vec::new() }
    }

    /// Makes a wish at a node.
    pub(crate) fn wish(&mut self, n: usize, wish: Wish) -> u64 {
        let id = self.wishes.len() as u64 + 1;
        let by = (n, self.nodes[n].id.guid);
        let wished = Wished { wish: wish.clone(), at: self.log.len(), reply: None, moot: false, by };
        self.wishes.insert(id, wished);
        self.give(n, Input::Wish { id, wish, decision: id, evidence: vec![format!("wish {id}")] });
        id
    }

    /// Members, by their place among the nodes.
    pub(crate) fn members(&self) -> Vec<usize> {
        let member = |n: &usize| self.truth.member(self.nodes[*n].id.node_id).is_some();
        (0..self.nodes.len()).filter(member).collect()
    }

    pub(crate) fn index(&self, node_id: NodeId) -> usize {
        self.nodes.iter().position(|node| node.id.node_id == node_id).expect("a node of this world")
    }

    /// Stores of voters that can answer.
    fn answering(&self) -> BTreeSet<VoterId> {
        let up = self.nodes.iter().filter(|node| node.up);
        up.map(|node| VoterId { node_id: node.id.node_id, start: node.store }).collect()
    }
}

impl Node {
    fn founder(&self) -> Founder {
        Founder { id: self.id, name: self.name.clone(), role: self.role, store: self.store }
    }

    /// Another start: of the record nothing is left but the log.
    fn restart(&mut self, new_store: Option<u128>) {
        self.id.guid = Guid::from_u128(self.id.guid.as_u128() + 1);
        self.replay = self.applied;
        self.applied = 0;
        if let Some(store) = new_store {
            (self.store, self.replay) = (store, 0);
        }
        self.room = Durable::new(self.id, Faults::default());
        (self.up, self.leaving) = (true, false);
    }
}

fn node(n: usize, founders: usize, rng: &mut Rng) -> Node {
    let node_id = NodeId::from_u128(n as u128 + 1);
    let id = Incarnation { node_id, guid: Guid::from_u128((n as u128 + 1) << 32) };
    let role = match rng.below(6) {
        0 if n >= founders => Role::Replicant,
        1 if n >= founders => Role::Witness,
        _ => Role::Core,
    };
    Node {
        id,
        name: format!("n{n}@h{n}").parse().expect("a name"),
        role,
        store: rng.next_u128(),
        up: true,
        leaving: false,
        applied: 0,
        replay: 0,
        room: Durable::new(id, Faults::default()),
    }
}
