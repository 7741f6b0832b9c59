//! Clusters that meet: section 8, rule 6.

use ekka_core::autocluster::Merge;
use ekka_core::control::{Command as Operator, Reply};
use ekka_core::durable::Command;
use ekka_core::id::NodeName;
use ekka_core::view::Status;
use ekka_sim::core_world::{NodeSpec, World, converged};

use crate::regress::support::{SECOND, names, run, view, wait};

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

/// S1-5, M10: rows of quorum tables are merged by nobody: a younger cluster that ever held one stays, and both say so,
/// until an operator decides. One that never did goes by itself, whatever the older holds.
#[test]
fn s1_5_a_younger_cluster_with_quorum_rows_goes_by_word_only() {
    let mut world = clusters_that_meet(Merge::Empty, 11);
    let mut by_age: Vec<usize> = (0..3).collect();
    by_age.sort_by_key(|i| view(&world, *i).cluster_id);
    let [oldest, empty, younger] = by_age[..] else { panic!("three clusters") };
    let before = view(&world, younger).cluster_id;
    world.commit(oldest, Command::QuorumRows);
    world.commit(younger, Command::QuorumRows);
    wait(&mut world, "the empty one goes into the oldest", 60, |w| {
        view(w, empty).cluster_id == view(w, oldest).cluster_id && view(w, empty).status == Status::Up
    });
    wait(&mut world, "both raise the conflict", 60, |w| {
        let says =
            |i: usize| view(w, i).conflicts.iter().any(|c| c.why.contains("held rows") && c.why.contains("--absorb"));
        says(oldest) && says(younger)
    });
    run(&mut world, SECOND * 30);
    assert_eq!(view(&world, younger).cluster_id, before, "nothing moves");
    let target = world.machines[oldest].spec.name.clone();
    let wrong_way = world.machines[younger].spec.name.clone();
    let id = world.command(oldest, Operator::Join { name: wrong_way.clone(), absorb: true, plan: true });
    let says_so = |reply: &Reply| matches!(reply, Reply::Plan { refused: Some(why), .. } if why.contains("younger"));
    wait(
        &mut world,
        "the plan says so",
        5,
        |w| matches!(w.replies.get(&(oldest, id)), Some(Ok(reply)) if says_so(reply)),
    );
    let id = world.command(oldest, Operator::Join { name: wrong_way, absorb: true, plan: false });
    wait(&mut world, "refused", 40, |w| matches!(w.replies.get(&(oldest, id)), Some(Err(_))));
    let id = world.command(younger, Operator::Join { name: target, absorb: true, plan: false });
    wait(&mut world, "done", 60, |w| matches!(w.replies.get(&(younger, id)), Some(Ok(_))));
    wait(&mut world, "one cluster", 90, converged);
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
