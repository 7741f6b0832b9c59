//! Leases over an ideal group, by seeds: nobody is gone before it is fenced by its own clock, and whoever is well holds.

mod schedules;
mod world;

use ekka_core::lease::Faults;

use world::{Plan, run};

/// Seeds in all; four tests share them, so that all cores have work.
const SEEDS: u64 = 5_000;

fn seeds(quarter: u64) {
    let (mut gone, mut fenced) = (0, 0);
    for seed in quarter * SEEDS / 4..(quarter + 1) * SEEDS / 4 {
        let plan = Plan::from_seed(seed, Faults::default());
        match run(plan) {
            Ok(world) => {
                gone += world.gone_count;
                fenced += world.nodes.iter().map(|node| node.fenced).sum::<u64>();
            }
            Err(error) => panic!("seed {seed}: {error}\n{plan:?}"),
        }
    }
    assert!(gone > SEEDS / 8 && fenced > SEEDS / 2, "the seeds try little: {gone} gone, {fenced} times fenced");
}

#[test]
fn nobody_is_gone_before_it_is_fenced_first_quarter() {
    seeds(0);
}

#[test]
fn nobody_is_gone_before_it_is_fenced_second_quarter() {
    seeds(1);
}

#[test]
fn nobody_is_gone_before_it_is_fenced_third_quarter() {
    seeds(2);
}

#[test]
fn nobody_is_gone_before_it_is_fenced_fourth_quarter() {
    seeds(3);
}

/// The first seed that sees a fault.
fn hunt(faults: Faults) -> Option<(u64, String)> {
    (0..3_000).find_map(|seed| run(Plan::from_seed(seed, faults)).err().map(|error| (seed, error)))
}

#[test]
fn every_planted_fault_is_caught() {
    let none = Faults::default();
    let planted = [
        ("the lease counts from the answer", Faults { from_answer: true, ..none }),
        ("a pause is not noticed", Faults { pause_unseen: true, ..none }),
        ("the term is not confirmed", Faults { unconfirmed: true, ..none }),
        ("an entry of the own term is not awaited", Faults { unready: true, ..none }),
        ("the log is not looked at", Faults { log_unseen: true, ..none }),
        ("a new leader goes by what it remembers", Faults { remembers: true, ..none }),
        ("gone counts in whatever term", Faults { term_unseen: true, ..none }),
    ];
    for (name, faults) in planted {
        let caught = hunt(faults);
        assert!(caught.is_some(), "3,000 seeds do not see that {name}");
        let (seed, error) = caught.expect("asserted");
        assert!(error.contains("is gone"), "{name} was seen by another rule, seed {seed}: {error}");
    }
}
