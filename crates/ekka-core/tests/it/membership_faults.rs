//! What the room promises under faults: detection times, no false alarms, one row for each node.

use std::time::Duration;

use crate::membership_world::{World, ms};
use ekka_core::membership::{Input, Options, RemovalCause};
use ekka_core::view::{LinkState, Status};

const SIZES: [usize; 3] = [3, 5, 7];

fn formed(seed: u64, n: usize) -> World {
    let world = World::formed(seed, n, Options::default());
    assert!(world.all_see_all_up(), "all meet within 3 s");
    world
}

#[test]
fn a_killed_process_is_down_for_all_within_a_second() {
    for n in [2, 3, 5, 7] {
        for seed in 0..10 {
            let mut world = formed(seed, n);
            world.run(ms(37 * seed));
            world.kill(1);
            let took = world.until(ms(1_000), |w| w.all_say(1, Status::Down));
            assert!(took.is_some(), "{n} nodes, seed {seed}");
            assert!(world.reports.iter().all(|r| r.evidence == "refused" || r.up), "{:?}", world.reports);
            world.run(ms(5_000));
            assert_eq!(world.reports.len(), n - 1, "said once: {:?}", world.reports);
        }
    }
}

/// USERS 25: however quickly it comes back.
#[test]
fn a_killed_process_comes_back_as_one_row_with_its_new_guid() {
    for n in SIZES {
        for (seed, pause) in [(1, 5), (2, 300), (3, 2_000), (4, 20_000)] {
            let mut world = formed(seed, n);
            world.kill(1);
            world.run(ms(pause));
            world.restart(1);
            let guid = world.nodes[1].id;
            let back = |w: &World| {
                w.running().into_iter().all(|by| {
                    let members = w.room(by).members(w.clock());
                    members.len() == n && members.iter().any(|m| m.id == guid && m.status == Status::Up)
                })
            };
            assert!(world.until(ms(3_000), back).is_some(), "{n} nodes, {pause} ms");
            world.run(ms(5_000));
            assert!(back(&world) && world.all_see_all_up(), "{n} nodes, {pause} ms: it stays so");
        }
    }
}

#[test]
fn a_frozen_process_is_down_for_all_within_three_seconds_and_back_three_after() {
    for n in SIZES {
        for seed in 0..6 {
            let mut world = formed(seed, n);
            world.run(ms(53 * seed));
            world.freeze(0);
            assert!(world.until(ms(3_000), |w| w.all_say(0, Status::Down)).is_some(), "{n} nodes, seed {seed}");
            world.run(ms(4_000 * seed));
            world.thaw(0);
            assert!(world.until(ms(3_000), World::all_see_all_up).is_some(), "{n} nodes, seed {seed}: back");
        }
    }
}

#[test]
fn a_cut_is_seen_from_both_sides_and_ends_with_the_same_guids() {
    for n in SIZES {
        for seed in 0..6 {
            let mut world = formed(seed, n);
            let before: Vec<_> = world.nodes.iter().map(|node| node.id).collect();
            let side: Vec<usize> = (0..n / 2).collect();
            world.isolate(&side);
            let split = |w: &World| {
                (0..n).all(|by| {
                    (0..n).all(|of| {
                        let same = side.contains(&by) == side.contains(&of);
                        w.status(by, of) == Some(if same { Status::Up } else { Status::Down })
                    })
                })
            };
            assert!(world.until(ms(3_000), split).is_some(), "{n} nodes, seed {seed}");
            world.run(Duration::from_secs(60 + seed));
            assert!(split(&world));
            world.repair();
            assert!(world.until(ms(3_000), World::all_see_all_up).is_some(), "{n} nodes, seed {seed}: one again");
            for by in 0..n {
                let mut seen: Vec<_> = world.room(by).members(world.clock()).iter().map(|m| m.id).collect();
                let mut want = before.clone();
                seen.sort();
                want.sort();
                assert_eq!(seen, want, "a partition makes no new incarnation (S1-6)");
            }
        }
    }
}

/// SCHEDULES S2-2; USERS 24; EKKA_SPEC 10, rows 2 and 29.
#[test]
fn a_link_that_is_cut_downs_nobody_while_a_third_hears_both() {
    for seed in 0..10 {
        let mut world = formed(seed, 3);
        world.cut(0, 1);
        world.run(Duration::from_secs(20));
        assert!(world.reports.is_empty(), "seed {seed}: {:?}", world.reports);
        let (a, b, c) = (world.node_id(0), world.node_id(1), world.node_id(2));
        let links = world.room(0).links(world.clock());
        let link = |from, to| links.iter().find(|l| l.from == from && l.to == to).expect("in the matrix");
        assert_eq!((link(a, b).state, link(a, b).via), (LinkState::Relayed, Some(c)));
        assert_eq!((link(a, c).state, link(c, b).state), (LinkState::Up, LinkState::Up));
        let from_c = world.room(2).links(world.clock());
        assert!(from_c.iter().any(|l| l.from == b && l.to == a && l.state == LinkState::Relayed));
        world.repair();
        let up = |w: &World| w.room(0).links(w.clock()).iter().all(|l| l.state == LinkState::Up);
        assert!(world.until(ms(3_000), up).is_some(), "seed {seed}: the link is back");
    }
}

