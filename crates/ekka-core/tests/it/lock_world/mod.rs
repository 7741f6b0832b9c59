//! Locks over a replicated log in small, by seeds: nobody is given a lock while another still takes it for its own, tokens only
//! grow, and once all is well everybody gets its turn.

mod chaos;
mod clients;
mod world;

use ekka_core::lock::{HolderFaults, KeeperFaults};

use world::{Faults, Plan, run};

/// Seeds in all, where `EKKA_SEEDS` does not say otherwise; four tests share them, so that all cores have work.
const SEEDS: u64 = 5_000;

#[expect(clippy::disallowed_methods, reason = "a number of seeds is the harness's, not the program's")]
fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok().and_then(|text| text.parse().ok())
}

fn seeds(quarter: u64) {
    let all = number("EKKA_SEEDS").unwrap_or(SEEDS);
    let (mut granted, mut lost) = (0, 0);
    for seed in quarter * all / 4..(quarter + 1) * all / 4 {
        let plan = Plan::from_seed(seed, Faults::default());
        match run(plan) {
            Ok(world) => {
                granted += world.granted;
                lost += world.lost;
            }
            Err(error) => panic!("seed {seed}: {error}\n{plan:?}"),
        }
    }
    println!("{} seeds: {granted} grants, {lost} sessions lost", all / 4);
    assert!(granted > all * 10 && lost > all / 8, "the seeds try little: {granted} grants, {lost} sessions lost");
}

#[test]
fn nobody_holds_what_another_was_given_first_quarter() {
    seeds(0);
}

#[test]
fn nobody_holds_what_another_was_given_second_quarter() {
    seeds(1);
}

#[test]
fn nobody_holds_what_another_was_given_third_quarter() {
    seeds(2);
}

#[test]
fn nobody_holds_what_another_was_given_fourth_quarter() {
    seeds(3);
}

/// One seed with its story: `EKKA_SEED=n cargo nextest run lock_world::the_seed_that --no-capture`.
#[test]
fn the_seed_that_is_named_holds() {
    let named = number("EKKA_SEED");
    let seed = named.unwrap_or(0);
    let plan = Plan { told: named.is_some(), ..Plan::from_seed(seed, Faults::default()) };
    if let Err(error) = run(plan) {
        panic!("seed {seed}: {error}\n{plan:?}");
    }
}

/// The first seed that sees a fault.
fn hunt(faults: Faults) -> Option<(u64, String)> {
    (0..SEEDS).find_map(|seed| run(Plan::from_seed(seed, faults)).err().map(|error| (seed, error)))
}

/// S1-3, S1-4, S1-7, S2-8, S2-9: each rule is there for a schedule that the seeds find without it.
#[test]
fn every_planted_fault_is_caught() {
    let (none, holder, keeper) = (Faults::default(), HolderFaults::default(), KeeperFaults::default());
    let planted = [
        ("a session counts from the answer", Faults { holder: HolderFaults { from_answer: true, ..holder }, ..none }),
        ("a pause is not noticed", Faults { holder: HolderFaults { pause_unseen: true, ..holder }, ..none }),
        ("clocks run at different rates", Faults { holder: HolderFaults { no_margin: true, ..holder }, ..none }),
        ("the term is not confirmed", Faults { keeper: KeeperFaults { unconfirmed: true, ..keeper }, ..none }),
        (
            "a new leader goes by what it remembers",
            Faults { keeper: KeeperFaults { remembers: true, ..keeper }, ..none },
        ),
        ("an end counts in whatever term", Faults { term_unseen: true, ..none }),
    ];
    for (name, faults) in planted {
        let caught = hunt(faults);
        assert!(caught.is_some(), "{SEEDS} seeds do not see that {name}");
        let (seed, error) = caught.expect("asserted");
        println!("{name}: seed {seed}: {error}");
        assert!(error.contains("at once"), "{name} was seen by another rule, seed {seed}: {error}");
    }
}
