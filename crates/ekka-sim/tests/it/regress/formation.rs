//! One vote, one cluster: section 8, rule 4.

use std::time::Duration;

use ekka_core::id::NodeName;
use ekka_core::view::Status;
use ekka_sim::core_world::{NodeSpec, World, converged};

use crate::regress::support::{SECOND, cut, listed, names, run, view, wait};

/// S1-1, first schedule: whoever chose the id crashes before it told anybody, at every moment of the vote.
#[test]
fn s1_1_a_crash_right_after_the_choice_makes_no_second_cluster() {
    for moment in 0..60 {
        for victim in 0..3 {
            let mut world = listed(3, moment);
            (0..3).for_each(|i| world.start(i));
            run(&mut world, Duration::from_millis(2 * moment));
            world.kill(victim);
            wait(&mut world, "the other two form", 30, |w| {
                (0..3).filter(|i| *i != victim).all(|i| view(w, i).status == Status::Up)
            });
            world.start(victim);
            wait(&mut world, "all three together", 20, converged);
            assert_eq!(world.watch.ids.len(), 1, "victim {victim} after {} ms", 2 * moment);
        }
    }
}

/// S1-1, second schedule: one link comes up late, and the third node sees both.
#[test]
fn s1_1_a_late_link_makes_no_second_cluster() {
    for seed in 0..40 {
        let mut world = listed(3, seed);
        cut(&mut world, 0, 1);
        (0..3).for_each(|i| world.start(i));
        run(&mut world, SECOND * 5);
        world.mend_all();
        wait(&mut world, "all three together", 20, converged);
        assert_eq!(world.watch.ids.len(), 1);
    }
}

/// S1-1, third schedule: lists that leave out the node itself count it all the same, so 2|2 forms at most once.
#[test]
fn s1_1_lists_without_the_node_itself_form_one_cluster_in_a_two_two_split() {
    for seed in 0..20 {
        let names = names(4);
        let others = |own: &NodeName| -> Vec<NodeName> { names.iter().filter(|n| *n != own).cloned().collect() };
        let mut world = World::new(names.iter().map(|own| NodeSpec::new(own, &others(own))).collect(), seed);
        for (a, b) in [(0, 2), (0, 3), (1, 2), (1, 3)] {
            cut(&mut world, a, b);
        }
        (0..4).for_each(|i| world.start(i));
        run(&mut world, SECOND * 10);
        assert_eq!(world.watch.ids.len(), 0, "two of four are no majority");
        for i in 0..4 {
            assert!(!view(&world, i).reasons.is_empty(), "machine {i} waits and says nothing");
        }
        world.mend_all();
        wait(&mut world, "all four together", 20, converged);
        assert_eq!(world.watch.ids.len(), 1);
    }
}

/// S1-1, fourth schedule: nodes that no list names never make a majority of their own.
#[test]
fn s1_1_unlisted_nodes_join_and_never_form() {
    for seed in 0..20 {
        let names = names(5);
        let mut world = World::new(names.iter().map(|own| NodeSpec::new(own, &names[..3])).collect(), seed);
        for (a, b) in [(0, 1), (0, 2), (3, 1), (3, 2), (4, 1), (4, 2)] {
            cut(&mut world, a, b);
        }
        (0..5).for_each(|i| world.start(i));
        wait(&mut world, "the two seeds form", 10, |w| [1, 2].iter().all(|i| view(w, *i).status == Status::Up));
        assert!([0, 3, 4].iter().all(|i| view(&world, *i).cluster_id.is_none()));
        world.mend_all();
        wait(&mut world, "all five together", 20, converged);
        assert_eq!(world.watch.ids.len(), 1);
    }
}
