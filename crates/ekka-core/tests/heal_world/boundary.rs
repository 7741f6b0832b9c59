//! The leader, and the coordinator, are killed after each of their messages in turn.

use ekka_core::autoheal::Options;

use crate::plan::{Plan, SECOND, Us};
use crate::world::{Doom, World};

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

/// Kills a node after each of its messages in turn; how many boundaries there were.
fn at_each_message(n: usize, rises: Option<Us>) -> u64 {
    for after in 1..MOST {
        let mut world = parted(after);
        let sent = world.nodes[n].sent;
        world.doom = Some(Doom { n, after: sent + after, rises });
        let healed = |world: &World| world.restless().is_none() && world.judge.partings() > 0;
        let most = 60 * SECOND;
        let mut took = world.until(most, |world| world.doom.is_none() || healed(world) && world.judge.last().is_some());
        if world.doom.is_none() {
            took = world.until(most, healed);
            let more = rises.unwrap_or_default() + 5 * SECOND;
            world.pass(more);
            took = took.and(world.until(most, healed));
        }
        if let Some(violation) = &world.violation {
            panic!("{n} is killed after message {after}: {violation}{}", world.story());
        }
        assert!(took.is_some(), "{n} is killed after message {after}: {:?}{}", world.restless(), world.story());
        if let Err(why) = world.judge.end(&world.nodes) {
            panic!("{n} is killed after message {after}: {why}{}", world.story());
        }
        if world.doom.is_some() {
            return after;
        }
    }
    panic!("it sends messages for ever")
}

#[test]
fn healing_ends_whenever_the_leader_is_killed() {
    let boundaries = at_each_message(4, None) + at_each_message(4, Some(2 * SECOND));
    println!("{boundaries} boundaries");
    assert!(boundaries > 20, "{boundaries}");
}

#[test]
fn healing_ends_whenever_the_coordinator_is_killed() {
    let boundaries = at_each_message(0, None) + at_each_message(0, Some(2 * SECOND));
    println!("{boundaries} boundaries");
    assert!(boundaries > 20, "{boundaries}");
}
