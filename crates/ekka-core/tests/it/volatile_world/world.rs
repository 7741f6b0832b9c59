//! Processes by incarnation, restarts from the same directory, twins, cuts, late messages; a lock with clients outside.

mod chaos;
mod clients;
mod group;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use ekka_core::id::{Guid, Incarnation, NodeId};
use ekka_core::machine::Machine;
use ekka_core::rng::Rng;
use ekka_core::time::{Instant, Now, Wall};
use ekka_core::volatile::{
    Faults, Generations, Input, LogKey, Message, Order, Output, Report, Settings, Source, Start,
};

use crate::volatile_world::durable::{Entry as Durable, State};
use crate::volatile_world::replica::{Entry, Replica, writes};

pub(crate) const MS: u64 = 1_000_000;
pub(crate) const SECOND: u64 = 1_000 * MS;
/// The longest session, and every session of this world.
pub(crate) const SESSION: u64 = 10 * SECOND;
/// Nodes that vote.
pub(crate) const NODES: usize = 3;
const CLIENTS: usize = 3;
const TOKENS: u64 = 5;

#[derive(Clone, Copy, Debug)]
pub(crate) struct Plan {
    pub(crate) seed: u64,
    pub(crate) faults: Faults,
    /// A process of the same name on another directory counts as a newer start of its node.
    pub(crate) twin_counts: bool,
    /// Nothing happens that the test does not do.
    pub(crate) scripted: bool,
}

#[derive(Clone, Debug)]
pub(crate) enum Event {
    Tick(usize),
    Deliver {
        to: NodeId,
        from: usize,
        message: Message,
    },
    Append {
        by: usize,
        entry: Durable,
    },
    Sync(usize),
    Fetched {
        by: usize,
        generation: u64,
        from: Source,
        founders: BTreeSet<Incarnation>,
    },
    Beat(usize),
    Stand(usize),
    Client(usize),
    Ask {
        client: usize,
        asked: u64,
        via: usize,
        to: usize,
        write: bool,
    },
    Answer {
        client: usize,
        asked: u64,
        via: usize,
        generation: u64,
    },
    Disturb,
    Restart(usize),
    /// A process that left comes back into the cluster.
    Join(usize),
}

/// A grant in a leader's log that is not committed yet.
#[derive(Clone, Debug)]
struct Pending {
    index: usize,
    term: u64,
    client: usize,
    asked: u64,
    via: usize,
}

/// One process.
pub(crate) struct Proc {
    pub(crate) id: Incarnation,
    /// Which directory; twins have none of the three.
    pub(crate) node: Option<usize>,
    pub(crate) alive: bool,
    pub(crate) side: u8,
    /// It has left the cluster, and its process runs on.
    pub(crate) outside: bool,
    fast: u64,
    pub(crate) room: Generations,
    pub(crate) replica: Option<Replica>,
    /// The state of the replica that was stopped last, and of what was fetched.
    pub(crate) kept: Option<(LogKey, Vec<Entry>)>,
    fetched: Option<Vec<Entry>>,
    pub(crate) durable: State,
    applied: usize,
    pending: Vec<Pending>,
    /// When this leader first knew of the session with that token.
    session: (u64, u64),
    /// Sessions of earlier generations that were handed in run until then.
    busy_until: u64,
    /// Sessions that this process keeps for its clients: until when.
    sessions: BTreeMap<usize, u64>,
}

#[derive(Clone, Debug, Default)]
pub(crate) struct Client {
    fast: u64,
    /// Believes that it holds the lock until then, by its own clock.
    pub(crate) until: u64,
}

