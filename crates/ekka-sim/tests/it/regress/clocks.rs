//! Clocks that are wrong on some members, and who is told so; section 4.

use ekka_core::view::Status;
use ekka_sim::core_world::{NodeSpec, World};

use crate::regress::support::{SECOND, names, run, together, view, wait};

const JUMP_MS: i64 = 300_000;

fn is_told(world: &World, i: usize) -> bool {
    view(world, i).reasons.iter().any(|reason| reason.code == "clock")
}

/// These are ready, are told nothing, and see their own clock where it is.
fn are_right(world: &World, machines: std::ops::Range<usize>) -> bool {
    machines.into_iter().all(|i| {
        let view = view(world, i);
        let near = view.clock_offset_ms.is_none_or(|ms| ms.abs() < 1_000);
        !is_told(world, i) && view.ready_available && view.status == Status::Up && near
    })
}

/// Half of the nodes do not outvote the other half: the clocks alone do not tell which half jumped, but each of its nodes knows.
#[test]
fn two_of_four_clocks_that_jump_trouble_the_other_two_in_nothing() {
    for (seed, jump) in [(1, JUMP_MS), (2, -JUMP_MS), (3, JUMP_MS)] {
        let mut world = together(4, seed);
        run(&mut world, SECOND * 5);
        world.set_clock(2, jump);
        if seed == 3 {
            run(&mut world, SECOND * 7);
        }
        world.set_clock(3, jump);
        wait(&mut world, "both are told", 10, |w| is_told(w, 2) && is_told(w, 3));
        for _ in 0..300 {
            run(&mut world, SECOND / 10);
            assert!(are_right(&world, 0..2), "seed {seed}\n{}", world.words());
            assert!(is_told(&world, 2) && is_told(&world, 3), "seed {seed}\n{}", world.words());
        }
        world.set_clock(2, 0);
        world.set_clock(3, 0);
        wait(&mut world, "all are right", 10, |w| are_right(w, 0..4));
    }
}

/// Whoever waits to join is no member yet: however many of them have a wrong clock, that is their own trouble.
#[test]
fn newcomers_whose_clocks_are_an_hour_behind_trouble_no_member() {
    let names = names(6);
    let spec = |(i, own)| {
        let (seeds, clock_offset_ms) = if i < 3 { (&names[..3], 0) } else { (&names[..], -3_600_000) };
        NodeSpec { clock_offset_ms, ..NodeSpec::new(own, seeds) }
    };
    let mut world = World::new(names.iter().enumerate().map(spec).collect(), 1);
    (0..3).for_each(|i| world.start(i));
    wait(&mut world, "three together", 15, |w| are_right(w, 0..3));
    (3..6).for_each(|i| world.start(i));
    wait(&mut world, "the newcomers are told", 30, |w| (3..6).all(|i| is_told(w, i)));
    for _ in 0..300 {
        run(&mut world, SECOND / 10);
        assert!(are_right(&world, 0..3), "{}", world.words());
        assert!((3..6).all(|i| view(&world, i).status != Status::Up), "{}", world.words());
    }
    (3..6).for_each(|i| world.set_clock(i, 0));
    wait(&mut world, "all are right", 30, |w| are_right(w, 0..6));
}
