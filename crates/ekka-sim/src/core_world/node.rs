//! One simulated machine: its clocks, its disc, and the process that runs on it, if one does.

use std::collections::BTreeMap;
use std::time::Duration;

use ekka_core::autocluster::{Faults as FormationFaults, Merge, Settings, SourceList};
use ekka_core::control::{Carried, Control, Faults, Identity, Saved, Setup, StopReason};
use ekka_core::decision::Decisions;
use ekka_core::id::{Endpoint, Guid, NodeId, NodeName, StoreId};
use ekka_core::limits::{SETTLE_OTHER, SETTLE_STATIC};
use ekka_core::rng::Rng;
use ekka_core::time::{Instant, Now, Wall};
use ekka_core::view::Role;

use super::backend::Source;

/// How a machine is set up.
#[derive(Clone, Debug)]
pub struct NodeSpec {
    /// The node's name.
    pub name: NodeName,
    /// Its list of seeds, as discovery gives it; lies are allowed.
    pub seeds: Vec<NodeName>,
    /// The strategy that is asked in place of the list.
    pub source: Option<Source>,
    /// Clock offset from true time in milliseconds.
    pub clock_offset_ms: i64,
    /// What happens when two formed clusters meet.
    pub merge: Merge,
    /// How long a node is down before it is gone.
    pub gone_after: Duration,
    /// Time for views to settle before a partition is healed; `None` heals nobody.
    pub autoheal: Option<Duration>,
    /// How long a member is down before it is forgotten; `None` is never.
    pub autoclean: Option<Duration>,
    /// Planted faults.
    pub faults: Faults,
    /// Planted faults of formation.
    pub formation_faults: FormationFaults,
}

impl NodeSpec {
    /// A node with a right clock and these seeds.
    #[must_use]
    pub fn new(name: &NodeName, seeds: &[NodeName]) -> Self {
        Self {
            name: name.clone(),
            seeds: seeds.to_vec(),
            source: None,
            clock_offset_ms: 0,
            merge: Merge::Empty,
            gone_after: Duration::from_secs(15),
            autoheal: Some(Duration::from_secs(3)),
            autoclean: None,
            faults: Faults::default(),
            formation_faults: FormationFaults::default(),
        }
    }

    pub(super) fn settings(&self) -> Settings {
        let own = self.settings_of_list();
        let Some(source) = self.source else { return own };
        let decides = source == Source::Etcd;
        Settings {
            strategies: vec![source.name().into()],
            electorate: None,
            counts: (source == Source::K8s).then(|| source.name().into()),
            decider: decides.then(|| source.name().into()),
            expect: decides.then_some(1),
            settle: SETTLE_OTHER,
            ..own
        }
    }

    fn settings_of_list(&self) -> Settings {
        let mut list = self.seeds.clone();
        list.push(self.name.clone());
        list.sort();
        list.dedup();
        let expect = u32::try_from(list.len() / 2 + 1).expect("a small list");
        Settings {
            strategies: vec!["static".into()],
            electorate: Some(list),
            decider: None,
            counts: None,
            expect: Some(expect),
            settle: SETTLE_STATIC,
            merge: self.merge,
            base_port: 4370,
            may_vote: true,
            faults: self.formation_faults,
        }
    }
}

/// What survives the end of a process: identity and the last state that was written whole.
#[derive(Clone, Debug, Default)]
pub struct Disc {
    node_id: Option<NodeId>,
    store: Option<StoreId>,
    last_guid: Option<Guid>,
    start_counter: u64,
    name: Option<NodeName>,
    pub(super) saved: Saved,
}

impl Disc {
    /// The note of the cluster is lost; who the node is stays.
    pub fn forget_cluster(&mut self) {
        self.saved = Saved::default();
    }
}

/// A running process.
pub struct Process {
    /// The machine under test.
    pub control: Control,
    /// The strategies that it uses.
    pub(super) list: SourceList,
    /// When it is to be ticked next.
    pub(super) wake: Option<Instant>,
    /// When the heap has its next wake.
    pub(super) waking: Option<Instant>,
    pub(super) stopped: Option<StopReason>,
    /// Until when it holds its lease.
    pub(super) lease: Option<Instant>,
    pub(super) paused: bool,
    pub(super) inbox: Vec<super::net::Delivery>,
}

