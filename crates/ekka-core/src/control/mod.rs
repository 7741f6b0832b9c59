//! The one place where membership, formation, identity and decisions meet.
//!
//! **Owns** the rooms, the table of connections, the commands under way, and the [`View`] that all others read.
//!
//! **Inputs** [`Input`] and **outputs** [`Output`] are everything that a node exchanges with its shell. The shell
//! carries bytes, dials, writes files and asks strategies; it never decides what the cluster believes.
//!
//! **Invariants** (checked by `check`, beside those of the rooms): every link belongs to the incarnation that is linked; of one node only one incarnation is linked; the number of the view grows.

mod admission;
mod clean;
mod clock;
mod command;
mod commands;
mod conns;
mod dial;
mod facts;
mod greet;
mod group;
mod heal;
pub mod io;
mod lease;
mod leave;
mod loading;
mod persist;
mod plans;
mod publish;
mod recover;
mod removed;
pub mod replica;
mod rooms;
mod schemas;
mod standing;
mod tokens;
mod twins;
mod volatile;
mod why;

use alloc::collections::{BTreeMap, VecDeque};
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;

pub use command::*;
pub use dial::DialError;
pub use io::*;
pub use loading::Loading;
pub use replica::*;

use crate::autoclean::Autoclean;
use crate::autocluster::{self, Autocluster};
use crate::autoheal;
use crate::decision::{DecisionId, Decisions};
use crate::event::{Event, EventKind};
use crate::id::{Endpoint, Guid, Incarnation, NodeId, NodeName, StoreId};
use crate::identity::clock::Clocks;
use crate::lease::Terms;
use crate::machine::Machine;
use crate::membership::{self, Membership, Record};
use crate::rng::Rng;
use crate::time::{Instant, Now, Wall};
use crate::view::{Status, View};
use crate::wire::{Hello, HelloTemplate, Moment, Purpose};

use clock::ClockAsks;
use conns::Conns;
use group::Group;
use persist::Persist;
use removed::Log;
use standing::Standing;
use twins::{Arrival, Twins};
use volatile::Volatile;

/// What one room wants of another, or of the shell, while one input is worked off.
enum Work {
    Membership(membership::Input),
    Autocluster(autocluster::Input),
    Heal(autoheal::Input),
    /// A Hello that was held back has all answers.
    Judge(ConnId),
    /// This node is out of its cluster: its replica ends.
    DropGroup(Log),
}

/// The whole of a node that decides: see the module's head.
pub struct Control {
    setup: Fixed,
    hello: HelloTemplate,
    membership: Membership,
    autocluster: Autocluster,
    clocks: Clocks,
    clock_asks: ClockAsks,
    decisions: Decisions,
    group: Group,
    conns: Conns,
    twins: Twins,
    standing: Standing,
    rng: Rng,
    work: VecDeque<Work>,
    /// Latest decision about each member, for the event that the view's change gives.
    evidence: BTreeMap<NodeId, (DecisionId, String)>,
    pending: commands::Pending,
    persist: Persist,
    view: Arc<View>,
    dirty: bool,
    /// When the view is to be made anew although nothing but ages changed.
    refresh_at: Instant,
    /// Until when a large cluster's view waits for more changes.
    settled_at: Instant,
    stopped: bool,
    /// How often the logs of a cluster were deleted.
    store_resets: u32,
    volatile: Volatile,
    leases: lease::Leases,
    clean: Autoclean,
    /// It has said, or is about to say, goodbye.
    stopping: bool,
    recovery: recover::Recover,
    heal: heal::Heal,
}

/// What never changes in one start.
struct Fixed {
    identity: Identity,
    name: NodeName,
    endpoint: Endpoint,
    cluster_name: String,
    software: String,
    base_port: u16,
    started: Wall,
    faults: Faults,
    /// The store of its logs, before any was deleted.
    store: StoreId,
    leases: Terms,
    /// What was missing or damaged in it at the start.
    damage: Vec<String>,
}

