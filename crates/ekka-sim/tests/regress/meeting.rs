//! Clusters that meet: section 8, rule 6.

use ekka_core::autocluster::Merge;
use ekka_core::id::NodeName;
use ekka_core::view::Status;
use ekka_sim::core_world::{NodeSpec, World, converged};

use crate::support::{SECOND, names, run, view, wait};

/// Clusters of one node each, which then find each other.
fn clusters_that_meet(merge: Merge, seed: u64) -> World {
    let names = names(3);
    let specs = names.iter().map(|own| NodeSpec { merge, ..NodeSpec::new(own, &[]) }).collect();
    let mut world = World::new(specs, seed);
    world.watch.one_id_promised = false;
    for i in 0..3 {
        world.start(i);
        wait(&mut world, "it forms alone", 10, |w| view(w, i).status == Status::Up);
    }
    for machine in &mut world.machines {
        machine.spec.seeds.clone_from(&names);
    }
    world
}

/// S1-5: three clusters meet: all end in the one with the smallest id, in whatever order they restart meanwhile.
#[test]
fn s1_5_three_clusters_become_the_oldest_one() {
    for seed in 0..20 {
        let mut world = clusters_that_meet(Merge::Empty, seed);
        let oldest = (0..3).filter_map(|i| view(&world, i).cluster_id).min();
        let restarted = usize::try_from(seed % 3).unwrap();
        run(&mut world, SECOND * (1 + u32::try_from(seed).unwrap() % 8));
        world.kill(restarted);
        run(&mut world, SECOND);
        world.start(restarted);
        wait(&mut world, "one cluster", 90, converged);
        assert_eq!(view(&world, 0).cluster_id, oldest, "seed {seed}: the smallest id is the oldest, for ever");
    }
}

/// S1-5: with `merge = never` nothing moves, and both sides say so.
#[test]
fn s1_5_clusters_that_may_not_merge_stay_and_say_so() {
    let mut world = clusters_that_meet(Merge::Never, 5);
    let before: Vec<_> = (0..3).map(|i| view(&world, i).cluster_id).collect();
    wait(&mut world, "all raise the conflict", 60, |w| (0..3).all(|i| !view(w, i).conflicts.is_empty()));
    run(&mut world, SECOND * 30);
    assert_eq!((0..3).map(|i| view(&world, i).cluster_id).collect::<Vec<_>>(), before);
}

/// Section 4: clocks are compared within the cluster; another one in sight, however large, troubles nobody.
#[test]
fn the_clocks_of_another_cluster_trouble_nobody() {
    let names = names(8);
    let spec = |(i, own): (usize, &NodeName)| {
        let (seeds, clock_offset_ms) = if i < 3 { (&names[..3], 0) } else { (&names[3..], 180_000) };
        NodeSpec { merge: Merge::Never, clock_offset_ms, ..NodeSpec::new(own, seeds) }
    };
    let mut world = World::new(names.iter().enumerate().map(spec).collect(), 1);
    world.watch.one_id_promised = false;
    for i in 0..8 {
        world.start(i);
        world.watch.clock_jumped(i);
    }
    wait(&mut world, "two clusters", 15, |w| (0..8).all(|i| view(w, i).status == Status::Up));
    world.machines.iter_mut().for_each(|machine| machine.spec.seeds.clone_from(&names));
    run(&mut world, SECOND * 60);
    for i in 0..3 {
        assert!(view(&world, i).reasons.iter().all(|reason| reason.code != "clock"), "{}", world.words());
    }
}
