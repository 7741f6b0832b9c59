//! The schedules that formation, identity and leaving must survive, by their names, on the cores alone.

use std::time::Duration;

use ekka_core::autocluster::Merge;
use ekka_core::control::{Command, Reply, StopReason};
use ekka_core::event::EventKind;
use ekka_core::id::{Guid, NodeName};
use ekka_core::view::{Status, View};
use ekka_sim::core_world::{NodeSpec, World, converged, name};

const SECOND: Duration = Duration::from_secs(1);

fn names(n: usize) -> Vec<NodeName> {
    (0..n).map(name).collect()
}

/// `n` machines with one list of all, not yet started.
fn listed(n: usize, seed: u64) -> World {
    let names = names(n);
    World::new(names.iter().map(|own| NodeSpec::new(own, &names)).collect(), seed)
}

/// The same, up and together.
fn together(n: usize, seed: u64) -> World {
    let mut world = listed(n, seed);
    (0..n).for_each(|i| world.start(i));
    wait(&mut world, "all together", 10, converged);
    world
}

fn wait(world: &mut World, what: &str, seconds: u32, holds: impl FnMut(&World) -> bool) -> Duration {
    world.run_to(what, SECOND * seconds, holds).unwrap_or_else(|f| panic!("{}\n{}", f.trace.join("\n"), f.what))
}

fn run(world: &mut World, time: Duration) {
    world.run_for(time).unwrap_or_else(|f| panic!("{}\n{}", f.trace.join("\n"), f.what));
}

fn view(world: &World, i: usize) -> std::sync::Arc<View> {
    world.machines[i].process.as_ref().unwrap_or_else(|| panic!("machine {i} does not run")).control.view()
}

fn cut(world: &mut World, a: usize, b: usize) {
    world.cut(a, b);
    world.cut(b, a);
}

fn guids(world: &World) -> Vec<Guid> {
    (0..world.machines.len()).map(|i| view(world, i).guid()).collect()
}

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

/// S1-2: a newer start under the same name, on another disc, supersedes nothing while the holder lives.
#[test]
fn s1_2_a_twin_of_the_name_is_refused_and_the_holder_goes_on() {
    let mut world = together(3, 7);
    let before = guids(&world);
    let twin = NodeSpec { name: name(0), ..world.machines[0].spec.clone() };
    let twin = world.add(twin, ekka_sim::core_world::Disc::default());
    // It claims the name of machine 0, but is reached elsewhere.
    world.machines[twin].endpoint = name(200).endpoint(4370).unwrap();
    world.start(twin);
    run(&mut world, SECOND * 8);
    assert!((0..3).all(|i| view(&world, i).status == Status::Up));
    assert_eq!((0..3).map(|i| view(&world, i).guid()).collect::<Vec<_>>(), before);
    assert_eq!(view(&world, 1).members.len(), 3);
    if world.machines[twin].process.is_some() {
        assert_ne!(view(&world, twin).status, Status::Up);
    }
    let conflict = |e: &ekka_core::event::Event| matches!(&e.kind, EventKind::MemberConflict { .. });
    assert!((0..3).any(|i| world.events[i].iter().any(conflict)), "nobody said that two claim one name");
}

/// S1-2: every node restarts with the address of another one; identity is not an address.
#[test]
fn s1_2_permuted_addresses_are_no_new_nodes() {
    let mut world = together(3, 3);
    let ids: Vec<_> = (0..3).map(|i| view(&world, i).me.node_id).collect();
    (0..3).for_each(|i| world.kill(i));
    run(&mut world, SECOND);
    for i in 0..3 {
        world.machines[i].rename(&name((i + 1) % 3));
        world.start(i);
    }
    let took = wait(&mut world, "together at permuted addresses", 10, converged);
    assert!(took <= SECOND * 10);
    assert_eq!(world.watch.ids.len(), 1);
    for i in 0..3 {
        let view = view(&world, i);
        assert_eq!(view.me.node_id, ids[i]);
        let mut members: Vec<_> = view.members.iter().map(|m| m.id.node_id).collect();
        members.sort_unstable();
        let mut all = ids.clone();
        all.sort_unstable();
        assert_eq!(members, all);
    }
}

