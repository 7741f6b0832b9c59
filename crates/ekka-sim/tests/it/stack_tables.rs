//! Tables of whole nodes, by seed: clients write to all kinds while networks are cut, processes die and power goes.
//!
//! A bounded share; `EKKA_STACK_SEEDS` for more of each kind, or `cargo xtask sim --kind tables`.

use ekka_sim::mutants::Mutant;
use ekka_sim::stack::{TableCounts, TableFault, TablesPlan};

/// Runs seeds of a kind, the share of this test; what came of each.
fn seeds(kind: &str, share: u64, plan: impl Fn(u64) -> TablesPlan) -> Vec<TableCounts> {
    let seeds = std::env::var("EKKA_STACK_SEEDS").ok().and_then(|text| text.parse().ok()).unwrap_or(share);
    let (mut all, mut virtual_ms) = (Vec::new(), 0);
    for seed in 0..seeds {
        match plan(seed).run() {
            Ok((report, counts)) => {
                virtual_ms += report.virtual_ms;
                all.push(counts);
            }
            Err(failure) => panic!("{}", failure.tell(kind, seed)),
        }
    }
    println!("{} seeds of {kind}, {} virtual seconds: {all:?}", all.len(), virtual_ms / 1_000);
    all
}

#[test]
fn every_seed_of_tables_accounts_for_what_was_acknowledged() {
    let all = seeds("tables", 3, TablesPlan::from_seed);
    let tried = all.iter().all(|counts| counts.acknowledged > 50 && counts.raised > 5 && counts.changes > 50);
    assert!(tried, "the seeds try little");
    assert!(all.iter().any(|counts| counts.lost > 0) && all.iter().any(|counts| counts.rests > 0));
}

#[test]
fn what_tables_on_disc_acknowledged_survives_that_the_power_of_all_goes() {
    let all = seeds("tables-power", 2, TablesPlan::power_loss);
    assert!(all.iter().all(|counts| counts.promised > 20), "the seeds try little");
}

/// Seeds in which a planted fault must be seen.
const HUNTED: u64 = 16;

#[test]
fn planted_faults_of_tables_are_caught() {
    for fault in TableFault::ALL {
        let (seed, failure) = Mutant::Tables(fault).prove(HUNTED).unwrap_or_else(|why| panic!("{why}"));
        println!("{fault:?} is seen by seed {seed}: {}", failure.what.lines().next().unwrap_or_default());
    }
}
