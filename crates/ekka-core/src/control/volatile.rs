//! The volatile group of this node's cluster: its room, the replica that the shell runs for it, and what people see.
//!
//! The room hears of the record of the durable group only where something changed that it looks at: the generation, the
//! voters, the starts of the nodes that vote. Sessions of clients are empty until there are locks.

use alloc::boxed::Box;
use alloc::collections::{BTreeMap, BTreeSet, VecDeque};
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::time::Duration;

use super::{Control, Message, Output, VolatileNews, VolatileRequest, emit};
use crate::consensus::{self, LogPlace};
use crate::durable::Record;
use crate::event::EventKind;
use crate::id::{ClusterId, Guid, Incarnation, NodeId};
use crate::machine::Machine;
use crate::time::{Instant, Now};
use crate::view::{self, Status};
use crate::volatile::{self, Facts, Faults, Generations, Input, Proposal, Settings, incarnation, voter};

/// The room and what waits on it.
#[derive(Debug)]
pub(super) struct Volatile {
    session_max: Duration,
    /// While the replica of the durable group is open.
    room: Option<Generations>,
    /// What the room was told last, and the configuration and the nodes that it was made of.
    facts: Facts,
    configured: LogPlace,
    looks_at: BTreeSet<NodeId>,
    /// Which of their starts it was told that this node hears.
    up: BTreeSet<Incarnation>,
    /// Which of those it was told that leave.
    leaving: BTreeSet<Incarnation>,
    /// What the replica of this generation said last.
    standing: (u64, consensus::Standing),
    /// What is to be proposed, once the durable group can be asked.
    proposal: Option<Proposal>,
    /// A proposal is under way.
    wished: bool,
    /// Whom the next generation waits for.
    waits: Vec<Incarnation>,
    /// The latest generation in which this start was seen to count as a voter.
    counted: u64,
    /// It was ready before it was to vote at all.
    ready_before: bool,
    /// How far the record was when the room was told of it last.
    told: u64,
    /// Through which generation this start has served groups that it is out of.
    served: BTreeMap<ClusterId, u64>,
}

impl Volatile {
    pub(super) fn new(session_max: Duration) -> Self {
        Self {
            session_max,
            room: None,
            facts: Facts::default(),
            configured: LogPlace::default(),
            looks_at: BTreeSet::new(),
            up: BTreeSet::new(),
            leaving: BTreeSet::new(),
            standing: <(u64, consensus::Standing)>::default(),
            proposal: None,
            wished: false,
            waits: Vec::new(),
            counted: 0,
            ready_before: false,
            told: 0,
            served: BTreeMap::new(),
        }
    }

    pub(super) fn deadline(&self) -> Option<Instant> {
        self.room.as_ref().and_then(Machine::deadline)
    }

    pub(super) fn check(&self) {
        if let Some(room) = &self.room {
            room.check();
        }
    }

    /// Whatever came of it shows in the record; the room proposes again where it has to.
    pub(super) fn wish_ended(&mut self) {
        self.wished = false;
    }

    /// Whether the record says nothing that the room was not told.
    fn knows(&self, record: &Record) -> bool {
        let known = |node_id: &NodeId| {
            self.facts.present.get(node_id).copied() == present(record, *node_id)
                && self.facts.gone.get(node_id).copied() == record.last_gone(*node_id)
        };
        self.facts.generation.version == record.volatile().version
            && self.configured == record.configuration().at
            && self.looks_at.iter().all(known)
    }

    /// Takes what the record says.
    fn read(&mut self, record: &Record) -> Facts {
        let generation = record.volatile().clone();
        let latest = record.configuration().voters.last();
        let wanted: BTreeSet<NodeId> = latest.into_iter().flatten().map(|voter| voter.node_id).collect();
        let voters = generation.voters().into_iter().chain(generation.founders.iter().copied());
        self.looks_at = voters.map(|id| id.node_id).chain(wanted.iter().copied()).collect();
        let each = |of: fn(&Record, NodeId) -> Option<Guid>| {
            self.looks_at.iter().filter_map(|id| of(record, *id).map(|guid| (*id, guid))).collect()
        };
        // Members count when a generation begins only: there may be thousands.
        let members = if generation.number() == self.facts.generation.number() {
            core::mem::take(&mut self.facts.members)
        } else {
            let removed = record.removed().map(|id| id.node_id);
            record.members().keys().copied().chain(removed).collect()
        };
        (self.configured, self.told) = (record.configuration().at, record.number());
        let (present, gone) = (each(present), each(Record::last_gone));
        self.facts = Facts { generation, present, gone, wanted, members };
        self.facts.clone()
    }

