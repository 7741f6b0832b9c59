//! Processes with clocks of their own over a replicated log, and the judge.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use ekka_core::id::{Guid, Incarnation, NodeId};
use ekka_core::lock::{
    Answer, Command, Event as Done, Holder, HolderFaults, HolderInput, HolderOutput, Keeper, KeeperFaults, KeeperInput,
    KeeperOutput, Message, Refusal, SessionId, State,
};
use ekka_core::machine::Machine;
use ekka_core::rng::Rng;
use ekka_core::time::{Instant, Now, Wall};

use super::clients::Client;
use crate::small_group::Group;

pub(super) const MS: u64 = 1_000_000;
pub(super) const SECOND: u64 = 1_000 * MS;

/// Put in on purpose.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Faults {
    pub(super) holder: HolderFaults,
    pub(super) keeper: KeeperFaults,
    /// An end counts in whatever term it stands.
    pub(super) term_unseen: bool,
}

/// What a run may do.
#[derive(Clone, Copy, Debug)]
pub(super) struct Plan {
    pub(super) seed: u64,
    pub(super) voters: usize,
    pub(super) ttl: Duration,
    /// Cuts, pauses, kills, elections against living leaders, slow messages.
    pub(super) chaos: bool,
    pub(super) told: bool,
    pub(super) faults: Faults,
}

impl Plan {
    pub(super) fn from_seed(seed: u64, faults: Faults) -> Self {
        let mut rng = Rng::new(seed);
        let ttl = Duration::from_secs([3, 5, 5, 15][rng.index(4)]);
        let voters = if rng.below(4) == 0 { 5 } else { 3 };
        Self { seed, voters, ttl, chaos: rng.below(8) != 0, told: false, faults }
    }
}

/// A command on its way into the log, and who is to be answered.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Entry {
    pub(super) command: Command,
    /// The process that asked, by node and start, and the number of its question.
    pub(super) asked: Option<(usize, Guid, u64)>,
}

#[derive(Clone, Debug)]
pub(super) enum Event {
    Tick(usize),
    /// A process asks whoever may lead.
    Ask {
        to: usize,
        entry: Entry,
    },
    Answer {
        to: usize,
        start: Guid,
        number: u64,
        answer: Answer,
    },
    /// A request that waited was granted: told, and not repeated where that is lost.
    Tell {
        to: usize,
        done: Done,
    },
    Keep {
        to: usize,
        from: NodeId,
        message: Message,
    },
    Hold {
        to: usize,
        start: Guid,
        message: Message,
    },
    Append {
        node: usize,
        entry: Entry,
    },
    Probe {
        leader: usize,
        term: u64,
        round: u64,
        voter: usize,
    },
    ProbeReply {
        leader: usize,
        term: u64,
        round: u64,
        voter: usize,
        higher: Option<u64>,
    },
    RoundEnds {
        leader: usize,
        round: u64,
    },
    Beat(usize),
    Stand(usize),
    Client {
        node: usize,
        start: Guid,
        client: usize,
        look: u64,
    },
    Disturb,
    Wake(usize),
    Restart(usize),
}

impl Event {
    /// The node that has to run for this to happen.
    fn place(&self) -> Option<usize> {
        match self {
            Self::Tick(node)
            | Self::Beat(node)
            | Self::Stand(node)
            | Self::Append { node, .. }
            | Self::Client { node, .. } => Some(*node),
            Self::Ask { to, .. }
            | Self::Answer { to, .. }
            | Self::Tell { to, .. }
            | Self::Keep { to, .. }
            | Self::Hold { to, .. } => Some(*to),
            Self::Probe { voter, .. } => Some(*voter),
            Self::ProbeReply { leader, .. } | Self::RoundEnds { leader, .. } => Some(*leader),
            Self::Disturb | Self::Wake(_) | Self::Restart(_) => None,
        }
    }
}

