//! Commit rates of a consensus group: three replicas in one process, on a network in memory.
//!
//! `cargo run --release -p ekka --features testing --example groups` prints commits a second and the time of one for 1,
//! 16, 64 and 256 proposers, with one and two entries in flight, then the rate of readers behind barriers; then a replica
//! sleeps through 100,000 commands, and how late the leader's signs of life are while it comes back by snapshot. Pass
//! the seconds of each measurement, 2 without. On a store with real syncs the number of them a commit is printed too.
#![allow(clippy::unwrap_used, clippy::cast_precision_loss, reason = "a program to look at figures with")]

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use ekka::consensus::Group;
use ekka::consensus::raft::Settings;
use ekka::testing::group_net::Weather;
use ekka::testing::groups::{RaftWorld, node};
use ekka::testing::suite::consensus::World;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

async fn founded(settings: Settings) -> (Arc<RaftWorld>, usize) {
    let world = Arc::new(RaftWorld::new(1, settings));
    world.net().set_weather(Weather { delay: Duration::ZERO, jitter: Duration::ZERO, ..Weather::default() });
    for number in 0..3 {
        world.start(number).await;
    }
    let voters: BTreeSet<_> = (0..3).map(|number| world.voter(number)).collect();
    world.group(0).found(voters).await.unwrap();
    loop {
        if let Some(leader) = (0..3).find(|number| world.group(*number).standing().borrow().leads) {
            return (world, leader);
        }
        sleep(Duration::from_millis(10)).await;
    }
}

#[derive(Clone, Copy)]
enum Work {
    Propose,
    Barrier,
}

async fn measure(group: &Arc<dyn Group>, callers: usize, seconds: u64, work: Work) -> (f64, Duration) {
    let done = Arc::new(AtomicU64::new(0));
    let end = Instant::now() + Duration::from_secs(seconds);
    let mut tasks = JoinSet::new();
    let began = Instant::now();
    for caller in 0..callers {
        let (group, done) = (group.clone(), done.clone());
        tasks.spawn(async move {
            while Instant::now() < end {
                match work {
                    Work::Propose => drop(group.propose(vec![u8::try_from(caller % 256).unwrap(); 100]).await.unwrap()),
                    Work::Barrier => drop(group.barrier().await.unwrap()),
                }
                done.fetch_add(1, Ordering::Relaxed);
            }
        });
    }
    while tasks.join_next().await.is_some() {}
    let rate = done.load(Ordering::Relaxed) as f64 / began.elapsed().as_secs_f64();
    (rate, Duration::from_secs_f64(callers as f64 / rate))
}

async fn rates(seconds: u64) {
    for entries_in_flight in [1, 2] {
        for callers in [1, 16, 64, 256] {
            let (world, leader) = founded(Settings { entries_in_flight, ..Settings::default() }).await;
            for (place, at) in [("leader", leader), ("follower", (leader + 1) % 3)] {
                let syncs = || -> u64 { (0..3).map(|number| world.storage(number).syncs()).sum() };
                let before = syncs();
                let (rate, mean) = measure(&world.group(at), callers, seconds, Work::Propose).await;
                let syncs = (syncs() - before) as f64 / (rate * seconds as f64);
                println!(
                    "propose at the {place}, {entries_in_flight} in flight, {callers} callers: {rate:.0}/s, mean {mean:?}, \
                     {syncs:.3} syncs each"
                );
            }
        }
    }
    for callers in [1, 16, 64, 256] {
        let (world, leader) = founded(Settings::default()).await;
        for (place, at) in [("leader", leader), ("follower", (leader + 1) % 3)] {
            let (rate, mean) = measure(&world.group(at), callers, seconds, Work::Barrier).await;
            println!("barrier at the {place}, {callers} callers: {rate:.0}/s, mean {mean:?}");
        }
    }
}

async fn sleeper() {
    let (world, leader) = founded(Settings::default()).await;
    let (sleeper, other) = ((leader + 1) % 3, (leader + 2) % 3);
    world.kill(sleeper);
    let group = world.group(leader);
    let mut tasks = JoinSet::new();
    for caller in 0..4 {
        let group = group.clone();
        tasks.spawn(async move {
            for turn in 0..25_000 {
                group.propose(format!("{caller}.{turn}").into_bytes()).await.unwrap();
            }
        });
    }
    while tasks.join_next().await.is_some() {}
    group.snapshot().await.unwrap();
    let entries = group.standing().borrow().last.index;
    world.net().watch(node(leader), node(other));
    let began = Instant::now();
    world.start(sleeper).await;
    while world.ledger(sleeper).len() < 100_000 {
        sleep(Duration::from_millis(5)).await;
    }
    let took = began.elapsed();
    // Up to the next sign of life, at least.
    sleep(Duration::from_millis(500)).await;
    let gap = world.net().longest_gap();
    println!("a sleeper of 100,000 commands ({entries} entries) was back after {took:?}; longest silence {gap:?}");
}

#[tokio::main]
async fn main() {
    let seconds = std::env::args().nth(1).and_then(|arg| arg.parse().ok()).unwrap_or(2);
    rates(seconds).await;
    sleeper().await;
}
