//! Random schedules over whole nodes: a phase of faults, then everything is repaired and must converge.

use std::time::Duration;

use ekka_core::autocluster::Faults as FormationFaults;
use ekka_core::control::{Command, Faults};
use ekka_core::rng::Rng;

use super::phases;
use super::world::{Report, World};
use crate::failure::{Failure, words_of};

/// One fault.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Start a host's process.
    Start(usize),
    /// End it at once.
    Crash(usize),
    /// Drop everything between two hosts.
    Cut(usize, usize),
    /// Drop everything in one direction.
    CutOneWay(usize, usize),
    /// Keep everything between two hosts back.
    Hold(usize, usize),
    /// Cut one host off from all others.
    Isolate(usize),
    /// Repair the network.
    MendAll,
    /// The disc refuses to write.
    FailDisk(usize),
    /// The disc takes writes again.
    WorkDisk(usize),
    /// The wall clock jumps.
    Clock(usize, i64),
    /// Keep everything of one host back: to the others it is paused.
    HoldAll(usize),
    /// The process starts anew on a disc that refuses to write.
    StartOnFullDisk(usize),
    /// `ekka stop`.
    Stop(usize),
    /// The power of these hosts goes: a bit for each.
    PowerLoss(u32),
    /// `ekka leave`.
    Leave(usize),
    /// `ekka join` into the cluster of the second.
    Join(usize, usize),
}

/// What befalls one host's disc for good.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DiscFault {
    /// Bytes of its store go bad while it is off.
    Spoil(usize),
    /// It has another disc, empty.
    Wipe(usize),
}

/// What a seed means.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The seed.
    pub seed: u64,
    /// How many hosts.
    pub hosts: usize,
    /// Longest delay of a message.
    pub latency: Duration,
    /// What happens, and how long after the step before it.
    pub schedule: Vec<(Duration, Step)>,
    /// What befalls a disc once all is repaired.
    pub disc: Option<DiscFault>,
    /// What happens after that.
    pub after: Vec<(Duration, Step)>,
    /// How far apart each host takes tokens.
    pub pace: Option<Duration>,
    /// Planted faults.
    pub faults: (Faults, FormationFaults),
}

impl Plan {
    /// Draws everything from the seed.
    #[must_use]
    pub fn from_seed(seed: u64) -> Self {
        let mut rng = Rng::new(seed);
        let hosts = if rng.below(5) == 0 { 6 + rng.below(2) } else { 3 + rng.below(3) };
        let hosts = usize::try_from(hosts).unwrap_or(3);
        let latency = Duration::from_millis([2, 5, 20, 80][rng.index(4)]);
        // Each seed has only some kinds of faults, so that rare mixtures come up (swarm testing).
        let kinds: Vec<u64> = (0..KINDS).filter(|_| rng.below(2) == 0).collect();
        let mut schedule = Vec::new();
        let apart = Duration::from_millis(if rng.below(2) == 0 { 20 } else { 2_000 });
        for i in 0..hosts {
            schedule.push((rng.up_to(apart), Step::Start(i)));
        }
        schedule.extend(draw(&kinds, hosts, 16, &mut rng));
        let disc = match rng.below(4) {
            0 => Some(DiscFault::Spoil(rng.index(hosts))),
            1 => Some(DiscFault::Wipe(rng.index(hosts))),
            _ => None,
        };
        let after = if rng.below(2) == 0 { draw(&kinds, hosts, 10, &mut rng) } else { Vec::new() };
        let pace = (rng.below(4) > 0).then(|| Duration::from_millis(50 + rng.below(500)));
        Self { seed, hosts, latency, schedule, disc, after, pace, faults: Default::default() }
    }

    /// Runs the plan.
    ///
    /// # Errors
    /// Something that must hold did not, in either phase.
    pub fn run(&self) -> Result<Report, Failure> {
        let mut world = World::new(self.hosts, self.seed, self.latency, self.faults);
        // A broken invariant of a machine is a panic; its trace is wanted too.
        let ended = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| phases::go(self, &mut world)));
        match ended.unwrap_or_else(|panic| Err(words_of(panic.as_ref()))) {
            Ok(()) => Ok(world.report()),
            Err(what) => Err(Failure { what, trace: world.trace() }),
        }
    }
}

/// How many kinds of faults there are.
const KINDS: u64 = 14;

