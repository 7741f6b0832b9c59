//! Autoclean: section 10, S2-3, S1-8; rows 4, 5 and 34 of what hurt the forebears. That nobody goes without a committed
//! entry, the world watches.

use std::time::Duration;

use ekka_core::control::Command;
use ekka_core::event::EventKind;
use ekka_core::id::NodeId;
use ekka_core::view::Status;
use ekka_sim::core_world::{NodeSpec, Plan, World, converged};

use crate::regress::support::{SECOND, cut, guids, names, run, view, wait};

const LIMIT: Duration = Duration::from_secs(60);
/// A look, an entry for the vote, one for the member, and gossip.
const SOON: u32 = 10;

fn specs(n: usize) -> Vec<NodeSpec> {
    let names = names(n);
    names.iter().map(|own| NodeSpec { autoclean: Some(LIMIT), ..NodeSpec::new(own, &names) }).collect()
}

/// `n` machines that clean after a minute, up and together.
fn together(n: usize, seed: u64) -> World {
    let mut world = World::new(specs(n), seed);
    (0..n).for_each(|i| world.start(i));
    wait(&mut world, "all together", 10, converged);
    world
}

fn node(world: &World, i: usize) -> NodeId {
    world.machines[i].node_id().expect("it was started")
}

fn part(world: &mut World, one: &[usize], other: &[usize]) {
    for a in one {
        for b in other {
            cut(world, *a, *b);
        }
    }
}

fn lists(world: &World, at: usize, of: NodeId) -> bool {
    view(world, at).member(of).is_some()
}

/// How often machine `i` said that this node was cleaned.
fn said_cleaned(world: &World, i: usize, node: NodeId) -> usize {
    let of = |kind: &EventKind| matches!(kind, EventKind::MemberRemoved { node_id, cause, .. } if *node_id == node && cause == "autoclean");
    world.events[i].iter().filter(|event| of(&event.kind)).count()
}

/// The words of the decision of machine `i` that its event on the cleaning of this node names.
fn why(world: &World, i: usize, node: NodeId) -> String {
    let of = |kind: &EventKind| matches!(kind, EventKind::MemberRemoved { node_id, .. } if *node_id == node);
    let event = world.events[i].iter().find(|event| of(&event.kind)).expect("it was said");
    let process = world.machines[i].process.as_ref().expect("it runs");
    let decision = process.control.decisions().get(event.decision.expect("it has a record")).expect("it is kept");
    format!("{}; {}; {}", decision.what, decision.rule, decision.evidence.join("; "))
}

fn quorum(world: &World, i: usize) -> (u32, u32) {
    let quorum = view(world, i).quorum;
    (quorum.voters, quorum.in_reach)
}

/// SCHEDULES S1-10; USERS 1 and 7; EKKA_SPEC 10, row 5: at the set time, by the majority; never by the minority; and it comes
/// back by itself as new.
#[test]
fn who_is_cut_off_is_cleaned_in_the_majority_alone_and_comes_back_by_itself() {
    for seed in 0..4 {
        let mut world = together(3, seed);
        let (away, first) = (node(&world, 2), guids(&world));
        part(&mut world, &[2], &[0, 1]);
        run(&mut world, LIMIT);
        assert!((0..2).all(|i| lists(&world, i, away)), "seed {seed}: cleaned too early");
        let took = wait(&mut world, "it is cleaned", SOON, |w| (0..2).all(|i| !lists(w, i, away)));
        println!("seed {seed}: cleaned {took:?} after the limit");
        assert!((0..2).all(|i| said_cleaned(&world, i, away) == 1), "seed {seed}: said once by each");
        let words: Vec<String> = (0..2).map(|i| why(&world, i, away)).collect();
        assert!(words.iter().all(|words| words.contains("section 10, autoclean")), "seed {seed}: {words:?}");
        assert!(words.iter().any(|words| words.contains("2 of 3 voters report it down")), "seed {seed}: {words:?}");
        assert_eq!(quorum(&world, 0), (2, 2), "seed {seed}: its vote went with it");
        // Row 5: the lone node forgets nobody, and is not ready.
        run(&mut world, LIMIT * 2);
        assert_eq!((view(&world, 2).members.len(), quorum(&world, 2)), (3, (3, 1)), "seed {seed}");
        assert!(!view(&world, 2).ready_quorum, "seed {seed}");

        world.mend_all();
        let took = wait(&mut world, "all together again", 60, converged);
        println!("seed {seed}: back after {took:?}");
        assert!(said_cleaned(&world, 2, away) >= 1, "seed {seed}: it is told");
        assert!(why(&world, 2, away).contains("comes back by itself"), "seed {seed}");
        assert!(guids(&world)[2] > first[2] && node(&world, 2) == away, "seed {seed}: the same node, another start");
        wait(&mut world, "three vote again", 30, |w| (0..3).all(|i| quorum(w, i) == (3, 3)));
    }
}

