//! Who is up: section 9.

use ekka_core::view::{SplitState, Status};
use ekka_sim::core_world::{World, converged};

use crate::regress::support::{SECOND, cut, guids, run, together, view, wait};

/// S1-6: a partition that is repaired before anybody is gone makes no new incarnation, so nobody is younger than before,
/// nobody else leads or votes, and no generation of the volatile group begins.
#[test]
fn s1_6_a_repaired_split_keeps_every_guid() {
    for seed in 0..10 {
        let mut world = together(4, seed);
        let known = |world: &World| {
            (0..4)
                .map(|i| {
                    let view = view(world, i);
                    let members: Vec<_> = view.members.iter().map(|m| (m.id, m.seniority, m.voter)).collect();
                    (members, view.leader, view.volatile.voters.clone(), view.volatile.generation)
                })
                .collect::<Vec<_>>()
        };
        wait(&mut world, "the volatile group has begun", 30, |w| (0..4).all(|i| view(w, i).volatile.generation == 1));
        run(&mut world, SECOND * 5);
        let (before, known_before) = (guids(&world), known(&world));
        for (a, b) in [(0, 2), (0, 3), (1, 2), (1, 3)] {
            cut(&mut world, a, b);
        }
        wait(&mut world, "both sides see the other down", 4, |w| {
            (0..4).all(|i| view(w, i).members.iter().filter(|m| m.status == Status::Down).count() == 2)
        });
        run(&mut world, SECOND * 8);
        world.mend_all();
        wait(&mut world, "all together again", 15, converged);
        assert_eq!(guids(&world), before);
        assert_eq!(known(&world), known_before, "seed {seed}");
    }
}

/// Issue 3: `kill -9` is seen by all within a second, silence within three; a restart is `up` within three.
#[test]
fn a_dead_member_is_seen_within_its_time() {
    let down = |world: &World| (1..3).all(|i| view(world, i).members.iter().any(|m| m.status == Status::Down));
    for seed in 0..20 {
        let mut world = together(3, seed);
        world.kill(0);
        let took = wait(&mut world, "the kill is seen", 3, down);
        assert!(took <= SECOND, "seed {seed}: {took:?} {}", world.words());
        world.start(0);
        assert!(wait(&mut world, "it is up again", 10, converged) <= SECOND * 3, "seed {seed}");
        world.pause(0);
        let took = wait(&mut world, "the silence is seen", 5, down);
        assert!(took <= SECOND * 3, "seed {seed}: {took:?} {}", world.words());
        world.resume(0);
        wait(&mut world, "it heals back in", 10, converged);
    }
}

/// Issue 7; USERS 24: one link of three is shown as broken by both of its ends within three seconds, by the third node in a
/// second more, and by none of them before a silent member would have fallen.
#[test]
fn a_broken_link_is_shown_within_its_time() {
    let partial = |world: &World, i: usize| view(world, i).split.state == SplitState::Partial;
    for seed in 0..20 {
        let mut world = together(3, seed);
        run(&mut world, SECOND * 5);
        cut(&mut world, 0, 1);
        let took = wait(&mut world, "both ends show it", 10, |w| partial(w, 0) && partial(w, 1));
        assert!(took <= SECOND * 3, "seed {seed}: {took:?} {}", world.words());
        assert!(took >= SECOND * 2, "seed {seed}: {took:?}, which may be the first sign of a death");
        let later = wait(&mut world, "the third shows it", 10, |w| partial(w, 2));
        assert!(later <= SECOND, "seed {seed}: {later:?}");
        world.mend_all();
        let took =
            wait(&mut world, "nobody shows it", 10, |w| (0..3).all(|i| view(w, i).split.state == SplitState::None));
        assert!(took <= SECOND * 3, "seed {seed}: {took:?}");
    }
}
