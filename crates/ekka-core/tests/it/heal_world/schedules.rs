//! Schedules that showed the need of a rule, and the promises that have a number.

use std::time::Duration;

use ekka_core::autoheal::Options;

use crate::heal_world::plan::{MS, Plan, SECOND, Us};
use crate::heal_world::world::World;

pub(crate) const NONE: Options = Options {
    guid_unseen: false,
    id_ignored: false,
    death_unseen: false,
    one_sided_unseen: false,
    stale_view: false,
    unverified: false,
};

/// Longer than any silence that is borne.
pub(crate) const CUT: Us = 5 * SECOND;

fn part_of(shape: &[usize]) -> Vec<usize> {
    shape.iter().enumerate().flat_map(|(part, count)| std::iter::repeat_n(part, *count)).collect()
}

impl World {
    pub(crate) fn planned(plan: Plan) -> Self {
        let mut world = Self::new(plan);
        world.pass(2 * SECOND);
        world
    }

    /// Parts that do not hear each other for a while.
    pub(crate) fn part(&mut self, part_of: &[usize], time: Us) {
        self.net.split(part_of);
        self.pass(time);
        self.net.mend();
    }

    pub(crate) fn prepared(&self, n: usize) -> u64 {
        self.judge.prepared_by(&self.nodes[n])
    }

    fn met(&self) -> bool {
        self.restless().is_none() && self.judge.partings() > 0
    }

    /// All is at rest, and goes on like that; how long it took.
    pub(crate) fn heals(&mut self, most: Us) -> Result<Us, String> {
        let took = self.until(most, Self::met);
        self.pass(5 * SECOND);
        if let Some(violation) = self.violation.take() {
            return Err(format!("{violation}{}", self.story()));
        }
        match (took, self.restless()) {
            (Some(took), None) => self.judge.end(&self.nodes).map(|()| took),
            (_, why) => Err(format!("it is not healed: {why:?}{}", self.story())),
        }
    }

    pub(crate) fn heals_within(&mut self, most: Us) -> Us {
        self.heals(most).unwrap_or_else(|why| panic!("{why}"))
    }
}

/// EKKA_SPEC 10, row 1; USERS 3: parts of any number and size.
#[test]
fn every_shape_heals_at_once_and_within_six_seconds() {
    let shapes: [&[usize]; 7] = [&[2, 1], &[1, 2], &[2, 2], &[1, 1, 1], &[2, 2, 1], &[3, 2, 2], &[3, 3, 3]];
    for (shape, seed) in shapes.into_iter().flat_map(|shape| (0..10).map(move |seed| (shape, seed))) {
        let parts = part_of(shape);
        let mut world = World::planned(Plan { seed, ..Plan::plain(parts.len(), NONE) });
        world.part(&parts, CUT);
        let took = world.heals_within(20 * SECOND);
        assert!(took <= 6 * SECOND, "{shape:?}, seed {seed}: {took} us{}", world.story());
        assert_eq!(world.judge.plans.len(), 1, "{shape:?}, seed {seed}: one heal{}", world.story());
        let heal = &world.judge.last().expect("there is one").heal;
        for (n, node) in world.nodes.iter().enumerate() {
            let side = heal.side(node.id).expect("everybody is in it");
            assert_eq!(world.prepared(n), u64::from(!side.stays()), "{shape:?}, seed {seed}: {n}");
            let like = heal.side(world.nodes[parts.iter().position(|part| *part == parts[n]).unwrap()].id).unwrap();
            assert_eq!(side.part, like.part, "{shape:?}, seed {seed}: parts are those that were");
        }
    }
}

