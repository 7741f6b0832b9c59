//! Stop is not leave: section 6.

use ekka_core::control::{Command, Reply, StopReason};
use ekka_sim::core_world::{converged, name};

use crate::support::{SECOND, run, together, view, wait};

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

/// The reason for an end is kept for whoever asks: a stopped node was asked to.
#[test]
fn a_node_that_was_asked_to_stop_says_so() {
    let mut world = together(3, 51);
    world.command(1, Command::Stop { by: "command".into(), plan: false });
    wait(&mut world, "it ends", 10, |w| w.machines[1].process.is_none());
    assert_eq!(world.machines[1].ended, Some(StopReason::Asked));
}
