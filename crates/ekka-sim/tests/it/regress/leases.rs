//! Fenced, gone, and back: section 9. That nobody is gone before it is fenced, and that it is said once, the world watches.

use std::time::Duration;

use ekka_core::control::Command;
use ekka_core::event::EventKind;
use ekka_core::id::NodeId;
use ekka_core::view::Status;
use ekka_sim::core_world::{NodeSpec, World, converged};

use crate::regress::support::{SECOND, cut, guids, names, run, together, view, wait};

/// How often machine `i` said that a start of this node is gone.
fn said_gone(world: &World, i: usize, node: NodeId) -> usize {
    let of = |kind: &EventKind| matches!(kind, EventKind::MemberGone { node_id, .. } if *node_id == node);
    world.events[i].iter().filter(|event| of(&event.kind)).count()
}

fn fenced(world: &World, i: usize) -> bool {
    let view = view(world, i);
    !view.ready_quorum && view.reasons.iter().any(|reason| reason.code == "fenced")
}

fn count(world: &World, i: usize, is: impl Fn(&EventKind) -> bool) -> usize {
    world.events[i].iter().filter(|event| is(&event.kind)).count()
}

fn was_fenced(kind: &EventKind) -> bool {
    matches!(kind, EventKind::NodeFenced { .. })
}

fn is_over(kind: &EventKind) -> bool {
    matches!(kind, EventKind::NodeOver { .. })
}

/// M7: cut off alone it is fenced, ten seconds after its last renewal, before the majority says gone, fifteen after it.
#[test]
fn m7_who_is_cut_off_is_fenced_before_the_others_say_gone_and_comes_back_under_a_new_guid() {
    for seed in 0..20 {
        let mut world = together(3, seed);
        let (node, first) = (view(&world, 2).me.node_id, guids(&world));
        cut(&mut world, 2, 0);
        cut(&mut world, 2, 1);
        let until_fenced = wait(&mut world, "it is fenced", 12, |w| fenced(w, 2));
        assert!(until_fenced > SECOND * 8, "seed {seed}: {until_fenced:?}");
        assert!((0..2).all(|i| said_gone(&world, i, node) == 0), "seed {seed}: gone before it was fenced");
        assert!(view(&world, 2).ready_available, "seed {seed}: local work goes on");
        wait(&mut world, "it is gone", 10, |w| (0..2).all(|i| said_gone(w, i, node) == 1));
        let shown = |w: &World, i: usize| view(w, i).member(node).map(|m| m.status) == Some(Status::Gone);
        wait(&mut world, "it is shown as gone", 1, |w| (0..2).all(|i| shown(w, i)));
        run(&mut world, SECOND * 20);
        world.mend_all();
        wait(&mut world, "all together again", 20, converged);
        let back = guids(&world);
        assert!(back[2] > first[2] && back[..2] == first[..2], "seed {seed}: a new guid for it alone");
        assert_eq!((count(&world, 2, was_fenced), count(&world, 2, is_over)), (1, 1), "seed {seed}");
        assert!((0..2).all(|i| said_gone(&world, i, node) == 1), "seed {seed}: said once");
        assert!((0..2).all(|i| count(&world, i, was_fenced) == 0), "seed {seed}: the majority never is");
    }
}

/// Without a majority all are fenced and nobody is gone; in touch again they hold their leases as before.
#[test]
fn without_a_majority_all_are_fenced_and_nobody_is_gone() {
    for (seed, sides) in [(1, vec![vec![0], vec![1]]), (2, vec![vec![0, 1], vec![2, 3], vec![4]])] {
        let n = sides.iter().flatten().count();
        let mut world = together(n, seed);
        let first = guids(&world);
        for (a, b) in (0..n).flat_map(|a| (0..a).map(move |b| (a, b))) {
            if !sides.iter().any(|side| side.contains(&a) && side.contains(&b)) {
                cut(&mut world, a, b);
            }
        }
        wait(&mut world, "all are fenced", 12, |w| (0..n).all(|i| fenced(w, i)));
        run(&mut world, SECOND * 60);
        let nobody = |w: &World, i: usize| count(w, i, |kind| matches!(kind, EventKind::MemberGone { .. })) == 0;
        assert!((0..n).all(|i| nobody(&world, i)), "{n}: nobody is gone");
        world.mend_all();
        wait(&mut world, "all are ready again", 10, |w| converged(w) && (0..n).all(|i| view(w, i).ready_quorum));
        run(&mut world, SECOND * 30);
        assert_eq!(guids(&world), first, "{n}: nobody needed a new guid");
        assert!((0..n).all(|i| nobody(&world, i) && count(&world, i, was_fenced) == 1), "{n}: fenced once");
    }
}

