//! Nodes with clocks of their own, pauses, kills, cuts, slow and lossy messages, over the group.

mod chaos;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use ekka_core::id::{Guid, Incarnation, NodeId};
use ekka_core::lease::{
    Cause, Faults, GoneEntry, GoneTable, Holder, HolderInput, HolderOutput, Keeper, KeeperInput, KeeperOutput, Message,
    Outcome, Terms,
};
use ekka_core::machine::Machine;
use ekka_core::rng::Rng;
use ekka_core::time::{Instant, Now, Wall};

use crate::small_group::Group;

pub(crate) const MS: u64 = 1_000_000;
pub(crate) const SECOND: u64 = 1_000 * MS;

/// What is committed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Entry {
    Admit(Incarnation),
    Gone(GoneEntry),
}

/// What a run may do.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Plan {
    pub(crate) seed: u64,
    pub(crate) gone_after: Duration,
    /// Voters; two more nodes do not vote.
    pub(crate) voters: usize,
    /// Cuts, pauses, kills, elections against living leaders, slow messages.
    pub(crate) chaos: bool,
    /// Voters report everybody as down, always: `gone` must be safe whatever gossip says.
    pub(crate) lies: bool,
    pub(crate) faults: Faults,
}

impl Plan {
    pub(crate) fn from_seed(seed: u64, faults: Faults) -> Self {
        let mut rng = Rng::new(seed);
        let gone_after = [10, 10, 15, 30][rng.index(4)];
        let voters = if rng.below(4) == 0 { 5 } else { 3 };
        let (chaos, lies) = (rng.below(8) != 0, rng.below(2) == 0);
        Self { seed, gone_after: Duration::from_secs(gone_after), voters, chaos, lies: lies && chaos, faults }
    }
}

#[derive(Clone, Debug)]
pub(crate) enum Event {
    Tick(usize),
    Deliver { to: usize, from: NodeId, message: Message },
    Append { node: usize, entry: Entry },
    Outcome { node: usize, input: KeeperInput },
    Probe { leader: usize, term: u64, round: u64, voter: usize },
    ProbeReply { leader: usize, term: u64, round: u64, voter: usize, higher: Option<u64> },
    RoundEnds { leader: usize, round: u64 },
    Beat(usize),
    Stand(usize),
    Report(usize),
    Join(usize),
    Disturb,
    Wake(usize),
    Restart(usize),
}

impl Event {
    /// The node that has to run for this to happen.
    fn place(&self) -> Option<usize> {
        match self {
            Self::Tick(node) | Self::Beat(node) | Self::Stand(node) | Self::Report(node) | Self::Join(node) => {
                Some(*node)
            }
            Self::Deliver { to, .. } => Some(*to),
            Self::Append { node, .. } | Self::Outcome { node, .. } => Some(*node),
            Self::Probe { voter, .. } => Some(*voter),
            Self::ProbeReply { leader, .. } | Self::RoundEnds { leader, .. } => Some(*leader),
            Self::Disturb | Self::Wake(_) | Self::Restart(_) => None,
        }
    }
}

pub(crate) struct Node {
    pub(crate) id: Incarnation,
    /// Its clock runs so many millionths faster than time.
    pub(crate) fast: u64,
    pub(crate) alive: bool,
    pub(crate) paused: bool,
    pub(crate) holder: Holder,
    pub(crate) keeper: Option<Keeper>,
    pub(crate) fenced: u64,
    held: bool,
    inbox: Vec<Event>,
    tick_at: u64,
    /// What the replica of this voter has applied.
    gone: GoneTable,
    members: BTreeMap<NodeId, Incarnation>,
    told: Option<(u64, Option<usize>, bool)>,
}

pub(crate) struct World {
    pub(crate) plan: Plan,
    pub(crate) now: u64,
    pub(crate) rng: Rng,
    pub(crate) nodes: Vec<Node>,
    pub(crate) group: Group<Entry>,
    /// Sides of the cut; nodes of one side hear each other.
    pub(crate) side: Vec<u8>,
    /// The two between which nothing passes, whatever their sides.
    pub(crate) severed: Option<(usize, usize)>,
    pub(crate) gone: GoneTable,
    pub(crate) gone_count: u64,
    /// Nothing more goes wrong from then on.
    pub(crate) calm_at: u64,
    pub(crate) violation: Option<String>,
    /// Elections, beats and appends come from the test alone.
    pub(crate) scripted: bool,
    acks: BTreeMap<(usize, u64), (u64, BTreeSet<usize>)>,
    /// By time, and then in the order in which they were put in.
    queue: BTreeMap<(u64, u64), Event>,
    order: u64,
    starts: u128,
}

