//! Schedules of faults over whole nodes whose tables are used all the time.

use std::fmt;
use std::time::Duration;

use ekka_core::autocluster::Faults as FormationFaults;
use ekka_core::control::Faults;
use ekka_core::rng::Rng;
use ekka_core::table::Faults as TableFaults;

use super::TableCounts;
use crate::failure::{Failure, words_of};
use crate::stack::phases::repair;
use crate::stack::plan::{apply, draw};
use crate::stack::{Report, Step, World};

const SECOND: Duration = Duration::from_secs(1);
/// How long everything may take to come together once all is repaired.
const CONVERGE: Duration = Duration::from_secs(60);
/// How long tables may take then: a link that is dead is dialled anew, and what is missing asked for.
const REST: Duration = Duration::from_secs(20);
/// Kinds of steps that may befall tables: nobody leaves, and no disc is lost.
const KINDS: [u64; 12] = [0, 1, 2, 3, 4, 5, 6, 7, 10, 12, 13, 14];

/// A fault of tables, planted to see that it is seen.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum TableFault {
    /// A write counts as copied before anybody said that he has it.
    UnheardCounts,
    /// A tombstone is forgotten although a member that is down may have an older row.
    ForgetsEarly,
    /// An operation counts although an earlier one is missing.
    GapCounts,
    /// What is not synced counts as stored.
    UnsyncedCounts,
    /// Whoever believes that it leads, or follows, answers reads by itself.
    ReadsStale,
}

impl TableFault {
    /// All of them.
    pub const ALL: [Self; 5] =
        [Self::UnheardCounts, Self::ForgetsEarly, Self::GapCounts, Self::UnsyncedCounts, Self::ReadsStale];

    fn switches(self) -> TableFaults {
        let mut faults = TableFaults::default();
        match self {
            Self::UnheardCounts => faults.unheard_counts = true,
            Self::ForgetsEarly => faults.drops_without_the_down = true,
            Self::GapCounts => faults.gap_counts = true,
            Self::UnsyncedCounts => faults.unsynced_counts = true,
            Self::ReadsStale => faults.reads_stale = true,
        }
        faults
    }

    /// What gives it room.
    fn schedule(self, rng: &mut Rng) -> Vec<(Duration, Step)> {
        let ms = Duration::from_millis;
        let (i, turn) = (rng.index(3), ms(rng.below(400)));
        let (j, k) = ((i + 1) % 3, (i + 2) % 3);
        match self {
            Self::UnheardCounts => vec![
                (turn, Step::Isolate(i)),
                (ms(400), Step::Crash(i)),
                (ms(100), Step::MendAll),
                (SECOND, Step::Start(i)),
            ],
            Self::ForgetsEarly => {
                vec![(turn, Step::Isolate(i)), (2 * SECOND, Step::Isolate(i)), (8 * SECOND, Step::MendAll)]
            }
            Self::GapCounts => vec![
                (turn, Step::Cut(i, j)),
                (SECOND, Step::MendAll),
                (SECOND, Step::Cut(j, k)),
                (SECOND, Step::MendAll),
            ],
            Self::UnsyncedCounts => {
                // A deletion is taken although there is no room.
                let full = (0..3).map(|i| (if i == 0 { turn } else { ms(0) }, Step::FailDisk(i)));
                let room = (0..3).map(|i| (ms(0), Step::WorkDisk(i)));
                let back = (0..3).map(|i| (ms(100), Step::Start(i)));
                full.chain([(ms(400), Step::PowerLoss(0b111))]).chain(room).chain(back).collect()
            }
            Self::ReadsStale => vec![(turn, Step::Isolate(i)), (3 * SECOND, Step::MendAll)],
        }
    }
}

impl fmt::Display for TableFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::UnheardCounts => "a write counts as copied before anybody has it",
            Self::ForgetsEarly => "a tombstone is forgotten too early",
            Self::GapCounts => "an operation counts behind a missing one",
            Self::UnsyncedCounts => "the disc says synced before it is",
            Self::ReadsStale => "a node that is cut off answers reads of a quorum table",
        })
    }
}

/// What a seed means.
#[derive(Clone, Debug)]
pub struct TablesPlan {
    /// The seed.
    pub seed: u64,
    /// How many hosts.
    pub hosts: usize,
    /// Longest delay of a message.
    pub latency: Duration,
    /// What happens, and how long after the step before it.
    pub schedule: Vec<(Duration, Step)>,
    /// From this step on nobody writes, so that nothing hides what was lost; past the last one they go on to the end.
    pub quiet_from: usize,
    /// Planted faults, and what makes rare things frequent.
    pub faults: TableFaults,
}

