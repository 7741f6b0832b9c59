//! Random schedules of faults while and after a cluster forms, by seed.

use ekka_sim::core_world::{BackendPlan, Kind, Plan, Source};

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

/// Section 2, first row: never two clusters where one is promised, and one in the end everywhere, however the backend of
/// a strategy errs.
fn every_seed_of(source: Source) {
    let mut virtual_ms = 0;
    for seed in 0..seeds() {
        match BackendPlan::from_seed(source, seed).run() {
            Ok(report) => virtual_ms += report.virtual_ms,
            Err(failure) => panic!("{}", failure.tell(source.name(), seed)),
        }
    }
    println!("{} seeds of {}, {} virtual seconds", seeds(), source.name(), virtual_ms / 1000);
}

#[test]
fn every_seed_of_a_faulty_dns_ends_in_one_cluster() {
    every_seed_of(Source::Dns);
}

#[test]
fn every_seed_of_a_faulty_multicast_ends_in_one_cluster() {
    every_seed_of(Source::Mcast);
}

#[test]
fn every_seed_of_a_faulty_etcd_ends_in_one_cluster() {
    every_seed_of(Source::Etcd);
}

#[test]
fn every_seed_of_a_faulty_kubernetes_ends_in_one_cluster() {
    every_seed_of(Source::K8s);
}
