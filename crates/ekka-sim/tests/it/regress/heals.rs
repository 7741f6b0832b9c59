//! When a parting is to be healed, as the views show it.

use std::time::Duration;

use ekka_core::event::EventKind;
use ekka_core::view::{SplitState, Status};
use ekka_sim::core_world::{Plan, World, converged};

use crate::regress::support::{SECOND, run, together, view, wait};

/// All are up for all, and nobody shows that a heal is to come.
fn looks_whole(world: &World) -> bool {
    (0..world.machines.len()).all(|i| {
        let view = view(world, i);
        let quiet = matches!(view.split.state, SplitState::None | SplitState::Partial);
        quiet && view.members.iter().all(|member| member.status == Status::Up)
    })
}

fn healed(world: &World) -> usize {
    let events = world.events.iter().flatten();
    events.filter(|event| matches!(event.kind, EventKind::HealFinished { .. })).count()
}

/// Core `0xd`, etcd `0xc`, swarm `0x43`: a node was up again for those who had declared it down, and none of them showed
/// that a heal was to come: each waited for its word on which cluster it is in, and took that in only when its view was
/// made anew, up to a second later.
#[test]
fn a_heal_is_shown_to_come_as_soon_as_the_one_that_was_down_is_up() {
    let tick = Duration::from_millis(1);
    for seed in 0..12 {
        let mut world = together(3, seed);
        run(&mut world, SECOND * 5);
        world.pause(2);
        run(&mut world, SECOND * 4);
        assert!(!looks_whole(&world), "seed {seed}: it was declared down");
        world.resume(2);
        let begin = world.now;
        while healed(&world) == 0 {
            assert!(!looks_whole(&world), "seed {seed}, {:?} after it came back: {}", world.now, world.words());
            run(&mut world, tick);
            assert!(world.now.since(begin) < SECOND * 5, "seed {seed}: no heal in time: {}", world.words());
        }
        let took = world.now.since(begin);
        // The views settle for three seconds; the callbacks and the exchange take up to 200 ms each.
        assert!(took < SECOND * 4, "seed {seed}: healed after {took:?}");
        wait(&mut world, "whole again", 1, converged);
        run(&mut world, SECOND * 20);
        assert!(looks_whole(&world) && healed(&world) == 1, "seed {seed}: once: {}", world.words());
    }
}

/// A newcomer of whom others had told was called by another newcomer: until the first answer it counted as lost. So did one
/// that was up in its own cluster and on its way into the other's (`s1_5`, `s2_10`). Both were healed although nobody had
/// ever declared them down.
#[test]
fn nobody_is_healed_whom_nobody_declared_down() {
    for seed in [0x4a, 0x95] {
        if let Err(failure) = Plan::from_seed(seed).run() {
            panic!("{}", failure.tell("core", seed));
        }
    }
    for seed in [0x3, 0x40, 0x7e] {
        if let Err(failure) = Plan::swarm(seed, &[]).run() {
            panic!("{}", failure.tell("swarm", seed));
        }
    }
}
