//! The event heap: what happens next, to which machine, and what must hold after it.

use std::collections::BTreeMap;
use std::time::Duration;

use ekka_core::control::{
    CloseCause, Command, CommandError, ConnId, DialError, Input, Output, Reply, RequestId, StopReason,
};
use ekka_core::event::Event;
use ekka_core::id::{ClusterId, Endpoint};
use ekka_core::machine::Machine as _;
use ekka_core::rng::Rng;
use ekka_core::time::Instant;
use ekka_core::wire::{Hello, Refusal};

use super::backend::Backend;
use super::discovery::Lies;
use super::group::Group;
use super::happening::Happening;
use super::net::{Delivery, Net};
use super::node::{Disc, Machine, NodeSpec};
use super::operator::Asked;
use super::volatile::Volatile;
use crate::failure::Failure;
use crate::invariant::Watch;
use crate::trace::Trace;

/// Figures of a run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Virtual time that passed, in milliseconds.
    pub virtual_ms: u64,
    /// Happenings worked off.
    pub happenings: u64,
    /// A hash over everything that happened.
    pub trace_hash: u64,
    /// Frames sent.
    pub frames: u64,
    /// Bytes sent.
    pub bytes: u64,
}

/// All machines, the network, and the time.
pub struct World {
    /// The machines.
    pub machines: Vec<Machine>,
    /// The network.
    pub net: Net,
    /// The time.
    pub now: Instant,
    /// What must always hold.
    pub watch: Watch,
    /// Events of each machine, latest life included.
    pub events: Vec<Vec<Event>>,
    /// Answers to commands by machine.
    pub replies: BTreeMap<(usize, u64), Result<Reply, CommandError>>,
    /// Longest time that a write to disc takes.
    pub disc_delay: Duration,
    /// Whether discovery answers, or fails.
    pub discovery_works: bool,
    /// How discovery deceives.
    pub lies: Lies,
    /// The backend that is asked in place of the lists.
    pub backend: Option<Backend>,
    /// The durable group of each cluster.
    pub(super) groups: BTreeMap<ClusterId, Group>,
    /// The volatile groups.
    pub(super) volatile: Volatile,
    /// Whether whoever says that it is outside may be in nobody's list.
    pub half_joins_count: bool,
    /// Commands of operators that wait for their answers, by number.
    pub(super) asked: BTreeMap<u64, Asked>,
    /// Whether `check` runs after every step (off for the largest worlds).
    pub checked: bool,
    /// Whether events are kept and stand in the trace (off for the largest worlds: each node tells of each other).
    pub kept: bool,
    pub(super) rng: Rng,
    heap: BTreeMap<(Instant, u64), Happening>,
    last: u64,
    last_request: u64,
    pub(super) dialing: BTreeMap<(usize, Endpoint), usize>,
    written: BTreeMap<usize, (u64, u64)>,
    report: Report,
    trace: Trace,
    pub(super) failure: Option<String>,
}

/// The connection of the world and the end of it that a process knows by this number.
pub(super) fn end_of(conn: ConnId) -> (usize, usize) {
    let number = usize::try_from(conn.0).expect("the world numbers connections by usize");
    (number / 2, number % 2)
}

impl World {
    /// A world in which no process runs yet.
    #[must_use]
    pub fn new(specs: Vec<NodeSpec>, seed: u64) -> Self {
        let mut rng = Rng::new(seed);
        let machines: Vec<Machine> = specs.into_iter().map(|spec| Machine::new(spec, rng.child("machine"))).collect();
        let mut watch = Watch::new();
        machines.iter().enumerate().for_each(|(i, machine)| watch.seeds(i, machine.spec.seeds.len()));
        Self {
            events: vec![Vec::new(); machines.len()],
            machines,
            net: Net::new(),
            now: Instant::from_nanos(1_000_000_000),
            watch,
            replies: BTreeMap::new(),
            disc_delay: Duration::from_millis(10),
            discovery_works: true,
            lies: Lies::default(),
            backend: None,
            groups: BTreeMap::new(),
            volatile: Volatile::default(),
            half_joins_count: true,
            asked: BTreeMap::new(),
            checked: true,
            kept: true,
            rng,
            heap: BTreeMap::new(),
            last: 0,
            last_request: 0,
            dialing: BTreeMap::new(),
            written: BTreeMap::new(),
            report: Report::default(),
            trace: Trace::new(),
            failure: None,
        }
    }

    pub(super) fn at(&mut self, when: Instant, happening: Happening) {
        self.last += 1;
        self.heap.insert((when, self.last), happening);
    }