/// One machine.
pub struct Machine {
    /// How it is set up.
    pub spec: NodeSpec,
    /// Where it is reached.
    pub endpoint: Endpoint,
    /// Its disc.
    pub disc: Disc,
    /// Its process.
    pub process: Option<Process>,
    /// Counts processes, so that what was meant for an old one does not reach a new one.
    pub life: u64,
    /// Counts the replicas of the durable group that it has opened.
    pub(super) opening: u64,
    /// Its directory was copied from another machine.
    pub copy: bool,
    /// Why its last process ended, where that was by its own decision.
    pub ended: Option<StopReason>,
    /// Guids of all its starts.
    pub guids: Vec<Guid>,
    /// Frames that its processes sent.
    pub sent: u64,
    /// Frames that its processes got.
    pub received: u64,
    /// Longest time that its writes take, where that differs from the others'.
    pub disc_delay: Option<Duration>,
    /// A copy of its directory in a safe place.
    pub backup: Option<Disc>,
    /// What was decided in the process that goes on under a new guid.
    pub(super) decided: Option<Decisions>,
    /// Identities that it gave up.
    pub given_up: Vec<NodeId>,
    /// What the next start of its process goes on with.
    pub(super) carried: Option<Carried>,
    rng: Rng,
}

impl Machine {
    /// A machine that was never started.
    #[must_use]
    pub fn new(spec: NodeSpec, rng: Rng) -> Self {
        let endpoint = spec.name.endpoint(4370).expect("a port below 65536");
        Self {
            spec,
            endpoint,
            disc: Disc::default(),
            process: None,
            life: 0,
            opening: 0,
            copy: false,
            ended: None,
            guids: Vec::new(),
            sent: 0,
            received: 0,
            disc_delay: None,
            backup: None,
            decided: None,
            given_up: Vec::new(),
            carried: None,
            rng,
        }
    }

    /// Which node its disc is of, once it was started.
    #[must_use]
    pub fn node_id(&self) -> Option<NodeId> {
        self.disc.node_id
    }

    /// Both clocks of the machine.
    #[must_use]
    pub fn now(&self, true_time: Instant) -> Now {
        let millis = 1_800_000_000_000i64
            .saturating_add(i64::try_from(true_time.as_nanos() / 1_000_000).unwrap_or(i64::MAX))
            .saturating_add(self.spec.clock_offset_ms);
        Now { mono: true_time, wall: Wall::from_millis(u64::try_from(millis).unwrap_or(0)) }
    }

    /// Starts a process on what is on the disc.
    pub fn start(&mut self, true_time: Instant) {
        let now = self.now(true_time);
        self.life += 1;
        let node_id = *self.disc.node_id.get_or_insert_with(|| NodeId::from_random(self.rng.next_u128()));
        let store = *self.disc.store.get_or_insert_with(|| StoreId::from_u128(self.rng.next_u128()));
        let previous_guid = self.disc.last_guid;
        let guid = Guid::next(now.wall, self.rng.next_u128(), previous_guid);
        self.disc.last_guid = Some(guid);
        self.disc.start_counter += 1;
        let renamed_from = self.disc.name.replace(self.spec.name.clone()).filter(|old| *old != self.spec.name);
        self.guids.push(guid);
        let setup = Setup {
            session_max: Duration::from_secs(60),
            identity: Identity { node_id, guid, previous_guid, start_counter: self.disc.start_counter, renamed_from },
            name: self.spec.name.clone(),
            endpoint: self.endpoint.clone(),
            role: Role::Core,
            tags: BTreeMap::new(),
            cluster_name: "ekka".into(),
            software: "0.1.0".into(),
            formation: self.spec.settings(),
            store,
            damage: Vec::new(),
            saved: self.disc.saved.clone(),
            seed: self.rng.next_u64(),
            faults: self.spec.faults,
            gone_after: self.spec.gone_after,
            autoheal: self.spec.autoheal,
            carried: self.carried.take(),
            autoclean: self.spec.autoclean,
        };
        self.process = Some(Process {
            control: Control::new(setup, now).with_decisions(self.decided.take().unwrap_or_default()),
            list: SourceList::default(),
            wake: None,
            waking: None,
            stopped: None,
            lease: None,
            paused: false,
            inbox: Vec::new(),
        });
    }

    /// Moves the machine to another name and address; takes effect at its next start.
    pub fn rename(&mut self, name: &NodeName) {
        self.spec.name = name.clone();
        self.endpoint = name.endpoint(4370).expect("a port below 65536");
    }

    /// Whether its disc counts fewer starts than it had.
    #[must_use]
    pub fn is_set_back(&self) -> bool {
        !self.copy && self.disc.start_counter < self.guids.len() as u64
    }

    /// Makes it a new node, as `--restored` does.
    pub fn forget_identity(&mut self) {
        self.given_up.extend(self.disc.node_id);
        self.disc = Disc::default();
    }
}