/// S2-9: frozen for a minute: the first thing that it says on waking is that it is fenced; then it learns that it is gone.
#[test]
fn s2_9_a_frozen_node_wakes_fenced_and_comes_back_under_a_new_guid() {
    for seed in 0..10 {
        let mut world = together(3, seed);
        world.watch.pauses_count = false;
        let (node, first) = (view(&world, 1).me.node_id, guids(&world));
        world.pause(1);
        run(&mut world, SECOND * 60);
        assert!([0, 2].into_iter().all(|i| said_gone(&world, i, node) == 1), "seed {seed}");
        let before = world.events[1].len();
        world.resume(1);
        wait(&mut world, "all together again", 20, converged);
        let said: Vec<_> = world.events[1][before..].iter().map(|event| &event.kind).collect();
        assert!(was_fenced(said[0]), "seed {seed}: first of all {:?}", said[0]);
        assert_eq!(said.iter().filter(|kind| is_over(kind)).count(), 1, "seed {seed}");
        assert!(guids(&world)[1] > first[1], "seed {seed}");
        assert!([0, 2].into_iter().all(|i| said_gone(&world, i, node) == 1), "seed {seed}: said once");
    }
}

/// S1-7: a goodbye proves the end, so it is gone at once; the member stays, and comes back by itself.
#[test]
fn s1_7_a_goodbye_is_gone_at_once_and_the_member_stays() {
    for seed in 0..10 {
        let mut world = together(3, seed);
        // Whoever leads is among them.
        for i in [0, 1, 2] {
            let node = view(&world, i).me.node_id;
            let others: Vec<usize> = (0..3).filter(|other| *other != i).collect();
            world.command(i, Command::Stop { by: "sigterm".into(), plan: false });
            wait(&mut world, "it is gone", 6, |w| others.iter().all(|other| said_gone(w, *other, node) == 1));
            let status = |w: &World, at: usize| view(w, at).member(node).map(|m| m.status);
            assert!(others.iter().all(|at| status(&world, *at) == Some(Status::Stopped)), "seed {seed}");
            assert_eq!(count(&world, i, was_fenced), 0, "seed {seed}: to stop is no alarm");
            run(&mut world, SECOND * 20);
            world.start(i);
            wait(&mut world, "all together again", 10, converged);
            world.events.iter_mut().for_each(Vec::clear);
        }
    }
}

/// A new leader counts every lease as renewed at its election.
#[test]
fn a_new_leader_counts_anew() {
    for seed in 0..10 {
        let mut world = together(5, seed);
        let leader = world.leads().expect("one leads");
        let lost = (0..5).find(|i| *i != leader).expect("another");
        let node = view(&world, lost).me.node_id;
        (0..5).filter(|i| *i != lost).for_each(|i| cut(&mut world, lost, i));
        run(&mut world, SECOND * 12);
        world.kill(leader);
        run(&mut world, SECOND * 14);
        let rest: Vec<usize> = (0..5).filter(|i| *i != lost && *i != leader).collect();
        assert!(rest.iter().all(|i| said_gone(&world, *i, node) == 0), "seed {seed}: not by what another counted");
        wait(&mut world, "it is gone", 6, |w| rest.iter().all(|i| said_gone(w, *i, node) == 1));
    }
}

/// Nodes that are configured with different lengths break nothing: a shorter one waits for leases of the longer one first.
#[test]
fn m8_a_leader_with_a_shorter_gone_after_waits_for_the_longer_leases() {
    let mut played = 0;
    for seed in 0..30 {
        let names = names(5);
        let mut specs: Vec<NodeSpec> = names.iter().map(|own| NodeSpec::new(own, &names)).collect();
        for (i, spec) in specs.iter_mut().enumerate() {
            spec.gone_after = Duration::from_secs(if i == 0 { 60 } else { 10 });
        }
        let mut world = World::new(specs, seed);
        (0..5).for_each(|i| world.start(i));
        wait(&mut world, "all together", 10, converged);
        if world.leads() != Some(0) {
            continue;
        }
        played += 1;
        run(&mut world, SECOND * 3);
        let node = view(&world, 4).me.node_id;
        (0..4).for_each(|i| cut(&mut world, 4, i));
        run(&mut world, SECOND);
        world.kill(0);
        // It holds a lease of forty seconds from the old leader; the new one would wait for ten.
        run(&mut world, SECOND * 55);
        assert!((1..4).all(|i| said_gone(&world, i, node) == 0), "seed {seed}");
        wait(&mut world, "it is gone", 15, |w| (1..4).all(|i| said_gone(w, i, node) == 1));
        assert!(fenced(&world, 4), "seed {seed}");
        // From then on the short one holds for all.
        world.start(0);
        (0..4).for_each(|i| {
            world.mend(4, i);
            world.mend(i, 4);
        });
        wait(&mut world, "all together again", 20, converged);
        run(&mut world, SECOND * 62);
        let leader = world.leads().expect("one leads");
        if leader == 0 {
            continue;
        }
        let lost = (0..5).find(|i| *i != leader && *i != 0).expect("another");
        let (node, before) = (view(&world, lost).me.node_id, world.events[leader].len());
        world.kill(lost);
        let after = |w: &World| {
            let of = |kind: &EventKind| matches!(kind, EventKind::MemberGone { node_id, .. } if *node_id == node);
            w.events[leader][before..].iter().any(|event| of(&event.kind))
        };
        wait(&mut world, "it is gone", 15, after);
    }
    assert!(played > 0, "one of the seeds has the leader that it is about");
}