#[test]
fn a_firewall_that_resets_and_rejects_one_link_downs_nobody_for_long() {
    for seed in 0..20 {
        let mut world = formed(seed, 3);
        world.run(ms(17 * seed));
        world.reject(0, 1);
        world.run(Duration::from_secs(10));
        assert!(world.reports.is_empty(), "seed {seed}: {:?}", world.reports);
        assert!(world.all_see_all_up());
    }
}

#[test]
fn a_member_that_was_met_by_another_only_is_up() {
    let mut world = World::new(5, 3, Options::default());
    world.cut(0, 1);
    world.form(3);
    assert!(world.until(ms(3_000), World::all_see_all_up).is_some(), "the third vouches for both");
}

#[test]
fn half_of_a_split_that_meets_a_bridge_sees_all_again() {
    let mut world = formed(9, 4);
    world.isolate(&[0, 1]);
    world.run(Duration::from_secs(10));
    world.net.cut.remove(&(1, 2));
    world.net.cut.remove(&(2, 1));
    world.run(ms(3_000));
    assert_eq!(world.status(0, 2), Some(Status::Up), "1 vouches for 2");
    assert_eq!(world.status(3, 0), Some(Status::Down), "nobody whom 3 hears hears 0 directly, save 1 of whom 2 tells");
}

#[test]
fn stalls_of_a_fifth_of_all_packets_down_nobody() {
    let mut false_alarms = Vec::new();
    for n in [3, 5] {
        for seed in 0..20 {
            let mut world = formed(seed, n);
            world.net.loss = 20;
            world.net.delay = ms(5);
            world.run(Duration::from_secs(60));
            false_alarms.extend(world.reports.iter().map(|r| (n, seed, r.clone())));
        }
    }
    assert!(false_alarms.is_empty(), "{false_alarms:?}");
}

/// USERS 38.
#[test]
fn a_flapping_link_leaves_one_cluster_once_it_rests() {
    for seed in 0..5 {
        let mut world = formed(seed, 5);
        for round in 0..30 {
            world.isolate(&[round % 5]);
            let time = world.rng.up_to(ms(4_000));
            world.run(time);
            world.repair();
            let time = world.rng.up_to(ms(2_000));
            world.run(time);
        }
        assert!(world.until(ms(4_000), World::all_see_all_up).is_some(), "seed {seed}");
        world.reports.clear();
        world.run(Duration::from_secs(20));
        assert!(world.reports.is_empty(), "seed {seed}: {:?}", world.reports);
    }
}

#[test]
fn a_node_that_does_not_run_on_time_accuses_nobody() {
    for seed in 0..10 {
        let mut world = formed(seed, 3);
        for _ in 0..20 {
            // Node 0 is stopped for up to 2 s; the others may not notice, and it must not blame them.
            world.freeze(0);
            let time = world.rng.up_to(ms(2_000));
            world.run(time);
            world.thaw(0);
            world.run(ms(1_000));
        }
        assert!(world.reports.iter().all(|r| r.by != 0), "seed {seed}: {:?}", world.reports);
    }
}

#[test]
fn goodbye_is_stopped_at_once_and_leaving_takes_the_seat() {
    let mut world = formed(3, 5);
    let id = world.nodes[1].id;
    for to in [0, 2, 3, 4] {
        let message = ekka_core::membership::Message::Goodbye;
        world.give(to, Input::Received { from: id, message });
    }
    world.kill(1);
    // The cable of the one that leaves is pulled just now: it says so until somebody has heard it.
    world.isolate(&[2]);
    world.give(2, Input::Reset { farewell: true });
    world.run(ms(5_000));
    assert!(world.room(2).is_parting(), "nobody can have heard it");
    world.repair();
    assert!(world.until(ms(3_000), |w| !w.room(2).is_parting()).is_some(), "somebody has heard it");
    world.run(ms(500));
    world.kill(2);
    assert!(world.running().into_iter().all(|by| world.status(by, 1) == Some(Status::Stopped)));
    assert!(world.running().into_iter().all(|by| world.status(by, 2).is_none()), "its seat is taken");
    world.run(ms(10_000));
    assert!(world.running().into_iter().all(|by| world.status(by, 1) == Some(Status::Stopped)));
    world.restart(1);
    assert!(world.until(ms(3_000), World::all_see_all_up).is_some(), "it comes back by itself");
}

#[test]
fn a_removed_node_learns_so_and_comes_back_only_by_admission() {
    let mut world = formed(4, 3);
    world.isolate(&[2]);
    world.run(ms(4_000));
    let node_id = world.node_id(2);
    world.seat(0, node_id, Some(RemovalCause::Force));
    world.run(ms(100));
    assert_eq!(world.status(1, 2), None, "told at once");
    world.repair();
    assert!(world.until(ms(4_000), |w| w.removed_self.contains(&2)).is_some(), "it learns so");
    assert_eq!(world.status(1, 2), None);
    world.admit(1, 2);
    assert!(world.until(ms(3_000), World::all_see_all_up).is_some(), "admitted again");
}

