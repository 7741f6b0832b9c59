//! Random schedules by seed: a phase of faults, then everything is repaired and must converge.

use std::time::Duration;

use ekka_core::autocluster::Faults as FormationFaults;
use ekka_core::control::Faults;
use ekka_core::id::NodeName;
use ekka_core::rng::Rng;
use ekka_core::view::Status;

use super::node::NodeSpec;
use super::world::{Report, World};
use crate::failure::{Failure, words_of};

/// One fault.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Start a machine's process.
    Start(usize),
    /// `kill -9`.
    Kill(usize),
    /// Cut both directions between two machines.
    Cut(usize, usize),
    /// Cut one direction.
    CutOneWay(usize, usize),
    /// Repair between two machines.
    Mend(usize, usize),
    /// Repair everything.
    MendAll,
    /// Cut one machine off from all.
    Isolate(usize),
    /// SIGSTOP.
    Pause(usize),
    /// SIGCONT.
    Resume(usize),
    /// A stretch of lost segments, so many of a thousand.
    Loss(u64),
}

/// What a seed means.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The seed.
    pub seed: u64,
    /// The machines.
    pub specs: Vec<NodeSpec>,
    /// Whether all lists are the same, so that one id is promised.
    pub one_list: bool,
    /// What happens, and how long after the step before it.
    pub schedule: Schedule,
    /// Longest time that a write to disc takes.
    pub disc_delay: Duration,
    /// Discovery goes down for good once the faults are over, where a cluster of all has formed: it must not matter.
    pub discovery_dies: bool,
    /// At the end an old copy of a data directory is started elsewhere: it must go, and nobody else must suffer.
    pub stale_copy: bool,
}

/// Steps with the waits before them.
pub type Schedule = Vec<(Duration, Step)>;

/// The `i`-th name of a simulated cluster.
#[must_use]
pub fn name(i: usize) -> NodeName {
    format!("ekka@10.0.{}.{}", i / 250, i % 250 + 1).parse().expect("a name")
}

impl Plan {
    /// Draws everything from the seed.
    #[must_use]
    pub fn from_seed(seed: u64) -> Self {
        let mut rng = Rng::new(seed);
        let n = 3 + usize::try_from(rng.below(5)).unwrap_or(0);
        let names: Vec<NodeName> = (0..n).map(name).collect();
        let one_list = rng.below(4) > 0;
        // Some nodes may be in nobody's list: they vote for nothing and join.
        let listed = if n >= 5 && rng.below(3) == 0 { 3 } else { n };
        let specs =
            names.iter().map(|own| NodeSpec::new(own, &lists(&names[..listed], own, one_list, &mut rng))).collect();
        let mut schedule: Schedule = Vec::new();
        let together = rng.below(2) == 0;
        for i in 0..n {
            let wait = if together { rng.up_to(Duration::from_millis(20)) } else { rng.up_to(Duration::from_secs(2)) };
            schedule.push((wait, Step::Start(i)));
        }
        let pace = Duration::from_millis(50 + rng.below(1500));
        for _ in 0..rng.below(30) {
            schedule.push((rng.up_to(pace), random_step(n, &mut rng)));
        }
        let disc_delay = Duration::from_millis([2, 10, 100, 600][usize::try_from(rng.below(4)).unwrap_or(0)]);
        let discovery_dies = rng.below(3) == 0;
        let stale_copy = one_list && rng.below(3) == 0;
        Self { seed, specs, one_list, schedule, disc_delay, discovery_dies, stale_copy }
    }