/// EKKA_SPEC 10, row 4; USERS 7: one that was killed, or said goodbye, is cleaned too, and comes back by itself once it is started.
#[test]
fn who_was_killed_or_stopped_is_cleaned_and_comes_back_when_it_is_started() {
    for seed in 0..24 {
        let mut world = together(5, seed);
        let away = [node(&world, 3), node(&world, 4)];
        world.kill(3);
        world.command(4, Command::Stop { by: "command".into(), plan: false });
        run(&mut world, SECOND * 59);
        assert!((0..3).all(|i| away.iter().all(|id| lists(&world, i, *id))), "seed {seed}: too early");
        wait(&mut world, "both are cleaned", SOON + 10, |w| {
            (0..3).all(|i| away.iter().all(|id| !lists(w, i, *id)) && quorum(w, i) == (3, 3))
        });
        world.start(3);
        world.start(4);
        wait(&mut world, "all together again", 60, converged);
        wait(&mut world, "five vote again", 30, |w| (0..5).all(|i| quorum(w, i) == (5, 5)));
    }
}

/// S2-3: {A,B,C} cleans D and E; then {C} meets {D,E}: three of the five that D and E remember, and no majority of anything.
#[test]
fn s2_3_what_the_cleaned_remember_is_no_majority() {
    for seed in 0..4 {
        let mut world = together(5, seed);
        let away = [node(&world, 3), node(&world, 4)];
        part(&mut world, &[3, 4], &[0, 1, 2]);
        wait(&mut world, "D and E are cleaned", 60 + SOON, |w| {
            (0..3).all(|i| away.iter().all(|id| !lists(w, i, *id)) && quorum(w, i) == (3, 3))
        });
        part(&mut world, &[0, 1], &[2]);
        run(&mut world, SECOND * 5);
        for other in [3, 4] {
            world.mend(2, other);
            world.mend(other, 2);
        }
        run(&mut world, LIMIT * 3);
        assert!([2, 3, 4].into_iter().all(|i| !view(&world, i).ready_quorum), "seed {seed}: they hold no majority");
        let clusters: Vec<_> = (0..5).map(|i| view(&world, i).cluster_id).collect();
        assert!(clusters[..3].iter().all(|id| *id == clusters[0]), "seed {seed}: {clusters:?}");
        assert!(clusters[3..].iter().all(|id| id.is_none() || *id == clusters[0]), "seed {seed}: {clusters:?}");
        // C is one of three, so A and B are a majority: it may be cleaned as well, and nobody else.
        assert!((0..2).all(|i| lists(&world, i, node(&world, 0)) && lists(&world, i, node(&world, 1))), "seed {seed}");
        world.mend_all();
        wait(&mut world, "all together again", 60, converged);
        assert_eq!(world.watch.ids.len(), 1, "seed {seed}: one cluster all the time");
    }
}

/// SCHEDULES S1-8; USERS 4: neither of two halves is a majority, and nobody is cleaned on either side, however long.
#[test]
fn s1_8_equal_halves_clean_nobody() {
    for (n, seed) in [(2, 1), (2, 2), (4, 1), (4, 2)] {
        let mut world = together(n, seed);
        let (one, other): (Vec<usize>, Vec<usize>) = (0..n).partition(|i| *i < n / 2);
        // Of four nodes three vote: the side with two of them is a majority, so the third voter goes away as well.
        part(&mut world, &one, &other);
        if n == 4 {
            part(&mut world, &one[..1], &one[1..]);
            part(&mut world, &[2], &[3]);
        }
        run(&mut world, LIMIT * 5);
        assert!((0..n).all(|i| view(&world, i).members.len() == n), "{n} nodes, seed {seed}");
        world.mend_all();
        wait(&mut world, "all together again", 60, converged);
    }
}

/// S2-3: who leads anew counts anew.
#[test]
fn s2_3_a_new_leader_counts_anew() {
    for seed in 0..4 {
        let mut world = together(5, seed);
        let leader = world.leads().expect("one leads");
        let lost = (0..5).find(|i| *i != leader).expect("another");
        let away = node(&world, lost);
        let rest: Vec<usize> = (0..5).filter(|i| *i != lost).collect();
        part(&mut world, &[lost], &rest);
        run(&mut world, SECOND * 50);
        // The old leader is gone for a moment; another one leads.
        world.kill(leader);
        wait(&mut world, "another leads", 10, |w| w.leads().is_some_and(|now| now != leader));
        world.start(leader);
        run(&mut world, SECOND * 55);
        assert!(rest.iter().all(|i| lists(&world, *i, away)), "seed {seed}: not by what another counted");
        wait(&mut world, "it is cleaned", SOON + 10, |w| rest.iter().all(|i| !lists(w, *i, away)));
    }
}

/// S2-3: wall clocks that jump by a year, everywhere and in both directions, clean nobody.
#[test]
fn s2_3_wall_clocks_that_jump_by_a_year_clean_nobody() {
    const YEAR: i64 = 365 * 24 * 3600 * 1_000;
    for seed in 0..4 {
        let mut world = together(3, seed);
        let away = node(&world, 2);
        world.watch.may_leave(2);
        part(&mut world, &[2], &[0, 1]);
        run(&mut world, SECOND * 20);
        for (offset, i) in [(YEAR, 0), (YEAR, 1), (0, 0), (-YEAR, 1), (0, 1)] {
            world.set_clock(i, offset);
            run(&mut world, SECOND * 7);
            assert!((0..2).all(|i| lists(&world, i, away)), "seed {seed}: cleaned by a wall clock");
        }
        world.mend_all();
        wait(&mut world, "all together again", 60, converged);
        assert_eq!(said_cleaned(&world, 0, away), 0, "seed {seed}");
    }
}