    /// Whether this start counts as a voter of the present generation: first once that is committed and a leader is there.
    /// From then on a change of other voters, whose entry is not committed for a moment, takes nothing from it.
    fn counts(&self, me: Incarnation) -> bool {
        let (record, (generation, standing)) = (&self.facts.generation, &self.standing);
        let serves = self.room.as_ref().and_then(Generations::serves) == Some(record.number());
        serves
            && *generation == record.number()
            && (self.counted == *generation || standing.leader.is_some() && standing.configuration.committed)
            && record.sets.last().is_some_and(|set| set.contains(&me))
            && standing.configuration.has_voter(voter(me))
    }
}

fn present(record: &Record, node_id: NodeId) -> Option<Guid> {
    record.member(node_id).map(|member| member.guid)
}

/// What the room wants to know of a replica.
fn standing_for_room(generation: u64, standing: &consensus::Standing) -> volatile::Standing {
    let configuration = &standing.configuration;
    let sets = || configuration.voters.iter().map(|set| set.iter().copied().map(incarnation).collect()).collect();
    volatile::Standing {
        generation,
        led: standing.leader.is_some() && standing.failed.is_none(),
        leads: standing.leads,
        last: standing.last,
        voters: configuration.committed.then(sets),
    }
}

impl Control {
    /// The group of a cluster that this node is in from now on, under its present guid.
    pub(super) fn open_volatile(&mut self, now: Now) {
        let settings = Settings { session_max: self.volatile.session_max, faults: Faults::default() };
        let served = core::mem::take(&mut self.volatile.served);
        let sealed = self.group.cluster().and_then(|id| served.get(&id)).copied().unwrap_or(0);
        let room = Some(Generations::new(self.me(), settings, now.mono).sealed_through(sealed));
        self.volatile = Volatile { room, served, ..Volatile::new(self.volatile.session_max) };
    }

    /// What there is of it here ends. Should this start come back into the cluster, it serves no generation again.
    pub(super) fn close_volatile(&mut self, out: &mut Vec<Output>) {
        let mut served = core::mem::take(&mut self.volatile.served);
        if let Some(room) = &self.volatile.room {
            out.push(Output::Volatile(VolatileRequest::Close));
            if let Some(cluster_id) = self.group.cluster() {
                served.insert(cluster_id, room.served_through());
            }
        }
        self.volatile = Volatile { served, ..Volatile::new(self.volatile.session_max) };
    }

    /// This incarnation is over: it serves no generation any more. What it serves is sealed before the node, in the same
    /// process, begins anew under another guid.
    pub(super) fn end_volatile(&mut self, now: Now, out: &mut Vec<Output>) {
        self.volatile(Input::Over, now, out);
    }

    fn volatile(&mut self, input: Input, now: Now, out: &mut Vec<Output>) {
        let mut inputs = VecDeque::from([input]);
        while let Some(input) = inputs.pop_front() {
            let mut given = Vec::new();
            let Some(room) = &mut self.volatile.room else { return };
            room.handle(input, now, &mut given);
            self.generations_gave(given, &mut inputs, out);
        }
        self.propose_generation(now, out);
    }

    pub(super) fn tick_volatile(&mut self, now: Now, out: &mut Vec<Output>) {
        let Some(room) = &mut self.volatile.room else { return };
        let (mut given, mut inputs) = (Vec::new(), VecDeque::new());
        room.tick(now, &mut given);
        self.generations_gave(given, &mut inputs, out);
        for input in inputs {
            self.volatile(input, now, out);
        }
        self.propose_generation(now, out);
    }