/// S1-2: a copied data directory with a right clock is the newer start: it is refused, and the healthy one goes on.
#[test]
fn s1_2_a_copied_directory_stops_and_the_original_goes_on() {
    let mut world = together(3, 11);
    let before = guids(&world);
    let spec = NodeSpec { name: name(50), ..world.machines[0].spec.clone() };
    let disc = world.machines[0].disc.clone();
    let copy = world.add(spec, disc);
    world.start(copy);
    wait(&mut world, "the copy stops", 10, |w| w.machines[copy].process.is_none());
    run(&mut world, SECOND * 5);
    assert!(converged(&world));
    assert_eq!((0..3).map(|i| view(&world, i).guid()).collect::<Vec<_>>(), before);
    let told = |e: &ekka_core::event::Event| matches!(&e.kind, EventKind::NodeRefused { reason, .. } if reason == "duplicate_identity");
    assert!(world.events[copy].iter().any(told), "{:?}", world.events[copy]);
}

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

/// S1-6: a repaired partition makes no new incarnation of anybody.
#[test]
fn s1_6_a_repaired_split_keeps_every_guid() {
    for seed in 0..10 {
        let mut world = together(4, seed);
        let before = guids(&world);
        for (a, b) in [(0, 2), (0, 3), (1, 2), (1, 3)] {
            cut(&mut world, a, b);
        }
        wait(&mut world, "both sides see the other down", 4, |w| {
            (0..4).all(|i| view(w, i).members.iter().filter(|m| m.status == Status::Down).count() == 2)
        });
        run(&mut world, SECOND * 20);
        world.mend_all();
        wait(&mut world, "all together again", 15, converged);
        assert_eq!(guids(&world), before);
    }
}

/// S1-12: stopping is not leaving: whoever was stopped comes back by itself, also after all were.
#[test]
fn s1_12_a_stopped_node_comes_back_by_itself() {
    let mut world = together(3, 21);
    for i in [0, 1, 2, 2, 1, 0] {
        world.command(i, Command::Stop { by: "sigterm".into(), plan: false });
        wait(&mut world, "it ends", 10, |w| w.machines[i].process.is_none());
        run(&mut world, SECOND * 2);
        world.start(i);
        wait(&mut world, "all together again", 5, converged);
    }
    for i in 0..3 {
        world.command(i, Command::Stop { by: "sigterm".into(), plan: false });
    }
    wait(&mut world, "all end", 10, |w| w.machines.iter().all(|m| m.process.is_none()));
    (0..3).for_each(|i| world.start(i));
    wait(&mut world, "all together again", 10, converged);
    assert_eq!(world.watch.ids.len(), 1);
}

/// S1-12: who left stays outside over restarts, until an operator says `join`.
#[test]
fn s1_12_who_left_stays_outside_until_join() {
    let mut world = together(3, 22);
    let id = world.command(2, Command::Leave { plan: false });
    wait(&mut world, "leave is answered", 15, |w| w.replies.contains_key(&(2, id)));
    assert!(matches!(world.replies[&(2, id)], Ok(Reply::Done { .. })), "{:?}", world.replies[&(2, id)]);
    world.watch.may_leave(2);
    wait(&mut world, "the others forget it", 5, |w| (0..2).all(|i| view(w, i).members.len() == 2));
    world.kill(2);
    world.start(2);
    run(&mut world, SECOND * 40);
    assert!((0..2).all(|i| view(&world, i).members.len() == 2), "it came back uncalled");
    assert_ne!(view(&world, 2).cluster_id, view(&world, 0).cluster_id);
    let id = world.command(2, Command::Join { name: name(0), plan: false });
    wait(&mut world, "join is answered", 60, |w| w.replies.contains_key(&(2, id)));
    wait(&mut world, "all together again", 10, converged);
}

