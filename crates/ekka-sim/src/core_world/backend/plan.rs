//! Random schedules by seed for one backend: it is late, old, short, slow, down or emptied, while nodes start, crash,
//! move and are cut off; then all is repaired and one cluster must be there.

use std::time::Duration;

use ekka_core::autocluster::Faults as FormationFaults;
use ekka_core::id::NodeName;
use ekka_core::rng::Rng;

use super::{Backend, Source, Trouble};
use crate::core_world::converge::{converged, together};
use crate::core_world::endings::let_faults_show;
use crate::core_world::node::NodeSpec;
use crate::core_world::steps::{Step, apply, name, repair};
use crate::core_world::world::{Report, World};
use crate::failure::{Failure, words_of};

/// How long everything may take to come together once all is repaired: a record that is stale for a minute counts among
/// those of whom a majority is to vote for as long as it is listed and two minutes more.
const CONVERGE: Duration = Duration::from_secs(300);

/// One fault of the world, or of the backend.
#[derive(Clone, Debug)]
enum Fault {
    World(Step),
    Down(bool),
    Unreached(usize, bool),
    Wiped,
    Reload(usize),
}

/// What a seed means.
#[derive(Clone, Debug)]
pub struct BackendPlan {
    seed: u64,
    source: Source,
    specs: Vec<NodeSpec>,
    schedule: Vec<(Duration, Fault)>,
    trouble: Trouble,
    replicas: Option<u32>,
    /// Section 2 promises one id: the number of replicas is known, or etcd decides and loses nothing.
    one_id: bool,
    /// The backend goes away for good once all is together.
    goes: bool,
}

impl BackendPlan {
    /// Draws everything from the seed.
    #[must_use]
    pub fn from_seed(source: Source, seed: u64) -> Self {
        let mut rng = Rng::new(seed ^ 0x736f_7572_6365 ^ ((source as u64) << 56));
        let n = 2 + rng.index(4);
        let names: Vec<NodeName> = (0..n).map(name).collect();
        let specs = names.iter().map(|own| NodeSpec { source: Some(source), ..NodeSpec::new(own, &[]) }).collect();
        let trouble = Trouble {
            errors_per_mille: [0, 50, 300][rng.index(3)],
            delay: Duration::from_millis([20, 500, 8_000][rng.index(3)]),
            late: Duration::from_secs([0, 5, 30, 60][rng.index(4)]),
            stale: Duration::from_secs([0, 2, 30][rng.index(3)]),
            missing_per_mille: [0, 200, 660][rng.index(3)],
            negative: Duration::from_secs([0, 30][rng.index(2)]),
        };
        let replicas = (source == Source::K8s && rng.below(4) > 0).then(|| u32::try_from(n).unwrap_or(u32::MAX));
        let wipes = source == Source::Etcd && rng.below(3) == 0;
        let spread = Duration::from_secs([0, 3, 40][rng.index(3)]);
        let mut schedule: Vec<(Duration, Fault)> =
            (0..n).map(|i| (rng.up_to(spread), Fault::World(Step::Start(i)))).collect();
        let pace = Duration::from_millis(100 + rng.below(8_000));
        for _ in 0..rng.below(20) {
            schedule.push((rng.up_to(pace), fault(n, wipes, &mut rng)));
        }
        let one_id = replicas.is_some() || source == Source::Etcd && !wipes;
        let goes = rng.below(3) == 0;
        Self { seed, source, specs, schedule, trouble, replicas, one_id, goes }
    }

    /// A plan of a start at about one time, on which one side of the trouble falls hard: nodes that do not reach each
    /// other offer an id each to an etcd whose answers are lost, or most pods are missing in what k8s says. Of what is
    /// drawn from seeds, one in hundreds shows as much.
    #[must_use]
    pub fn start_in_trouble(source: Source, seed: u64) -> Self {
        let drawn = Self::from_seed(source, seed);
        let n = drawn.specs.len();
        let mut rng = Rng::new(seed);
        let mut schedule: Vec<(Duration, Fault)> =
            (0..n).map(|i| (rng.up_to(Duration::from_secs(1)), Fault::World(Step::Start(i)))).collect();
        let mut trouble = Trouble { late: Duration::ZERO, ..drawn.trouble };
        if source == Source::Etcd {
            (trouble.errors_per_mille, trouble.missing_per_mille) = (400, 0);
            let pairs = (0..n).flat_map(|a| (0..a).map(move |b| Fault::World(Step::Cut(a, b))));
            schedule.extend(pairs.map(|cut| (Duration::ZERO, cut)));
            schedule.push((Duration::from_secs(20), Fault::Down(false)));
        } else {
            (trouble.errors_per_mille, trouble.missing_per_mille) = (0, 660);
        }
        let replicas = (source == Source::K8s).then(|| u32::try_from(n).unwrap_or(u32::MAX));
        Self { schedule, trouble, replicas, one_id: source == Source::Etcd || replicas.is_some(), goes: false, ..drawn }
    }

