//! Who is up: section 9.

use ekka_core::view::Status;
use ekka_sim::core_world::{World, converged};

use crate::support::{SECOND, cut, guids, run, together, view, wait};

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