/// One process.
pub(super) struct Node {
    pub(super) id: Incarnation,
    /// Its clock runs so many millionths faster than time.
    pub(super) fast: u64,
    pub(super) alive: bool,
    pub(super) paused: bool,
    pub(super) holder: Holder,
    /// The session that its clients are in, once it is open.
    pub(super) session: Option<SessionId>,
    pub(super) sessions: u64,
    pub(super) asks: u64,
    pub(super) opening: Option<(SessionId, u64, Instant)>,
    pub(super) clients: Vec<Client>,
    pub(super) inbox: Vec<Event>,
    tick_at: u64,
    /// Of a voter: what it has applied, and the sessions that it watches.
    pub(super) state: State,
    pub(super) keeper: Option<Keeper>,
    told: Option<(u64, Option<usize>, bool)>,
}

pub(super) struct World {
    pub(super) plan: Plan,
    pub(super) now: u64,
    pub(super) rng: Rng,
    pub(super) nodes: Vec<Node>,
    pub(super) group: Group<Entry>,
    /// Sides of the cut; nodes of one side hear each other.
    pub(super) side: Vec<u8>,
    /// Nothing more goes wrong from then on.
    pub(super) calm_at: u64,
    pub(super) violation: Option<String>,
    pub(super) granted: u64,
    pub(super) lost: u64,
    /// The largest token that any client was given, by lock.
    pub(super) largest: BTreeMap<String, u64>,
    /// The ceiling of tokens in the durable group.
    pub(super) ceiling: u64,
    acks: BTreeMap<(usize, u64), (u64, BTreeSet<usize>)>,
    queue: BTreeMap<(u64, u64), Event>,
    order: u64,
    pub(super) starts: u128,
}

pub(super) fn node_id(i: usize) -> NodeId {
    NodeId::from_u128(i as u128 + 1)
}

pub(super) fn index(node_id: NodeId) -> usize {
    usize::try_from(node_id.as_u128() - 1).expect("the ids of this world are small")
}

impl Node {
    pub(super) fn new(i: usize, start: u128, voters: usize, fast: u64, faults: Faults) -> Self {
        Self {
            id: Incarnation { node_id: node_id(i), guid: Guid::from_u128(start) },
            fast,
            alive: true,
            paused: false,
            holder: Holder::new(faults.holder),
            session: None,
            sessions: 0,
            asks: 0,
            opening: None,
            clients: Client::some(),
            inbox: Vec::new(),
            tick_at: u64::MAX,
            state: State::default(),
            keeper: (i < voters).then(|| Keeper::new(node_id(i), faults.keeper)),
            told: None,
        }
    }
}

impl World {
    /// Voters, and two processes beside them.
    pub(super) fn new(plan: Plan) -> Self {
        let mut rng = Rng::new(plan.seed ^ 0x10c4);
        let count = plan.voters + 2;
        let nodes: Vec<Node> =
            (0..count).map(|i| Node::new(i, i as u128 + 1, plan.voters, rng.below(100_001), plan.faults)).collect();
        let ttl = u64::try_from(plan.ttl.as_nanos()).expect("short");
        let mut world = Self {
            plan,
            now: SECOND,
            rng,
            nodes,
            group: Group::new(plan.voters),
            side: vec![0; count],
            calm_at: 6 * ttl + 20 * SECOND,
            violation: None,
            granted: 0,
            lost: 0,
            largest: BTreeMap::new(),
            ceiling: 1,
            acks: BTreeMap::new(),
            queue: BTreeMap::new(),
            order: 0,
            starts: count as u128,
        };
        for i in 0..count {
            world.boot(i);
            if i < plan.voters {
                for event in [Event::Beat(i), Event::Stand(i)] {
                    let at = world.rng.below(SECOND);
                    world.after(at, event);
                }
            }
        }
        world.after(3 * SECOND, Event::Disturb);
        world
    }

    pub(super) fn note(&mut self, text: impl FnOnce() -> String) {
        if self.plan.told {
            let text = text();
            println!("{:>7} {text}", self.now / MS);
        }
    }

    /// A process begins: its clients try from now on, and what its start before held is over.
    pub(super) fn boot(&mut self, i: usize) {
        let voters: BTreeSet<NodeId> = (0..self.plan.voters).map(node_id).collect();
        self.hold(i, HolderInput::Group { leader: None, voters });
        let id = self.nodes[i].id;
        self.ask(i, Command::Started { id });
        for client in 0..self.nodes[i].clients.len() {
            let at = self.rng.below(SECOND);
            self.look_again(i, client, at);
        }
        self.ask_tick(i);
    }