    /// The same plan with faults put in on purpose.
    #[must_use]
    pub fn with_faults(mut self, formation: FormationFaults) -> Self {
        for spec in &mut self.specs {
            spec.formation_faults = formation;
        }
        self
    }

    /// Runs the plan.
    ///
    /// # Errors
    /// Something that must hold did not.
    pub fn run(&self) -> Result<Report, Failure> {
        let mut world = World::new(self.specs.clone(), self.seed);
        world.watch.one_id_promised = self.one_id;
        // Where two clusters may form, one may count a founder that the other one has by then.
        world.watch.founders_may_go = !self.one_id;
        let mut backend = Backend::new(self.source, self.seed);
        backend.trouble = self.trouble;
        backend.replicas = self.replicas;
        world.backend = Some(backend);
        match std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| self.go(&mut world))) {
            Ok(Ok(())) => Ok(world.report()),
            Ok(Err(failure)) => Err(failure),
            Err(panic) => Err(world.failed(words_of(panic.as_ref()))),
        }
    }

    fn go(&self, world: &mut World) -> Result<(), Failure> {
        for (wait, fault) in &self.schedule {
            world.run_for(*wait)?;
            inject(world, fault);
        }
        world.run_for(Duration::from_secs(2))?;
        repair(world);
        let now = world.now;
        if let Some(backend) = &mut world.backend {
            backend.repair(now);
        }
        let_faults_show(world)?;
        world.run_to("all in one cluster after the repair", CONVERGE, converged)?;
        world.run_for(Duration::from_secs(5))?;
        if !together(world) {
            return Err(world.failed(format!("what had come together came apart: {}", world.words())));
        }
        if self.goes { without_backend(world) } else { Ok(()) }
    }
}

/// A formed cluster does not care: ten minutes without the backend, with a crash in between.
fn without_backend(world: &mut World) -> Result<(), Failure> {
    if let Some(backend) = &mut world.backend {
        backend.down = true;
    }
    let before: Vec<_> = world.machines.iter().map(|machine| machine.life).collect();
    world.run_for(Duration::from_secs(600))?;
    if !converged(world) || before.iter().zip(&world.machines).any(|(life, machine)| *life != machine.life) {
        return Err(world.failed(format!("the cluster minded that its backend is down: {}", world.words())));
    }
    world.kill(0);
    world.start(0);
    world.run_to("whoever restarts finds back without the backend", CONVERGE, converged).map(drop)
}

fn fault(n: usize, wipes: bool, rng: &mut Rng) -> Fault {
    let mut pick = || rng.index(n);
    let (a, b) = (pick(), pick());
    match rng.below(16) {
        0 | 1 => Fault::World(Step::Kill(a)),
        2..=4 => Fault::World(Step::Start(a)),
        5 => Fault::World(Step::Cut(a, b)),
        6 => Fault::World(Step::Isolate(a)),
        7 | 8 => Fault::World(Step::MendAll),
        9 => Fault::World(Step::Pause(a)),
        10 => Fault::World(Step::Resume(a)),
        11 => Fault::Down(rng.below(2) == 0),
        12 => Fault::Unreached(a, rng.below(3) > 0),
        13 if wipes => Fault::Wiped,
        15 if a % 2 == 0 => Fault::Reload(a),
        14 => Fault::World(Step::Move(a, 20 + rng.index(20))),
        _ => Fault::World(Step::Start(b)),
    }
}

fn inject(world: &mut World, fault: &Fault) {
    let now = world.now;
    match (fault, &mut world.backend) {
        // Two machines at one address are another fault than those of discovery.
        (Fault::World(Step::Move(_, to)), _) if world.machines.iter().any(|m| m.spec.name == name(*to)) => {}
        (Fault::World(step), _) => apply(world, step),
        (Fault::Reload(machine), _) => world.reload(*machine),
        (Fault::Down(down), Some(backend)) => backend.down = *down,
        (Fault::Unreached(machine, true), Some(backend)) => drop(backend.unreached.insert(*machine)),
        (Fault::Unreached(machine, false), Some(backend)) => drop(backend.unreached.remove(machine)),
        (Fault::Wiped, Some(backend)) => backend.wipe(now),
        (_, None) => {}
    }
}