    /// Like [`Plan::from_seed`], but aimed at the vote: one list, slow discs, and crashes with quick restarts and
    /// short cuts while the first ballots are under way.
    #[must_use]
    pub fn crashes_in_the_vote(seed: u64) -> Self {
        let mut rng = Rng::new(seed ^ 0x0076_6f74_6573);
        let n = 3 + 2 * usize::try_from(rng.below(2)).unwrap_or(0);
        let names: Vec<NodeName> = (0..n).map(name).collect();
        let specs = names.iter().map(|own| NodeSpec::new(own, &names)).collect();
        let mut schedule: Schedule = Vec::new();
        for i in 0..n {
            schedule.push((rng.up_to(Duration::from_millis(50)), Step::Start(i)));
        }
        for _ in 0..40 {
            let (a, b) = (rng.below(n as u64), rng.below(n as u64));
            let (a, b) = (usize::try_from(a).unwrap_or(0), usize::try_from(b).unwrap_or(0));
            let pause = Duration::from_millis(5 + rng.below(120));
            match rng.below(8) {
                0 | 1 => schedule.extend([(pause, Step::Kill(a)), (Duration::from_millis(1), Step::Start(a))]),
                2..=4 => schedule.extend([(pause, Step::Isolate(a)), (pause, Step::Kill(b)), (pause, Step::Start(b))]),
                5 | 6 => schedule.push((pause * 4, Step::MendAll)),
                _ => schedule.push((pause * 10, Step::MendAll)),
            }
        }
        Self {
            seed,
            specs,
            one_list: true,
            schedule,
            disc_delay: Duration::from_millis(600),
            discovery_dies: false,
            stale_copy: false,
        }
    }

    /// The same plan with faults put in on purpose.
    #[must_use]
    pub fn with_faults(mut self, faults: Faults, formation: FormationFaults) -> Self {
        for spec in &mut self.specs {
            spec.faults = faults;
            spec.formation_faults = formation;
        }
        self
    }

    /// Runs the plan.
    ///
    /// # Errors
    /// Something that must hold did not, in either phase.
    pub fn run(&self) -> Result<Report, Failure> {
        let mut world = World::new(self.specs.clone(), self.seed);
        world.watch.one_id_promised = self.one_list;
        world.disc_delay = self.disc_delay;
        // A broken invariant of a machine is a panic; its trace is wanted too.
        match std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| self.go(&mut world))) {
            Ok(Ok(())) => Ok(world.report()),
            Ok(Err(failure)) => Err(failure),
            Err(panic) => Err(world.failed(words_of(panic.as_ref()))),
        }
    }

    fn go(&self, world: &mut World) -> Result<(), Failure> {
        for (wait, step) in &self.schedule {
            world.run_for(*wait)?;
            apply(world, step);
        }
        world.run_for(Duration::from_secs(2))?;
        world.discovery_works = !(self.discovery_dies && all_admitted(world));
        repair(world);
        let one_list = self.one_list;
        let done = |world: &World| converged(world) || !one_list && explained(world);
        world.run_to("all in one cluster after the repair", CONVERGE, done)?;
        // What has come together stays together.
        world.run_for(Duration::from_secs(5))?;
        // Where lists contradict each other, a wait may have ended in a vote that is under way just now.
        let stays = if one_list { Duration::ZERO } else { CONVERGE };
        world.run_to("what had come together stays together", stays, done)?;
        if self.discovery_dies && converged(world) {
            live_without_discovery(world)?;
        }
        if self.stale_copy && converged(world) { start_stale_copy(world) } else { Ok(()) }
    }
}

/// Discovery is down for days: all restart, know each other from their discs alone, and one is cut off for a while.
fn live_without_discovery(world: &mut World) -> Result<(), Failure> {
    world.discovery_works = false;
    // What was learned last has to reach the discs first.
    world.run_for(Duration::from_secs(2))?;
    for i in 0..world.machines.len() {
        world.kill(i);
        world.start(i);
    }
    world.run_to("all found each other without discovery", CONVERGE, converged)?;
    apply(world, &Step::Isolate(0));
    world.run_for(Duration::from_secs(6))?;
    world.mend_all();
    world.run_to("whoever was cut off is back without discovery", CONVERGE, converged)?;
    world.discovery_works = true;
    Ok(())
}

/// Copies the directory of a machine that then starts anew, and starts the copy with a clock that is behind, so that
/// its guid lies between those of the two starts.
fn start_stale_copy(world: &mut World) -> Result<(), Failure> {
    // It finds the others, not the original itself: of two that meet at once the larger guid goes (section 4), and a
    // clock that is behind makes that the original.
    let original = &world.machines[0].spec;
    let mut seeds = original.seeds.clone();
    seeds.retain(|seed| *seed != original.name);
    let own = name(world.machines.len() + 100);
    let spec = NodeSpec { name: own, seeds, clock_offset_ms: -3_600_000, ..original.clone() };
    let copy = world.add(spec, world.machines[0].disc.clone());
    world.kill(0);
    world.start(0);
    world.run_to("the original is back", CONVERGE, converged)?;
    let began = world.machines[0].life;
    world.start(copy);
    world.run_to("the stale copy is refused", CONVERGE, |world| world.machines[copy].process.is_none())?;
    world.run_to("the others are together", CONVERGE, converged)?;
    if world.machines[0].life == began { Ok(()) } else { Err(world.failed("the original was thrown out")) }
}

