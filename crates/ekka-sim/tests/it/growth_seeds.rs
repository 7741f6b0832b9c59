//! Growth and shrinking of whole nodes under a write load: a bounded share, `EKKA_GROWTH_SEEDS` for more.

use std::time::Duration;

use ekka_sim::stack::Growth;

/// 43: a node that joined another cluster got entries of its group while the replica of the cluster that it left still
/// answered, which took them for its own and said that it had them.
const FOUND: [u64; 1] = [43];

#[test]
fn one_three_five_three_one_nodes_lose_nothing_and_are_never_long_without_a_leader() {
    let seeds: u64 = std::env::var("EKKA_GROWTH_SEEDS").ok().and_then(|text| text.parse().ok()).unwrap_or(1);
    let mut longest = Duration::ZERO;
    for seed in (0..seeds).chain(FOUND) {
        match (Growth { seed }).run() {
            Ok((report, counts, gap)) => {
                longest = longest.max(gap);
                assert!(counts.acknowledged > 200, "seed {seed}: a load that shows something: {counts:?}, {report:?}");
            }
            Err(failure) => panic!("{}", failure.tell("growth", seed)),
        }
    }
    println!("{} rounds, at most {longest:?} without an answer while a majority was up", seeds + 1);
}
