//! Stop is not leave: section 6.

use std::time::Duration;

use ekka_core::autocluster::Merge;
use ekka_core::control::{Command, CommandError, Reply, StopReason};
use ekka_core::id::NodeName;
use ekka_core::machine::Machine as _;
use ekka_core::view::Status;
use ekka_sim::core_world::{NodeSpec, World, converged, name};

use crate::regress::support::{SECOND, cut, names, run, together, view, wait};

/// The third machine is let in again by an operator's word.
fn joins_again(world: &mut World) {
    let id = world.command(2, Command::Join { name: name(0), absorb: false, plan: false });
    wait(world, "join is answered", 20, |w| matches!(w.replies.get(&(2, id)), Some(Ok(_))));
    wait(world, "all together again", 10, converged);
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
    let id = world.command(2, Command::Join { name: name(0), absorb: false, plan: false });
    wait(&mut world, "join is answered", 60, |w| w.replies.contains_key(&(2, id)));
    wait(&mut world, "all together again", 10, converged);
}

/// The reason for an end is kept for whoever asks: a stopped node was asked to.
#[test]
fn a_node_that_was_asked_to_stop_says_so() {
    let mut world = together(3, 51);
    world.command(1, Command::Stop { by: "command".into(), plan: false });
    wait(&mut world, "it ends", 10, |w| w.machines[1].process.is_none());
    assert_eq!(world.machines[1].ended, Some(StopReason::Asked));
}

/// A removal is an entry of the durable group: without a majority it is not made, and `leave` says so.
#[test]
fn leave_is_answered_only_once_it_is_committed() {
    for seed in 0..10 {
        let mut world = together(3, seed);
        world.watch.may_leave(2);
        for other in [0, 1] {
            cut(&mut world, 2, other);
        }
        let id = world.command(2, Command::Leave { plan: false });
        run(&mut world, SECOND * 5);
        assert!(!world.replies.contains_key(&(2, id)), "answered, and nobody can know");
        if seed % 2 == 0 {
            world.mend_all();
            wait(&mut world, "leave is answered", 10, |w| matches!(w.replies.get(&(2, id)), Some(Ok(_))));
            wait(&mut world, "the others forget it", 10, |w| (0..2).all(|i| view(w, i).members.len() == 2));
            assert!(view(&world, 2).cluster_id.is_none());
        } else {
            let says = |w: &World| matches!(w.replies.get(&(2, id)), Some(Err(CommandError::Failed(why))) if why.contains("not committed"));
            wait(&mut world, "it says that it stays", 40, says);
            world.mend_all();
            wait(&mut world, "it is a member like before", 20, converged);
        }
    }
}

/// Whoever leaves and joins again over links that stay is up like any other.
#[test]
fn leave_and_join_without_a_restart_in_between() {
    for seed in 0..10 {
        let mut world = together(3, seed);
        world.watch.may_leave(2);
        let id = world.command(2, Command::Leave { plan: false });
        wait(&mut world, "leave is answered", 5, |w| matches!(w.replies.get(&(2, id)), Some(Ok(_))));
        let id = world.command(2, Command::Join { name: name(0), absorb: false, plan: false });
        wait(&mut world, "join is answered", 10, |w| matches!(w.replies.get(&(2, id)), Some(Ok(_))));
        wait(&mut world, "all together again", 5, converged);
    }
}

/// `join` takes a node out of a cluster with others: those are told, and do not keep a member that is not there.
#[test]
fn a_join_out_of_a_cluster_with_others_is_told_to_them() {
    let names = names(5);
    let mut specs: Vec<NodeSpec> = Vec::new();
    for (i, own) in names.iter().enumerate() {
        let seeds = if i < 3 { &names[..3] } else { &names[3..] };
        specs.push(NodeSpec { merge: Merge::Never, ..NodeSpec::new(own, seeds) });
    }
    let mut world = World::new(specs, 5);
    world.watch.one_id_promised = false;
    (0..5).for_each(|i| world.start(i));
    wait(&mut world, "two clusters", 10, |w| {
        [(0..3, 3), (3..5, 2)].into_iter().all(|(mut of, n)| of.all(|i| view(w, i).members.len() == n))
    });
    world.watch.may_leave(2);
    world.watch.may_go(view(&world, 2).me.node_id);
    let id = world.command(2, Command::Join { name: names[3].clone(), absorb: false, plan: false });
    wait(&mut world, "join is answered", 20, |w| matches!(w.replies.get(&(2, id)), Some(Ok(_))));
    wait(&mut world, "the old cluster has two members", 10, |w| (0..2).all(|i| view(w, i).members.len() == 2));
    assert!((2..5).all(|i| view(&world, i).members.len() == 3));
}

