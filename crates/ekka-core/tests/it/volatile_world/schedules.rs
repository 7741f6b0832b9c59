//! S1-3, each part as it was found.

use ekka_core::volatile::{Faults, Version};

use crate::volatile_world::durable::Entry;
use crate::volatile_world::replica::{Entry as Row, Replica};
use crate::volatile_world::world::{MS, NODES, Plan, SECOND, SESSION, World, node_id};

/// Three processes that have formed generation 1, of which process 0 leads, and a member outside the voters (process 3)
/// whose clients use the lock. Nothing happens that the test does not do.
fn scripted(faults: Faults) -> World {
    let mut world = World::new(Plan { seed: 3, faults, twin_counts: false, scripted: true });
    world.boot(None, node_id(9), 0);
    until(&mut world, |world| (0..NODES).all(|p| world.procs[p].room.serves() == Some(1)));
    world.elect(0);
    world.beat(0);
    assert!(world.procs[0].replica.as_ref().is_some_and(Replica::ready), "process 0 leads");
    world
}

/// A quarter of a second in which everybody reads what was committed, and leaders bring others up to date.
fn pass(world: &mut World) {
    for p in 0..world.procs.len() {
        if world.procs[p].alive {
            world.sync(p, true);
            world.beat(p);
            world.tick(p);
        }
    }
    world.run_until(world.now + 250 * MS);
}

fn until(world: &mut World, done: impl Fn(&World) -> bool) {
    for _ in 0..400 {
        if done(world) || world.violation.is_some() {
            return;
        }
        pass(world);
    }
    panic!("it never comes: {:?}", world.state.decided.generation());
}

/// A client of the outside member asks a leader for the lock, again and again, until it has it or time is up.
fn ask(world: &mut World, client: usize, leader: usize, long: u64) -> bool {
    let (end, grants) = (world.now + long, world.grants);
    while world.now < end && world.grants == grants && world.violation.is_none() {
        let asked = world.client_clock(client);
        world.ask(client, asked, 3, leader, false);
        world.beat(leader);
        world.run_until(world.now + 5 * MS);
        pass(world);
    }
    world.grants > grants
}

fn restart(world: &mut World, p: usize) -> usize {
    let node = world.procs[p].node;
    world.kill(p);
    let side = world.procs[p].side;
    world.boot(node, world.procs[p].id.node_id, side)
}

/// First part: the lock was committed by the two that restart; the third's log lacks it.
fn older_log(faults: Faults) -> World {
    let mut world = scripted(faults);
    // The outside member has kept its sessions for long, so that only the restarted ones are waited for.
    for _ in 0..60 {
        pass(&mut world);
    }
    world.procs[2].side = 1;
    assert!(ask(&mut world, 0, 0, 5 * SECOND), "granted by 0 and 1");
    for p in 0..2 {
        restart(&mut world, p);
    }
    world.procs[2].side = 0;
    until(&mut world, |world| world.procs[2].room.serves() == Some(2));
    world.elect(2);
    let lock = world.procs[2].replica.as_ref().map(Replica::lock);
    assert!(lock.is_some_and(|(_, free)| free), "its log lacks the grant");
    assert!(world.state.decided.generation().lost, "and it is said that something can be missing");
    world
}

#[test]
fn s1_3_an_older_log_does_not_grant_again_while_the_lock_is_held() {
    let mut world = older_log(Faults::default());
    let decided = world.now;
    assert!(!world.procs[2].room.waits_for().is_empty(), "restarted members cannot vouch for what they lost");
    assert!(ask(&mut world, 1, 2, 3 * SESSION), "granted in the end");
    assert!(world.violation.is_none(), "{:?}", world.violation);
    assert!(world.now - decided > SESSION / 10 * 7, "after {} ms", (world.now - decided) / MS);

    let mut world = older_log(Faults { no_wait: true, ..Faults::default() });
    ask(&mut world, 1, 2, 3 * SESSION);
    assert!(world.violation.is_some_and(|violation| violation.contains("at once")), "the schedule is as it was found");
}