fn node_id(i: usize) -> NodeId {
    NodeId::from_u128(i as u128 + 1)
}

fn index(node_id: NodeId) -> usize {
    usize::try_from(node_id.as_u128() - 1).expect("the ids of this world are small")
}

impl World {
    pub(crate) fn new(plan: Plan) -> Self {
        let mut rng = Rng::new(plan.seed ^ 0x1ea5e);
        let terms = Terms::new(plan.gone_after);
        let count = plan.voters + 2;
        let nodes = (0..count)
            .map(|i| {
                let id = Incarnation { node_id: node_id(i), guid: Guid::from_u128(i as u128 + 1) };
                let keeper =
                    (i < plan.voters).then(|| Keeper::new(node_id(i), terms, GoneTable::default(), plan.faults));
                Node {
                    id,
                    fast: rng.below(100_001),
                    alive: true,
                    paused: false,
                    holder: Holder::new(id, plan.faults),
                    keeper,
                    fenced: 0,
                    held: false,
                    inbox: Vec::new(),
                    tick_at: u64::MAX,
                    gone: GoneTable::default(),
                    members: BTreeMap::new(),
                    told: None,
                }
            })
            .collect();
        let gone_after = u64::try_from(plan.gone_after.as_nanos()).expect("short");
        Self {
            plan,
            now: SECOND,
            rng,
            nodes,
            group: Group::new(plan.voters),
            side: vec![0; count],
            severed: None,
            gone: GoneTable::default(),
            gone_count: 0,
            calm_at: 5 * gone_after,
            violation: None,
            scripted: false,
            acks: BTreeMap::new(),
            queue: BTreeMap::new(),
            order: 0,
            starts: count as u128,
        }
    }

    /// Everything of its own accord, as a random run has it.
    pub(crate) fn started(plan: Plan) -> Self {
        let mut world = Self::new(plan);
        for i in 0..world.nodes.len() {
            world.boot(i);
            if i < plan.voters {
                for event in [Event::Beat(i), Event::Stand(i), Event::Report(i)] {
                    let at = world.rng.below(SECOND);
                    world.after(at, event);
                }
            }
        }
        world.after(3 * SECOND, Event::Disturb);
        world
    }

    pub(crate) fn boot(&mut self, i: usize) {
        let voters: BTreeSet<NodeId> = (0..self.plan.voters).map(node_id).collect();
        self.hold(i, HolderInput::Voters(voters.clone()));
        self.keep(i, KeeperInput::Voters(vec![voters]));
        self.after(0, Event::Join(i));
        self.ask_tick(i);
    }

    pub(crate) fn after(&mut self, delay: u64, event: Event) {
        self.order += 1;
        self.queue.insert((self.now + delay, self.order), event);
    }

    pub(crate) fn clock(&self, i: usize) -> Instant {
        Instant::from_nanos(self.now + self.now / 1_000_000 * self.nodes[i].fast)
    }

    fn reads(&self, i: usize) -> Now {
        Now { mono: self.clock(i), wall: Wall::from_millis(self.now / MS) }
    }

    pub(crate) fn linked(&self, a: usize, b: usize) -> bool {
        a == b || (self.side[a] == self.side[b] && self.severed != Some((a.min(b), a.max(b))))
    }

    fn runs(&self, i: usize) -> bool {
        self.nodes[i].alive && !self.nodes[i].paused
    }

    pub(crate) fn hold(&mut self, i: usize, input: HolderInput) {
        let (now, mut out) = (self.reads(i), Vec::new());
        self.nodes[i].holder.handle(input, now, &mut out);
        self.holder_outputs(i, out);
    }

    pub(crate) fn keep(&mut self, i: usize, input: KeeperInput) {
        let (now, mut out) = (self.reads(i), Vec::new());
        let Some(keeper) = &mut self.nodes[i].keeper else { return };
        keeper.handle(input, now, &mut out);
        keeper.check();
        self.keeper_outputs(i, out);
    }

