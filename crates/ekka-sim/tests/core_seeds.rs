//! Random schedules of faults while and after a cluster forms, by seed.

use ekka_sim::core_world::Plan;

/// How many seeds; `EKKA_SEEDS` for more.
fn seeds() -> u64 {
    std::env::var("EKKA_SEEDS").ok().and_then(|text| text.parse().ok()).unwrap_or(150)
}

#[test]
fn every_seed_ends_in_one_cluster_or_in_words() {
    let mut virtual_ms = 0;
    for seed in 0..seeds() {
        match Plan::from_seed(seed).run() {
            Ok(report) => virtual_ms += report.virtual_ms,
            Err(failure) => panic!("{}", failure.tell("core", seed)),
        }
    }
    println!("{} seeds, {} virtual seconds", seeds(), virtual_ms / 1000);
}