pub(crate) struct World {
    pub(crate) plan: Plan,
    pub(crate) now: u64,
    pub(crate) rng: Rng,
    pub(crate) procs: Vec<Proc>,
    pub(crate) log: Vec<Durable>,
    pub(crate) state: State,
    pub(crate) clients: Vec<Client>,
    pub(crate) calm_at: u64,
    pub(crate) violation: Option<String>,
    /// Acknowledged writes that no event has given up.
    pub(crate) must: BTreeSet<u64>,
    pub(crate) last_token: u64,
    pub(crate) grants: u64,
    pub(crate) generations: u64,
    pub(crate) losses: u64,
    /// Generations that were reached through a process that was only gone, and that began with a log.
    pub(crate) handed_on: u64,
    /// What each generation has committed.
    history: BTreeMap<u64, Vec<(u64, Entry)>>,
    /// What each replica held when it was stopped.
    sealed: BTreeMap<(Incarnation, LogKey), Vec<Entry>>,
    wanted: BTreeSet<NodeId>,
    /// By time, and then in the order in which they were put in.
    queue: BTreeMap<(u64, u64), Event>,
    order: u64,
    starts: u128,
    written: u64,
}

pub(crate) fn node_id(node: usize) -> NodeId {
    NodeId::from_u128(node as u128 + 1)
}

impl World {
    pub(crate) fn new(plan: Plan) -> Self {
        let mut rng = Rng::new(plan.seed ^ 0x701a_711e);
        let clients = (0..CLIENTS).map(|_| Client { fast: rng.below(100_001), until: 0 }).collect();
        let mut world = Self {
            plan,
            now: SECOND,
            rng,
            procs: Vec::new(),
            log: Vec::new(),
            state: State::default(),
            clients,
            calm_at: 150 * SECOND,
            violation: None,
            must: BTreeSet::new(),
            last_token: 0,
            grants: 0,
            generations: 0,
            losses: 0,
            handed_on: 0,
            history: BTreeMap::new(),
            sealed: BTreeMap::new(),
            wanted: (0..NODES).map(node_id).collect(),
            queue: BTreeMap::new(),
            order: 0,
            starts: 0,
            written: 0,
        };
        for node in 0..NODES {
            world.boot(Some(node), node_id(node), 0);
        }
        if !plan.scripted {
            for client in 0..CLIENTS {
                let at = world.rng.below(SECOND);
                world.after(at, Event::Client(client));
            }
            world.after(25 * SECOND, Event::Disturb);
        }
        world
    }

    /// A process begins; which one it is.
    pub(crate) fn boot(&mut self, node: Option<usize>, node_id: NodeId, side: u8) -> usize {
        self.starts += 1;
        let id = Incarnation { node_id, guid: Guid::from_u128(self.starts) };
        let p = self.procs.len();
        let fast = self.rng.below(100_001);
        let now = Instant::from_nanos(self.now + self.now / 1_000_000 * fast);
        let settings = Settings { session_max: Duration::from_nanos(SESSION), faults: self.plan.faults };
        self.procs.push(Proc {
            id,
            node,
            alive: true,
            side,
            outside: false,
            fast,
            room: Generations::new(id, settings, now),
            replica: None,
            kept: None,
            fetched: None,
            durable: State::default(),
            applied: 0,
            pending: Vec::new(),
            session: (0, 0),
            busy_until: 0,
            sessions: BTreeMap::new(),
        });
        self.after(MS, Event::Append { by: p, entry: Durable::Started(id) });
        if !self.plan.scripted {
            for event in [Event::Sync(p), Event::Beat(p), Event::Stand(p), Event::Tick(p)] {
                let at = self.rng.below(SECOND);
                self.after(at, event);
            }
        }
        p
    }

    pub(crate) fn after(&mut self, delay: u64, event: Event) {
        self.order += 1;
        self.queue.insert((self.now + delay, self.order), event);
    }

    fn reads(&self, p: usize) -> Now {
        Now { mono: Instant::from_nanos(self.clock(self.procs[p].fast)), wall: Wall::from_millis(self.now / MS) }
    }

    fn clock(&self, fast: u64) -> u64 {
        self.now + self.now / 1_000_000 * fast
    }

    pub(crate) fn client_clock(&self, client: usize) -> u64 {
        self.clock(self.clients[client].fast)
    }

    fn of(&self, p: usize) -> u64 {
        self.clock(self.procs[p].fast)
    }