#[test]
fn newcomers_admitted_by_different_members_are_seen_by_all() {
    let mut world = World::new(6, 8, Options::default());
    world.form(1);
    for i in 1..8 {
        let by = world.rng.index(i);
        world.dial(i, by);
        world.run(ms(20));
        world.admit(by, i);
        world.give(i, Input::SetStatus(Status::Up));
    }
    let same = |w: &World| {
        let roster = w.room(0).roster();
        roster.seats.len() == 8 && (1..8).all(|i| w.room(i).roster() == roster)
    };
    assert!(world.until(ms(3_000), |w| w.all_see_all_up() && same(w)).is_some());
}

/// EKKA_SPEC 10, row 4: a member that is down is tried for ever.
#[test]
fn planted_fault_no_recontact_is_caught() {
    let options = Options { no_recontact: true, ..Options::default() };
    let mut world = World::formed(1, 3, options);
    world.isolate(&[0]);
    world.run(Duration::from_secs(20));
    world.repair();
    assert!(world.until(ms(10_000), World::all_see_all_up).is_none(), "nobody dials, so they stay apart");
}

#[test]
#[should_panic(expected = "never falls")]
fn planted_fault_stale_wins_is_caught() {
    let options = Options { stale_wins: true, ..Options::default() };
    let mut world = World::formed(1, 3, options);
    let old = world.nodes[1].id;
    world.kill(1);
    world.run(ms(2_000));
    world.restart(1);
    world.run(ms(3_000));
    // What is left of the older start speaks again: a connection that was under way.
    let name = "n1@h1".parse().expect("a name");
    let endpoint = world.nodes[1].endpoint.clone();
    world.give(0, Input::Connected { id: old, name, endpoint, start_counter: 1, heard: world.now });
    world.run(ms(1_000));
}

/// Beyond the full mesh gossip says who runs; as the cluster gets smaller each node watches all the others itself, and until it
/// had the time to call them, what gossip said goes on.
#[test]
fn a_cluster_that_falls_to_a_full_mesh_declares_nobody_down() {
    for seed in 0..2 {
        let n = 33;
        let mut world = World::formed(seed, n, Options::default());
        assert!(world.until(ms(20_000), World::all_see_all_up).is_some(), "seed {seed}");
        world.run(ms(20_000));
        let last = world.node_id(n - 1);
        world.seat(0, last, Some(RemovalCause::Leave));
        world.kill(n - 1);
        world.reports.clear();
        for _ in 0..200 {
            world.run(ms(20));
            for by in 0..n - 1 {
                for of in world.room(by).members(world.clock()).iter().filter(|member| member.id.node_id != last) {
                    assert_eq!(of.status, Status::Up, "seed {seed}: node {by} says so of {}", of.name);
                    assert!(
                        !world.room(by).is_declared_down(of.id.node_id),
                        "seed {seed}: node {by} says so of {}",
                        of.name
                    );
                }
            }
        }
        assert!(world.all_see_all_up() && world.reports.iter().all(|r| r.id.node_id == last), "{:?}", world.reports);
        // And who dies from then on is found as in any small cluster.
        world.kill(1);
        assert!(world.until(ms(1_500), |w| w.all_say(1, Status::Down)).is_some(), "seed {seed}");
        let two = world.node_id(1);
        assert!(world.running().into_iter().all(|by| world.room(by).is_declared_down(two)), "seed {seed}");
    }
}

/// One that a third member alone hears, and a start that never met whom the start before it knew.
#[test]
fn who_was_never_heard_directly_is_declared_down_all_the_same() {
    for seed in 0..6 {
        let mut world = World::new(seed, 3, Options::default());
        world.cut(0, 1);
        world.form(3);
        world.run(ms(3_000));
        let one = world.node_id(1);
        assert_eq!(world.status(0, 1), Some(Status::Up), "seed {seed}: the third one hears it");
        world.isolate(&[1]);
        assert!(world.until(ms(6_000), |w| w.room(0).is_declared_down(one)).is_some(), "seed {seed}");

        let mut world = formed(seed, 3);
        world.isolate(&[1]);
        world.run(ms(100 + 300 * seed));
        world.kill(0);
        world.restart(0);
        let one = world.node_id(1);
        world.run(ms(1_000));
        assert!(!world.room(0).is_declared_down(one), "seed {seed}: it had no time to call it");
        assert!(world.until(ms(3_000), |w| w.room(0).is_declared_down(one)).is_some(), "seed {seed}");
        world.repair();
        assert!(world.until(ms(3_000), World::all_see_all_up).is_some(), "seed {seed}");
        assert!(!world.room(0).is_declared_down(one), "seed {seed}");
    }
}
