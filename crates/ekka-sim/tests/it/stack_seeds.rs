//! Random schedules over whole nodes, by seed: a bounded share, `EKKA_STACK_SEEDS` for more.

use ekka_sim::stack::Plan;

#[test]
fn every_seed_of_whole_nodes_ends_in_one_cluster() {
    let seeds: u64 = std::env::var("EKKA_STACK_SEEDS").ok().and_then(|text| text.parse().ok()).unwrap_or(6);
    let mut virtual_ms = 0;
    for seed in 0..seeds {
        match Plan::from_seed(seed).run() {
            Ok(report) => virtual_ms += report.virtual_ms,
            Err(failure) => panic!("{}", failure.tell("stack", seed)),
        }
    }
    println!("{seeds} seeds, {} virtual seconds", virtual_ms / 1_000);
}