    pub(crate) fn reaches(&self, a: usize, b: usize) -> bool {
        self.procs[a].alive && self.procs[b].alive && self.procs[a].side == self.procs[b].side
    }

    /// A majority of the directories runs where this process is.
    pub(crate) fn reaches_durable(&self, p: usize) -> bool {
        let near: BTreeSet<usize> =
            (0..self.procs.len()).filter(|q| self.reaches(p, *q)).filter_map(|q| self.procs[q].node).collect();
        near.len() * 2 > NODES
    }

    fn delay(&mut self) -> Option<u64> {
        if self.plan.scripted {
            return Some(MS);
        }
        if self.rng.below(20) == 0 {
            return None;
        }
        let slow = self.now < self.calm_at && self.rng.below(8) == 0;
        Some(MS + self.rng.below(if slow { 12 * SECOND } else { 40 * MS }))
    }

    pub(crate) fn give(&mut self, p: usize, input: Input) {
        if self.procs[p].outside {
            return;
        }
        let (now, mut out) = (self.reads(p), Vec::new());
        self.procs[p].room.handle(input, now, &mut out);
        self.procs[p].room.check();
        self.outputs(p, out);
    }

    pub(crate) fn tick(&mut self, p: usize) {
        if self.procs[p].outside {
            return;
        }
        let (now, mut out) = (self.reads(p), Vec::new());
        self.procs[p].room.tick(now, &mut out);
        self.procs[p].room.check();
        self.outputs(p, out);
    }

    fn order(&mut self, p: usize, order: Order) {
        match order {
            Order::Fetch { generation, from, founders } => {
                let delay = self.delay().unwrap_or(SECOND);
                self.after(delay, Event::Fetched { by: p, generation, from, founders });
            }
            Order::Start { generation, start } => {
                let replica = match start {
                    Start::Found { from, founders } => {
                        let base = if from.is_some() { self.procs[p].fetched.take() } else { Some(Vec::new()) };
                        Replica::founder(generation, base.expect("it was fetched before"), founders)
                    }
                    Start::Learn => Replica::learner(generation),
                };
                self.procs[p].replica = Some(replica);
            }
            Order::Stop { generation } => {
                self.procs[p].pending.clear();
                let replica = self.procs[p].replica.take().expect("what is stopped was started");
                let log = replica.key();
                if let Some(key) = log {
                    self.sealed.insert((self.procs[p].id, key), replica.content());
                    self.procs[p].kept = Some((key, replica.content()));
                }
                self.give(p, Input::Report(Report::Stopped { generation, log }));
            }
            Order::ChangeVoters { generation, voters } => self.change_voters(p, generation, &voters),
            Order::Open { generation } => {
                let replica = self.procs[p].replica.as_mut();
                if let Some(replica) = replica.filter(|replica| replica.leads && replica.generation == generation) {
                    replica.log.push((replica.term, Entry::Open));
                }
            }
        }
    }

    fn outputs(&mut self, p: usize, out: Vec<Output>) {
        for output in out {
            match output {
                Output::Send { to, message } => {
                    if let Some(delay) = self.delay() {
                        self.after(delay, Event::Deliver { to, from: p, message });
                    }
                }
                Output::Order(order) => self.order(p, order),
                Output::Propose(proposal) => {
                    if let Some(delay) = self.delay() {
                        self.after(delay, Event::Append { by: p, entry: Durable::Propose(proposal) });
                    }
                }
                Output::AskSessions { generation } => {
                    let (now, proc) = (self.of(p), &self.procs[p]);
                    let held = proc.sessions.values().any(|until| *until > now);
                    self.give(p, Input::Sessions { generation, sessions: vec![u8::from(held)] });
                }
                Output::Sessions { sessions, .. } => {
                    if sessions == [1] {
                        let until = self.of(p) + SESSION;
                        self.procs[p].busy_until = until;
                    }
                }
                Output::Waiting(_) => {}
            }
        }
    }

