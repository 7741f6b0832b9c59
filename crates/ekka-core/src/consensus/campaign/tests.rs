use alloc::vec;
use alloc::vec::Vec;
use core::time::Duration;

use proptest::prelude::*;

use super::super::{Configuration, LogPlace};
use super::world::{World, voter};
use super::{Answer, Campaign, Facts, Input, Output, Question, Sign};
use crate::limits::{GROUP_PATIENCE, GROUP_WATCHDOG};
use crate::machine::Machine;
use crate::time::{Instant, Now, Wall};

const SECOND: Duration = Duration::from_secs(1);

fn elected(world: &mut World) -> usize {
    assert!(world.run_until(SECOND * 5, |world| world.leader().is_some()), "no leader within 5 s");
    world.leader().unwrap()
}

#[test]
fn one_campaign_is_enough_at_the_start() {
    for seed in 0..50 {
        let mut world = World::new(3, &[], seed);
        elected(&mut world);
        world.run(SECOND * 3);
        assert!(world.campaigns <= 2, "seed {seed}: {} campaigns", world.campaigns);
        assert_eq!(world.elections, 1, "seed {seed}");
    }
}

#[test]
fn a_killed_leader_is_replaced_within_about_a_second() {
    let mut worst = Duration::ZERO;
    for seed in 0..50 {
        let mut world = World::new(3, &[], seed);
        let old = elected(&mut world);
        world.run(SECOND);
        world.kill(old);
        let began = world.now();
        elected(&mut world);
        worst = worst.max(world.now().since(began));
    }
    assert!(worst < Duration::from_millis(1_500), "{worst:?}");
}

#[test]
fn leadership_does_not_bounce_in_a_partial_partition() {
    for seed in 0..20 {
        let mut world = World::new(3, &[], seed);
        let leader = elected(&mut world);
        let far = (leader + 1) % 3;
        world.set_cut(leader, far, true);
        world.set_cut(far, leader, true);
        world.run(SECOND * 60);
        assert_eq!(world.leader(), Some(leader), "seed {seed}");
        assert_eq!(world.elections, 1, "seed {seed}");
        let term = world.term(leader);
        world.set_cut(leader, far, false);
        world.set_cut(far, leader, false);
        world.run(SECOND * 10);
        assert_eq!(
            (world.leader(), world.term(leader)),
            (Some(leader), term),
            "seed {seed}: the repair disturbs nobody"
        );
    }
}

#[test]
fn a_voter_that_comes_back_disturbs_nobody() {
    let mut world = World::new(5, &[], 7);
    let leader = elected(&mut world);
    let term = world.term(leader);
    let away = (leader + 1) % 5;
    for other in (0..5).filter(|other| *other != away) {
        world.set_cut(away, other, true);
        world.set_cut(other, away, true);
    }
    world.run(SECOND * 30);
    for other in 0..5 {
        world.set_cut(away, other, false);
        world.set_cut(other, away, false);
    }
    world.run(SECOND * 10);
    assert_eq!((world.leader(), world.term(leader)), (Some(leader), term));
}

#[test]
fn a_leader_that_hears_nobody_is_replaced() {
    for seed in 0..20 {
        let mut world = World::new(3, &[], seed);
        let old = elected(&mut world);
        for other in (0..3).filter(|other| *other != old) {
            world.set_cut(other, old, true);
        }
        assert!(world.run_until(SECOND * 5, |world| world.leader().is_some_and(|leader| leader != old)), "seed {seed}");
    }
}

#[test]
fn a_hand_over_needs_no_silence() {
    for seed in 0..20 {
        let mut world = World::new(3, &[], seed);
        let old = elected(&mut world);
        world.run(SECOND);
        let to = (old + 1) % 3;
        let campaigns = world.campaigns;
        world.hand_over(old, to);
        assert!(world.run_until(Duration::from_millis(500), |world| world.leader() == Some(to)), "seed {seed}");
        assert_eq!(world.campaigns, campaigns + 1, "seed {seed}");
    }
}

#[test]
fn s1_13_a_witness_leads_just_long_enough_to_bring_a_core_voter_up_to_date() {
    for seed in 0..20 {
        let mut world = World::new(3, &[2], seed);
        // The third alone has what was committed with the one that is lost.
        world.set_last(0, LogPlace { term: 1, index: 10 });
        world.set_last(2, LogPlace { term: 1, index: 11 });
        world.kill(1);
        assert!(world.run_until(SECOND * 5, |world| world.leader() == Some(2)), "seed {seed}: the witness leads");
        assert!(world.run_until(SECOND * 5, |world| world.leader() == Some(0)), "seed {seed}: and hands over");
        world.run(SECOND * 20);
        assert_eq!(world.leader(), Some(0), "seed {seed}: for good");
    }
}

#[test]
fn a_witness_with_an_equal_log_does_not_campaign() {
    for seed in 0..20 {
        let mut world = World::new(3, &[0], seed);
        assert_ne!(elected(&mut world), 0, "seed {seed}");
    }
}

