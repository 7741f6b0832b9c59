//! Word of commits goes with the next entries, and comes without them.

use std::sync::Arc;
use std::time::Duration;

use ekka_core::limits::GROUP_COMMIT_LINGER;
use tokio::time::{Instant, sleep};

use super::world;
use crate::testing::group_net::Weather;
use crate::testing::groups::{RaftWorld, node};
use crate::testing::suite::consensus as suite;
use crate::testing::suite::consensus::World;

const COMMANDS: u64 = 50;

/// Three voters, and the one of them that leads.
async fn led() -> (Arc<RaftWorld>, usize) {
    let world = world(1);
    world.net().set_weather(Weather { jitter: Duration::ZERO, ..Weather::default() });
    let leader = suite::founded(&*world, 3).await.unwrap();
    // Of the election nothing is under way any more.
    sleep(Duration::from_millis(100)).await;
    (world, leader)
}

#[tokio::test(start_paused = true)]
async fn a_voter_gets_one_frame_for_each_entry() {
    let (world, leader) = led().await;
    let voter = (leader + 1) % 3;
    world.net().watch(node(leader), node(voter));
    for command in 0..COMMANDS {
        world.group(leader).propose(format!("c{command}").into_bytes()).await.unwrap();
    }
    let frames = world.net().frames();
    // Signs of life come between.
    assert!((COMMANDS..COMMANDS * 3 / 2).contains(&frames), "{frames} frames for {COMMANDS} entries");
}

#[tokio::test(start_paused = true)]
async fn it_comes_alone_where_nothing_else_does() {
    let (world, leader) = led().await;
    world.group(leader).propose(b"last".to_vec()).await.unwrap();
    let committed = Instant::now();
    for voter in (0..3).filter(|number| *number != leader) {
        while !world.ledger(voter).has("last") {
            sleep(Duration::from_millis(1)).await;
        }
    }
    // Timers and ways take whole milliseconds here.
    let took = committed.elapsed();
    assert!(took <= GROUP_COMMIT_LINGER + Duration::from_millis(4), "{took:?}");
}