impl Control {
    /// A node at its start.
    #[must_use]
    pub fn new(mut setup: Setup, now: Now) -> Self {
        let mut rng = Rng::new(setup.seed);
        let hello = greet::template(&setup);
        let id = Incarnation { node_id: setup.identity.node_id, guid: setup.identity.guid };
        let heal = heal::Heal::new(&mut setup, id, now);
        let record = own_record(&setup, (id, heal.room.process()), now);
        let options =
            membership::Options { no_recontact: setup.faults.no_recontact, stale_wins: setup.faults.stale_wins };
        let base_port = setup.formation.base_port;
        let membership = Membership::new(
            record.clone(),
            setup.saved.roster,
            setup.saved.farewells,
            rng.child("membership"),
            options,
        );
        let autocluster = Autocluster::new(record, setup.formation, setup.saved.formation, rng.child("autocluster"));
        let fixed = Fixed {
            identity: setup.identity,
            name: setup.name,
            endpoint: setup.endpoint,
            cluster_name: setup.cluster_name,
            software: setup.software,
            base_port,
            started: now.wall,
            faults: setup.faults,
            store: setup.store,
            leases: Terms::new(setup.gone_after),
            damage: setup.damage,
        };
        let view = Arc::new(publish::first_view(&fixed, id));
        Self {
            group: Group::new(id, fixed.leases),
            setup: fixed,
            hello,
            membership,
            autocluster,
            clocks: Clocks::default(),
            clock_asks: ClockAsks::default(),
            decisions: Decisions::default(),
            conns: Conns::default(),
            twins: Twins::default(),
            standing: Standing::new(now),
            rng,
            work: VecDeque::new(),
            evidence: BTreeMap::new(),
            pending: commands::Pending::default(),
            persist: Persist::default(),
            view,
            dirty: true,
            refresh_at: now.mono,
            settled_at: now.mono,
            stopped: false,
            store_resets: setup.saved.store_resets,
            volatile: Volatile::new(setup.session_max),
            leases: lease::Leases::new(id),
            clean: Autoclean::new(id.node_id, setup.autoclean, setup.faults.of_autoclean()),
            stopping: false,
            recovery: recover::Recover::new(setup.saved.recovery),
            heal,
        }
    }

    /// What the node believes now.
    #[must_use]
    pub fn view(&self) -> Arc<View> {
        self.view.clone()
    }

    /// The decisions of this process, for `ekka why`.
    #[must_use]
    pub fn decisions(&self) -> &Decisions {
        &self.decisions
    }

    fn me(&self) -> Incarnation {
        Incarnation { node_id: self.setup.identity.node_id, guid: self.setup.identity.guid }
    }

    /// This node's Hello of this moment.
    #[must_use]
    pub fn hello(&self, purpose: Purpose, wall: Wall) -> Hello {
        let (status, holds) = (self.standing.status, self.standing.holds());
        let (cluster_id, generation) = (self.autocluster.cluster_on_disc(), self.generation());
        self.hello.hello(purpose, Moment { cluster_id, status, holds, wall, generation })
    }

    /// What this node's Hellos have in common, for a shell that gives them from the latest view.
    #[must_use]
    pub fn hello_template(&self) -> &HelloTemplate {
        &self.hello
    }

    fn start(&mut self, now: Now, out: &mut Vec<Output>) {
        out.push(Output::Event(EventKind::NodeStarting { version: self.setup.software.clone() }.into()));
        if let Some(from) = self.setup.identity.renamed_from.clone() {
            let renamed = EventKind::NodeRenamed { from, to: self.setup.name.clone() };
            out.push(Output::Event(renamed.into()));
        }
        for what in self.setup.damage.clone() {
            out.push(Output::Event(EventKind::StorageDamaged { what }.into()));
        }
        self.open_group(now, out);
        self.work.push_back(Work::Autocluster(autocluster::Input::Start));
    }

    /// Lets the rooms work off what they want of each other, then brings view and disc up to date.
    fn settle(&mut self, now: Now, out: &mut Vec<Output>) {
        loop {
            self.work_off(now, out);
            self.stand();
            if self.dirty {
                self.tell_facts(now, out);
                self.tell_who_is_up(now, out);
                self.tell_contacts_in_time(now, out);
                self.tell_who_is_down(now, out);
            }
            if self.work.is_empty() {
                break;
            }
        }
        self.finish_leaving(now, out);
        if !self.persist_can_wait(now) {
            self.persist_if_wanted(out);
        }
        if !self.stopped {
            self.publish(now, out);
        }
    }

    /// What the rooms want of each other.
    fn work_off(&mut self, now: Now, out: &mut Vec<Output>) {
        while let Some(work) = self.work.pop_front() {
            self.run(work, now, out);
        }
    }

