//! Backends of discovery, with what goes wrong with them: records that show late, stay too long or are only half in the
//! answer, answers that are old, slow, or errors; requests whose effect is there although their answer is not.
//!
//! Each models what its strategy promises to `Control` and no more; the wire of each is tested against the real thing.

mod etcd;
mod plan;
mod records;

pub use plan::BackendPlan;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use ekka_core::autocluster::{Answer, Candidate, Expect, Proposal, Registration, SourceList};
use ekka_core::control::Input;
use ekka_core::id::ClusterId;
use ekka_core::rng::Rng;
use ekka_core::time::Instant;

use super::happening::Happening;
use super::net::Delivery;
use super::world::World;
use etcd::Keys;
use records::Records;

/// Which strategy.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Source {
    /// Records that an operator or a controller keeps; A records of all nodes.
    Dns,
    /// Whoever runs and is in reach answers.
    Mcast,
    /// Keys with leases, and the key that decides the id.
    Etcd,
    /// Records of a controller that also tells the number of replicas.
    K8s,
}

impl Source {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Dns, Self::Mcast, Self::Etcd, Self::K8s];

    /// The word in the configuration.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Dns => "dns",
            Self::Mcast => "mcast",
            Self::Etcd => "etcd",
            Self::K8s => "k8s",
        }
    }
}

/// What goes wrong, and how much.
#[derive(Clone, Copy, Debug, Default)]
pub struct Trouble {
    /// Of a thousand requests, so many fail.
    pub errors_per_mille: u64,
    /// Longest time of a request and its answer.
    pub delay: Duration,
    /// A record shows up to so much later than it was made, and stays so much longer than it should.
    pub late: Duration,
    /// An answer may be so old.
    pub stale: Duration,
    /// Of a thousand records of an answer, so many are missing.
    pub missing_per_mille: u64,
    /// Whoever was told that nobody is there is told so again for this time, whatever changes.
    pub negative: Duration,
}

/// A backend.
#[derive(Debug)]
pub struct Backend {
    /// Which.
    pub source: Source,
    /// What goes wrong now.
    pub trouble: Trouble,
    /// Nobody reaches it.
    pub down: bool,
    /// Machines that do not reach it.
    pub unreached: BTreeSet<usize>,
    /// How many replicas it tells of.
    pub replicas: Option<u32>,
    /// Whom it lists is told, and the number of replicas is not.
    pub number_is_down: bool,
    pub(super) records: Records,
    pub(super) keys: Keys,
    nobody_until: BTreeMap<usize, Instant>,
    rng: Rng,
}

/// What the backend does at a point in time.
#[derive(Clone, Debug)]
pub(super) enum Deed {
    /// An offer arrives, even of a process that is gone.
    Claim { machine: usize, life: u64, list: SourceList, offer: Box<Proposal> },
    /// A process keeps its entry.
    Upkeep { machine: usize, life: u64 },
    /// There is a new entry.
    News,
}

/// How often a process looks after its entry.
const UPKEEP: Duration = Duration::from_secs(2);

impl Backend {
    /// One in which nothing is yet, and with which nothing is wrong.
    #[must_use]
    pub fn new(source: Source, seed: u64) -> Self {
        Self {
            source,
            trouble: Trouble::default(),
            down: false,
            unreached: BTreeSet::new(),
            replicas: None,
            number_is_down: false,
            records: Records::default(),
            keys: Keys::default(),
            nobody_until: BTreeMap::new(),
            rng: Rng::new(seed ^ 0x0062_6163_6b65_6e64),
        }
    }

    /// The id that it decided.
    #[must_use]
    pub fn decided(&self) -> Option<ClusterId> {
        self.keys.id()
    }

    fn reached(&self, machine: usize) -> bool {
        !self.down && !self.unreached.contains(&machine)
    }

    fn fails(&mut self) -> bool {
        self.rng.below(1000) < self.trouble.errors_per_mille
    }

    fn delay(&mut self) -> Duration {
        Duration::from_millis(1) + self.rng.up_to(self.trouble.delay / 2)
    }

    /// Everything that it keeps is lost.
    pub fn wipe(&mut self, now: Instant) {
        self.records.clear(now);
        self.keys.wipe();
    }