/// Some steps of these kinds.
pub(super) fn draw(kinds: &[u64], hosts: usize, most: u64, rng: &mut Rng) -> Vec<(Duration, Step)> {
    let pace = Duration::from_millis(100 + rng.below(2_000));
    let mut schedule = Vec::new();
    if !kinds.is_empty() {
        for _ in 0..rng.below(most) {
            let kind = kinds[rng.index(kinds.len())];
            let wait = rng.up_to(pace);
            schedule.extend(steps(kind, hosts, wait, rng));
        }
    }
    schedule
}

/// A few steps of one kind. Whoever leaves is one of a minority.
fn steps(kind: u64, hosts: usize, wait: Duration, rng: &mut Rng) -> Vec<(Duration, Step)> {
    let s = Duration::from_secs;
    let few = hosts - 1 - rng.index((hosts - 1) / 2);
    let to = rng.index(hosts);
    match kind {
        // While the network is whole: what reaches nobody is another matter.
        8 if to.is_multiple_of(2) => vec![(wait, Step::MendAll), (s(3), Step::Leave(few)), (s(2), Step::MendAll)],
        8 => vec![(wait, Step::Crash(few)), (s(0), Step::Start(few)), (s(1), Step::Join(few, to))],
        9 if to.is_multiple_of(2) => vec![(wait, Step::Stop(to))],
        9 => vec![(wait, Step::Start(to))],
        10 => vec![(wait, Step::HoldAll(to))],
        // Some at once, or all of them; they are back after a while, one by one.
        12 | 13 => {
            let all = (1u32 << hosts) - 1;
            let some = u32::try_from(rng.below(u64::from(all))).unwrap_or(0) + 1;
            let which = if rng.below(2) == 0 { all } else { some };
            let starts = (0..hosts).filter(|i| which >> i & 1 == 1).map(Step::Start);
            let back: Vec<_> = starts.map(|start| (rng.up_to(s(1)), start)).collect();
            [vec![(wait, Step::PowerLoss(which))], back].concat()
        }
        11 => vec![(wait, Step::StartOnFullDisk(to)), (rng.up_to(s(3)), Step::WorkDisk(to)), (s(0), Step::Start(to))],
        _ => vec![(wait, step(kind, hosts, rng))],
    }
}

fn step(kind: u64, hosts: usize, rng: &mut Rng) -> Step {
    let mut pick = || rng.index(hosts);
    let a = pick();
    let b = (a + 1 + pick() % (hosts - 1)) % hosts;
    let heads = pick() % 2 == 0;
    match kind {
        0 | 1 if heads => Step::Crash(a),
        0 | 1 => Step::Start(a),
        2 => Step::Cut(a, b),
        3 => Step::CutOneWay(a, b),
        4 => Step::Isolate(a),
        5 => Step::Hold(a, b),
        6 if heads => Step::FailDisk(a),
        6 => Step::WorkDisk(a),
        7 if heads => Step::Clock(a, i64::try_from(rng.below(20_000)).unwrap_or(0) - 10_000),
        _ => Step::MendAll,
    }
}

pub(super) fn apply(world: &mut World, step: &Step) {
    match *step {
        Step::Start(i) => world.start(i),
        Step::Crash(i) => world.crash(i),
        Step::Cut(a, b) => {
            world.cut(a, b);
            world.cut(b, a);
        }
        Step::CutOneWay(a, b) => world.cut(a, b),
        Step::Hold(a, b) => world.hold(a, b),
        Step::Isolate(i) => world.isolate(i),
        Step::PowerLoss(which) => world.lose_power((0..world.hosts()).filter(|i| which >> i & 1 == 1)),
        Step::MendAll => world.mend_all(),
        Step::FailDisk(i) => world.fail_disk(i, true),
        Step::WorkDisk(i) => world.fail_disk(i, false),
        Step::Clock(i, offset_ms) => world.set_clock(i, offset_ms),
        Step::HoldAll(i) => (0..world.hosts()).filter(|other| *other != i).for_each(|other| world.hold(i, other)),
        Step::StartOnFullDisk(i) => {
            world.fail_disk(i, true);
            world.crash(i);
            world.start(i);
        }
        Step::Stop(i) => world.operate(i, Command::Stop { by: "command".into(), plan: false }),
        Step::Leave(i) => world.operate(i, Command::Leave { plan: false }),
        // On a member it would be another matter: a move into another cluster.
        Step::Join(i, _) if world.view(i).is_none_or(|view| view.cluster_id.is_some()) => {}
        Step::Join(i, to) => world.operate(i, Command::Join { name: world.name(to), absorb: false, plan: false }),
    }
}