/// S2-6: a clock that stands in 1970 or in the year 9999 is told so; it neither leads nor moves the others' guids.
#[test]
fn s2_6_a_dead_clock_is_told_so_and_moves_nobody() {
    for offset_ms in [-1_800_000_000_000, 250_000_000_000_000] {
        let mut world = together(3, 31);
        world.kill(0);
        world.machines[0].spec.clock_offset_ms = offset_ms;
        let before: Vec<Guid> = (1..3).map(|i| view(&world, i).guid()).collect();
        world.start(0);
        run(&mut world, SECOND * 15);
        assert_ne!(view(&world, 0).status, Status::Up, "up with a clock that is off by {offset_ms} ms");
        let words: Vec<String> = view(&world, 0).reasons.iter().map(|r| r.text.clone()).collect();
        assert!(words.iter().any(|text| text.contains("clock")), "{words:?}");
        assert_eq!((1..3).map(|i| view(&world, i).guid()).collect::<Vec<_>>(), before);
        assert!((1..3).all(|i| view(&world, i).status == Status::Up));
        assert_eq!(view(&world, 1).leader.map(|id| id == view(&world, 0).me.node_id), Some(false));
        // Set right, it comes back, above every guid that it had.
        world.machines[0].spec.clock_offset_ms = 0;
        world.kill(0);
        world.start(0);
        wait(&mut world, "all together again", 30, converged);
        assert!(world.machines[0].guids.windows(2).all(|pair| pair[0] < pair[1]));
    }
}

/// Section 4: a directory that comes back from an old copy is told so, and joins as a new node.
#[test]
fn s1_2_a_restored_directory_is_told_so_and_joins_as_new() {
    let mut world = together(3, 41);
    let old = world.machines[0].disc.clone();
    let node_id = view(&world, 0).me.node_id;
    for _ in 0..2 {
        world.kill(0);
        world.start(0);
        wait(&mut world, "back", 10, converged);
    }
    world.kill(0);
    wait(&mut world, "seen down", 5, |w| (1..3).all(|i| view(w, i).members.iter().any(|m| m.status == Status::Down)));
    world.machines[0].disc = old;
    world.start(0);
    wait(&mut world, "it is a new node", 20, |w| {
        w.machines[0].process.is_some() && view(w, 0).me.node_id != node_id && view(w, 0).status == Status::Up
    });
    assert_eq!(world.watch.ids.len(), 1);
}

/// Issue 3: `kill -9` is seen by all within a second, silence within three; a restart is `up` within three.
#[test]
fn a_dead_member_is_seen_within_its_time() {
    let down = |world: &World| (1..3).all(|i| view(world, i).members.iter().any(|m| m.status == Status::Down));
    for seed in 0..20 {
        let mut world = together(3, seed);
        world.kill(0);
        assert!(wait(&mut world, "the kill is seen", 3, down) <= SECOND, "seed {seed}");
        world.start(0);
        assert!(wait(&mut world, "it is up again", 10, converged) <= SECOND * 3, "seed {seed}");
        world.pause(0);
        assert!(wait(&mut world, "the silence is seen", 5, down) <= SECOND * 3, "seed {seed}");
        world.resume(0);
        wait(&mut world, "it heals back in", 10, converged);
    }
}

/// The reason for an end is kept for whoever asks: a stopped node was asked to.
#[test]
fn a_node_that_was_asked_to_stop_says_so() {
    let mut world = together(3, 51);
    world.command(1, Command::Stop { by: "command".into(), plan: false });
    wait(&mut world, "it ends", 10, |w| w.machines[1].process.is_none());
    assert_eq!(world.machines[1].ended, Some(StopReason::Asked));
}