impl TablesPlan {
    /// Draws everything from the seed.
    #[must_use]
    pub fn from_seed(seed: u64) -> Self {
        let mut rng = Rng::new(seed ^ 0x07ab_1e50);
        let mut plan = Self::quiet(seed, &mut rng);
        // Each seed has only some kinds of faults, so that rare mixtures come up (swarm testing).
        let kinds: Vec<u64> = KINDS.into_iter().filter(|_| rng.below(2) == 0).collect();
        plan.schedule = draw(&kinds, plan.hosts, 14, &mut rng);
        plan
    }

    /// The power of all goes at once, twice, among other faults.
    #[must_use]
    pub fn power_loss(seed: u64) -> Self {
        let mut rng = Rng::new(seed ^ 0x90e3_1055);
        let mut plan = Self::quiet(seed, &mut rng);
        for _ in 0..2 {
            plan.schedule.extend(draw(&[0, 1, 4, 6, 14], plan.hosts, 4, &mut rng));
            plan.quiet_from = if seed.is_multiple_of(2) { plan.schedule.len() } else { usize::MAX };
            plan.schedule.push((rng.up_to(2 * SECOND), Step::PowerLoss((1 << plan.hosts) - 1)));
            plan.schedule.extend((0..plan.hosts).map(|i| (rng.up_to(SECOND), Step::Start(i))));
            plan.schedule.push((3 * SECOND, Step::MendAll));
        }
        plan
    }

    /// A planted fault, and a schedule that gives it room.
    #[must_use]
    pub fn planted(fault: TableFault, seed: u64) -> Self {
        Self { faults: fault.switches(), ..Self::room_for(fault, seed) }
    }

    /// The same schedule without the fault.
    #[must_use]
    pub fn room_for(fault: TableFault, seed: u64) -> Self {
        let mut rng = Rng::new(seed ^ 0xfa_017);
        let mut plan = Self { hosts: 3, ..Self::quiet(seed, &mut rng) };
        plan.schedule = fault.schedule(&mut rng);
        plan.quiet_from = match fault {
            TableFault::UnsyncedCounts => 3,
            TableFault::ForgetsEarly => 1,
            TableFault::UnheardCounts | TableFault::GapCounts | TableFault::ReadsStale => usize::MAX,
        };
        // Where a log is short a full copy mends what is missing.
        plan.faults.short_log = false;
        plan
    }

    fn quiet(seed: u64, rng: &mut Rng) -> Self {
        let hosts = if rng.below(4) == 0 { 4 } else { 3 };
        let latency = Duration::from_millis([2, 5, 20, 80][rng.index(4)]);
        let faults = TableFaults { short_log: rng.below(2) == 0, ..TableFaults::default() };
        Self { seed, hosts, latency, schedule: Vec::new(), quiet_from: usize::MAX, faults }
    }

    /// Runs the plan.
    ///
    /// # Errors
    /// Something that must hold did not.
    pub fn run(&self) -> Result<(Report, TableCounts), Failure> {
        let none = (Faults::default(), FormationFaults::default());
        let mut world = World::new(self.hosts, self.seed, self.latency, none);
        world.let_them_use_tables(self.seed, self.faults);
        // A broken invariant of a machine is a panic; its trace is wanted too.
        let ended = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| self.go(&mut world)));
        match ended.unwrap_or_else(|panic| Err(words_of(panic.as_ref()))) {
            Ok(counts) => Ok((world.report(), counts)),
            Err(what) => Err(Failure { what, trace: world.trace() }),
        }
    }

    fn go(&self, world: &mut World) -> Result<TableCounts, String> {
        (0..self.hosts).for_each(|i| world.start(i));
        world.run_to("they form", CONVERGE, World::converged)?;
        world.run_to("all have their tables", CONVERGE, World::all_have_tables)?;
        world.write_to_tables(true);
        world.run_for(SECOND)?;
        for (at, (wait, step)) in self.schedule.iter().enumerate() {
            world.run_for(*wait)?;
            if at == self.quiet_from {
                world.write_to_tables(false);
            }
            apply(world, step);
        }
        world.run_for(SECOND)?;
        repair(world);
        world.run_to("all in one cluster after the repair", CONVERGE, World::together)?;
        world.run_to("all have their tables again", CONVERGE, World::all_have_tables)?;
        world.run_for(SECOND)?;
        world.write_to_tables(false);
        let rested = world.run_to("all tables at rest", REST, World::tables_rest);
        // What is lost is said first; else that they do not come to rest.
        let counts = world.tables_verdict()?;
        rested.map_err(|what| format!("{what}\n{}", world.words_of_tables()))?;
        Ok(counts)
    }
}