    fn run(&mut self, work: Work, now: Now, out: &mut Vec<Output>) {
        match work {
            Work::Membership(input) => {
                let mut given = Vec::new();
                self.membership.handle(input, now, &mut given);
                self.membership_gave(given, now, out);
            }
            Work::Autocluster(input) => self.autocluster(input, now, out),
            Work::Heal(input) => self.heal(input, now, out),
            Work::Judge(conn) if !self.stopped => self.judge_held(conn, now, out),
            Work::Judge(_) => {}
            Work::DropGroup(log) => self.close_group(log == Log::Delete, out),
        }
    }

    fn frame(&mut self, conn: ConnId, bytes: &[u8], now: Now, out: &mut Vec<Output>) {
        self.confirm(conn, now, out);
        let Some(peer) = self.conns.heard(conn, now.mono) else { return };
        self.close_redundant(conn, out);
        let message = match postcard::from_bytes::<Message>(bytes) {
            Ok(message) => message,
            Err(error) => {
                let text = alloc::format!("a message that cannot be decoded: {error}");
                self.close(conn, &CloseCause::Garbage(text), now, out);
                return;
            }
        };
        match message {
            Message::Membership(message) if self.is_of_the_past(peer.node_id, &message) => {
                self.work.push_back(Work::Membership(membership::Input::HeardFrom { id: peer, at: now.mono }));
            }
            Message::Membership(message) => {
                if matches!(message, membership::Message::Goodbye) {
                    self.goodbye_came(peer, now, out);
                }
                self.work.push_back(Work::Membership(membership::Input::Received { from: peer, message }));
            }
            Message::Autocluster(message) => {
                self.work.push_back(Work::Membership(membership::Input::HeardFrom { id: peer, at: now.mono }));
                self.work.push_back(Work::Autocluster(autocluster::Input::Received { from: peer, message }));
            }
            Message::AreYouThere { nonce } => {
                let claim = self.claim();
                self.send(peer.node_id, &Message::IAmHere { nonce, claim }, out);
            }
            Message::IAmHere { nonce, claim } => self.is_here(peer, nonce, claim, out),
            Message::WhatTime { nonce } => self.say_time(peer.node_id, nonce, now, out),
            Message::Time { nonce, wall } => self.time_came(peer.node_id, nonce, wall, now, out),
            Message::WhoRuns { node_id, nonce } => self.who_runs(peer.node_id, node_id, nonce, now, out),
            Message::Runs { nonce, claim } => self.answered(peer.node_id, nonce, claim),
            Message::Remove { nonce, node_id, cause, replace_with } => {
                self.asked_to_remove((peer.node_id, nonce), (node_id, cause, replace_with), now, out);
            }
            Message::Removed { nonce, result } => self.leader_removed(nonce, result, now, out),
            Message::MayJoin { nonce, record } => self.may_join(peer.node_id, nonce, record, now, out),
            Message::Joinable { nonce, lines, refused } => self.joinable(nonce, lines, refused, out),
            Message::Generations { cluster_id, message } => {
                self.generations_said(peer.node_id, cluster_id, message, now, out);
            }
            // What another cluster says of leases, or what this node was told before it left one, is nothing to this one.
            Message::Lease { cluster_id, generation, .. } | Message::SeenDown { cluster_id, generation, .. }
                if (self.group.cluster(), self.generation()) != (Some(cluster_id), generation) => {}
            Message::Lease { message, .. } => self.lease_came(peer, message, now, out),
            Message::SeenDown { down, .. } => self.down_reported(peer.node_id, down, now, out),
            // Of another cluster, or said before this node left one.
            Message::Heal { cluster_id, generation, .. }
                if (self.autocluster.cluster_id(), self.generation()) != (Some(cluster_id), generation) => {}
            Message::Heal { from, to, message, .. } => self.heal_came(peer, (from, to), message, now, out),
            Message::LogEnd { nonce } => self.say_log_end(peer.node_id, nonce, out),
            Message::LogEnds { nonce, cluster_id, generation, last } => {
                self.log_ends(peer.node_id, nonce, (cluster_id, generation, last), now, out);
            }
        }
    }
}

/// What this start says of itself first.
fn own_record(setup: &Setup, (id, process): (Incarnation, Guid), now: Now) -> Record {
    Record {
        id,
        version: 1,
        name: setup.name.clone(),
        endpoint: setup.endpoint.clone(),
        role: setup.role,
        status: Status::Joining,
        software: setup.software.clone(),
        start_counter: setup.identity.start_counter,
        started: now.wall,
        tags: setup.tags.clone(),
        store: setup.store.after(setup.saved.store_resets),
        process,
    }
}