    pub(crate) fn run_until(&mut self, end: u64) {
        while self.violation.is_none() {
            let Some(next) = self.queue.first_entry().filter(|next| next.key().0 <= end) else { break };
            let ((at, _), event) = next.remove_entry();
            self.now = self.now.max(at);
            self.happen(event);
        }
        self.now = self.now.max(end);
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Tick(p) => {
                if self.procs[p].alive {
                    self.tick(p);
                    self.after(250 * MS, Event::Tick(p));
                }
            }
            Event::Deliver { to, from, message } => {
                let to = (0..self.procs.len()).find(|q| self.procs[*q].id.node_id == to && self.reaches(from, *q));
                if let Some(to) = to {
                    let from = self.procs[from].id.node_id;
                    self.give(to, Input::Message { from, message });
                }
            }
            Event::Append { by, entry } => self.append(by, entry),
            Event::Sync(p) => {
                if self.procs[p].alive {
                    let whole = self.rng.below(4) != 0 || self.now >= self.calm_at;
                    self.sync(p, whole);
                    self.after(500 * MS, Event::Sync(p));
                }
            }
            Event::Fetched { by, generation, from, founders } => self.fetched(by, generation, from, &founders),
            Event::Beat(p) => {
                if self.procs[p].alive {
                    self.beat(p);
                    self.after(300 * MS, Event::Beat(p));
                }
            }
            Event::Stand(p) => {
                if self.procs[p].alive {
                    self.stand(p);
                    let next = 800 * MS + self.rng.below(900 * MS);
                    self.after(next, Event::Stand(p));
                }
            }
            Event::Client(client) => self.client(client),
            Event::Ask { client, asked, via, to, write } => self.ask(client, asked, via, to, write),
            Event::Answer { client, asked, via, generation } => self.answer(client, asked, via, generation),
            Event::Disturb => self.disturb(),
            Event::Join(p) => self.join(p),
            Event::Restart(node) => {
                let side = self.rng.below(2).min(u64::from(self.now < self.calm_at));
                self.boot(Some(node), node_id(node), u8::try_from(side).expect("0 or 1"));
            }
        }
    }

    /// A member leaves, and its process runs on: everything that it holds of the group is dropped.
    pub(crate) fn leave(&mut self, p: usize) {
        self.append(p, Durable::Left(self.procs[p].id));
        let now = self.reads(p).mono;
        let settings = Settings { session_max: Duration::from_nanos(SESSION), faults: self.plan.faults };
        let proc = &mut self.procs[p];
        let served = proc.room.served_through();
        proc.room = Generations::new(proc.id, settings, now).sealed_through(served);
        (proc.outside, proc.replica, proc.kept, proc.fetched) = (true, None, None, None);
        proc.pending.clear();
        proc.sessions.clear();
    }

    /// It is admitted again, under the same guid, unless that is over.
    pub(crate) fn join(&mut self, p: usize) {
        if !self.procs[p].alive {
            return;
        }
        if !self.reaches_durable(p) {
            return self.after(SECOND, Event::Join(p));
        }
        self.append(p, Durable::Joined(self.procs[p].id));
        self.procs[p].outside = false;
    }

    // ---- the durable group

    pub(crate) fn append(&mut self, by: usize, entry: Durable) {
        if !self.reaches_durable(by) {
            if let (Durable::Started(_), true) = (&entry, self.procs[by].alive) {
                self.after(SECOND, Event::Append { by, entry });
            }
            return;
        }
        let before = self.state.decided.generation().clone();
        let next = self.state.apply(&entry, self.plan.faults.no_compare);
        if next {
            self.decided(before.number());
        }
        self.log.push(entry);
    }

    /// A generation was decided: nothing that was acknowledged is missing in what it begins with, unless it says so.
    fn decided(&mut self, before: u64) {
        self.generations += 1;
        let generation = self.state.decided.generation().clone();
        let content = generation.from.map_or_else(Vec::new, |from| {
            self.handed_on += 1;
            let holder = self.procs.iter().find(|proc| proc.id == from.voter).expect("who handed in was there");
            // Who leaves before it has given it drops it: then nobody begins, and the generation after says so.
            match (self.sealed.get(&(from.voter, from.log)), &holder.replica) {
                (Some(content), _) => content.clone(),
                (_, Some(replica)) => replica.content(),
                _ => Vec::new(),
            }
        });
        let there = writes(&content);
        self.losses += u64::from(generation.lost);
        if !generation.lost && before > 0 && !self.must.is_subset(&there) {
            let missing: Vec<u64> = self.must.difference(&there).copied().collect();
            self.violation = Some(format!("generation {} lacks {missing:?} and does not say so", generation.number()));
        }
        self.must.retain(|number| there.contains(number));
    }

    /// Applies what was committed, all of it or a part.
    pub(crate) fn sync(&mut self, p: usize, whole: bool) {
        if !self.reaches_durable(p) {
            return;
        }
        let from = self.procs[p].applied;
        let behind = self.log.len() - from;
        let upto = from + if whole { behind } else { self.rng.index(behind + 1) };
        for entry in &self.log[from..upto] {
            self.procs[p].durable.apply(entry, self.plan.faults.no_compare);
        }
        self.procs[p].applied = upto;
        let proc = &self.procs[p];
        if proc.durable.gone.get(&proc.id.node_id).is_some_and(|guid| *guid >= proc.id.guid) {
            return self.reborn(p);
        }
        let facts = self.procs[p].durable.facts(&self.wanted);
        self.give(p, Input::Facts(facts));
    }

    /// A process learns that it is gone: everything stops, then it takes a new guid.
    fn reborn(&mut self, p: usize) {
        self.give(p, Input::Over);
        let (node, node_id, side) = (self.procs[p].node, self.procs[p].id.node_id, self.procs[p].side);
        self.procs[p].alive = false;
        if node.is_some() {
            self.boot(node, node_id, side);
        }
    }

    fn fetched(&mut self, by: usize, generation: u64, from: Source, founders: &BTreeSet<Incarnation>) {
        let holder = (0..self.procs.len()).filter(|q| self.reaches(by, *q)).find_map(|q| {
            let proc = &self.procs[q];
            let begun = proc.replica.as_ref().filter(|replica| replica.generation == generation && replica.has_base);
            match (&proc.kept, begun) {
                (Some((key, content)), _) if proc.id == from.voter && *key == from.log => Some(content.clone()),
                (_, Some(replica)) if founders.contains(&proc.id) => Some(replica.base.clone()),
                // Only with a voter that hands in and does not stop.
                (None, _) if proc.id == from.voter => proc.replica.as_ref().map(Replica::content),
                _ => None,
            }
        });
        let ok = holder.is_some();
        if self.procs[by].alive {
            self.procs[by].fetched = holder;
            self.give(by, Input::Report(Report::Fetched { generation, ok }));
        }
    }
}

/// Runs a plan to its end; what was wrong.
pub(crate) fn run(plan: Plan) -> Result<World, String> {
    let mut world = World::new(plan);
    world.run_until(world.calm_at + 60 * SECOND);
    let (must, token) = (world.must.len(), world.last_token);
    world.run_until(world.calm_at + 90 * SECOND);
    if let Some(violation) = world.violation.take() {
        return Err(format!("at {} ms: {violation}", world.now / MS));
    }
    if world.must.len() <= must {
        return Err("nothing is written, long after all was well".to_owned());
    }
    if world.last_token == token {
        return Err("no lock is granted, long after all was well".to_owned());
    }
    let record = world.state.decided.generation();
    let present: BTreeSet<Incarnation> = (0..NODES)
        .filter_map(|node| {
            world.procs.iter().filter(|proc| proc.alive && proc.node == Some(node)).map(|proc| proc.id).max()
        })
        .collect();
    if record.sets != [present] {
        return Err(format!("the voters are not the processes that run: {:?}", record.sets));
    }
    Ok(world)
}
