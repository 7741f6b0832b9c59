//! The same world with tables whose keys have several parts: bags, counters, and values that are raised.

use ekka_core::table::Faults;

use super::plan::{Plan, Rule};
use super::world::Tried;
use super::{NONE, SEEDS, run};

const RULES: [Rule; 3] = [Rule::Union, Rule::Sum, Rule::Max];

fn plan(seed: u64, faults: Faults) -> Plan {
    Plan::of_parts(seed, RULES[usize::try_from(seed % 3).expect("it is small")], faults)
}

fn quarter(n: u64) {
    let mut tried = Tried::default();
    for seed in n * SEEDS / 4..(n + 1) * SEEDS / 4 {
        let plan = plan(seed, Faults::default());
        match run(plan) {
            Ok(more) => tried += more,
            Err(error) => panic!("seed {seed}: {error}\n{plan:?}"),
        }
    }
    assert!(tried.acked > SEEDS && tried.kills > SEEDS / 16, "the seeds try little: {tried:?}");
    assert!(tried.copies > SEEDS / 32 && tried.returns > 0 && tried.dropped > 0, "the seeds try little: {tried:?}");
}

#[test]
fn bags_and_counters_have_what_was_added_first_quarter() {
    quarter(0);
}

#[test]
fn bags_and_counters_have_what_was_added_second_quarter() {
    quarter(1);
}

#[test]
fn bags_and_counters_have_what_was_added_third_quarter() {
    quarter(2);
}

#[test]
fn bags_and_counters_have_what_was_added_fourth_quarter() {
    quarter(3);
}

#[test]
fn planted_faults_of_bags_and_counters_are_caught() {
    let planted = [
        ("a part belongs to a node", Faults { part_per_node: true, ..NONE }),
        ("an element is named by its value", Faults { element_by_value: true, ..NONE }),
        ("a gap counts", Faults { gap_counts: true, ..NONE }),
        ("a copy replaces", Faults { copy_replaces: true, ..NONE }),
        ("what counts is not merged", Faults { counts_unmerged: true, ..NONE }),
    ];
    for (name, faults) in planted {
        let seen = (0..SEEDS).find_map(|seed| run(plan(seed, faults)).err());
        assert!(seen.is_some(), "{SEEDS} seeds do not see that {name}");
    }
}
