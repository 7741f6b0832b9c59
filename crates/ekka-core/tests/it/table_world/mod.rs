//! Tables by seeds: partitions, kills, cleanings, returns, newcomers, wrong clocks, logs cut short. In the end all replicas
//! are equal, nothing that was acknowledged is lost, and nothing that was deleted is back.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod node;
mod parts;
mod plan;
mod schedules;
mod truth;
mod world;

use ekka_core::table::Faults;

use plan::Plan;
use world::{Tried, World};

/// Seeds in all; four tests share them, so that all cores have work. In as many a planted fault must be seen.
const SEEDS: u64 = 5_000;

fn run(plan: Plan) -> Result<Tried, String> {
    let mut world = World::new(plan);
    world.run().map(|()| world.tried)
}

fn seeds(seeds: impl Iterator<Item = u64>) -> Tried {
    let mut tried = Tried::default();
    for seed in seeds {
        let plan = Plan::from_seed(seed, Faults::default());
        match run(plan) {
            Ok(more) => tried += more,
            Err(error) => panic!("seed {seed}: {error}\n{plan:?}"),
        }
    }
    tried
}

fn quarter(n: u64) {
    let tried = seeds(n * SEEDS / 4..(n + 1) * SEEDS / 4);
    assert!(tried.acked > SEEDS && tried.kills > SEEDS / 16, "the seeds try little: {tried:?}");
    assert!(tried.copies > SEEDS / 16 && tried.returns > 0 && tried.dropped > 0, "the seeds try little: {tried:?}");
    assert!(tried.compared > SEEDS, "the seeds try little: {tried:?}");
    assert!(tried.journaled > 0 && tried.folded > 0, "the seeds try little: {tried:?}");
}

#[test]
fn everything_acknowledged_is_accounted_for_first_quarter() {
    quarter(0);
}

#[test]
fn everything_acknowledged_is_accounted_for_second_quarter() {
    quarter(1);
}

#[test]
fn everything_acknowledged_is_accounted_for_third_quarter() {
    quarter(2);
}

#[test]
fn everything_acknowledged_is_accounted_for_fourth_quarter() {
    quarter(3);
}

/// The first seed that sees a fault.
fn hunt(faults: Faults) -> Option<(u64, String)> {
    (0..SEEDS).find_map(|seed| run(Plan::from_seed(seed, faults)).err().map(|error| (seed, error)))
}

fn caught(planted: &[(&str, Faults)]) {
    for (name, faults) in planted {
        let (seed, error) = hunt(*faults).unwrap_or_else(|| panic!("{SEEDS} seeds do not see that {name}"));
        assert!(!error.is_empty(), "{name}, seed {seed}");
    }
}

const NONE: Faults = Faults {
    gap_counts: false,
    replaced_unseen: false,
    no_journal: false,
    drops_early: false,
    drops_without_the_down: false,
    verdict_local: false,
    no_floor: false,
    gives_own_only: false,
    copy_without_journal: false,
    copy_by_rows: false,
    copy_replaces: false,
    copy_counts_early: false,
    bound_forgotten: false,
    folds_by_last_known: false,
    fold_is_closed: false,
    unsynced_counts: false,
    unheard_counts: false,
    short_log: false,
    reads_stale: false,
    expired_dropped: false,
    counts_unmerged: false,
    part_per_node: false,
    element_by_value: false,
};

#[test]
fn planted_faults_of_merging_are_caught() {
    caught(&[
        ("a gap counts", Faults { gap_counts: true, ..NONE }),
        ("the version that was replaced is not looked for", Faults { replaced_unseen: true, ..NONE }),
        ("there is no journal", Faults { no_journal: true, ..NONE }),
        ("who has not said that it has a copy counts", Faults { unheard_counts: true, ..NONE }),
        ("what is not synced counts as stored", Faults { unsynced_counts: true, ..NONE }),
        ("what counts is not merged", Faults { counts_unmerged: true, ..NONE }),
    ]);
}

#[test]
fn planted_faults_of_dropping_are_caught() {
    caught(&[
        ("tombstones are dropped early", Faults { drops_early: true, ..NONE }),
        ("those that are down are not asked", Faults { drops_without_the_down: true, ..NONE }),
        ("expired rows are dropped at once", Faults { expired_dropped: true, ..NONE }),
    ]);
}

#[test]
fn planted_faults_of_copies_are_caught() {
    caught(&[
        ("a copy is without the journal", Faults { copy_without_journal: true, ..NONE }),
        ("a copy is merged by rows", Faults { copy_by_rows: true, ..NONE }),
        ("a copy replaces", Faults { copy_replaces: true, ..NONE }),
        ("a copy counts from its beginning", Faults { copy_counts_early: true, ..NONE }),
    ]);
}

#[test]
fn planted_faults_of_returns_are_caught() {
    caught(&[("what was dropped is not remembered", Faults { no_floor: true, ..NONE })]);
}

type Schedule = fn(Faults) -> Result<(), String>;

/// What chance hits too seldom, the schedules that showed the need of a rule hit.
#[test]
fn planted_faults_are_caught_by_their_schedules() {
    let planted: [(&str, Schedule, Faults); 3] = [
        ("the verdict is not passed on", schedules::m2, Faults { verdict_local: true, ..NONE }),
        ("only its own is given", schedules::s1_10, Faults { gives_own_only: true, ..NONE }),
        ("the bound of stamps is forgotten", schedules::m5, Faults { bound_forgotten: true, ..NONE }),
    ];
    for (name, schedule, faults) in planted {
        assert_eq!(schedule(NONE), Ok(()));
        assert!(schedule(faults).is_err(), "it is not seen that {name}");
    }
}

#[test]
fn planted_faults_of_folding_are_caught() {
    caught(&[
        ("an origin is folded by what was last known", Faults { folds_by_last_known: true, ..NONE }),
        ("what is folded is closed", Faults { fold_is_closed: true, ..NONE }),
    ]);
}
