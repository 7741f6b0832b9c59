//! One seed, one run: two runs of a seed give one trace hash, in every world.

use ekka_sim::{core_world, stack};

#[test]
fn two_runs_of_one_seed_of_the_cores_have_one_hash() {
    for seed in 0..10 {
        let run = || core_world::Plan::from_seed(seed).run().unwrap_or_else(|f| panic!("{}", f.tell("core", seed)));
        assert_eq!(run(), run(), "seed {seed:#x}");
    }
}

#[test]
fn two_runs_of_one_seed_of_the_swarm_have_one_hash() {
    for seed in 0..10 {
        let plan = || core_world::Plan::swarm(seed, &[]);
        let run = || plan().run().unwrap_or_else(|f| panic!("{}", f.tell("swarm", seed)));
        assert_eq!(run(), run(), "seed {seed:#x}");
    }
}

#[test]
fn every_kind_of_fault_is_in_some_seed() {
    let drawn: std::collections::BTreeSet<_> =
        (0..400).flat_map(|seed| core_world::Plan::swarm(seed, &core_world::Kind::AWAITED).kinds).collect();
    for kind in core_world::Kind::ALL.into_iter().chain(core_world::Kind::AWAITED) {
        assert!(drawn.contains(&kind), "{kind:?} is in none of 400 seeds");
    }
}

/// The consensus engine draws from the runtime's own chance, which has a seed only in builds with `tokio_unstable`:
/// `cargo xtask sim` makes one.
#[test]
#[cfg_attr(not(tokio_unstable), ignore = "the runtime's chance has no seed in this build")]
fn two_runs_of_one_seed_of_whole_nodes_have_one_hash() {
    for seed in 0..3 {
        let run = || stack::Plan::from_seed(seed).run().unwrap_or_else(|f| panic!("{}", f.tell("stack", seed)));
        assert_eq!(run(), run(), "seed {seed:#x}");
    }
}

#[test]
fn another_seed_has_another_hash() {
    let hash = |seed| core_world::Plan::from_seed(seed).run().map(|report| report.trace_hash).ok();
    assert_ne!(hash(1), hash(2));
}
