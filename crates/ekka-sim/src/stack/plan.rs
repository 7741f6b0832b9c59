//! Random schedules over whole nodes: a phase of faults, then everything is repaired and must converge.

use std::time::Duration;

use ekka_core::autocluster::Faults as FormationFaults;
use ekka_core::control::Faults;
use ekka_core::rng::Rng;

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
    /// Planted faults.
    pub faults: (Faults, FormationFaults),
}

/// How long everything may take to come together once all is repaired.
const CONVERGE: Duration = Duration::from_secs(60);

impl Plan {
    /// Draws everything from the seed.
    #[must_use]
    pub fn from_seed(seed: u64) -> Self {
        let mut rng = Rng::new(seed);
        let hosts = 3 + usize::try_from(rng.below(3)).unwrap_or(0);
        let latency = Duration::from_millis([2, 5, 20, 80][usize::try_from(rng.below(4)).unwrap_or(0)]);
        // Each seed has only some kinds of faults, so that rare mixtures come up (swarm testing).
        let kinds: Vec<u64> = (0..8).filter(|_| rng.below(2) == 0).collect();
        let mut schedule = Vec::new();
        let apart = Duration::from_millis(if rng.below(2) == 0 { 20 } else { 2_000 });
        for i in 0..hosts {
            schedule.push((rng.up_to(apart), Step::Start(i)));
        }
        let pace = Duration::from_millis(100 + rng.below(2_000));
        if !kinds.is_empty() {
            for _ in 0..rng.below(16) {
                let kind = kinds[usize::try_from(rng.below(kinds.len() as u64)).unwrap_or(0)];
                schedule.push((rng.up_to(pace), step(kind, hosts, &mut rng)));
            }
        }
        Self { seed, hosts, latency, schedule, faults: Default::default() }
    }

    /// Runs the plan.
    ///
    /// # Errors
    /// Something that must hold did not, in either phase.
    pub fn run(&self) -> Result<Report, Failure> {
        let mut world = World::new(self.hosts, self.seed, self.latency, self.faults);
        // A broken invariant of a machine is a panic; its trace is wanted too.
        let ended = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| self.go(&mut world)));
        match ended.unwrap_or_else(|panic| Err(words_of(panic.as_ref()))) {
            Ok(()) => Ok(world.report()),
            Err(what) => Err(Failure { what, trace: world.trace() }),
        }
    }

    fn go(&self, world: &mut World) -> Result<(), String> {
        for (wait, step) in &self.schedule {
            world.run_for(*wait)?;
            apply(world, step);
        }
        world.run_for(Duration::from_secs(2))?;
        repair(world);
        world.run_to("all in one cluster after the repair", CONVERGE, World::converged)?;
        // What has come together stays together.
        world.run_for(Duration::from_secs(5))?;
        if world.converged() { Ok(()) } else { Err(format!("fell apart without a fault: {}", world.words())) }
    }
}

fn step(kind: u64, hosts: usize, rng: &mut Rng) -> Step {
    let mut pick = || usize::try_from(rng.below(hosts as u64)).unwrap_or(0);
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

fn apply(world: &mut World, step: &Step) {
    match *step {
        Step::Start(i) => world.start(i),
        Step::Crash(i) => world.crash(i),
        Step::Cut(a, b) => {
            world.cut(a, b);
            world.cut(b, a);
        }
        Step::CutOneWay(a, b) => world.cut(a, b),
        Step::Hold(a, b) => world.hold(a, b),
        Step::Isolate(i) => {
            for other in (0..world.hosts()).filter(|other| *other != i) {
                world.cut(i, other);
                world.cut(other, i);
            }
        }
        Step::MendAll => world.mend_all(),
        Step::FailDisk(i) => world.fail_disk(i, true),
        Step::WorkDisk(i) => world.fail_disk(i, false),
        Step::Clock(i, offset_ms) => world.set_clock(i, offset_ms),
    }
}

/// Ends every fault: all run, everybody reaches everybody, discs write, clocks are right.
///
/// A host whose start failed on a full disc is started again, as its supervisor would do.
fn repair(world: &mut World) {
    world.mend_all();
    for i in 0..world.hosts() {
        world.fail_disk(i, false);
        world.set_clock(i, 0);
        if world.is_over(i) {
            world.crash(i);
        }
        world.start(i);
    }
}