    /// Nothing is wrong any more; what was to show shows.
    pub fn repair(&mut self, now: Instant) {
        self.trouble = Trouble { delay: Duration::from_millis(20), ..Trouble::default() };
        self.down = false;
        self.number_is_down = false;
        self.unreached.clear();
        self.records.show_all(now);
        self.nobody_until.clear();
    }
}

impl World {
    /// A process starts at this address: whoever keeps records makes one.
    pub(super) fn backend_sees_start(&mut self, machine: usize) {
        let (name, endpoint) = (self.machines[machine].spec.name.clone(), self.machines[machine].endpoint.clone());
        let Some(backend) = &mut self.backend else { return };
        if matches!(backend.source, Source::Dns | Source::K8s) {
            let shows = self.now + backend.rng.up_to(backend.trouble.late);
            backend.records.make(machine, Candidate { name, endpoint }, shows, self.now);
        }
    }

    /// A machine is at this address no more.
    pub fn backend_removes(&mut self, machine: usize) {
        let Some(backend) = &mut self.backend else { return };
        let goes = self.now + backend.rng.up_to(backend.trouble.late);
        backend.records.end(machine, goes);
    }

    /// A node asks all strategies.
    pub(super) fn ask_backend(&mut self, machine: usize) {
        let me = Candidate {
            name: self.machines[machine].spec.name.clone(),
            endpoint: self.machines[machine].endpoint.clone(),
        };
        let heard = self.heard_by_multicast(machine);
        let lies = self.lies.extra.clone();
        let now = self.now;
        let Some(backend) = &mut self.backend else { return };
        let stale = backend.rng.up_to(backend.trouble.stale);
        let result = if !backend.reached(machine) || backend.fails() {
            Err("the backend is down".to_owned())
        } else {
            let as_of =
                Instant::from_nanos(now.as_nanos().saturating_sub(u64::try_from(stale.as_nanos()).unwrap_or(0)));
            let mut found = match backend.source {
                Source::Mcast => heard,
                Source::Dns | Source::K8s | Source::Etcd => backend.records.as_of(as_of),
            };
            if backend.nobody_until.get(&machine).is_some_and(|until| now < *until) {
                found.clear();
            } else if found.is_empty() {
                backend.nobody_until.insert(machine, now + backend.trouble.negative);
            }
            let missing = backend.trouble.missing_per_mille;
            found.retain(|_| backend.rng.below(1000) >= missing);
            if backend.source == Source::Mcast {
                found.push(me);
            }
            found.extend(lies);
            let expect = match backend.replicas {
                _ if backend.number_is_down => Expect::NotHeard("the number cannot be read".into()),
                Some(replicas) => Expect::Nodes(replicas / 2 + 1),
                None => Expect::Unknown,
            };
            Ok(Answer { candidates: found, expect })
        };
        let delay = backend.delay() + backend.delay();
        let strategy = backend.source.name().to_owned();
        let list = self.source_list(machine);
        self.give(machine, delay, Input::Discovered { list, strategy, result });
    }

    /// Who answers a ping to the group: whoever runs where packets pass both ways.
    fn heard_by_multicast(&self, machine: usize) -> Vec<Candidate> {
        let hears = |(other, it): (usize, &super::node::Machine)| {
            let runs = it.process.as_ref().is_some_and(|process| !process.paused);
            (other != machine && runs && self.net.connects(machine, other))
                .then(|| Candidate { name: it.spec.name.clone(), endpoint: it.endpoint.clone() })
        };
        self.machines.iter().enumerate().filter_map(hears).collect()
    }

    /// What a backend answers reaches the process after that time.
    fn give(&mut self, machine: usize, delay: Duration, input: Input) {
        let life = self.machines[machine].life;
        let delivery = Delivery::Backend(Box::new(input));
        self.at(self.now + delay, Happening::Deliver { machine, life, delivery });
    }

