//! Two hundred members, far beyond the full mesh: they find each other, a death is seen by all, no node sends much.

use std::time::Duration;

use crate::membership_world::{World, ms};
use ekka_core::machine::Machine;
use ekka_core::membership::Options;
use ekka_core::view::Status;

const NODES: usize = 200;
/// Messages that one node may send in a second on average: 23 neighbours, 3.5 heartbeats and answers each, and gossip.
const MESSAGES_MAX: f64 = 250.0;

fn believers(world: &World, of: usize, status: Status) -> usize {
    world.running().into_iter().filter(|by| world.room(*by).status(world.node_id(of)) == status).count()
}

#[allow(clippy::cast_precision_loss, reason = "counts far below 2^52")]
fn per_node_second(world: &World, sent: u64, time: Duration) -> f64 {
    (world.sent - sent) as f64 / world.running().len() as f64 / time.as_secs_f64()
}

#[test]
fn two_hundred_members_meet_see_one_die_and_send_little() {
    let mut world = World::new(42, NODES, Options::default());
    world.checked = false;
    world.form(NODES);
    let all_up = |w: &World| (0..NODES).step_by(13).all(|of| believers(w, of, Status::Up) == NODES);
    let mut took = Duration::ZERO;
    while !all_up(&world) && took < Duration::from_secs(10) {
        world.run(ms(500));
        took += ms(500);
    }
    assert!(all_up(&world), "all see all up within 10 s");

    let before = world.sent;
    world.run(ms(3_000));
    let rate = per_node_second(&world, before, ms(3_000));
    println!("met within {took:?}; then {rate:.0} messages a node and second");
    assert!(rate < MESSAGES_MAX, "{rate} messages a node and second");
    assert!(world.reports.iter().all(|report| report.up), "no false alarm");

    world.kill(77);
    let seen = world.until(Duration::from_secs(8), |w| believers(w, 77, Status::Down) == NODES - 1);
    println!("its death was seen by all after {seen:?}");
    assert!(seen.is_some(), "heartbeats find it, foca tells everybody");
    assert!(world.reports.iter().all(|report| report.up || report.id == world.nodes[77].id), "nobody else fell");
    world.nodes.iter().filter_map(|node| node.room.as_ref()).for_each(Machine::check);
}
