//! Calls of whole nodes while the network is cut, stalls, and processes die: what callers are told is true.

use std::time::Duration;

use ekka_core::autocluster::Faults as FormationFaults;
use ekka_core::control::Faults;
use ekka_sim::stack::{CallCounts, World};

const SECOND: Duration = Duration::from_secs(1);

fn faults(seed: u64) -> Result<CallCounts, String> {
    let mut world = World::new(3, seed, Duration::from_millis(2), (Faults::default(), FormationFaults::default()));
    world.let_them_call();
    (0..3).for_each(|i| world.start(i));
    world.run_to("they form", 30 * SECOND, World::converged)?;
    // Calls that were begun before they formed have ended.
    world.run_for(SECOND / 2)?;
    let formed = world.calls()?;
    world.run_for(2 * SECOND)?;
    let quiet = world.calls()?;
    // While nothing fails, only the deadline of a slow handler ends a call early.
    if quiet.answered == formed.answered || quiet.unsent > formed.unsent {
        return Err(format!("without a fault: {quiet:?}, {formed:?} before"));
    }
    world.cut(0, 1);
    world.cut(1, 0);
    world.run_for(4 * SECOND)?;
    world.mend_all();
    world.run_for(2 * SECOND)?;
    world.hold(0, 2);
    world.run_for(SECOND / 2)?;
    world.mend_all();
    world.run_for(SECOND)?;
    world.crash(2);
    world.run_for(3 * SECOND)?;
    world.start(2);
    world.run_to("all are together again", 30 * SECOND, World::converged)?;
    let before = world.calls()?.answered;
    world.run_for(3 * SECOND)?;
    let counts = world.calls()?;
    if counts.answered <= before {
        return Err(format!("nobody is answered after the repair: {counts:?}"));
    }
    Ok(counts)
}

#[test]
fn an_outcome_is_unknown_only_where_it_is_and_never_wrongly_known() {
    for seed in 0..8 {
        let counts = faults(seed).unwrap_or_else(|what| panic!("seed {seed}: {what}"));
        println!("seed {seed}: {counts:?}");
        // All kinds of ends have come up, or the run shows nothing.
        assert!(counts.unknown > counts.unknown_but_done && counts.unknown_but_done > 0 && counts.unsent > 0);
    }
}

#[test]
fn two_runs_of_a_seed_with_calls_are_one() {
    let hash = |seed| {
        let mut world = World::new(3, seed, Duration::from_millis(2), (Faults::default(), FormationFaults::default()));
        world.let_them_call();
        (0..3).for_each(|i| world.start(i));
        world.run_to("they form", 30 * SECOND, World::converged).expect("they form");
        world.run_for(2 * SECOND).expect("nothing fails");
        (world.report(), world.calls().expect("callers are told the truth"))
    };
    assert_eq!(hash(7), hash(7));
}