/// Whoever is back in time, however often it goes, is never cleaned.
#[test]
fn who_is_back_in_time_is_never_cleaned() {
    let mut world = together(3, 7);
    let away = node(&world, 2);
    for _ in 0..4 {
        part(&mut world, &[2], &[0, 1]);
        run(&mut world, SECOND * 45);
        world.mend_all();
        wait(&mut world, "all together again", 30, converged);
    }
    assert!((0..2).all(|i| said_cleaned(&world, i, away) == 0));
}

/// A process that was frozen for longer than the limit learns that it was cleaned, and is a member again; while it was the
/// leader it cleans nobody for the time in which it saw nothing.
#[test]
fn a_frozen_leader_cleans_nobody_and_is_cleaned() {
    for seed in 0..3 {
        let mut world = together(3, seed);
        world.watch.pauses_count = false;
        let leader = world.leads().expect("one leads");
        let away = node(&world, leader);
        let rest: Vec<usize> = (0..3).filter(|i| *i != leader).collect();
        world.pause(leader);
        wait(&mut world, "it is cleaned", 60 + SOON + 10, |w| rest.iter().all(|i| !lists(w, *i, away)));
        run(&mut world, LIMIT * 2);
        world.resume(leader);
        run(&mut world, SECOND);
        assert!(rest.iter().all(|i| rest.iter().all(|other| said_cleaned(&world, *i, node(&world, *other)) == 0)));
        wait(&mut world, "all together again", 60, converged);
    }
}

/// EKKA_SPEC 10, row 34 (emqx#16544): switched on at run time it is in effect, and counts what was seen before.
#[test]
fn row_34_a_limit_that_is_set_at_run_time_is_in_effect() {
    let names = names(3);
    let specs = names.iter().map(|own| NodeSpec::new(own, &names)).collect();
    let mut world = World::new(specs, 3);
    (0..3).for_each(|i| world.start(i));
    wait(&mut world, "all together", 10, converged);
    let away = node(&world, 2);
    world.kill(2);
    run(&mut world, LIMIT * 3);
    assert!((0..2).all(|i| lists(&world, i, away)), "off cleans nobody");
    for i in 0..2 {
        world.machines[i].spec.autoclean = Some(LIMIT);
        world.reload(i);
    }
    wait(&mut world, "it is cleaned", SOON, |w| (0..2).all(|i| !lists(w, i, away)));
}

/// Section 12: a cleaned voter is replaced by a member that has none, in one change; the group never lacks its majority.
#[test]
fn a_cleaned_voter_is_replaced() {
    for seed in 0..3 {
        let mut world = together(4, seed);
        wait(&mut world, "three vote", 10, |w| (0..4).all(|i| quorum(w, i) == (3, 3)));
        let voters =
            |w: &World| (0..4).filter(|i| view(w, 0).member(node(w, *i)).is_some_and(|m| m.voter)).collect::<Vec<_>>();
        let lost = voters(&world).into_iter().rfind(|i| *i != 0).expect("another voter");
        let away = node(&world, lost);
        world.kill(lost);
        let rest: Vec<usize> = (0..4).filter(|i| *i != lost).collect();
        wait(&mut world, "it is cleaned", 60 + SOON + 10, |w| rest.iter().all(|i| !lists(w, *i, away)));
        wait(&mut world, "three vote again", 10, |w| rest.iter().all(|i| quorum(w, *i) == (3, 3)));
        assert!(rest.iter().all(|i| view(&world, *i).status == Status::Up), "seed {seed}");
    }
}

/// SCHEDULES S2-3; USERS 29; EKKA_SPEC 10, row 5 (emqx#1720): the planted fault, a minority that cleans, is seen by the world.
#[test]
fn a_minority_that_cleans_is_seen() {
    let mut specs = specs(3);
    for spec in &mut specs {
        spec.faults.minority_cleans = true;
    }
    let mut world = World::new(specs, 1);
    (0..3).for_each(|i| world.start(i));
    wait(&mut world, "all together", 10, converged);
    part(&mut world, &[2], &[0, 1]);
    let failure = world.run_for(LIMIT * 2).expect_err("the minority forgets the others, and that is seen");
    let words = ["without a word", "up alone"];
    assert!(words.iter().any(|words| failure.what.contains(words)), "{}", failure.what);
}

/// SCHEDULES S2-3; USERS 29: random faults in a cluster that cleans after a few seconds, and so all the time: it comes
/// together all the same, and the world watches that nobody goes but by an entry of the majority.
#[test]
fn random_faults_beside_a_short_limit_end_well() {
    for seed in 0..40 {
        if let Err(failure) = Plan::from_seed(seed).with_autoclean(SECOND * 5).run() {
            panic!("{}", failure.tell("core", seed));
        }
    }
}
