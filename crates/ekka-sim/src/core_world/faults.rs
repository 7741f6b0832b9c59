//! Random schedules by seed: a phase of faults, then everything is repaired and must converge.

use std::time::Duration;

use ekka_core::autocluster::Faults as FormationFaults;
use ekka_core::control::Faults;
use ekka_core::id::NodeName;
use ekka_core::rng::Rng;
use ekka_core::view::Status;

use super::node::NodeSpec;
use super::world::{Failure, Report, World};

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
        let specs = names.iter().map(|own| NodeSpec::new(own, &lists(&names, own, one_list, &mut rng))).collect();
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
        Self { seed, specs, one_list, schedule }
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
        world.one_id_promised = self.one_list;
        for (wait, step) in &self.schedule {
            world.run_for(*wait)?;
            apply(&mut world, step);
        }
        world.run_for(Duration::from_secs(2))?;
        repair(&mut world);
        let limit = Duration::from_secs(60);
        let what = format!("seed {:#x}: all in one cluster after the repair", self.seed);
        let one_list = self.one_list;
        world.run_to(
            &what,
            limit,
            |world| if one_list { converged(world) } else { converged(world) || explained(world) },
        )?;
        Ok(world.report())
    }
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
    world.machines.iter().all(|machine| {
        let Some(process) = &machine.process else { return false };
        let view = process.control.view();
        let same = view.cluster_id.is_some() && *id.get_or_insert(view.cluster_id) == view.cluster_id;
        let up = view.members.iter().filter(|m| m.status == Status::Up).count();
        same && view.status == Status::Up && up == world.machines.len() && view.members.len() == up
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