    pub(super) fn note(&mut self, text: &str) {
        self.trace.note(Duration::from_nanos(self.now.as_nanos()), text);
    }

    /// Figures so far.
    #[must_use]
    pub fn report(&self) -> Report {
        Report {
            virtual_ms: self.now.as_nanos() / 1_000_000 - 1_000,
            frames: self.net.frames,
            bytes: self.net.bytes,
            trace_hash: self.trace.hash(),
            ..self.report
        }
    }

    /// A failure with the trace.
    #[must_use]
    pub fn failed(&self, what: impl Into<String>) -> Failure {
        Failure { what: what.into(), trace: self.trace.lines() }
    }

    /// Adds a machine with a copy of another one's directory; its number.
    pub fn add(&mut self, spec: NodeSpec, disc: Disc) -> usize {
        let mut machine = Machine::new(spec, self.rng.child("copy"));
        machine.disc = disc;
        machine.copy = true;
        self.watch.copied(self.machines.len());
        self.watch.seeds(self.machines.len(), machine.spec.seeds.len());
        self.machines.push(machine);
        self.events.push(Vec::new());
        self.machines.len() - 1
    }

    /// Starts the process of a machine, if none runs.
    pub fn start(&mut self, machine: usize) {
        if self.machines[machine].process.is_none() {
            self.note(&format!("start {machine}"));
            self.expect_restored(machine);
            self.machines[machine].start(self.now);
            self.watch.started(machine, self.machines[machine].spec.clock_offset_ms);
            self.written.remove(&machine);
            self.backend_sees_start(machine);
            self.input(machine, Input::Start);
        }
    }

    /// Ends a process at once, as `kill -9` does; its host answers with resets.
    pub fn kill(&mut self, machine: usize) {
        if self.machines[machine].process.take().is_some() {
            self.note(&format!("kill {machine}"));
            self.end_connections(machine);
        }
    }

    /// Stops a process from running, as SIGSTOP does.
    pub fn pause(&mut self, machine: usize) {
        if let Some(process) = &mut self.machines[machine].process {
            process.paused = true;
            self.note(&format!("pause {machine}"));
        }
    }

    /// Lets it run again: what came meanwhile arrives at once.
    pub fn resume(&mut self, machine: usize) {
        let Some(process) = &mut self.machines[machine].process else { return };
        if std::mem::take(&mut process.paused) {
            let inbox = std::mem::take(&mut process.inbox);
            self.note(&format!("resume {machine}"));
            self.watch.paused(machine);
            for delivery in inbox {
                self.deliver(machine, delivery);
            }
            self.tick(machine);
        }
    }

    /// Gives a command to a node; its number, for the reply.
    pub fn command(&mut self, machine: usize, command: Command) -> u64 {
        let id = self.next_request();
        self.last_request = id;
        self.expect_leave(machine, &command);
        self.input(machine, Input::Command { id: RequestId(id), command });
        id
    }

    /// The number of the next command.
    pub(super) fn next_request(&self) -> u64 {
        self.last_request + 1
    }

    /// Runs until a point in time.
    ///
    /// # Errors
    /// Something that must hold did not.
    pub fn run_until(&mut self, until: Instant) -> Result<(), Failure> {
        while let Some((&key, _)) = self.heap.first_key_value() {
            if key.0 > until {
                break;
            }
            let Some(happening) = self.heap.remove(&key) else { break };
            self.now = key.0;
            self.report.happenings += 1;
            self.trace.mix(key.0.as_nanos() ^ happening.mark());
            self.happen(happening);
            if let Some(what) = self.failure.take() {
                return Err(self.failed(what));
            }
        }
        self.now = until;
        Ok(())
    }

    /// Runs for so long.
    ///
    /// # Errors
    /// Something that must hold did not.
    pub fn run_for(&mut self, time: Duration) -> Result<(), Failure> {
        self.run_until(self.now + time)
    }

    /// Runs until a condition holds, looking every 50 ms of virtual time; how long it took.
    ///
    /// # Errors
    /// It did not hold within the limit, or something else that must hold did not.
    pub fn run_to(
        &mut self,
        what: &str,
        limit: Duration,
        mut holds: impl FnMut(&Self) -> bool,
    ) -> Result<Duration, Failure> {
        let begin = self.now;
        while !holds(self) {
            if self.now.since(begin) >= limit {
                return Err(self.failed(format!("{what}: not within {limit:?}; {}", self.words())));
            }
            self.run_for(Duration::from_millis(50))?;
        }
        Ok(self.now.since(begin))
    }