/// A member that is taken out while it is down, and has lost its own note of the cluster, waits for an operator.
#[test]
fn who_was_forced_out_does_not_come_back_by_itself_even_without_its_note() {
    let mut world = together(3, 3);
    world.watch.may_leave(2);
    world.watch.may_go(view(&world, 2).me.node_id);
    world.kill(2);
    let victim = world.machines[2].spec.name.clone();
    wait(&mut world, "seen down", 5, |w| (0..2).all(|i| view(w, i).members.iter().any(|m| m.status == Status::Down)));
    let id = world
        .command(0, Command::ForceLeave { node: victim.to_string(), replace_with: None, alive: false, plan: false });
    wait(&mut world, "force-leave is answered", 5, |w| matches!(w.replies.get(&(0, id)), Some(Ok(_))));
    world.machines[2].disc.forget_cluster();
    world.start(2);
    run(&mut world, SECOND * 20);
    assert!((0..2).all(|i| view(&world, i).members.len() == 2), "it came back uncalled");
    let words: Vec<String> = view(&world, 2).reasons.iter().map(|r| r.text.clone()).collect();
    assert!(words.iter().any(|text| text.contains("ekka join")), "{words:?}");
    joins_again(&mut world);
}

/// Members that all drain still let others in.
#[test]
fn members_that_all_drain_admit_a_newcomer() {
    let names = names(4);
    let specs = names.iter().map(|own| NodeSpec::new(own, &names[..3])).collect();
    let mut world = World::new(specs, 8);
    (0..3).for_each(|i| world.start(i));
    wait(&mut world, "the three seeds form", 10, |w| (0..3).all(|i| view(w, i).status == Status::Up));
    for i in 0..3 {
        world.command(i, Command::Drain { plan: false });
    }
    run(&mut world, SECOND);
    world.start(3);
    wait(&mut world, "the newcomer is up", 10, |w| view(w, 3).status == Status::Up);
}

/// A disc that does not take the farewell holds `leave` up for its time, and nothing else.
#[test]
fn leave_with_a_disc_that_hangs_says_so() {
    let mut world = together(3, 1);
    world.watch.may_leave(2);
    world.disc_delay = SECOND * 3600;
    let id = world.command(2, Command::Leave { plan: false });
    wait(
        &mut world,
        "it says what lacks",
        35,
        |w| matches!(w.replies.get(&(2, id)), Some(Err(CommandError::Failed(why))) if why.contains("its own disc")),
    );
    let deadline = world.machines[2].process.as_ref().and_then(|p| p.control.deadline());
    assert!(deadline.is_none_or(|deadline| deadline >= world.now), "nothing is due for ever");
}

/// On the side without the majority `leave` is refused in words, and changes nothing.
#[test]
fn leave_in_a_minority_is_refused_and_changes_nothing() {
    for seed in 0..10 {
        let mut world = together(5, seed);
        for i in 0..3 {
            cut(&mut world, 3, i);
            cut(&mut world, 4, i);
        }
        run(&mut world, SECOND * 5);
        let id = world.command(4, Command::Leave { plan: false });
        let refused = |w: &World| matches!(w.replies.get(&(4, id)), Some(Err(CommandError::Refused(why))) if why.contains("voters in reach"));
        wait(&mut world, "leave is refused", 1, refused);
        world.mend_all();
        wait(&mut world, "all together again", 20, converged);
    }
}

/// Killed while its removal waits for a majority: it comes back as the member that it still is.
#[test]
fn who_is_killed_while_it_waits_to_leave_stays_a_member() {
    for seed in 0..10 {
        let mut world = together(3, seed);
        world.watch.may_leave(2);
        for other in [0, 1] {
            cut(&mut world, 2, other);
        }
        world.command(2, Command::Leave { plan: false });
        run(&mut world, SECOND * 12);
        world.kill(2);
        world.mend_all();
        run(&mut world, SECOND);
        world.start(2);
        wait(&mut world, "all together again", 20, converged);
        run(&mut world, SECOND * 10);
        assert!(converged(&world), "seed {seed}: {}", world.words());
    }
}

/// Steps of a millisecond, so that what follows comes right after it.
fn until(world: &mut World, holds: impl Fn(&World) -> bool) {
    for _ in 0..60_000 {
        if holds(world) {
            return;
        }
        run(world, Duration::from_millis(1));
    }
    panic!("not within a minute: {}", world.words());
}

/// A `leave` that was answered is on the disc of a member that stays.
#[test]
fn leave_is_confirmed_by_a_disc() {
    for seed in 0..20 {
        let mut world = together(2, seed);
        world.watch.may_leave(1);
        world.disc_delay = Duration::from_millis(600);
        let id = world.command(1, Command::Leave { plan: false });
        until(&mut world, |w| matches!(w.replies.get(&(1, id)), Some(Ok(_))));
        world.kill(0);
        world.kill(1);
        world.start(0);
        wait(&mut world, "the other one remembers it", 10, |w| view(w, 0).members.len() == 1);
    }
}