fn emit(decision: Option<DecisionId>, kind: EventKind, out: &mut Vec<Output>) {
    out.push(Output::Event(Event { decision, kind }));
}

impl Machine for Control {
    type Input = Input;
    type Output = Output;

    fn handle(&mut self, input: Input, now: Now, out: &mut Vec<Output>) {
        if self.stopped {
            self.refuse_while_stopped(&input, out);
            return;
        }
        self.look_at_lease(now, out);
        self.notice_pause(now, out);
        match input {
            Input::Start => self.start(now, out),
            Input::Hello { conn, hello, addr, dialed } => {
                self.hello_generation(&hello, now, out);
                self.greet(Arrival { conn, hello: *hello, addr, dialed, at: now }, None, now, out);
            }
            Input::Frame { conn, bytes } => self.frame(conn, &bytes, now, out),
            Input::Closed { conn, cause } => self.closed(conn, &cause, now, out),
            Input::DialFailed { endpoint, error } => self.dial_failed(&endpoint, &error, now, out),
            Input::Discovered { list, strategy, result } => {
                self.work.push_back(Work::Autocluster(autocluster::Input::Discovered { list, strategy, result }));
            }
            Input::Claimed { list, result } => {
                let result = result.map(|proposal| *proposal);
                self.work.push_back(Work::Autocluster(autocluster::Input::Claimed { list, result }));
            }
            Input::Persisted { token } => self.persisted(token, now, out),
            Input::Group { cluster_id, news } => self.group_said(cluster_id, news, now, out),
            Input::Disc(full) => {
                self.dirty |= self.standing.disc != full;
                self.disc_is(full, out);
            }
            Input::Tables(loading) => self.tables_said(loading),
            Input::Reconfigure { tags, list, formation, autoheal, autoclean } => {
                self.heal(autoheal::Input::Autoheal(autoheal), now, out);
                self.clean_after(autoclean, now, out);
                self.work.push_back(Work::Membership(membership::Input::SetTags(tags)));
                let input = autocluster::Input::Reconfigure { list, settings: *formation };
                self.work.push_back(Work::Autocluster(input));
            }
            Input::Heal(news) => self.heal(autoheal::Input::News(news), now, out),
            Input::Command { id, command } => self.command(id, command, now, out),
            Input::Volatile { cluster_id, news } => self.volatile_said(cluster_id, news, now, out),
        }
        self.settle(now, out);
        self.note_expected(now);
    }

    fn tick(&mut self, now: Now, out: &mut Vec<Output>) {
        if self.stopped {
            return;
        }
        self.look_at_lease(now, out);
        self.notice_pause(now, out);
        let mut given = Vec::new();
        self.membership.tick(now, &mut given);
        self.membership_gave(given, now, out);
        let mut given = Vec::new();
        self.autocluster.tick(now, &mut given);
        self.autocluster_gave(given, now, out);
        self.tick_group(now, out);
        self.tick_volatile(now, out);
        self.tick_leases(now, out);
        self.tick_heal(now, out);
        self.tick_clean(now, out);
        self.end_waits(now, out);
        self.expire_commands(now, out);
        self.expire_asked(now, out);
        self.expire_plans(now, out);
        self.tick_recovery(now, out);
        self.tick_clock(now, out);
        if now.mono >= self.refresh_at {
            self.dirty = true;
        }
        self.settle(now, out);
        self.note_expected(now);
    }

    fn deadline(&self) -> Option<Instant> {
        if self.stopped {
            return None;
        }
        [
            self.membership.deadline(),
            self.autocluster.deadline(),
            self.twins.deadline(),
            self.group.deadline(),
            self.group.is_open().then(|| self.leases.deadline()).flatten(),
            self.cleans().then(|| self.clean.deadline()).flatten(),
            self.pending.deadline(),
            self.recovery.deadline(),
            self.clock_deadline(),
            self.standing.deadline(),
            self.volatile.deadline(),
            self.heal.deadline(),
            Some(self.refresh_at),
            self.persist.wanted.then_some(self.persist.not_before),
        ]
        .into_iter()
        .flatten()
        .min()
    }

    fn check(&self) {
        self.membership.check();
        self.autocluster.check();
        self.group.durable.check();
        self.leases.check();
        self.clean.check();
        self.conns.check();
        self.twins.check();
        self.volatile.check();
        self.heal.room.check();
    }
}