/// How long everything may take to come together once all is repaired.
const CONVERGE: Duration = Duration::from_secs(60);

/// Whether everybody has it on disc that all are members of one cluster.
fn all_admitted(world: &World) -> bool {
    let n = world.machines.len();
    let first = world.machines[0].disc.saved.roster.cluster_id;
    first.is_some()
        && world.machines.iter().all(|machine| {
            let roster = &machine.disc.saved.roster;
            roster.cluster_id == first && roster.seats.values().filter(|seat| seat.removed.is_none()).count() == n
        })
}

/// Lists: all the same, or overlapping and different ones; sometimes without the node itself.
fn lists(names: &[NodeName], own: &NodeName, one_list: bool, rng: &mut Rng) -> Vec<NodeName> {
    let mut list: Vec<NodeName> = names.to_vec();
    if !one_list {
        list.retain(|_| rng.below(4) > 0);
    }
    if rng.below(4) == 0 {
        list.retain(|name| name != own);
    }
    list
}

fn random_step(n: usize, rng: &mut Rng) -> Step {
    let mut pick = || usize::try_from(rng.below(n as u64)).unwrap_or(0);
    let (a, b) = (pick(), pick());
    match rng.below(12) {
        0..=2 => Step::Kill(a),
        3 | 4 => Step::Start(a),
        5 if a != b => Step::Cut(a, b),
        6 if a != b => Step::CutOneWay(a, b),
        7 => Step::Mend(a, b),
        8 => Step::MendAll,
        9 => Step::Isolate(a),
        10 => Step::Pause(a),
        11 if rng.below(2) == 0 => Step::Loss(rng.below(300)),
        _ => Step::Resume(a),
    }
}

/// Does one step.
pub fn apply(world: &mut World, step: &Step) {
    let all = 0..world.machines.len();
    match *step {
        Step::Start(i) => world.start(i),
        Step::Kill(i) => world.kill(i),
        Step::Cut(a, b) => {
            world.cut(a, b);
            world.cut(b, a);
        }
        Step::CutOneWay(a, b) => world.cut(a, b),
        Step::Mend(a, b) => {
            world.mend(a, b);
            world.mend(b, a);
        }
        Step::MendAll => world.mend_all(),
        Step::Isolate(i) => {
            for other in all.filter(|other| *other != i) {
                world.cut(i, other);
                world.cut(other, i);
            }
        }
        Step::Pause(i) => world.pause(i),
        Step::Resume(i) => world.resume(i),
        Step::Loss(per_mille) => world.net.stall_per_mille = per_mille,
    }
}

/// Ends every fault: all run, everybody reaches everybody.
pub fn repair(world: &mut World) {
    world.mend_all();
    world.net.stall_per_mille = 0;
    for i in 0..world.machines.len() {
        world.resume(i);
        world.start(i);
    }
}

/// Whether all are up in one cluster and see each other up.
#[must_use]
pub fn converged(world: &World) -> bool {
    let mut id = None;
    let machines = || world.machines.iter().filter(|machine| !machine.copy);
    let n = machines().count();
    machines().all(|machine| {
        let Some(process) = &machine.process else { return false };
        let view = process.control.view();
        let same = view.cluster_id.is_some() && *id.get_or_insert(view.cluster_id) == view.cluster_id;
        let up = view.members.iter().filter(|m| m.status == Status::Up).count();
        same && view.status == Status::Up && up == n && view.members.len() == up
    })
}

/// Whether everybody is either up or says why not.
fn explained(world: &World) -> bool {
    world.machines.iter().all(|machine| {
        let Some(process) = &machine.process else { return false };
        let view = process.control.view();
        view.status == Status::Up || view.reasons.iter().any(|reason| reason.text.contains("waits: "))
    })
}