    pub(crate) fn tick(&mut self, i: usize) {
        let (now, mut out) = (self.reads(i), Vec::new());
        self.nodes[i].holder.tick(now, &mut out);
        self.nodes[i].holder.check();
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
                HolderOutput::Send { to, message } => self.send(i, index(to), message),
                HolderOutput::Fenced { .. } => {
                    self.nodes[i].fenced += 1;
                    self.nodes[i].held = false;
                }
                HolderOutput::Renewed { .. } => self.nodes[i].held = true,
                HolderOutput::Over => self.reborn(i),
            }
        }
    }

    /// A node that lives and was declared gone takes a new guid.
    fn reborn(&mut self, i: usize) {
        self.starts += 1;
        let id = Incarnation { node_id: node_id(i), guid: Guid::from_u128(self.starts) };
        let node = &mut self.nodes[i];
        (node.id, node.held) = (id, false);
        node.holder = Holder::new(id, self.plan.faults);
        self.boot(i);
    }

    fn keeper_outputs(&mut self, i: usize, out: Vec<KeeperOutput>) {
        for output in out {
            match output {
                KeeperOutput::Send { to, message } => self.send(i, index(to), message),
                KeeperOutput::Confirm { round, term } => {
                    self.acks.insert((i, round), (term, BTreeSet::new()));
                    for voter in 0..self.plan.voters {
                        if let Some(delay) = self.delay(i, voter) {
                            self.after(delay, Event::Probe { leader: i, term, round, voter });
                        }
                    }
                    self.after(1_500 * MS, Event::RoundEnds { leader: i, round });
                }
                KeeperOutput::Propose(entry) => {
                    let (id, term) = (entry.id, entry.term);
                    // Some proposals lie in a queue for long, and some answers are lost.
                    let slow = self.plan.chaos && !self.scripted && self.rng.below(4) == 0;
                    let delay = if slow { self.rng.below(8 * SECOND) } else { MS };
                    self.after(delay, Event::Append { node: i, entry: Entry::Gone(entry) });
                    let input = KeeperInput::Proposed { id, term, outcome: Outcome::Unknown };
                    self.after(2 * SECOND, Event::Outcome { node: i, input });
                }
            }
        }
    }

    fn delay(&mut self, from: usize, to: usize) -> Option<u64> {
        if self.scripted || from == to {
            return Some(MS);
        }
        if self.rng.below(20) == 0 {
            return None;
        }
        let slow = self.plan.chaos && self.now < self.calm_at && self.rng.below(10) == 0;
        Some(MS + self.rng.below(if slow { 12 * SECOND } else { 40 * MS }))
    }

    fn send(&mut self, from: usize, to: usize, message: Message) {
        if let Some(delay) = self.delay(from, to)
            && self.linked(from, to)
        {
            self.after(delay, Event::Deliver { to, from: node_id(from), message });
        }
    }

    /// Runs until then, or until something is wrong.
    pub(crate) fn run_until(&mut self, end: u64) {
        while self.violation.is_none() {
            let Some(next) = self.queue.first_entry().filter(|next| next.key().0 <= end) else { break };
            let ((at, _), event) = next.remove_entry();
            self.now = self.now.max(at);
            self.take(event);
            self.look();
        }
        self.now = self.now.max(end);
        self.look();
    }

    fn take(&mut self, event: Event) {
        if let Some(place) = event.place()
            && !self.runs(place)
        {
            if self.nodes[place].alive {
                self.nodes[place].inbox.push(event);
            } else if let Event::Beat(_) | Event::Stand(_) | Event::Report(_) = event {
                self.after(SECOND, event);
            }
            return;
        }
        let place = event.place();
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
            Event::Deliver { to, from, message } => {
                if !self.linked(index(from), to) {
                    return;
                }
                let answer = match message {
                    Message::Renew { .. } => None,
                    Message::Renewed { id, .. } | Message::Gone { id } => Some(id.node_id == node_id(to)),
                    Message::NotLeading { .. } => Some(true),
                };
                if answer == Some(true) {
                    self.hold(to, HolderInput::Message(message));
                } else {
                    self.keep(to, KeeperInput::Message { from, message });
                }
            }
            Event::Append { node, entry } => self.append(node, entry),
            Event::Outcome { node, input } => self.keep(node, input),
            Event::Probe { leader, term, round, voter } => {
                if self.linked(leader, voter) {
                    let higher = self.group.probe(leader, term, voter).err();
                    self.told(voter);
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
            Event::Report(i) => self.report(i),
            Event::Join(i) => self.join(i),
            Event::Disturb => self.disturb(),
            Event::Wake(i) => self.wake(i),
            Event::Restart(i) => self.restart(i),
        }
    }

    pub(crate) fn wake(&mut self, i: usize) {
        self.nodes[i].paused = false;
        for event in std::mem::take(&mut self.nodes[i].inbox) {
            // Later ones may have been put off again by what an earlier one did.
            self.take(event);
            self.look();
        }
    }

    fn probe_reply(&mut self, leader: usize, term: u64, round: u64, voter: usize, higher: Option<u64>) {
        if !self.linked(leader, voter) {
            return;
        }
        if let Some(higher) = higher {
            self.group.hear(leader, higher);
            self.told(leader);
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

    fn append(&mut self, node: usize, entry: Entry) {
        let to = match self.group.replicas.get(node) {
            Some(replica) if replica.leads => Some(node),
            // Passed on, one hop.
            Some(replica) => replica.leader,
            None => None,
        };
        if let Some(to) = to.filter(|to| self.linked(node, *to) && self.runs(*to) && self.group.replicas[*to].leads) {
            self.group.append(to, entry);
        } else if let Entry::Gone(entry) = entry {
            let input = KeeperInput::Proposed { id: entry.id, term: entry.term, outcome: Outcome::Failed };
            self.keep(node, input);
        }
    }

    fn beat(&mut self, i: usize) {
        let calm = !self.plan.chaos || self.now >= self.calm_at;
        if self.group.replicas[i].leads {
            for v in 0..self.plan.voters {
                let skipped = !calm && self.rng.below(10) < 3;
                if v != i && self.linked(i, v) && self.runs(v) && !skipped {
                    self.replicate(i, v);
                }
            }
            self.advance(i);
        }
        self.after(300 * MS, Event::Beat(i));
    }

    pub(crate) fn replicate(&mut self, l: usize, v: usize) {
        if self.group.replicas[l].leads {
            self.group.replicate(l, v);
            self.apply(v);
            self.told(v);
            self.told(l);
        }
    }

    /// Commits at the leader `l`, and judges what is committed.
    pub(crate) fn advance(&mut self, l: usize) {
        if !self.group.replicas[l].leads {
            return;
        }
        for (term, entry) in self.group.advance(l) {
            if let Some(Entry::Gone(entry)) = entry
                && (entry.term == term || self.plan.faults.term_unseen)
                && self.gone.insert(entry.id)
            {
                self.gone_count += 1;
            }
        }
        self.apply(l);
        self.told(l);
    }

    /// Applies what a replica knows to be committed.
    fn apply(&mut self, v: usize) {
        for (term, entry) in self.group.replicas[v].take_fresh() {
            match entry {
                None => {}
                Some(Entry::Admit(id)) => {
                    let node = &mut self.nodes[v];
                    let before = node.members.get(&id.node_id).copied();
                    if before.is_none_or(|before| before.guid < id.guid) {
                        node.members.insert(id.node_id, id);
                        let present = node.members.values().copied().collect();
                        self.keep(v, KeeperInput::Starts { present, removed: BTreeSet::new() });
                        if let Some(before) = before {
                            self.keep(v, KeeperInput::Ended(before, Cause::NewerStart));
                        }
                    }
                }
                Some(Entry::Gone(entry)) => {
                    let at_term = if self.plan.faults.term_unseen { entry.term } else { term };
                    if self.nodes[v].gone.apply(&entry, at_term) {
                        self.keep(v, KeeperInput::Gone(entry.id));
                        if self.nodes[v].id == entry.id {
                            self.hold(v, HolderInput::Gone);
                        }
                    }
                }
            }
        }
    }

    /// Tells a node what its replica knows, where that is new.
    pub(crate) fn told(&mut self, v: usize) {
        let replica = &self.group.replicas[v];
        let standing = (replica.term, replica.leader, replica.ready());
        if self.nodes[v].told == Some(standing) {
            return;
        }
        self.nodes[v].told = Some(standing);
        let (term, leader, ready) = standing;
        let leader = leader.map(node_id);
        self.keep(v, KeeperInput::Standing { term, leader, ready });
        self.hold(v, HolderInput::Leader(leader));
        self.ask_tick(v);
    }

    fn stand(&mut self, i: usize) {
        let replica = &self.group.replicas[i];
        let served = replica.leader.is_some_and(|l| {
            self.linked(i, l)
                && self.runs(l)
                && self.group.replicas[l].leads
                && self.group.replicas[l].term == replica.term
        });
        if !served {
            self.elect(i);
        }
        let next = 700 * MS + self.rng.below(900 * MS);
        self.after(next, Event::Stand(i));
    }

    /// Election of `i` before those it reaches; sometimes only just a majority, so that others do not hear of it.
    pub(crate) fn elect(&mut self, i: usize) {
        let mut voters: Vec<usize> =
            (0..self.plan.voters).filter(|v| *v != i && self.linked(i, *v) && self.runs(*v)).collect();
        if self.plan.chaos && self.rng.below(2) == 0 && self.now < self.calm_at {
            while voters.len() > self.plan.voters / 2 {
                let out = self.rng.index(voters.len());
                voters.remove(out);
            }
        }
        self.elect_before(i, &voters);
    }

    pub(crate) fn elect_before(&mut self, i: usize, voters: &[usize]) {
        self.group.elect(i, voters);
        for v in voters.iter().copied().chain([i]) {
            self.told(v);
        }
    }

    fn report(&mut self, i: usize) {
        let down: BTreeSet<Incarnation> = (0..self.nodes.len())
            .filter(|j| self.plan.lies || !self.linked(i, *j) || !self.runs(*j))
            .map(|j| self.nodes[j].id)
            .chain(self.nodes[i].members.values().copied().filter(|id| self.nodes[index(id.node_id)].id != *id))
            .collect();
        for v in 0..self.plan.voters {
            if self.linked(i, v) && self.runs(v) {
                self.keep(v, KeeperInput::Report { voter: node_id(i), down: down.clone() });
            }
        }
        self.after(SECOND, Event::Report(i));
    }

    fn join(&mut self, i: usize) {
        let id = self.nodes[i].id;
        let leader = (0..self.plan.voters)
            .filter(|l| self.group.replicas[*l].leads && self.linked(i, *l) && self.runs(*l))
            .max_by_key(|l| self.group.replicas[*l].term);
        let Some(leader) = leader else { return self.after(500 * MS, Event::Join(i)) };
        if self.nodes[leader].members.get(&id.node_id) != Some(&id) {
            self.group.append(leader, Entry::Admit(id));
            self.after(2 * SECOND, Event::Join(i));
        }
    }

    /// What must hold after every step: an incarnation that is gone for silence, or for whatever cause, is fenced.
    fn look(&mut self) {
        for i in 0..self.nodes.len() {
            let node = &self.nodes[i];
            if node.alive && self.gone.is_gone(node.id) && node.holder.holds(self.clock(i)) {
                let left = node.holder.lease_left(self.clock(i));
                self.violation = Some(format!("node {i} holds its lease ({left:?} left) and is gone"));
            }
        }
    }

    pub(crate) fn holds(&self, i: usize) -> bool {
        self.nodes[i].holder.holds(self.clock(i))
    }
}

/// Runs a plan to its end; what was wrong.
pub(crate) fn run(plan: Plan) -> Result<World, String> {
    let mut world = World::started(plan);
    let gone_after = u64::try_from(plan.gone_after.as_nanos()).expect("short");
    let settled = world.calm_at + gone_after * 3 / 2 + 40 * SECOND;
    world.run_until(settled);
    let fenced: u64 = world.nodes.iter().map(|node| node.fenced).sum();
    world.run_until(settled + 20 * SECOND);
    if let Some(violation) = world.violation.take() {
        return Err(format!("at {} ms: {violation}", world.now / MS));
    }
    let since: u64 = world.nodes.iter().map(|node| node.fenced).sum();
    for i in 0..world.nodes.len() {
        if !world.holds(i) || !world.nodes[i].held {
            return Err(format!("node {i} has no lease, long after all was well"));
        }
    }
    if since != fenced {
        return Err("a healthy node was fenced".to_owned());
    }
    if !plan.chaos && since > 0 {
        return Err(format!("{since} times fenced although no fault is longer than a renewal"));
    }
    Ok(world)
}