/// The side that holds the voters stays, although it is the smaller one (SCHEDULES S1-8).
#[test]
fn replicants_come_back_to_the_voters_and_never_the_other_way() {
    for seed in 0..20 {
        let cores = vec![false, true, false, true, false, true, false];
        let plan = Plan { seed, cores, voters: vec![vec![1, 3, 5]], ..Plan::plain(7, NONE) };
        let mut world = World::planned(plan);
        world.part(&[1, 0, 1, 0, 1, 0, 1], CUT);
        world.heals_within(20 * SECOND);
        for n in 0..7 {
            assert_eq!(world.prepared(n), u64::from(n % 2 == 0), "seed {seed}: {n}");
        }
    }
    // Two of three voters hold the quorum, and five others are the majority of members.
    let mut world = World::planned(Plan { voters: vec![vec![0, 1, 2]], ..Plan::plain(7, NONE) });
    world.part(&[0, 0, 1, 1, 1, 1, 1], CUT);
    world.heals_within(20 * SECOND);
    assert_eq!((0..7).map(|n| world.prepared(n)).collect::<Vec<_>>(), [0, 0, 1, 1, 1, 1, 1]);
}

fn frozen(n: usize, options: Options, seed: u64) -> Result<(), String> {
    let mut world = World::planned(Plan { seed, ..Plan::plain(4, options) });
    world.pause(n, CUT);
    world.pass(CUT);
    world.heals(20 * SECOND)?;
    let prepared: Vec<u64> = (0..4).map(|n| world.prepared(n)).collect();
    let right: Vec<u64> = (0..4).map(|m| u64::from(m == n)).collect();
    if prepared == right { Ok(()) } else { Err(format!("{n} was frozen, prepared were {prepared:?}")) }
}

/// SCHEDULES S2-1: frozen, it declared nobody down, and the others had declared it.
#[test]
fn a_frozen_node_comes_back_although_it_declared_nobody_down() {
    for (n, seed) in (0..4).flat_map(|n| (0..10).map(move |seed| (n, seed))) {
        frozen(n, NONE, seed).unwrap_or_else(|why| panic!("{n}, seed {seed}: {why}"));
    }
}

/// One link is cut and a third node hears both (SCHEDULES S2-2; USERS 24; EKKA_SPEC 10, row 2).
#[test]
fn nobody_moves_because_one_link_is_cut() {
    for nodes in 3..=7 {
        for seed in 0..5 {
            let mut world = World::planned(Plan { seed, ..Plan::plain(nodes, NONE) });
            world.net.cut(0, nodes - 1);
            if nodes > 4 {
                world.net.cut_way(1, 2);
            }
            world.pass(30 * SECOND);
            world.net.mend();
            world.pass(20 * SECOND);
            assert_eq!((world.judge.plans.len(), world.judge.partings()), (0, 0), "{}", world.story());
            assert!(world.violation.is_none() && world.restless().is_none());
        }
    }
}

/// Those that were collected die with the only copy of an operation before anybody pulled it.
fn dies_with_the_only_copy(dies: usize, options: Options, seed: u64) -> Result<(), String> {
    let mut world = World::new(Plan { seed, fast: false, ..Plan::plain(5, options) });
    world.still = true;
    world.pass(2 * SECOND);
    world.net.split(&[0, 0, 0, 1, 1]);
    world.pass(CUT);
    world.net.mend();
    if world.until(10 * SECOND, |world| (3..5).any(|n| world.nodes[n].exchange.is_some())).is_none() {
        return Err(format!("no exchange began{}", world.story()));
    }
    world.write(dies);
    let held = world.nodes[dies].have.clone();
    // The exchange counts it, or the node is dead before it is asked.
    if seed.is_multiple_of(2) {
        for exchange in world.nodes.iter_mut().filter_map(|node| node.exchange.as_mut()) {
            crate::heal_world::node::merge(&mut exchange.target, &held);
        }
    }
    world.kill(dies, false);
    world.heals(60 * SECOND).map(drop)
}

/// SCHEDULES M11: its vectors name an operation that nobody has.
#[test]
fn a_heal_ends_although_what_it_waits_for_is_gone() {
    for (dies, seed) in (0..5).flat_map(|dies| (0..6).map(move |seed| (dies, seed))) {
        dies_with_the_only_copy(dies, NONE, seed).unwrap_or_else(|why| panic!("{dies}, seed {seed}: {why}"));
    }
}