/// Killed right after an operator's `join` out of a cluster: the old one is told all the same.
#[test]
fn a_join_out_of_a_cluster_is_told_although_the_node_is_killed() {
    for seed in 0..10 {
        let names = names(5);
        let seeds = |i: usize| if i < 3 { &names[..3] } else { &names[3..] };
        let spec = |(i, own): (usize, &NodeName)| NodeSpec { merge: Merge::Never, ..NodeSpec::new(own, seeds(i)) };
        let mut world = World::new(names.iter().enumerate().map(spec).collect(), seed);
        world.watch.one_id_promised = false;
        (0..5).for_each(|i| world.start(i));
        wait(&mut world, "two clusters", 10, |w| (0..5).all(|i| view(w, i).status == Status::Up));
        world.watch.may_leave(2);
        world.watch.may_go(view(&world, 2).me.node_id);
        for other in [0, 1] {
            cut(&mut world, 2, other);
        }
        run(&mut world, SECOND * 6);
        world.disc_delay = Duration::from_millis(600);
        let id = world.command(2, Command::Join { name: names[3].clone(), absorb: false, plan: false });
        until(&mut world, |w| matches!(w.replies.get(&(2, id)), Some(Ok(_))));
        world.kill(2);
        world.mend_all();
        world.start(2);
        wait(&mut world, "the old cluster has two members", 20, |w| (0..2).all(|i| view(w, i).members.len() == 2));
    }
}

/// Who is taken out behind a cut is no member at once, and its start is over only once its lease has run out: until then
/// it may use what it holds, and so nobody else may.
#[test]
fn who_is_forced_out_behind_a_cut_is_over_once_it_is_fenced() {
    let mut world = together(3, 17);
    world.watch.may_leave(2);
    let (victim, cluster) = (view(&world, 2).me, view(&world, 0).cluster_id.expect("it is in a cluster"));
    world.watch.may_go(victim.node_id);
    (0..2).for_each(|i| cut(&mut world, 2, i));
    wait(&mut world, "seen down", 5, |w| (0..2).all(|i| view(w, i).members.iter().any(|m| m.status == Status::Down)));
    let node = world.machines[2].spec.name.to_string();
    let id = world.command(0, Command::ForceLeave { node, replace_with: None, alive: false, plan: false });
    wait(&mut world, "force-leave is answered", 5, |w| matches!(w.replies.get(&(0, id)), Some(Ok(_))));
    assert!(world.holds_lease(2) && !world.watch.is_gone(cluster, victim), "out, and not over");
    wait(&mut world, "its start is over", 20, |w| {
        assert!(!w.holds_lease(2) || !w.watch.is_gone(cluster, victim));
        w.watch.is_gone(cluster, victim)
    });
    world.mend_all();
    wait(&mut world, "it goes on outside under another guid", 20, |w| {
        let running = w.machines[2].process.is_some();
        running && view(w, 2).guid() != victim.guid && view(w, 2).cluster_id.is_none()
    });
    run(&mut world, SECOND * 20);
    assert!((0..2).all(|i| view(&world, i).members.len() == 2), "it came back uncalled");
    joins_again(&mut world);
}

/// Who is taken out while it is up hears of it, is out, and comes back by `join`, at once or after its old start is over.
#[test]
fn who_is_forced_out_alive_comes_back_by_word_at_any_time() {
    for (seed, later) in [(18, 0), (19, 30)] {
        let mut world = together(3, seed);
        world.watch.may_leave(2);
        let victim = view(&world, 2).me;
        world.watch.may_go(victim.node_id);
        let node = world.machines[2].spec.name.to_string();
        let id = world.command(0, Command::ForceLeave { node, replace_with: None, alive: true, plan: false });
        wait(&mut world, "force-leave is answered", 10, |w| matches!(w.replies.get(&(0, id)), Some(Ok(_))));
        wait(&mut world, "it is out under another guid", 10, |w| {
            w.machines[2].process.is_some() && view(w, 2).guid() != victim.guid && view(w, 2).cluster_id.is_none()
        });
        run(&mut world, SECOND * later);
        joins_again(&mut world);
    }
}

/// Who left, and lives on in the same process, is let in again however much later.
#[test]
fn who_left_joins_again_in_the_same_process() {
    for (seed, later) in [(23, 0), (24, 60)] {
        let mut world = together(3, seed);
        world.watch.may_leave(2);
        let id = world.command(2, Command::Leave { plan: false });
        wait(&mut world, "leave is answered", 15, |w| matches!(w.replies.get(&(2, id)), Some(Ok(_))));
        run(&mut world, SECOND * later);
        joins_again(&mut world);
    }
}

/// Two of three leave at once, the leader among them or not: leadership goes to the one that stays, not back and forth between
/// those that go.
#[test]
fn two_of_three_leave_at_once() {
    for seed in 0..6 {
        for stays in 0..3 {
            let mut world = together(3, 300 + seed);
            let go: Vec<usize> = (0..3).filter(|i| *i != stays).collect();
            let mut asked = Vec::new();
            for i in &go {
                world.watch.may_leave(*i);
                asked.push((*i, world.command(*i, Command::Leave { plan: false })));
            }
            wait(&mut world, "both are answered", 15, |w| asked.iter().all(|key| w.replies.contains_key(key)));
            for key in &asked {
                assert!(matches!(world.replies[key], Ok(Reply::Done { .. })), "seed {seed}: {:?}", world.replies[key]);
            }
            wait(&mut world, "one is left", 10, |w| view(w, stays).members.len() == 1 && view(w, stays).ready_quorum);
        }
    }
}