    pub(super) fn after(&mut self, delay: u64, event: Event) {
        self.order += 1;
        self.queue.insert((self.now + delay, self.order), event);
    }

    pub(super) fn clock(&self, i: usize) -> Instant {
        Instant::from_nanos(self.now + self.now / 1_000_000 * self.nodes[i].fast)
    }

    fn reads(&self, i: usize) -> Now {
        Now { mono: self.clock(i), wall: Wall::from_millis(self.now / MS) }
    }

    pub(super) fn linked(&self, a: usize, b: usize) -> bool {
        a == b || self.side[a] == self.side[b]
    }

    pub(super) fn runs(&self, i: usize) -> bool {
        self.nodes[i].alive && !self.nodes[i].paused
    }

    pub(super) fn is_calm(&self) -> bool {
        !self.plan.chaos || self.now >= self.calm_at
    }

    pub(super) fn hold(&mut self, i: usize, input: HolderInput) {
        let (now, mut out) = (self.reads(i), Vec::new());
        self.nodes[i].holder.handle(input, now, &mut out);
        self.nodes[i].holder.check();
        self.holder_outputs(i, out);
    }

    pub(super) fn keep(&mut self, i: usize, input: KeeperInput) {
        let (now, mut out) = (self.reads(i), Vec::new());
        let Some(keeper) = &mut self.nodes[i].keeper else { return };
        keeper.handle(input, now, &mut out);
        keeper.check();
        self.keeper_outputs(i, out);
    }

    fn tick(&mut self, i: usize) {
        let (now, mut out) = (self.reads(i), Vec::new());
        self.nodes[i].holder.tick(now, &mut out);
        self.holder_outputs(i, out);
        let mut out = Vec::new();
        if let Some(keeper) = &mut self.nodes[i].keeper {
            keeper.tick(now, &mut out);
            keeper.check();
        }
        self.keeper_outputs(i, out);
    }

    fn ask_tick(&mut self, i: usize) {
        let node = &self.nodes[i];
        let keeper = node.keeper.as_ref().and_then(Machine::deadline);
        let Some(deadline) = [node.holder.deadline(), keeper].into_iter().flatten().min() else { return };
        let delay = deadline.since(self.clock(i)).as_nanos() * 1_000_000;
        let delay = u64::try_from(delay / u128::from(1_000_000 + node.fast)).expect("fits") + MS;
        let at = self.now + delay;
        if at < node.tick_at {
            self.nodes[i].tick_at = at;
            self.after(delay, Event::Tick(i));
        }
    }

    fn holder_outputs(&mut self, i: usize, out: Vec<HolderOutput>) {
        for output in out {
            match output {
                HolderOutput::Send { to, message } => {
                    self.send(i, index(to), |from| Event::Keep { to: index(to), from, message });
                }
                HolderOutput::Valid { .. } => {}
                HolderOutput::Lost { session, ended } => {
                    self.note(|| format!("node {i} lost session {} ({ended})", session.number));
                    self.lost += 1;
                    self.session_lost(i, session);
                }
            }
        }
    }

    fn keeper_outputs(&mut self, i: usize, out: Vec<KeeperOutput>) {
        for output in out {
            match output {
                KeeperOutput::Send { to, message } => {
                    let start = self.nodes[index(to)].id.guid;
                    self.send(i, index(to), |_| Event::Hold { to: index(to), start, message });
                }
                KeeperOutput::Confirm { round, term } => {
                    self.acks.insert((i, round), (term, BTreeSet::new()));
                    for voter in 0..self.plan.voters {
                        if let Some(delay) = self.delay(i, voter) {
                            self.after(delay, Event::Probe { leader: i, term, round, voter });
                        }
                    }
                    self.after(1_500 * MS, Event::RoundEnds { leader: i, round });
                }
                KeeperOutput::Expire { session, term } => {
                    self.note(|| format!("node {i} proposes the end of {session} in term {term}"));
                    // Some proposals lie in a queue for long.
                    let slow = !self.is_calm() && self.rng.below(4) == 0;
                    let delay = if slow { self.rng.below(8 * SECOND) } else { MS };
                    let entry = Entry { command: Command::Expire { session, term }, asked: None };
                    self.after(delay, Event::Append { node: i, entry });
                }
            }
        }
    }

