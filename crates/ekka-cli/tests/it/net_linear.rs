//! Clients of all nodes take tokens and read the ceiling while voters are killed, frozen and cut off: what they saw is
//! what one counter would have answered. Real processes on loopback.

use std::time::Duration;

use crate::support::ask::{ceiling, get};
use crate::support::gated::{Chance, Gated};
use crate::support::history::{Heard, check, longest_gap};
use crate::support::load::{Load, Mix};
use crate::support::{self, Figures, duration};

const LIMIT: Duration = Duration::from_secs(90);
/// The promise: with a majority up there is a leader again within this time.
const LEADERLESS: Duration = Duration::from_secs(5);
/// Clients leave the machine some time.
const MIX: Mix = Mix { takers: 2, readers: 2, pause: Duration::from_millis(40), stale: false };

/// How long: `EKKA_MINUTES`, or five minutes with `EKKA_SOAK`, or what CI has.
fn time() -> Duration {
    match std::env::var("EKKA_MINUTES") {
        Ok(text) => Duration::from_secs_f64(60.0 * text.parse::<f64>().expect("EKKA_MINUTES is a number")),
        Err(_) => duration(Duration::from_secs(10), Duration::from_secs(300)),
    }
}

#[test]
fn tokens_and_reads_are_linearizable_while_voters_are_killed_frozen_and_cut_off() {
    let mut leaderless = Figures::new("one fault at a time: longest time without a commit", LEADERLESS);
    let seed = std::env::var("EKKA_SEED").map_or(1, |text| text.parse().expect("EKKA_SEED is a number"));
    let mut chance = Chance::of(seed);
    let mut gated = Gated::formed();
    let load = Load::begin(gated.cluster.agents.iter().map(support::Agent::data), MIX);
    let mut faults = 0;
    while load.now() < time() {
        gated.harm(&mut chance);
        faults += 1;
    }
    let until = load.now();
    let ops = load.end();
    let report = || gated.cluster.report();
    let counts = check(&ops).unwrap_or_else(|found| panic!("seed {seed}: {found}\n{}", report()));
    for agent in &gated.cluster.agents {
        let seen = ceiling(&agent.data()).unwrap_or_else(|error| panic!("{error}\n{}", agent.report()));
        assert!(seen >= counts.ceiling, "{} reads {seen} after {counts:?}", agent.name);
    }
    let (gap, at) = longest_gap(&ops, (Duration::ZERO, until), &[]);
    println!("FIGURE linearizable: {faults} faults in {until:.1?}, {counts:?}; longest gap at {at:.1?}");
    leaderless.add(gap);
    leaderless.assert_each();
    assert!(counts.took > 100 && counts.read > 100, "only {counts:?}");
}

#[test]
fn a_read_of_old_state_that_passes_for_a_linearizable_one_is_caught() {
    let gated = Gated::formed();
    let writer = Mix { takers: 1, readers: 0, ..MIX };
    let mut load = Load::begin([gated.cluster.agents[0].data()], writer);
    let stale = Mix { takers: 0, readers: 1, stale: true, ..MIX };
    load.also_at(&gated.cluster.agents[1].data(), stale);
    gated.cut(1);
    // The gate is read now and then: before it closes nothing is stale.
    gated.cluster.wait("it is cut off", LIMIT, |cluster| {
        let status = get(&cluster.agents[1].data(), "/v1/status")?;
        let in_reach = &status["quorum"]["in_reach"];
        if *in_reach == 1 { Ok(()) } else { Err(format!("{in_reach} voters are in its reach")) }
    });
    let before = ceiling(&gated.cluster.agents[0].data()).unwrap_or_else(|error| panic!("{error}"));
    gated.cluster.wait("the others go on without the one that is cut off", LIMIT, |cluster| {
        let now = ceiling(&cluster.agents[0].data())?;
        if now > before + 20 { Ok(()) } else { Err(now.to_string()) }
    });
    gated.open();
    let ops = load.end();
    assert!(ops.iter().any(|op| matches!(op.heard, Heard::Read { .. })), "nobody read");
    let found = check(&ops).expect_err("a stale read is seen");
    assert!(found.contains("answered before the other was asked for"), "{found}");
    let honest: Vec<_> = ops.into_iter().filter(|op| !matches!(op.heard, Heard::Read { .. })).collect();
    check(&honest).unwrap_or_else(|found| panic!("the rest is whole: {found}"));
}