/// Second part: after a full restart two processes propose the next generation, the second on an old view.
fn race(faults: Faults) -> World {
    let mut world = scripted(faults);
    for p in 0..3 {
        restart(&mut world, p);
    }
    world.run_until(world.now + 10 * MS);
    // Both read that all three have started again, and nothing else; both are patient until they may propose.
    for p in [4, 5] {
        world.sync(p, true);
        world.run_until(world.now + 6 * SECOND);
    }
    world.tick(4);
    world.run_until(world.now + 10 * MS);
    assert_eq!(world.state.decided.generation().number(), 2, "the first has decided");
    let third = restart(&mut world, 4);
    world.run_until(world.now + 10 * MS);
    world.tick(5);
    world.run_until(world.now + 10 * MS);
    let proposals =
        world.log.iter().filter(|entry| matches!(entry, Entry::Propose(proposal) if proposal.next.number() == 2));
    assert!(proposals.count() >= 2, "the second has proposed on its old view");
    assert!(world.procs[third].alive);
    world
}

#[test]
fn s1_3_two_proposers_on_one_view_decide_one_generation() {
    let mut world = race(Faults::default());
    assert_eq!(world.generations, 2, "the first and one more");
    // The group of the second generation comes to work although one founder is over, and its tokens go on.
    until(&mut world, |world| (5..=6).all(|p| world.procs[p].room.serves() == Some(2)));
    world.elect(5);
    assert!(ask(&mut world, 1, 5, 3 * SESSION) && world.violation.is_none(), "{:?}", world.violation);

    let world = race(Faults { no_compare: true, ..Faults::default() });
    assert!(world.generations > 2, "the schedule is as it was found: one number, two groups");
}

/// Third part: a rolling restart that waits until each is a voter again loses nothing, without a new generation.
#[test]
fn s1_3_a_rolling_restart_that_waits_for_each_vote_loses_nothing() {
    let mut world = scripted(Faults::default());
    world.ask(0, 0, 3, 0, true);
    until(&mut world, |world| world.must.len() == 1);
    let mut leader = 0;
    for p in [1, 2, 0] {
        if p == leader {
            leader = 4;
            world.elect(leader);
        }
        let new = restart(&mut world, p);
        until(&mut world, |world| {
            let id = world.procs[new].id;
            world.state.decided.generation().sets.iter().all(|set| set.contains(&id))
        });
    }
    assert_eq!((world.generations, world.must.len()), (1, 1), "one generation, nothing given up");
    // Locks go on as well: the log says that nobody need wait, although this process began a moment ago.
    assert!(ask(&mut world, 0, leader, 2 * SECOND) && world.violation.is_none(), "{:?}", world.violation);
    assert_eq!(world.state.decided.generation().version, Version { number: 1, revision: 6 });
    let content = world.procs[leader].replica.as_ref().expect("it leads").content();
    assert!(content.contains(&Row::Write(1)) && world.violation.is_none());
}

/// ... and one that restarts with one that left and came back, in the same process and under the same guid: what only
/// these two had is lost, and the second has stopped for good and gives nothing.
fn left_and_came_back(faults: Faults) -> World {
    let mut world = scripted(faults);
    world.procs[2].side = 1;
    world.ask(0, 0, 3, 0, true);
    until(&mut world, |world| world.must.len() == 1);
    // Its removal cannot be followed by the group before it drops what it held.
    world.leave(1);
    restart(&mut world, 0);
    world.join(1);
    world.procs[2].side = 0;
    until(&mut world, |world| world.state.decided.generation().number() == 2);
    world
}

#[test]
fn s1_3_a_voter_that_dropped_its_log_counts_as_silent() {
    let world = left_and_came_back(Faults::default());
    assert!(world.state.decided.generation().lost && world.must.is_empty());
    assert!(world.violation.is_none(), "{:?}", world.violation);

    let world = left_and_came_back(Faults { forgets_dropping: true, ..Faults::default() });
    assert!(
        world.violation.is_some_and(|violation| violation.contains("does not say so")),
        "the schedule is as it was found"
    );
}

/// ... and two of three at once lose what only they had, which is said.
#[test]
fn s1_3_two_of_three_at_once_may_lose_and_say_so() {
    let mut world = scripted(Faults::default());
    world.procs[2].side = 1;
    world.ask(0, 0, 3, 0, true);
    until(&mut world, |world| world.must.len() == 1);
    for p in 0..2 {
        restart(&mut world, p);
    }
    world.procs[2].side = 0;
    until(&mut world, |world| world.state.decided.generation().number() == 2);
    assert!(world.state.decided.generation().lost && world.must.is_empty() && world.violation.is_none());
}
