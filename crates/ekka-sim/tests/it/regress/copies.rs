//! Copied data directories, started while the original runs: section 4, schedule S1-2.

use ekka_core::id::Guid;
use ekka_core::view::Status;
use ekka_sim::core_world::{Disc, NodeSpec, World, converged, name};

use crate::regress::support::{SECOND, cut, guids, run, together, view, wait};

/// A copy of machine 0's directory, with a clock that is off by so much. It knows all seeds.
fn copy_of_first(world: &mut World, clock_offset_ms: i64) -> usize {
    let spec = NodeSpec { name: name(50), clock_offset_ms, ..world.machines[0].spec.clone() };
    let disc = world.machines[0].disc.clone();
    world.add(spec, disc)
}

/// The copy must end; the original must go on in the same start, and all must be together.
fn the_copy_ends(world: &mut World, copy: usize, before: &[Guid]) {
    wait(world, "the copy stops", 15, |w| w.machines[copy].process.is_none());
    run(world, SECOND);
    world.mend_all();
    let running: Vec<usize> = (0..world.machines.len()).filter(|i| *i != copy).collect();
    wait(world, "all are together", 20, |w| {
        let up = |i: usize| view(w, i).members.iter().filter(|m| m.status == Status::Up).count();
        running.iter().all(|i| up(*i) == running.len())
    });
    assert_eq!((0..before.len()).map(|i| view(world, i).guid()).collect::<Vec<_>>(), before);
}

/// S1-2: a member without a link to the original asks the others before it takes a copy for a restart.
#[test]
fn s1_2_a_copy_that_meets_first_who_cannot_hear_the_original_is_refused() {
    for seed in 0..20 {
        let mut world = together(3, seed);
        let before = guids(&world);
        cut(&mut world, 0, 2);
        run(&mut world, SECOND * u32::try_from(seed % 5).unwrap());
        let copy = copy_of_first(&mut world, 0);
        // It reaches only the member that has no link to the original.
        cut(&mut world, copy, 0);
        cut(&mut world, copy, 1);
        world.start(copy);
        the_copy_ends(&mut world, copy, &before);
    }
}

/// S1-2: who was cut off with a copy, and took it in, finds out when it meets the original again.
#[test]
fn s1_2_a_copy_that_was_taken_in_behind_a_cut_is_found_out_after_the_repair() {
    for seed in 0..20 {
        let mut world = together(5, seed);
        let before = guids(&world);
        let copy = copy_of_first(&mut world, 0);
        for a in [0, 1, 2] {
            for b in [3, 4, copy] {
                cut(&mut world, a, b);
            }
        }
        wait(&mut world, "both sides see the cut", 5, |w| {
            [3, 4].iter().all(|i| view(w, *i).members.iter().filter(|m| m.status == Status::Down).count() == 3)
        });
        world.start(copy);
        world.watch.copied(copy);
        run(&mut world, SECOND * 3);
        world.mend_all();
        the_copy_ends(&mut world, copy, &before);
    }
}

/// S1-2: a copy whose clock is behind is no older start: whoever is in the cluster stays.
#[test]
fn s1_2_a_copy_with_a_clock_that_is_behind_does_not_stop_the_restarted_original() {
    for seed in 0..20 {
        let mut world = together(3, seed);
        let copy = copy_of_first(&mut world, -3_600_000);
        world.kill(0);
        world.start(0);
        wait(&mut world, "the original is back", 10, converged);
        let before: Vec<Guid> = (0..3).map(|i| view(&world, i).guid()).collect();
        world.start(copy);
        the_copy_ends(&mut world, copy, &before);
    }
}