    fn happen(&mut self, happening: Happening) {
        match happening {
            Happening::Wake { machine, life } => {
                let due = self.machines[machine].life == life
                    && self.machines[machine]
                        .process
                        .as_ref()
                        .is_some_and(|p| !p.paused && p.wake.is_some_and(|wake| wake <= self.now));
                if due {
                    self.tick(machine);
                }
            }
            Happening::Deliver { machine, life, delivery } => {
                if self.machines[machine].life == life && self.machines[machine].process.is_some() {
                    self.deliver(machine, delivery);
                } else if let Delivery::Frame { conn, .. } | Delivery::Greeting { conn, .. } = delivery {
                    self.reset_sender(machine, conn);
                }
            }
            Happening::DialDeadline { conn } => self.dial_deadline(conn),
            Happening::Backend(deed) => self.deed(deed),
            Happening::Group { cluster_id, again } => self.step_group(cluster_id, again),
        }
    }

    fn tick(&mut self, machine: usize) {
        let now = self.machines[machine].now(self.now);
        let mut out = Vec::new();
        if let Some(process) = &mut self.machines[machine].process {
            process.control.tick(now, &mut out);
        }
        self.outputs(machine, out);
    }

    pub(super) fn deliver(&mut self, machine: usize, delivery: Delivery) {
        if let Some(process) = &mut self.machines[machine].process
            && process.paused
        {
            process.inbox.push(delivery);
            return;
        }
        match delivery {
            Delivery::Greeting { conn, hello } => {
                let id = ConnId((conn * 2 + 1) as u64);
                let Some(connection) = self.net.connections.get_mut(&conn) else { return };
                connection.ends[1].local = Some(id);
                let addr = format!("machine-{}", connection.ends[0].machine);
                self.input(machine, Input::Hello { conn: id, hello, addr, dialed: None });
            }
            Delivery::Answered { conn, answer } => self.answered(machine, conn, answer),
            Delivery::Frame { conn, bytes } => {
                if let Some(id) = self.local(conn, machine) {
                    self.machines[machine].received += 1;
                    self.input(machine, Input::Frame { conn: id, bytes });
                }
            }
            Delivery::Closed { conn, cause } => {
                let Some(id) = self.local(conn, machine) else { return };
                let side = usize::from(id.0 % 2 == 1);
                if let Some(connection) = self.net.connections.get_mut(&conn) {
                    connection.closed[side] = true;
                    if connection.closed == [true, true] {
                        self.net.forget(conn);
                    }
                }
                self.input(machine, Input::Closed { conn: id, cause });
            }
            Delivery::DialFailed { endpoint, error } => {
                self.dialing.remove(&(machine, endpoint.clone()));
                self.input(machine, Input::DialFailed { endpoint, error });
            }
            Delivery::Persisted { token, saved } => {
                let life = self.machines[machine].life;
                let newest = self.written.get(&machine).is_none_or(|(l, t)| *l != life || *t < token);
                if newest {
                    self.written.insert(machine, (life, token));
                    self.machines[machine].disc.saved = *saved;
                }
                self.input(machine, Input::Persisted { token });
            }
            Delivery::Discovered => self.discovered(machine),
            Delivery::Backend(input) => self.input(machine, *input),
            Delivery::Replica { opening, input } if self.machines[machine].opening == opening => {
                self.input(machine, *input);
            }
            Delivery::Replica { .. } => {}
        }
    }

    /// The dialled side answered.
    fn answered(&mut self, machine: usize, conn: usize, answer: Result<Box<Hello>, Refusal>) {
        let id = ConnId((conn * 2) as u64);
        let Some(connection) = self.net.connections.get_mut(&conn) else { return };
        let endpoint = connection.endpoint.clone();
        if self.dialing.remove(&(machine, endpoint.clone())).is_none() {
            return;
        }
        match answer {
            Ok(hello) => {
                connection.ends[0].local = Some(id);
                let addr = endpoint.to_string();
                self.input(machine, Input::Hello { conn: id, hello, addr, dialed: Some(endpoint) });
            }
            Err(refusal) => {
                self.close_end(conn, 0, CloseCause::Reset);
                let error = DialError::Rejected(refusal);
                self.input(machine, Input::DialFailed { endpoint, error });
            }
        }
    }

    pub(super) fn input(&mut self, machine: usize, input: Input) {
        let now = self.machines[machine].now(self.now);
        let mut out = Vec::new();
        if let Some(process) = &mut self.machines[machine].process {
            process.control.handle(input, now, &mut out);
        }
        self.outputs(machine, out);
    }

