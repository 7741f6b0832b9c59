//! Thousands of random histories of the durable group's rooms around an ideal log.
//!
//! In each: seniority and tokens only grow, no two members have one place, copies of the log are equal, who is to vote
//! learned first, every voter is a member, removed stays removed until somebody asks after it, no range of tokens is given
//! twice; and when peace returns, votes are as the policy wants them and every wish has its reply.

use std::collections::BTreeMap;

use crate::durable_world::World;

fn run(seed: u64) -> World {
    let founders = 1 + usize::try_from(seed % 4).expect("small");
    let others = usize::try_from(seed / 4 % 4).expect("small");
    let mut world = World::new(seed, founders, others);
    world.elect();
    for _ in 0..80 + seed % 80 {
        world.step();
    }
    world.settle();
    world.assert_rest(seed);
    world
}

#[test]
fn the_histories_hold_what_they_are_to_test() {
    let mut seen = BTreeMap::new();
    for seed in 0..200 {
        for (what, times) in run(seed).seen {
            *seen.entry(what).or_insert(0) += times;
        }
    }
    for what in [
        "Founded",
        "Admitted",
        "Returned",
        "Ended",
        "Removed",
        "Back",
        "StoreChanged",
        "Tokens",
        "Generation",
        "More",
        "Replaced",
        "Outdated",
        "Over",
        "NotMember",
    ] {
        assert!(seen.get(what).is_some_and(|times| *times >= 5), "{what} is rare: {seen:?}");
    }
}

fn all(seeds: core::ops::Range<u64>) {
    for seed in seeds {
        run(seed);
    }
}

#[test]
fn random_histories_0_to_1250() {
    all(0..1_250);
}

#[test]
fn random_histories_1250_to_2500() {
    all(1_250..2_500);
}

#[test]
fn random_histories_2500_to_3750() {
    all(2_500..3_750);
}

#[test]
fn random_histories_3750_to_5000() {
    all(3_750..5_000);
}