fn now(millis: u64) -> Now {
    Now { mono: Instant::from_nanos(millis * 1_000_000), wall: Wall::from_millis(0) }
}

fn facts(term: u64) -> Facts {
    let voters = vec![vec![voter(0), voter(1), voter(2)]];
    Facts {
        term,
        last: LogPlace { term, index: 5 },
        configuration: Configuration { voters, ..Configuration::default() },
        ..Facts::default()
    }
}

#[test]
fn the_watchdog_campaigns_against_the_answers() {
    let (mut room, mut out) = (Campaign::new(voter(0), 1), Vec::new());
    room.handle(Input::Facts(facts(3)), now(0), &mut out);
    let mut elections = Vec::new();
    for millis in (0..10_000).step_by(10) {
        room.tick(now(millis), &mut out);
        for output in core::mem::take(&mut out) {
            match output {
                Output::Ask { to, question } => {
                    let last = LogPlace { term: 9, index: 9 };
                    let answer = Answer { round: question.round, agrees: false, wait_ms: 0, hears: None, last };
                    room.handle(Input::Answered { from: to, answer }, now(millis), &mut out);
                }
                Output::Elect => elections.push(millis),
                Output::Answer { .. } | Output::HandOver(_) => {}
            }
        }
        room.check();
    }
    let first = Duration::from_millis(elections[0]);
    assert!(first >= GROUP_WATCHDOG && first < GROUP_WATCHDOG + SECOND * 2, "{elections:?}");
}

/// Seed 0x6f2 of `ekka-sim --kind linear`: of two voters the one with the older log has the shorter patience, and once the
/// watchdog let it campaign it raised its term just before each campaign of the only one that can win.
#[test]
fn the_watchdog_of_a_voter_with_an_older_log_does_not_outrun_the_one_that_can_win() {
    for seed in 0..50 {
        let mut world = World::new(2, &[], seed);
        world.set_last(1, LogPlace { term: 0, index: 2 });
        world.set_cut(0, 1, true);
        world.set_cut(1, 0, true);
        world.run(GROUP_WATCHDOG + SECOND);
        world.set_cut(0, 1, false);
        world.set_cut(1, 0, false);
        assert!(world.run_until(SECOND * 5, |world| world.leader() == Some(1)), "seed {seed}: nobody leads");
    }
}

#[test]
fn a_promise_is_kept_against_a_leader_without_a_majority() {
    let (mut room, mut out) = (Campaign::new(voter(0), 1), Vec::new());
    room.handle(Input::Facts(facts(3)), now(0), &mut out);
    let weak = Sign { leader: voter(1), term: 3, has_majority: false };
    assert!(room.listens_to(&weak, now(1).mono), "nothing was promised");
    let question = Question { round: 1, last: LogPlace { term: 3, index: 5 }, permitted: None };
    room.handle(Input::Asked { from: voter(2), question }, now(2), &mut out);
    assert!(!room.listens_to(&weak, now(3).mono));
    assert!(room.listens_to(&Sign { has_majority: true, ..weak }, now(3).mono));
    assert!(room.listens_to(&Sign { term: 4, ..weak }, now(3).mono), "a leader elected since is young, not weak");
    assert!(room.listens_to(&weak, now(5_000).mono), "promises end");
}

#[test]
fn who_has_no_vote_is_silent() {
    let (mut room, mut out) = (Campaign::new(voter(9), 1), Vec::new());
    room.handle(Input::Facts(facts(3)), now(0), &mut out);
    room.tick(now(100_000), &mut out);
    assert_eq!((out, room.deadline()), (Vec::new(), None));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, ..ProptestConfig::default() })]

    /// Whatever happened before: once the links are mended and a majority is up there is a leader within 5 s, and it
    /// stays.
    #[test]
    fn a_majority_is_never_long_without_a_leader(
        seed in any::<u64>(),
        five in any::<bool>(),
        faults in proptest::collection::vec((0u8..5, 0usize..5, 0usize..5, 1u64..3_000), 0..12),
    ) {
        let count = if five { 5 } else { 3 };
        let mut world = World::new(count, &[], seed);
        for (kind, one, other, pause) in faults {
            let (one, other) = (one % count, other % count);
            match kind {
                0 => world.kill(one),
                1 | 2 => world.start(one),
                3 => world.set_cut(one, other, true),
                _ => world.set_cut(one, other, false),
            }
            world.run(Duration::from_millis(pause));
        }
        for one in 0..count {
            (0..count).for_each(|other| world.set_cut(one, other, false));
            world.start(one);
        }
        world.kill(usize::try_from(seed % count as u64).unwrap());
        prop_assert!(world.run_until(SECOND * 5, |world| world.leader().is_some()));
        world.run(GROUP_PATIENCE);
        let elections = world.elections;
        world.run(SECOND * 10);
        prop_assert!(world.elections <= elections + 1, "{} elections more", world.elections - elections);
    }
}