    /// How long a message takes, if it comes.
    pub(super) fn delay(&mut self, from: usize, to: usize) -> Option<u64> {
        if from == to {
            return Some(MS);
        }
        if self.rng.below(if self.is_calm() { 200 } else { 20 }) == 0 {
            return None;
        }
        let slow = !self.is_calm() && self.rng.below(10) == 0;
        Some(MS + self.rng.below(if slow { 12 * SECOND } else { 40 * MS }))
    }

    pub(super) fn send(&mut self, from: usize, to: usize, event: impl FnOnce(NodeId) -> Event) {
        if let Some(delay) = self.delay(from, to)
            && self.linked(from, to)
        {
            self.after(delay, event(node_id(from)));
        }
    }

    /// Runs until then, or until something is wrong.
    pub(super) fn run_until(&mut self, end: u64) {
        while self.violation.is_none() {
            let Some(next) = self.queue.first_entry().filter(|next| next.key().0 <= end) else { break };
            let ((at, _), event) = next.remove_entry();
            self.now = self.now.max(at);
            self.take(event);
            self.judge();
        }
        if self.violation.is_none() {
            self.now = self.now.max(end);
            self.judge();
        }
    }

    fn take(&mut self, event: Event) {
        let place = event.place();
        if let Some(place) = place
            && !self.runs(place)
        {
            if self.nodes[place].alive {
                self.nodes[place].inbox.push(event);
            } else if let Event::Beat(_) | Event::Stand(_) = event {
                self.after(SECOND, event);
            }
            return;
        }
        self.happen(event);
        if let Some(place) = place {
            self.ask_tick(place);
        }
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Tick(i) => {
                // Another tick was asked for since.
                if self.nodes[i].tick_at <= self.now {
                    self.nodes[i].tick_at = u64::MAX;
                    self.tick(i);
                }
            }
            Event::Ask { to, entry } => self.append(to, entry, false),
            Event::Append { node, entry } => self.append(node, entry, true),
            Event::Answer { to, start, number, answer } => {
                if self.nodes[to].id.guid == start {
                    self.answered(to, number, answer);
                }
            }
            Event::Tell { to, done } => self.told_of(to, done),
            Event::Keep { to, from, message } => {
                if self.linked(index(from), to) {
                    self.keep(to, KeeperInput::Message { from, message });
                }
            }
            Event::Hold { to, start, message } => {
                if self.nodes[to].id.guid == start {
                    self.hold(to, HolderInput::Message(message));
                }
            }
            Event::Probe { leader, term, round, voter } => {
                if self.linked(leader, voter) {
                    let higher = self.group.probe(leader, term, voter).err();
                    self.tell_standing(voter);
                    if let Some(delay) = self.delay(voter, leader) {
                        self.after(delay, Event::ProbeReply { leader, term, round, voter, higher });
                    }
                }
            }
            Event::ProbeReply { leader, term, round, voter, higher } => {
                self.probe_reply(leader, term, round, voter, higher);
            }
            Event::RoundEnds { leader, round } => {
                if self.acks.remove(&(leader, round)).is_some() {
                    self.keep(leader, KeeperInput::Confirmed { round, ok: false });
                }
            }
            Event::Beat(i) => self.beat(i),
            Event::Stand(i) => self.stand(i),
            Event::Client { node, start, client, look } => {
                if self.nodes[node].id.guid == start && self.nodes[node].clients[client].look == look {
                    self.client(node, client);
                }
            }
            Event::Disturb => self.disturb(),
            Event::Wake(i) => self.wake(i),
            Event::Restart(i) => self.restart(i),
        }
    }

    pub(super) fn wake(&mut self, i: usize) {
        self.nodes[i].paused = false;
        self.note(|| format!("node {i} wakes"));
        for event in std::mem::take(&mut self.nodes[i].inbox) {
            // Later ones may have been put off again by what an earlier one did.
            self.take(event);
            self.judge();
        }
    }

    fn probe_reply(&mut self, leader: usize, term: u64, round: u64, voter: usize, higher: Option<u64>) {
        if !self.linked(leader, voter) {
            return;
        }
        if let Some(higher) = higher {
            self.group.hear(leader, higher);
            self.tell_standing(leader);
        }
        let replica = &self.group.replicas[leader];
        let still = replica.leads && replica.term == term;
        let Some((_, acks)) = self.acks.get_mut(&(leader, round)) else { return };
        if higher.is_none() {
            acks.insert(voter);
        }
        if !still || acks.len() * 2 > self.plan.voters {
            self.acks.remove(&(leader, round));
            self.keep(leader, KeeperInput::Confirmed { round, ok: still });
        }
    }

    /// A command comes to a voter, which has it if it leads, or passes it on by one hop.
    fn append(&mut self, node: usize, entry: Entry, passed: bool) {
        let replica = &self.group.replicas[node];
        if replica.leads {
            self.group.append(node, entry);
        } else if passed
            && let Some(leader) = replica.leader.filter(|leader| *leader != node)
            && self.linked(node, leader)
        {
            self.after(MS, Event::Append { node: leader, entry });
        }
    }

    fn beat(&mut self, i: usize) {
        if self.group.replicas[i].leads {
            for v in 0..self.plan.voters {
                let skipped = !self.is_calm() && self.rng.below(10) < 3;
                if v != i && self.linked(i, v) && self.runs(v) && !skipped {
                    self.replicate(i, v);
                }
            }
            self.advance(i);
            self.want_tokens(i);
        }
        self.after(100 * MS, Event::Beat(i));
    }

    /// Numbers for tokens, out of a range that nobody else has.
    fn want_tokens(&mut self, i: usize) {
        if self.group.replicas[i].leads && self.nodes[i].state.tokens_left() < 4 {
            let from = self.ceiling;
            self.ceiling += 8;
            let command = Command::Tokens { from, to: self.ceiling };
            let delay = 1 + self.rng.below(if self.is_calm() { 10 * MS } else { 2 * SECOND });
            self.after(delay, Event::Append { node: i, entry: Entry { command, asked: None } });
        }
    }

    fn replicate(&mut self, l: usize, v: usize) {
        if self.group.replicas[l].leads {
            self.group.replicate(l, v);
            self.apply(v);
            self.tell_standing(v);
            self.tell_standing(l);
        }
    }

    /// Commits at the leader `l`.
    fn advance(&mut self, l: usize) {
        if self.group.replicas[l].leads {
            self.group.advance(l);
            self.apply(l);
            self.tell_standing(l);
        }
    }

    /// Applies what a replica knows to be committed; whoever leads answers.
    fn apply(&mut self, v: usize) {
        for (term, entry) in self.group.replicas[v].take_fresh() {
            let Some(Entry { command, asked }) = entry else { continue };
            let term = match command {
                Command::Expire { term: own, .. } if self.plan.faults.term_unseen => own,
                _ => term,
            };
            let mut events = Vec::new();
            let answer = self.nodes[v].state.apply(term, command, &mut events);
            self.nodes[v].state.check();
            for event in &events {
                match event {
                    Done::Opened { session, ttl_ms } => {
                        let ttl = Duration::from_millis(*ttl_ms);
                        self.keep(v, KeeperInput::Opened { session: *session, ttl });
                    }
                    Done::Over { session, .. } => self.keep(v, KeeperInput::Ended(*session)),
                    _ => {}
                }
            }
            if !self.group.replicas[v].leads {
                continue;
            }
            if let Some((to, start, number)) = asked {
                self.send(v, to, |_| Event::Answer { to, start, number, answer });
            }
            for done in events {
                if let Done::Granted { session, .. } = &done {
                    let to = index(session.node_id);
                    self.send(v, to, |_| Event::Tell { to, done });
                }
            }
        }
    }

    /// Tells a voter's process what its replica knows, where that is new.
    pub(super) fn tell_standing(&mut self, v: usize) {
        let replica = &self.group.replicas[v];
        let standing = (replica.term, replica.leader, replica.ready());
        if self.nodes[v].told == Some(standing) {
            return;
        }
        self.nodes[v].told = Some(standing);
        self.note(|| format!("node {v} is told of {standing:?}"));
        let (term, leader, ready) = standing;
        let leader = leader.map(node_id);
        self.keep(v, KeeperInput::Standing { term, leader, ready });
        let voters = (0..self.plan.voters).map(node_id).collect();
        self.hold(v, HolderInput::Group { leader, voters });
        self.ask_tick(v);
    }

    fn stand(&mut self, i: usize) {
        let replica = &self.group.replicas[i];
        let served = replica.leader.is_some_and(|l| {
            let leader = &self.group.replicas[l];
            self.linked(i, l) && self.runs(l) && leader.leads && leader.term == replica.term
        });
        if !served {
            self.elect(i);
        }
        let next = 700 * MS + self.rng.below(900 * MS);
        self.after(next, Event::Stand(i));
    }

    /// Election of `i` before those it reaches; sometimes only just a majority, so that others do not hear of it.
    pub(super) fn elect(&mut self, i: usize) {
        let mut voters: Vec<usize> =
            (0..self.plan.voters).filter(|v| *v != i && self.linked(i, *v) && self.runs(*v)).collect();
        if !self.is_calm() && self.rng.below(2) == 0 {
            while voters.len() > self.plan.voters / 2 {
                let out = self.rng.index(voters.len());
                voters.remove(out);
            }
        }
        self.group.elect(i, &voters);
        for v in voters.into_iter().chain([i]) {
            self.tell_standing(v);
        }
    }

    /// Whether a process takes its session for valid, as it compares it with its clock before whatever it does.
    pub(super) fn believes(&self, i: usize, session: SessionId) -> bool {
        let seen = |until: Instant| until > self.clock(i) || self.plan.faults.holder.pause_unseen;
        self.nodes[i].holder.until(session).is_some_and(seen)
    }

    /// What must hold after every step.
    fn judge(&mut self) {
        let mut holders: BTreeMap<&str, Vec<(usize, SessionId, u64, bool)>> = BTreeMap::new();
        for (i, node) in self.nodes.iter().enumerate().filter(|(_, node)| node.alive) {
            let Some(session) = node.session.filter(|session| self.believes(i, *session)) else { continue };
            for (lock, token, shared) in node.clients.iter().flat_map(Client::holds) {
                holders.entry(lock).or_default().push((i, session, token, shared));
            }
        }
        let both = holders.iter().find(|(_, held)| held.len() > 1 && held.iter().any(|(.., shared)| !shared));
        if let Some((lock, held)) = both {
            self.violation = Some(format!("{lock} is held by several at once: {held:?}"));
        }
    }
}