    /// `ekka reload` with the same strategies and settings.
    pub fn reload(&mut self, machine: usize) {
        let formation = Box::new(self.machines[machine].spec.settings());
        let autoheal = self.machines[machine].spec.autoheal;
        if self.machines[machine].process.is_some() {
            let list = self.source_list(machine);
            let autoclean = self.machines[machine].spec.autoclean;
            self.input(machine, Input::Reconfigure { tags: BTreeMap::new(), list, formation, autoheal, autoclean });
        }
    }

    /// `ekka reload` that exchanges the strategies: what is asked of the backend from now on is of another list.
    pub fn exchange_sources(&mut self, machine: usize) {
        if let Some(process) = &mut self.machines[machine].process {
            process.list = process.list.next();
        }
        self.reload(machine);
    }

    /// The list of strategies that a machine's process uses.
    pub(super) fn source_list(&self, machine: usize) -> SourceList {
        self.machines[machine].process.as_ref().map(|process| process.list).unwrap_or_default()
    }

    /// A node makes an offer to the backend that decides.
    pub(super) fn offer_to_backend(&mut self, machine: usize, offer: Box<Proposal>) {
        let life = self.machines[machine].life;
        let Some(backend) = &mut self.backend else { return };
        if !backend.reached(machine) || backend.fails() {
            let (delay, list) = (backend.delay(), self.source_list(machine));
            return self.give(machine, delay, Input::Claimed { list, result: Err("the backend is down".into()) });
        }
        let when = self.now + backend.delay();
        let list = self.source_list(machine);
        self.at(when, Happening::Backend(Deed::Claim { machine, life, list, offer }));
    }

    /// What backends are to know of a node has changed.
    pub(super) fn register_at_backend(&mut self, machine: usize, registration: Registration) {
        let Some(backend) = &mut self.backend else { return };
        if backend.source != Source::Etcd {
            return;
        }
        let life = self.machines[machine].life;
        if backend.keys.registered(machine, life, registration) {
            self.at(self.now, Happening::Backend(Deed::Upkeep { machine, life }));
        } else {
            self.keep_entry(machine, life);
        }
    }

    pub(super) fn deed(&mut self, deed: Deed) {
        match deed {
            Deed::News => self.tell_watchers(),
            Deed::Claim { machine, life, list, offer } => {
                let Some(backend) = &mut self.backend else { return };
                let holds = backend.keys.claim(*offer);
                // The answer may be lost although the offer was taken.
                let lost = !backend.reached(machine) || backend.fails();
                let result = if lost { Err("the answer was lost".to_owned()) } else { Ok(Box::new(holds)) };
                let delay = backend.delay();
                if self.machines[machine].life == life {
                    self.give(machine, delay, Input::Claimed { list, result });
                }
            }
            Deed::Upkeep { machine, life } => {
                if self.machines[machine].life != life || self.machines[machine].process.is_none() {
                    return;
                }
                self.keep_entry(machine, life);
                self.at(self.now + UPKEEP, Happening::Backend(Deed::Upkeep { machine, life }));
            }
        }
    }

    /// What `run` of the strategy does with a backend that can be reached.
    fn keep_entry(&mut self, machine: usize, life: u64) {
        let paused = self.machines[machine].process.as_ref().is_none_or(|process| process.paused);
        let (name, endpoint) = (self.machines[machine].spec.name.clone(), self.machines[machine].endpoint.clone());
        let now = self.now;
        let Some(backend) = &mut self.backend else { return };
        if paused || !backend.reached(machine) || backend.fails() {
            return;
        }
        let Some(registration) = backend.keys.of(machine, life) else { return };
        if registration.listed {
            let new = backend.records.make(machine, Candidate { name, endpoint }, now, now);
            backend.records.end(machine, now + etcd::TTL);
            if new {
                self.at(now, Happening::Backend(Deed::News));
            }
        } else {
            backend.records.end(machine, now);
        }
        if let Some(backend) = &mut self.backend {
            backend.keys.record(&registration);
        }
    }

    /// Those who watch are told that there is a new entry, and ask.
    fn tell_watchers(&mut self) {
        for machine in 0..self.machines.len() {
            let runs = self.machines[machine].process.is_some();
            let told = |backend: &mut Backend| backend.reached(machine) && !backend.fails();
            if runs && self.backend.as_mut().is_some_and(told) {
                self.ask_backend(machine);
            }
        }
    }
}
