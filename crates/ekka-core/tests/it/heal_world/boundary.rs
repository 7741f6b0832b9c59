//! The leader, and the coordinator, are killed after each of their messages in turn.

use ekka_core::autoheal::Options;

use crate::heal_world::plan::{Plan, SECOND, Us};
use crate::heal_world::world::{Doom, World};

/// So many messages one node never sends in such a heal: the loop ends before.
const MOST: u64 = 2_000;

/// The oldest node is on the smaller side, so that leader and coordinator are two: 4 leads, 0 coordinates.
fn parted(seed: u64) -> World {
    let seniority = vec![1, 2, 3, 4, 0];
    let mut world = World::new(Plan { seed, seniority, callbacks: SECOND / 2, ..Plan::plain(5, Options::default()) });
    world.pass(2 * SECOND);
    world.net.split(&[0, 0, 0, 1, 1]);
    world.pass(5 * SECOND);
    world.net.mend();
    world
}

/// The last node was frozen; 0 leads and coordinates.
fn thawed(seed: u64, options: Options) -> World {
    let mut world = World::new(Plan { seed, callbacks: SECOND / 2, ..Plan::plain(5, options) });
    world.pass(2 * SECOND);
    world.pause(4, 5 * SECOND);
    world.pass(5 * SECOND);
    world
}

/// Kills a node after each of its messages in turn; how many boundaries there were.
fn at_each_message(made: impl Fn(u64) -> World, n: usize, rises: Option<Us>) -> Result<u64, String> {
    for after in 1..MOST {
        let mut world = made(after);
        let sent = world.nodes[n].sent;
        world.doom = Some(Doom { n, after: sent + after, rises });
        let healed = |world: &World| world.restless().is_none() && world.judge.partings() > 0;
        let most = 60 * SECOND;
        let over = |world: &World| world.doom.is_none() || healed(world) && world.judge.last().is_some();
        let mut took = world.until(most, over);
        if world.doom.is_none() {
            world.pass(rises.unwrap_or_default() + 5 * SECOND);
            took = world.until(most, healed);
            world.pass(5 * SECOND);
        }
        let story = |why: String| format!("{n} is killed after message {after}: {why}{}", world.story());
        match (&world.violation, took) {
            (Some(violation), _) => return Err(story(violation.clone())),
            (None, None) => return Err(story(format!("it does not end: {:?}", world.restless()))),
            (None, Some(_)) => world.judge.end(&world.nodes).map_err(story)?,
        }
        if world.doom.is_some() {
            return Ok(after);
        }
    }
    Err("it sends messages for ever".into())
}

fn both(made: impl Fn(u64) -> World, n: usize) {
    let ended = |rises| at_each_message(&made, n, rises).unwrap_or_else(|why| panic!("rises after {rises:?}: {why}"));
    let boundaries = ended(None) + ended(Some(2 * SECOND));
    println!("{boundaries} boundaries");
    assert!(boundaries > 20, "{boundaries}");
}

#[test]
fn healing_ends_whenever_the_leader_is_killed() {
    both(parted, 4);
}

#[test]
fn healing_ends_whenever_the_coordinator_is_killed() {
    both(parted, 0);
}

#[test]
fn a_frozen_node_comes_back_whenever_leader_and_coordinator_are_killed_at_once() {
    both(|seed| thawed(seed, Options::default()), 0);
}

/// Those who declared it down were on the coordinator's side, and are through with it: only the frozen one knows.
#[test]
fn it_is_seen_where_only_who_declared_down_itself_has_parted() {
    let options = Options { one_sided_unseen: true, ..Options::default() };
    assert!(at_each_message(|seed| thawed(seed, options), 0, None).is_err());
}