    fn generations_gave(&mut self, given: Vec<volatile::Output>, inputs: &mut VecDeque<Input>, out: &mut Vec<Output>) {
        let Some(cluster_id) = self.group.cluster() else { return };
        let me = self.me();
        for output in given {
            let request = match output {
                volatile::Output::Send { to, message } if to == me.node_id => {
                    inputs.push_back(Input::Message { from: to, message });
                    continue;
                }
                volatile::Output::Send { to, message } => {
                    self.send(to, &Message::Generations { cluster_id, message }, out);
                    continue;
                }
                volatile::Output::Propose(proposal) => {
                    self.volatile.proposal = Some(proposal);
                    continue;
                }
                volatile::Output::AskSessions { generation } => {
                    inputs.push_back(Input::Sessions { generation, sessions: Vec::new() });
                    continue;
                }
                // There is no lock yet that could be held.
                volatile::Output::Sessions { .. } => continue,
                volatile::Output::Waiting(who) => {
                    self.generation_waits(who, out);
                    continue;
                }
                volatile::Output::Order(order) => VolatileRequest::Order { cluster_id, me, order },
            };
            out.push(Output::Volatile(request));
        }
    }

    fn generation_waits(&mut self, who: Vec<Incarnation>, out: &mut Vec<Output>) {
        // This one seals as soon as nobody else is missing.
        let me = self.me();
        self.volatile.waits = who.into_iter().filter(|id| *id != me).collect();
        self.dirty = true;
        if let Some(waits) = self.volatile_waits() {
            emit(None, EventKind::ClusterWaiting { waits }, out);
        }
    }

    /// Gives the room what the record says now, where that is news.
    pub(super) fn follow_generations(&mut self, now: Now, out: &mut Vec<Output>) {
        let record = self.group.durable.record();
        // One that is read from its beginning again is not news before it is where it was.
        if record.number() < self.volatile.told {
            return;
        }
        if self.volatile.room.is_none() || self.volatile.knows(record) {
            return self.propose_generation(now, out);
        }
        if self.volatile.facts.generation.version != record.volatile().version {
            self.volatile.waits.clear();
        }
        let facts = self.volatile.read(record);
        self.dirty = true;
        self.tell_who_is_up(now, out);
        self.volatile(Input::Facts(facts), now, out);
    }

    /// Tells the room whom this node hears, where that is news.
    pub(super) fn tell_who_is_up(&mut self, now: Now, out: &mut Vec<Output>) {
        let heard = self.volatile.looks_at.iter().filter(|id| self.hears(**id));
        let records: Vec<_> = heard.filter_map(|id| self.membership.record(*id)).collect();
        let up: BTreeSet<Incarnation> = records.iter().map(|record| record.id).collect();
        let leaves = records.iter().filter(|record| record.status == Status::Leaving);
        let leaving: BTreeSet<Incarnation> = leaves.map(|record| record.id).collect();
        if up != self.volatile.up {
            self.volatile.up.clone_from(&up);
            self.volatile(Input::Up(up), now, out);
        }
        if leaving != self.volatile.leaving {
            self.volatile.leaving.clone_from(&leaving);
            self.volatile(Input::Leaving(leaving), now, out);
        }
    }

    /// Has the latest proposal committed, as soon as there is somebody to ask and the record here is not an old one.
    fn propose_generation(&mut self, now: Now, out: &mut Vec<Output>) {
        let (record, standing) = (self.group.durable.record(), self.group.durable.standing());
        if self.volatile.wished || self.group.is_behind() || standing.leader.is_none() {
            return;
        }
        let Some(proposal) = self.volatile.proposal.take() else { return };
        if proposal.expected == record.volatile().version {
            self.volatile.wished = true;
            self.wish_generation(proposal, now, out);
        }
    }

    /// Another node of the cluster says something about its generations.
    pub(super) fn generations_said(
        &mut self,
        from: NodeId,
        cluster_id: ClusterId,
        message: volatile::Message,
        now: Now,
        out: &mut Vec<Output>,
    ) {
        if self.group.cluster() == Some(cluster_id) {
            self.volatile(Input::Message { from, message }, now, out);
        }
    }

