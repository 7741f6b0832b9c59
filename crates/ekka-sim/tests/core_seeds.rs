//! Random schedules of faults while and after a cluster forms, by seed.

use ekka_sim::core_world::{Kind, Plan};

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

/// Kinds of faults of the swarm that are not promised yet: `EKKA_AWAITED=all`, or their names with commas between.
fn awaited() -> Vec<Kind> {
    match std::env::var("EKKA_AWAITED").ok().as_deref() {
        None | Some("") => Vec::new(),
        Some("all") => Kind::AWAITED.to_vec(),
        Some(names) => names.split(',').map(|name| name.parse().expect("a kind of fault")).collect(),
    }
}

#[test]
fn every_seed_of_the_swarm_keeps_its_promises() {
    let awaited = awaited();
    let mut virtual_ms = 0;
    for seed in 0..seeds() {
        match Plan::swarm(seed, &awaited).run() {
            Ok(report) => virtual_ms += report.virtual_ms,
            Err(failure) => panic!("{}", failure.tell("swarm", seed)),
        }
    }
    println!("{} seeds of the swarm, {} virtual seconds", seeds(), virtual_ms / 1000);
}
