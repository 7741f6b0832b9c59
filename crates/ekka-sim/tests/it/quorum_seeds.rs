//! Linearizability of quorum tables over the real group under faults, multi-key transactions included: a bounded share,
//! `EKKA_QUORUM_SEEDS` for more.

use ekka::testing::PlantedFault;
use ekka_sim::linear::LinearPlan;

#[test]
fn what_clients_of_quorum_tables_see_is_linearizable() {
    let seeds: u64 = std::env::var("EKKA_QUORUM_SEEDS").ok().and_then(|text| text.parse().ok()).unwrap_or(25);
    let (mut answered, mut asked) = (0, 0);
    for seed in 0..seeds {
        match LinearPlan::of_tables(seed).run() {
            Ok(report) => (answered, asked) = (answered + report.answered, asked + report.asked),
            Err(failure) => panic!("{}", failure.tell("tables", seed)),
        }
    }
    println!("{seeds} seeds, {answered} of {asked} operations answered");
    assert!(answered * 2 > asked, "most operations end in time, or the runs show nothing");
}

#[test]
fn a_stale_leader_that_answers_reads_without_a_round_is_caught() {
    let run = |seed| LinearPlan { planted: Some(PlantedFault::StaleRead), ..LinearPlan::of_tables(seed) }.run();
    let caught = (0..12).filter_map(|seed| run(seed).err()).find(|failure| failure.what.contains("not linearizable"));
    assert!(caught.is_some(), "twelve seeds of stale reads, and nobody sees one");
}