    /// What the replica of this cluster says. What is still under way from an earlier one is dropped.
    pub(super) fn volatile_said(&mut self, cluster_id: ClusterId, news: VolatileNews, now: Now, out: &mut Vec<Output>) {
        if self.group.cluster() != Some(cluster_id) {
            return;
        }
        let input = match news {
            VolatileNews::Standing { generation, standing } => {
                Input::Standing(self.stand_volatile(generation, standing))
            }
            VolatileNews::Report(report) => Input::Report(report),
        };
        self.volatile(input, now, out);
        let me = self.me();
        if self.volatile.counts(me) {
            self.volatile.counted = self.volatile.standing.0;
        }
    }

    fn stand_volatile(&mut self, generation: u64, standing: Box<consensus::Standing>) -> volatile::Standing {
        let told = standing_for_room(generation, &standing);
        let (_, before) = &self.volatile.standing;
        self.dirty |= before.leader != standing.leader || before.configuration != standing.configuration;
        self.volatile.standing = (generation, *standing);
        told
    }

    /// Whether this node's part in the volatile group lets it be ready for work that needs a majority: a start that is to
    /// vote counts as a voter. One that was ready before it was to vote stays so while it becomes one.
    pub(super) fn volatile_is_ready(&self) -> bool {
        let volatile = &self.volatile;
        let was_ready = volatile.counted == 0 && volatile.ready_before;
        let counts = was_ready || volatile.waits.is_empty() && volatile.counts(self.me());
        !volatile.facts.wanted.contains(&self.me().node_id) || counts
    }

    /// This node is ready.
    pub(super) fn note_ready(&mut self) {
        self.volatile.ready_before = true;
        if !self.volatile.facts.wanted.contains(&self.me().node_id) {
            // It has voted and does not any more; should it be wanted again, it becomes one as others do.
            self.volatile.counted = 0;
        }
    }

    /// What the volatile group waits for, in words.
    fn volatile_waits(&self) -> Option<String> {
        let name = |id: &Incarnation| {
            self.membership.record(id.node_id).map_or_else(|| id.node_id.to_string(), |record| record.name.to_string())
        };
        let names: Vec<String> = self.volatile.waits.iter().map(name).collect();
        let number = self.volatile.facts.generation.number();
        let names = (!names.is_empty()).then(|| names.join(" and "))?;
        let head = format!("generation {} of the volatile group waits for {names}, of the one before", number + 1);
        let lost: Vec<String> = self.group.durable.record().volatile_lost().iter().map(name).collect();
        Some(if lost.is_empty() {
            format!("{head}: it is neither back, nor sealed, nor gone")
        } else {
            let lost = lost.join(" and ");
            format!("{head}: {lost}, gone, could go on without this cluster. Lost for good? ekka recover --plan")
        })
    }

    /// Why this node is not ready for the volatile group's sake, in words.
    pub(super) fn volatile_reason(&self) -> Option<String> {
        if self.volatile_is_ready() {
            return None;
        }
        let number = self.volatile.facts.generation.number();
        Some(self.volatile_waits().unwrap_or_else(|| match number {
            0 => String::from("the volatile group (locks, ram quorum tables) has not begun yet"),
            _ => format!(
                "this start does not count as a voter of the volatile group (locks, ram quorum tables) yet, generation {number}"
            ),
        }))
    }

    /// Why the volatile group would lose its majority with this node, in words.
    pub(super) fn volatile_needs_me(&self) -> Option<String> {
        let me = self.me();
        let generation = &self.volatile.facts.generation;
        let counts = |id: &&Incarnation| {
            let runs = self.membership.record(id.node_id).is_some_and(|record| record.id == **id);
            **id != me && runs && self.membership.is_running(id.node_id)
        };
        generation.sets.iter().filter(|set| set.contains(&me)).find_map(|set| {
            let left = set.iter().filter(counts).count();
            (left * 2 <= set.len())
                .then(|| format!("without this node {left} of {} voters of the volatile group are in reach", set.len()))
        })
    }

    /// For the view.
    pub(super) fn volatile_view(&self) -> view::Volatile {
        let generation = &self.volatile.facts.generation;
        let (of, standing) = &self.volatile.standing;
        let here = *of == generation.number();
        view::Volatile {
            generation: generation.number(),
            voters: generation.sets.last().into_iter().flatten().map(|id| id.node_id).collect(),
            leader: standing.leader.filter(|_| here).map(|leader| leader.node_id),
            votes: self.volatile.counts(self.me()),
            lost: generation.lost,
        }
    }
}
