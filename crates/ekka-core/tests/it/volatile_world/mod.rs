//! Generations over an ideal durable log, by seeds: one holder, tokens that grow, no loss that is not said.

mod durable;
mod replica;
mod schedules;
mod world;

use ekka_core::volatile::Faults;

use world::{Plan, run};

/// Seeds in all; four tests share them, so that all cores have work.
const SEEDS: u64 = 5_000;

fn plan(seed: u64) -> Plan {
    Plan { seed, faults: Faults::default(), twin_counts: false, scripted: false }
}

fn seeds(quarter: u64) {
    let (mut generations, mut grants, mut losses, mut handed_on) = (0, 0, 0, 0);
    for seed in quarter * SEEDS / 4..(quarter + 1) * SEEDS / 4 {
        match run(plan(seed)) {
            Ok(world) => {
                generations += world.generations;
                grants += world.grants;
                losses += world.losses;
                handed_on += world.handed_on;
            }
            Err(error) => panic!("seed {seed}: {error}"),
        }
    }
    assert!(
        generations > SEEDS / 2 && grants > SEEDS && losses > SEEDS / 20 && handed_on > SEEDS / 4,
        "the seeds try little: {generations} generations, {losses} with a loss, {handed_on} handed on, {grants} grants"
    );
}

#[test]
fn one_holder_growing_tokens_and_no_silent_loss_first_quarter() {
    seeds(0);
}

#[test]
fn one_holder_growing_tokens_and_no_silent_loss_second_quarter() {
    seeds(1);
}

#[test]
fn one_holder_growing_tokens_and_no_silent_loss_third_quarter() {
    seeds(2);
}

#[test]
fn one_holder_growing_tokens_and_no_silent_loss_fourth_quarter() {
    seeds(3);
}

#[test]
fn every_planted_fault_is_caught() {
    let none = Faults::default();
    let planted = [
        ("the durable group does not compare", Faults { no_compare: true, ..none }, false),
        ("who hands in goes on serving", Faults { unsealed: true, ..none }, false),
        ("no session is waited for", Faults { no_wait: true, ..none }, false),
        ("the lowest log is chosen", Faults { lowest_log: true, ..none }, false),
        ("voters change without a record", Faults { unrecorded: true, ..none }, false),
        ("a log that was dropped counts as none", Faults { forgets_dropping: true, ..none }, false),
        ("a twin by name counts as a newer start", none, true),
    ];
    for (name, faults, twin_counts) in planted {
        let caught = (0..3_000).find_map(|seed| {
            let error = run(Plan { faults, twin_counts, ..plan(seed) }).err()?;
            // Standing still is no proof that safety is watched.
            (!error.contains("long after") && !error.contains("voters are not")).then_some((seed, error))
        });
        assert!(caught.is_some(), "3,000 seeds do not see that {name}");
    }
}
