//! Random schedules by seed: a phase of faults, then everything is repaired and must converge.

use std::collections::BTreeSet;
use std::time::Duration;

use ekka_core::autocluster::Faults as FormationFaults;
use ekka_core::control::Faults;
use ekka_core::id::NodeName;
use ekka_core::rng::Rng;

use super::converge::{all_admitted, all_take_part, converged, explained, together};
use super::copies;
use super::endings::{
    CONVERGE, clean_up, let_faults_show, live_without_discovery, settled, start_stale_copy, take_back, undrain_all,
};
use super::kinds::Kind;
use super::node::NodeSpec;
use super::steps::{Schedule, Step, apply, name, repair};
use super::swarm;
use super::world::{Report, World};
use crate::failure::{Failure, words_of};

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
    /// Which kinds of faults a swarm has; none in the other plans.
    pub kinds: BTreeSet<Kind>,
}

impl Plan {
    /// Draws everything from the seed.
    #[must_use]
    pub fn from_seed(seed: u64) -> Self {
        let mut rng = Rng::new(seed);
        let n = 3 + rng.index(5);
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
        let disc_delay = Duration::from_millis([2, 10, 100, 600][rng.index(4)]);
        let discovery_dies = rng.below(3) == 0;
        let stale_copy = one_list && rng.below(3) == 0;
        Self { seed, specs, one_list, schedule, disc_delay, discovery_dies, stale_copy, kinds: BTreeSet::new() }
    }

    /// Like [`Plan::from_seed`], but aimed at the vote: one list, slow discs, and crashes with quick restarts and
    /// short cuts while the first ballots are under way.
    #[must_use]
    pub fn crashes_in_the_vote(seed: u64) -> Self {
        let mut rng = Rng::new(seed ^ 0x0076_6f74_6573);
        let n = 3 + 2 * rng.index(2);
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
            kinds: BTreeSet::new(),
        }
    }

    /// A swarm: only some of all kinds of faults, drawn by the seed, and of the awaited kinds only these.
    #[must_use]
    pub fn swarm(seed: u64, awaited: &[Kind]) -> Self {
        swarm::plan(seed, awaited)
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

    /// The same plan in a cluster that forgets members that were down for so long.
    #[must_use]
    pub fn with_autoclean(mut self, limit: Duration) -> Self {
        for spec in &mut self.specs {
            spec.autoclean = Some(limit);
        }
        self
    }

    /// Runs the plan.
    ///
    /// # Errors
    /// Something that must hold did not, in either phase.
    pub fn run(&self) -> Result<Report, Failure> {
        let mut world = World::new(self.specs.clone(), self.seed);
        world.watch.founders_may_go = self.kinds.contains(&Kind::Forms);
        // Two machines with one name can each be counted by others who never meet: then more vote than the list says.
        let counted = !self.kinds.contains(&Kind::Forms) && !self.kinds.contains(&Kind::Twins);
        world.watch.one_id_promised = self.one_list && counted;
        world.disc_delay = self.disc_delay;
        world.watch.pauses_count = self.kinds.contains(&Kind::LongPauses);
        world.half_joins_count = self.kinds.contains(&Kind::HalfJoins);
        swarm::prepare(self, &mut world);
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
        if self.kinds.contains(&Kind::DrainsOfAll) && self.one_list {
            world.run_to("all are members although some drain", CONVERGE, all_take_part)?;
        }
        if self.kinds.contains(&Kind::Drains) || self.kinds.contains(&Kind::DrainsOfAll) {
            undrain_all(world)?;
        }
        let_faults_show(world)?;
        let one_list = self.one_list;
        let whole = if self.kinds.is_empty() { converged } else { together };
        let done = |world: &World| whole(world) || !one_list && explained(world);
        world.run_to("all in one cluster after the repair", CONVERGE, done)?;
        // What has come together stays together.
        world.run_for(Duration::from_secs(5))?;
        // Where lists contradict each other, a wait may have ended in a vote that is under way just now.
        // Of two with one name both may be shown until the one that was refused has been silent for its time.
        let twins = self.kinds.contains(&Kind::Twins);
        let stays = if one_list && !twins { Duration::ZERO } else { CONVERGE };
        world.run_to("what had come together stays together", stays, done)?;
        if !self.kinds.is_empty() && together(world) {
            self.end_swarm(world)?;
        }
        if self.discovery_dies && converged(world) {
            live_without_discovery(world)?;
        }
        if self.stale_copy && converged(world) { start_stale_copy(world) } else { Ok(()) }
    }

    /// After the faults: commands are answered, all agree, whoever is outside is taken back, and copies are refused.
    fn end_swarm(&self, world: &mut World) -> Result<(), Failure> {
        let mut rng = Rng::new(self.seed ^ 0x656e_6473);
        world.until_answered()?;
        world.run_to("all together once commands were answered", CONVERGE, together)?;
        settled(world)?;
        if self.kinds.contains(&Kind::Twins) {
            return Ok(()); // One of two with one name stays outside, and nothing but another name brings it in.
        }
        take_back(world, self.kinds.contains(&Kind::JoinsAlive), &mut rng)?;
        clean_up(world)?;
        settled(world)?;
        let anywhere = self.kinds.contains(&Kind::CopiesAnywhere);
        if (anywhere || self.kinds.contains(&Kind::Copies)) && converged(world) {
            copies::start_beside(world, anywhere, &mut rng)?;
        }
        Ok(())
    }
}

/// Lists: all the same, or overlapping and different ones; sometimes without the node itself.
pub(super) fn lists(names: &[NodeName], own: &NodeName, one_list: bool, rng: &mut Rng) -> Vec<NodeName> {
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
    let mut pick = || rng.index(n);
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
