//! What users of other systems suffered from while those healed, or did not.

use ekka_core::autoheal::Options;

use crate::heal_world::plan::{MS, Plan, SECOND};
use crate::heal_world::schedules::{CUT, NONE};
use crate::heal_world::world::World;

/// USERS 25: a process that was killed, or stopped, and starts again, however quickly, is no partition: nobody is healed.
#[test]
fn users_25_a_restart_however_quick_is_no_partition() {
    for pause in [10 * MS, 400 * MS, SECOND, 2_500 * MS, 6 * SECOND, 30 * SECOND] {
        for (n, goodbye) in (0..5).flat_map(|n| [(n, false), (n, true)]) {
            let mut world = World::planned(Plan { seed: pause, ..Plan::plain(5, NONE) });
            for _ in 0..3 {
                world.kill(n, goodbye);
                world.pass(pause);
                world.rise(n);
                world.pass(12 * SECOND);
            }
            let shown = format!("{n}, away for {pause} us, said goodbye: {goodbye}{}", world.story());
            assert_eq!((world.judge.plans.len(), world.judge.prepared, world.judge.partings()), (0, 0, 0), "{shown}");
            assert_eq!((&world.violation, world.restless()), (&None, None), "{shown}");
        }
    }
}

/// USERS 9; EKKA_SPEC 10, row 7: a blip, or another cut, in any moment of a heal leaves nobody half way, restarts no
/// process, and nobody says that it is healed before its reboot has ended: the judge hears each word.
#[test]
fn users_9_a_blip_in_the_middle_of_a_heal_leaves_nobody_half_way() {
    for (moment, length) in (0..60).flat_map(|moment| [(moment, 300 * MS), (moment, 4 * SECOND)]) {
        let mut world = World::planned(Plan { seed: moment, callbacks: SECOND, ..Plan::plain(5, NONE) });
        let processes: Vec<_> = world.nodes.iter().map(|node| node.process).collect();
        world.part(&[0, 0, 0, 1, 1], CUT);
        world.pass(moment * 150 * MS);
        world.part(&[0, 0, 0, 1, 1], length);
        world.heals_within(60 * SECOND);
        let now: Vec<_> = world.nodes.iter().map(|node| node.process).collect();
        assert_eq!(now, processes, "moment {moment}");
        assert!((3..5).all(|n| world.prepared(n) >= 1) && (0..3).all(|n| world.prepared(n) == 0), "moment {moment}");
    }
}

/// Parts, and heals over tables that stay different for two minutes: nobody is healed meanwhile.
fn differing(options: Options, seed: u64) -> Result<(), String> {
    let mut world = World::planned(Plan { seed, ..Plan::plain(5, options) });
    world.differ = true;
    world.part(&[0, 0, 0, 1, 1], CUT);
    world.until(20 * SECOND, |world| (3..5).all(|n| world.prepared(n) == 1)).ok_or("nobody is on its way")?;
    world.pass(120 * SECOND);
    let waits = (3..5).all(|n| world.stand(n).healing);
    if !waits || !world.judge.healed.is_empty() {
        return Err(format!("{:?} came back{}", world.judge.healed, world.story()));
    }
    world.differ = false;
    world.heals(20 * SECOND).map(drop)
}

/// USERS 10: where tables differ a node stays `healing`, until they do not.
#[test]
fn users_10_who_has_other_rows_stays_healing_until_they_are_equal() {
    for seed in 0..10 {
        differing(NONE, seed).unwrap_or_else(|why| panic!("seed {seed}: {why}"));
    }
    assert!(differing(Options { unverified: true, ..NONE }, 0).is_err(), "a cut that is not verified is not seen");
}

/// EKKA_SPEC 10, row 6: a heal waits for nobody who is dead for good, of three nodes as of more.
#[test]
fn spec_10_6_a_heal_waits_for_nobody_who_is_dead() {
    let schedules: [(&[usize], &[usize]); 5] = [
        (&[0, 1, 2], &[2]),
        (&[0, 1, 2], &[0]),
        (&[0, 0, 0, 1, 1], &[4, 2]),
        (&[0, 0, 0, 1, 1], &[0, 1]),
        (&[0, 0, 0, 1, 1, 2, 2], &[0, 5, 6]),
    ];
    for ((parts, dead), seed) in schedules.into_iter().flat_map(|one| (0..10).map(move |seed| (one, seed))) {
        let mut world = World::planned(Plan { seed, ..Plan::plain(parts.len(), NONE) });
        for n in dead {
            world.kill(*n, false);
        }
        world.pass(CUT);
        world.part(parts, CUT);
        let took = world.heals_within(20 * SECOND);
        assert!(took <= 6 * SECOND, "{parts:?} without {dead:?}, seed {seed}: {took} us{}", world.story());
    }
}