/// Runs a plan to its end; what was wrong.
pub(super) fn run(plan: Plan) -> Result<World, String> {
    let mut world = World::new(plan);
    let ttl = u64::try_from(plan.ttl.as_nanos()).expect("short");
    // A session that nobody renews ends after its time, and once more where the leader changed.
    let settled = world.calm_at + 3 * ttl + 30 * SECOND;
    world.run_until(settled);
    let before: Vec<Vec<u64>> = world.nodes.iter().map(|node| node.clients.iter().map(|c| c.turns).collect()).collect();
    let lost = world.lost;
    world.run_until(settled + 40 * SECOND);
    if let Some(violation) = world.violation.take() {
        return Err(format!("at {} ms: {violation}", world.now / MS));
    }
    for (i, (node, before)) in world.nodes.iter().zip(before).enumerate() {
        for (client, before) in node.clients.iter().zip(before) {
            if client.turns == before {
                return Err(format!("a client of node {i} got no turn, long after all was well: {client:?}"));
            }
        }
    }
    if world.lost != lost {
        return Err("a session of a healthy process was lost".to_owned());
    }
    Ok(world)
}

/// Whether an answer says that the session is none any more.
pub(super) fn is_over(answer: &Answer) -> bool {
    matches!(answer, Answer::Refused(Refusal::NoSession | Refusal::Over))
}