#[test]
fn nobody_heals_while_it_is_off_until_somebody_says_so() {
    for n in 0..5 {
        let mut world = World::planned(Plan { autoheal: None, seed: n, ..Plan::plain(5, NONE) });
        world.part(&[0, 0, 0, 1, 1], CUT);
        world.pass(60 * SECOND);
        assert_eq!(world.judge.plans.len(), 0);
        assert!((0..5).any(|n| world.stand(n).pending), "it shows that something is to be done");
        world.judge.ordered = true;
        world.order_heal(usize::try_from(n).unwrap());
        world.heals_within(20 * SECOND);
        assert_eq!((world.prepared(3), world.prepared(4)), (1, 1));
    }
}

/// SCHEDULES S2-1; USERS 2 and 38: flapping is damped, and each time it heals.
#[test]
fn who_parts_again_and_again_waits_before_it_is_prepared() {
    let settle = Duration::from_secs(3);
    let mut world = World::planned(Plan { autoheal: Some(settle), ..Plan::plain(5, NONE) });
    for (time, wait) in [(0, 0), (1, 6), (2, 12), (3, 24), (4, 48), (5, 60), (6, 60)] {
        world.part(&[0, 0, 0, 1, 1], CUT);
        let asked = world.until(20 * SECOND, |world| world.stand(4).under.is_some()).expect("it is ordered");
        assert!(asked <= 6 * SECOND, "the order comes as always");
        let waited = world.until(100 * SECOND, |world| world.prepared(4) == time + 1).expect("it is prepared");
        let wanted = wait * SECOND;
        assert!(waited + 20 * MS >= wanted && waited <= wanted + 200 * MS, "{time}: {waited}");
        world.heals_within(70 * SECOND);
    }
    // Long afterwards it is as at first.
    world.pass(601 * SECOND);
    world.part(&[0, 0, 0, 1, 1], CUT);
    assert!(world.heals_within(20 * SECOND) < 7 * SECOND);
}

/// A node that is on its way is declared gone, and goes on in its process as another start.
#[test]
fn a_start_that_is_declared_gone_on_its_way_ends_it_in_its_process() {
    for seed in 0..40 {
        let mut world = World::planned(Plan { seed, callbacks: SECOND, ..Plan::plain(5, NONE) });
        world.part(&[0, 0, 0, 1, 1], CUT);
        world.until(20 * SECOND, |world| world.stand(4).healing).expect("it is on its way");
        world.pass(seed * 50 * MS);
        world.renew(4);
        world.heals_within(60 * SECOND);
        // Once it had come back, the one who goes on has nothing to come back from.
        assert!(world.prepared(4) <= 2, "seed {seed}");
        assert_eq!(world.prepared(3), 1, "seed {seed}: the other one is not concerned{}", world.story());
    }
}

/// Two leaders that do not see each other number their heals alike; the loser's late order is not taken for the winner's.
pub(crate) fn two_leaders(options: Options, seed: u64) -> Result<(), String> {
    let mut world = World::planned(Plan { seed, ..Plan::plain(4, options) });
    world.net.split(&[0, 1, 2, 3]);
    world.pass(CUT);
    world.net.mend();
    world.net.split(&[0, 0, 1, 1]);
    world.heals(20 * SECOND).ok();
    world.pass(5 * SECOND);
    world.net.mend();
    world.heals(20 * SECOND).map(drop)
}

/// SCHEDULES S2-1: a number alone is no id of a heal.
#[test]
fn heals_of_two_leaders_are_two() {
    for seed in 0..20 {
        two_leaders(NONE, seed).unwrap_or_else(|why| panic!("seed {seed}: {why}"));
    }
}

/// The first of some seeds in which a fault is seen.
fn seen(schedule: impl Fn(u64) -> Result<(), String>) -> bool {
    (0..10).any(|seed| schedule(seed).is_err())
}

#[test]
fn planted_faults_are_caught_by_their_schedules() {
    let death = Options { death_unseen: true, ..NONE };
    assert!(seen(|seed| dies_with_the_only_copy(2, death, seed)), "a death among the collected is not seen");
    assert!(seen(|seed| two_leaders(Options { guid_unseen: true, ..NONE }, seed)), "the number alone is the id");
}