/// A newcomer, machine 4, that met a stale copy (machine 3, its clock behind) before anybody else; the original is up.
fn newcomer_with_stale_copy(seed: u64, seeds: &[usize]) -> (World, usize, usize, Vec<Guid>) {
    let mut world = together(3, seed);
    let copy = copy_of_first(&mut world, -3_600_000);
    world.kill(0);
    world.start(0);
    wait(&mut world, "the original is back", 10, converged);
    let before = (0..3).map(|i| view(&world, i).guid()).collect();
    let seeds: Vec<_> = seeds.iter().map(|i| name(*i)).chain([name(50)]).collect();
    let new = world.add(NodeSpec::new(&name(51), &seeds), Disc::default());
    for i in 0..3 {
        cut(&mut world, new, i);
        cut(&mut world, copy, i);
    }
    world.watch.copied(0);
    world.start(new);
    world.start(copy);
    run(&mut world, SECOND * 2);
    (world, copy, new, before)
}

fn mend(world: &mut World, a: usize, b: usize) {
    world.mend(a, b);
    world.mend(b, a);
}

/// S1-2: a newcomer that knows a stale copy and nobody else does not refuse the original, nor vouch for the copy.
#[test]
fn s1_2_a_newcomer_that_met_a_stale_copy_first_throws_nobody_out() {
    for seed in 0..10 {
        let (mut world, copy, new, before) = newcomer_with_stale_copy(seed, &[0, 1, 2]);
        (0..3).for_each(|i| mend(&mut world, new, i));
        the_copy_ends(&mut world, copy, &before);

        let (mut world, copy, new, before) = newcomer_with_stale_copy(seed, &[1]);
        mend(&mut world, new, 1);
        run(&mut world, SECOND * 3);
        mend(&mut world, copy, 1);
        the_copy_ends(&mut world, copy, &before);
    }
}

/// S1-2: behind a cut, original and copy each have friends. After the repair exactly one of them runs: the one that is
/// with the majority, since a restart on another machine looks the same.
#[test]
fn s1_2_of_original_and_copy_the_one_with_the_majority_stays() {
    for (n, split) in [(3, 1), (5, 1), (5, 2), (5, 3), (7, 3)] {
        for seed in 0..10 {
            let mut world = together(n, seed);
            let copy = copy_of_first(&mut world, 0);
            world.watch.copied(0);
            for a in 0..split {
                (split..n).chain([copy]).for_each(|b| cut(&mut world, a, b));
            }
            run(&mut world, SECOND * 5);
            world.start(copy);
            run(&mut world, SECOND * 3);
            world.mend_all();
            let (stays, goes) = if split * 2 > n { (0, copy) } else { (copy, 0) };
            wait(&mut world, "the one in the minority stops", 20, |w| w.machines[goes].process.is_none());
            run(&mut world, SECOND * 10);
            assert!(world.machines[stays].process.is_some(), "{split}|{}, seed {seed}: both stopped", n - split);
            let up = view(&world, n - 1).members.iter().filter(|m| m.status == Status::Up).count();
            assert_eq!(up, n, "{split}|{}, seed {seed}: {}", n - split, world.words());
        }
    }
}

/// S1-2: everybody forgets what a copy said, also who has no link to the original.
#[test]
fn s1_2_what_a_copy_said_is_forgotten_by_all() {
    let mut world = together(5, 3);
    let before = guids(&world);
    let copy = copy_of_first(&mut world, 0);
    for a in [0, 1, 2] {
        for b in [3, 4, copy] {
            cut(&mut world, a, b);
        }
    }
    run(&mut world, SECOND * 5);
    world.start(copy);
    run(&mut world, SECOND * 3);
    for a in [0, 1, 2] {
        [3, 4, copy].into_iter().filter(|b| (a, *b) != (0, 4)).for_each(|b| mend(&mut world, a, b));
    }
    wait(&mut world, "the copy stops", 20, |w| w.machines[copy].process.is_none());
    wait(&mut world, "4 knows the original again", 10, |w| {
        view(w, 4).members.iter().any(|m| m.id.guid == before[0] && m.status == Status::Up)
    });
    run(&mut world, SECOND * 5);
    let bytes = world.report().bytes;
    run(&mut world, SECOND * 10);
    let rate = (world.report().bytes - bytes) / 10;
    assert!(rate < 30_000, "rosters that never agree cost {rate} bytes a second");
}
