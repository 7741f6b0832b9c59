//! Generations of the volatile group as whole nodes see them: section 12, schedule S1-3.

use std::time::Duration;

use ekka_core::control::Command;
use ekka_core::event::EventKind;
use ekka_sim::core_world::{World, converged, name};

use crate::regress::support::{SECOND, cut, run, together, view, wait};

/// Everybody that runs is ready, and counts in this generation.
fn all_in(world: &World, generation: u64) -> bool {
    (0..world.machines.len()).filter(|i| world.machines[*i].process.is_some()).all(|i| {
        let view = view(world, i);
        view.ready_quorum && view.volatile.generation == generation && view.volatile.votes
    })
}

fn formed(seed: u64) -> World {
    let mut world = together(3, seed);
    wait(&mut world, "all vote in generation 1", 5, |world| all_in(world, 1));
    world
}

/// What this machine said of the beginning of a generation.
fn lost(world: &World, machine: usize, of: u64) -> Option<bool> {
    world.events[machine].iter().find_map(|event| match event.kind {
        EventKind::VolatileBegan { generation, lost, .. } if generation == of => Some(lost),
        _ => None,
    })
}

#[test]
fn a_start_that_does_not_count_yet_is_not_ready_and_says_why() {
    let mut world = formed(1);
    world.kill(2);
    run(&mut world, SECOND);
    world.start(2);
    let mut said = false;
    for _ in 0..8_000 {
        run(&mut world, Duration::from_millis(1));
        let view = view(&world, 2);
        assert!(view.volatile.votes || !view.ready_quorum, "ready, and does not count");
        said |= view.reasons.iter().any(|reason| reason.code == "syncing" && reason.text.contains("volatile group"));
        if all_in(&world, 1) {
            break;
        }
    }
    assert!(said, "it never said what it waits for");
    wait(&mut world, "it counts again", 10, |world| all_in(world, 1));
}

/// S1-3: restarts one after the other, for ever, are no full restart: each is recorded as a new voter.
#[test]
fn s1_3_a_rolling_restart_keeps_the_generation() {
    for seed in 0..4 {
        let mut world = formed(seed);
        for i in [0, 1, 2, 2, 0, 1, 0] {
            world.command(i, Command::Stop { by: "sigterm".into(), plan: false });
            wait(&mut world, "it ends", 10, |w| w.machines[i].process.is_none());
            world.start(i);
            wait(&mut world, "it counts again", 15, |world| all_in(world, 1));
        }
    }
}

/// S1-3: a majority that restarted together may have had what nobody else holds, and the event says so.
#[test]
fn s1_3_a_majority_restarted_begins_the_next_generation_and_says_what_may_be_lost() {
    for seed in 0..4 {
        let mut world = formed(seed);
        for i in [0, 2] {
            world.kill(i);
            world.start(i);
        }
        // Once the record says that they started again nobody waits for the group to find a leader.
        wait(&mut world, "generation 2", 3, |world| all_in(world, 2));
        assert_eq!(lost(&world, 1, 2), Some(true), "seed {seed}");
        (0..3).for_each(|i| world.kill(i));
        (0..3).for_each(|i| world.start(i));
        wait(&mut world, "generation 3", 3, |world| all_in(world, 3));
    }
}

/// A voter that is cut off, or that did not run for a while, goes on in the same generation when it is back.
#[test]
fn a_cut_or_a_pause_costs_no_generation() {
    for seed in 0..4 {
        let mut world = formed(seed);
        let victim = usize::try_from(seed % 3).expect("small");
        for other in (0..3).filter(|other| *other != victim) {
            cut(&mut world, victim, other);
        }
        run(&mut world, SECOND * 15);
        world.mend_all();
        wait(&mut world, "back after a cut", 10, |world| all_in(world, 1));
        world.pause(victim);
        run(&mut world, SECOND * 8);
        world.resume(victim);
        wait(&mut world, "back after a pause", 10, |world| all_in(world, 1));
        run(&mut world, SECOND * 30);
        assert!(all_in(&world, 1), "seed {seed}: it went on");
    }
}

/// Of five no side has a majority. Behind the cut nobody is asked to give the generation up, or whoever did would be missing
/// when the others are back.
#[test]
fn a_cut_into_three_sides_costs_no_generation() {
    for seed in 0..60 {
        let mut world = together(5, seed);
        wait(&mut world, "all vote in generation 1", 5, |world| all_in(world, 1));
        for (a, b) in [(0, 2), (0, 3), (0, 4), (1, 2), (1, 3), (1, 4), (2, 4), (3, 4)] {
            cut(&mut world, a, b);
        }
        run(&mut world, SECOND * if seed % 2 == 0 { 8 } else { 40 });
        world.mend_all();
        wait(&mut world, "whole again", 10, |world| converged(world) && all_in(world, 1));
    }
}

/// A voter that is neither back nor gone is waited for by name, and taking it out ends that.
#[test]
fn who_is_waited_for_is_named_and_can_be_taken_out() {
    let mut world = formed(3);
    let node_id = view(&world, 2).me.node_id;
    world.kill(2);
    run(&mut world, SECOND * 5);
    // The second starts again at once: the first alone of the old ones is left, and the third is missing.
    world.kill(1);
    world.start(1);
    let third = name(2).to_string();
    let says = format!("waits for {third}");
    let named = |world: &World| view(world, 0).reasons.iter().any(|reason| reason.text.contains(&says));
    wait(&mut world, "it names the third", 9, named);
    // Long before its lease has run out.
    world.watch.may_go(node_id);
    world.command(0, Command::ForceLeave { node: third, alive: false, plan: false, replace_with: None });
    wait(&mut world, "the next generation", 6, |world| all_in(world, 2));
    assert_eq!(lost(&world, 0, 2), Some(true), "two of three handed nothing in");
}

/// Of four cores three vote, of five all do. One that loses its vote so and is to have it back, all in one start, never
/// counts in the same generation again: nobody waits for it who leaves meanwhile, and it begins the next one.
#[test]
fn a_voter_that_was_taken_out_and_is_wanted_again_holds_nobody_up() {
    for seed in 0..4 {
        let mut world = together(5, seed);
        wait(&mut world, "all vote in generation 1", 5, |world| all_in(world, 1));
        let leave = |world: &mut World, machine: usize| {
            world.watch.may_leave(machine);
            let id = world.command(machine, Command::Leave { plan: false });
            wait(world, "leave is answered", 10, |w| matches!(w.replies.get(&(machine, id)), Some(Ok(_))));
        };
        let join = |world: &mut World, machine: usize| {
            let by = Command::Join { name: name(2), absorb: false, plan: false };
            let id = world.command(machine, by);
            wait(world, "join is answered", 10, |w| matches!(w.replies.get(&(machine, id)), Some(Ok(_))));
        };
        leave(&mut world, 4);
        run(&mut world, SECOND * 5);
        join(&mut world, 4);
        run(&mut world, SECOND * 3);
        leave(&mut world, 3);
        join(&mut world, 3);
        wait(&mut world, "all vote in generation 2", 40, |world| all_in(world, 2));
    }
}