    fn outputs(&mut self, machine: usize, out: Vec<Output>) {
        for output in out {
            self.output(machine, output);
        }
        let Some(process) = &mut self.machines[machine].process else { return };
        if self.checked {
            process.control.check();
        }
        let wake = process.control.deadline();
        process.wake = wake;
        // Most inputs leave the deadline where it was: one wake at that time is enough.
        let at = wake.map(|wake| wake.max(self.now + Duration::from_micros(1)));
        let news = at.filter(|at| process.waking != Some(*at));
        process.waking = at;
        let life = self.machines[machine].life;
        if let Some(at) = news {
            self.at(at, Happening::Wake { machine, life });
        }
        if let Some(reason) = self.machines[machine].process.as_mut().and_then(|p| p.stopped.take()) {
            self.stopped(machine, &reason);
        }
    }

    /// Something that must hold, as it was looked at.
    pub(super) fn broken(&mut self, seen: Result<(), String>) {
        if let Err(what) = seen {
            self.failure.get_or_insert(what);
        }
    }

    /// A process that ended by its own decision; a restored one starts again as a new node.
    fn stopped(&mut self, machine: usize, reason: &StopReason) {
        self.note(&format!("stopped {machine}: {reason:?}"));
        let left = self.machines[machine].process.take();
        let left = left.map(|mut process| (process.control.carry(), process.control.take_decisions()));
        self.machines[machine].ended = Some(reason.clone());
        self.end_connections(machine);
        if let Err(what) = self.watch.ended(machine, reason) {
            self.failure.get_or_insert(what);
        }
        if matches!(reason, StopReason::Restored(_)) && !self.machines[machine].copy {
            self.machines[machine].forget_identity();
            self.start(machine);
        }
        if *reason == StopReason::Over {
            (self.machines[machine].carried, self.machines[machine].decided) = left.unzip();
            self.start(machine);
        }
    }

    fn output(&mut self, machine: usize, output: Output) {
        let life = self.machines[machine].life;
        match output {
            Output::Verdict { conn, verdict } => self.verdict(conn, verdict),
            Output::Send { conn, bytes } => {
                let (id, side) = end_of(conn);
                self.net.frames += 1;
                self.machines[machine].sent += 1;
                self.net.bytes += bytes.len() as u64;
                self.carry(id, 1 - side, Delivery::Frame { conn: id, bytes }, Duration::ZERO);
            }
            Output::Close { conn, cause } => {
                let (id, side) = end_of(conn);
                let seen = match cause {
                    CloseCause::Refused(refusal) => CloseCause::Refused(refusal),
                    _ => CloseCause::Reset,
                };
                self.close_end(id, side, seen);
            }
            Output::Dial { endpoint } => self.dial(machine, endpoint),
            Output::Group(request) => self.group_request(machine, request),
            Output::Volatile(request) => self.volatile_request(machine, request),
            Output::Claim(offer) => self.offer_to_backend(machine, offer),
            Output::Register(registration) => self.register_at_backend(machine, registration),
            Output::Discover if self.backend.is_some() => self.ask_backend(machine),
            Output::Discover => {
                let when = self.now + self.rng.up_to(Duration::from_millis(2));
                self.at(when, Happening::Deliver { machine, life, delivery: Delivery::Discovered });
            }
            Output::Persist { token, saved } => {
                if let Err(what) = self.watch.saves(machine, &saved.roster) {
                    self.failure.get_or_insert(what);
                }
                let when = self.now
                    + Duration::from_micros(100)
                    + self.rng.up_to(self.machines[machine].disc_delay.unwrap_or(self.disc_delay));
                let delivery = Delivery::Persisted { token, saved };
                self.at(when, Happening::Deliver { machine, life, delivery });
            }
            Output::Publish(view) => match self.watch.see(machine, &view) {
                Ok(true) => self.note(&format!("{machine} is in a new cluster {:?}", view.cluster_id)),
                Ok(false) => {}
                Err(what) => {
                    self.failure.get_or_insert(what);
                }
            },
            Output::Event(_) if !self.kept => {}
            Output::Event(event) => self.told(machine, event),
            Output::Heal(request) => self.heal_request(machine, &request),
            Output::Reply { id, result } => self.replied(machine, id.0, result),
            Output::Lease(until) => {
                if let Some(process) = &mut self.machines[machine].process {
                    process.lease = until;
                }
            }
            Output::Stop(reason) => {
                if let Some(process) = &mut self.machines[machine].process {
                    process.stopped = Some(reason);
                }
            }
        }
    }
}
