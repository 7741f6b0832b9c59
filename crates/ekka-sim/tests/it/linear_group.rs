//! Linearizability of the real group under faults: a bounded share, `EKKA_LINEAR_SEEDS` for more.

use ekka_sim::linear::LinearPlan;

#[test]
fn what_clients_of_the_group_see_is_linearizable() {
    let seeds: u64 = std::env::var("EKKA_LINEAR_SEEDS").ok().and_then(|text| text.parse().ok()).unwrap_or(25);
    let (mut answered, mut asked) = (0, 0);
    for seed in 0..seeds {
        match LinearPlan::from_seed(seed).run() {
            Ok(report) => (answered, asked) = (answered + report.answered, asked + report.asked),
            Err(failure) => panic!("{}", failure.tell("linear", seed)),
        }
    }
    println!("{seeds} seeds, {answered} of {asked} operations answered");
    assert!(answered * 2 > asked, "most operations end in time, or the runs show nothing");
}

/// As in `determinism.rs`: the engine draws from the runtime's own chance.
#[test]
#[cfg_attr(not(tokio_unstable), ignore = "the runtime's chance has no seed in this build")]
fn two_runs_of_a_seed_are_one() {
    for seed in 0..3 {
        let run =
            || LinearPlan::from_seed(seed).run().unwrap_or_else(|failure| panic!("{}", failure.tell("linear", seed)));
        assert_eq!(run(), run(), "seed {seed}");
    }
}

/// These seeds found that the engine lets a leader go on leading after a restart, with a commit mark that is older than
/// what it had acknowledged.
#[test]
fn a_leader_that_starts_again_is_elected_anew() {
    for seed in [0x53, 0x151] {
        if let Err(failure) = LinearPlan::from_seed(seed).run() {
            panic!("{}", failure.tell("linear", seed));
        }
    }
}
