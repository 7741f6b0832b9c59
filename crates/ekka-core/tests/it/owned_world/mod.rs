//! Owned tables by seeds: connections that end, partitions, kills, starts that are declared over, nodes that are removed
//! and come back, newcomers, owners seen as down, logs cut short. At any time a replica has the rows of an owner as they
//! were after one of its operations, and watchers hear of every change once; in the end all members hold what the members
//! wrote, and nothing else.
//!
//! An owned table knows no clock, so there is none here.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod node;
mod plan;
mod truth;
mod watcher;
mod world;

use std::panic::{AssertUnwindSafe, catch_unwind};

use ekka_core::table::OwnedFaults;

use plan::Plan;
use world::{Tried, World};

/// Seeds in all; four tests share them, so that all cores have work. In as many a planted fault must be seen.
const SEEDS: u64 = 5_000;

/// What came of a run. What a table asserts of itself is a violation as any other.
fn run(plan: Plan) -> Result<Tried, String> {
    let run = || {
        let mut world = World::new(plan);
        world.run().map(|()| world.tried)
    };
    catch_unwind(AssertUnwindSafe(run)).unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().cloned();
        Err(text.or_else(|| panic.downcast_ref::<&str>().map(ToString::to_string)).unwrap_or_default())
    })
}

fn quarter(n: u64) {
    let mut tried = Tried::default();
    for seed in n * SEEDS / 4..(n + 1) * SEEDS / 4 {
        let plan = Plan::from_seed(seed, OwnedFaults::default());
        match run(plan) {
            Ok(more) => tried += more,
            Err(error) => panic!("seed {seed}: {error}\n{plan:?}"),
        }
    }
    assert!(tried.writes > 4 * SEEDS && tried.looks > 2 * SEEDS, "the seeds try little: {tried:?}");
    assert!(tried.kills > SEEDS / 16 && tried.renewals > SEEDS / 16, "the seeds try little: {tried:?}");
    assert!(tried.removals > SEEDS / 16 && tried.hidden > SEEDS / 4, "the seeds try little: {tried:?}");
    assert!(tried.states > SEEDS / 4 && tried.resyncs > SEEDS / 4, "the seeds try little: {tried:?}");
}

#[test]
fn every_member_has_what_the_members_wrote_first_quarter() {
    quarter(0);
}

#[test]
fn every_member_has_what_the_members_wrote_second_quarter() {
    quarter(1);
}

#[test]
fn every_member_has_what_the_members_wrote_third_quarter() {
    quarter(2);
}

#[test]
fn every_member_has_what_the_members_wrote_fourth_quarter() {
    quarter(3);
}

const NONE: OwnedFaults = OwnedFaults {
    takes_of_the_gone: false,
    keeps_of_the_gone: false,
    state_merges: false,
    state_counts_early: false,
    state_untold: false,
    sent_counts: false,
    leaves_hidden: false,
    writing_shows: false,
};

/// Each of the faults is seen by a seed.
fn caught(planted: &[(&str, OwnedFaults)]) {
    for (name, faults) in planted {
        let seen = (0..SEEDS).find_map(|seed| run(Plan::from_seed(seed, *faults)).err());
        assert!(seen.is_some(), "{SEEDS} seeds do not see that {name}");
    }
}

#[test]
fn planted_faults_of_what_is_said_are_caught() {
    caught(&[
        ("what was sent counts as held", OwnedFaults { sent_counts: true, ..NONE }),
        ("a node leaves hidden", OwnedFaults { leaves_hidden: true, ..NONE }),
        ("an owner that is down is shown as soon as it writes", OwnedFaults { writing_shows: true, ..NONE }),
    ]);
}

#[test]
fn planted_faults_of_owners_are_caught() {
    caught(&[
        ("rows of a start that is over are taken", OwnedFaults { takes_of_the_gone: true, ..NONE }),
        ("rows of a start that is over are kept", OwnedFaults { keeps_of_the_gone: true, ..NONE }),
    ]);
}

#[test]
fn planted_faults_of_rows_that_come_as_a_whole_are_caught() {
    caught(&[
        ("they are put over those held", OwnedFaults { state_merges: true, ..NONE }),
        ("they count from their beginning", OwnedFaults { state_counts_early: true, ..NONE }),
        ("watchers do not hear of it", OwnedFaults { state_untold: true, ..NONE }),
    ]);
}
