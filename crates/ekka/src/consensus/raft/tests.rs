//! The conformance suite on the engine's adapter, and that it catches faults put in on purpose.

mod generations;
mod owed;
mod store;
mod tables;

use std::collections::BTreeSet;
use std::sync::Arc;

use ekka_core::consensus::{GroupEvent, LogPlace, VoterId};
use ekka_core::limits::GROUP_COMMAND_MAX;
use tokio::sync::mpsc;

use super::{Faults, Settings};
use crate::consensus::GroupError;
use crate::storage::MemoryStorage;
use crate::testing::FailingStorage;
use crate::testing::group_net::Weather;
use crate::testing::groups::RaftWorld;
use crate::testing::suite::consensus as suite;
use crate::testing::suite::consensus::World;

fn world(seed: u64) -> Arc<RaftWorld> {
    Arc::new(RaftWorld::new(seed, Settings::default()))
}

fn small_logs(seed: u64) -> Arc<RaftWorld> {
    Arc::new(RaftWorld::new(seed, Settings { log_entries: 20, log_kept: 5, ..Settings::default() }))
}

crate::consensus_suite!(world, 3);

#[tokio::test(start_paused = true)]
async fn a_sleeper_comes_back_by_snapshot() {
    suite::a_sleeper_comes_back_by_snapshot(small_logs(1), 5_000).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn churn_loses_and_doubles_nothing() {
    for seed in 0..6 {
        suite::churn(small_logs(seed), seed).await.unwrap_or_else(|found| panic!("seed {seed}: {found}"));
    }
}

#[tokio::test(start_paused = true)]
async fn churn_with_lost_messages_loses_and_doubles_nothing() {
    for seed in 100..103 {
        let world = small_logs(seed);
        world.net().set_weather(Weather { loss_per_mille: 20, ..Weather::default() });
        suite::churn(world, seed).await.unwrap_or_else(|found| panic!("seed {seed}: {found}"));
    }
}

/// Keeps a copy of the state from what a replica tells.
fn copy(mut events: mpsc::Receiver<GroupEvent>) -> tokio::task::JoinHandle<Vec<Vec<u8>>> {
    tokio::spawn(async move {
        let mut copy = Vec::new();
        let mut last = LogPlace::default();
        while let Some(event) = events.recv().await {
            match event {
                GroupEvent::Applied { at, command } => {
                    assert!(at >= last, "{at:?} after {last:?}");
                    last = at;
                    copy.push(command);
                }
                GroupEvent::Restored { snapshot, at } => {
                    last = at;
                    let lines: Vec<(LogPlace, Vec<u8>)> = postcard::from_bytes(&snapshot).unwrap();
                    copy = lines.into_iter().map(|(_, command)| command).collect();
                }
                GroupEvent::Reconfigured(configuration) => assert!(configuration.committed),
            }
        }
        copy
    })
}

#[tokio::test(start_paused = true)]
async fn a_copy_of_the_state_follows_without_gaps_also_over_restarts() {
    let world = small_logs(1);
    let expected: Vec<Vec<u8>> = (0..100).map(|number| format!("c{number}").into_bytes()).collect();
    let mut copies = Vec::new();
    for (start, some) in expected.chunks(50).enumerate() {
        let (sender, events) = mpsc::channel(4);
        copies.push(copy(events));
        world.open(0, Some(sender)).await.unwrap();
        let group = world.group(0);
        group.found(BTreeSet::from([world.voter(0)])).await.unwrap();
        for command in some {
            group.propose(command.clone()).await.unwrap();
        }
        if start == 0 {
            group.snapshot().await.unwrap();
        }
        group.close().await;
        drop(group);
        world.kill(0);
    }
    drop(world);
    let mut held = Vec::new();
    for copy in copies {
        held.push(copy.await.unwrap());
    }
    assert_eq!(held[0], expected[..50]);
    assert_eq!(held[1], expected, "the snapshot, then what came after it");
}

#[tokio::test(start_paused = true)]
async fn a_replica_that_is_opened_again_says_at_once_how_far_it_had_come() {
    let world = world(1);
    world.start(0).await;
    let group = world.group(0);
    group.found(BTreeSet::from([world.voter(0)])).await.unwrap();
    for command in 0..9 {
        group.propose(vec![command]).await.unwrap();
    }
    let reached = group.standing().borrow().applied;
    world.kill(0);
    group.close().await;
    drop(group);
    world.start(0).await;
    let standing = world.group(0).standing().borrow().clone();
    // That an entry is committed goes to disc with the next one.
    assert!(standing.applied.index + 1 >= reached.index && standing.last >= reached, "{standing:?} after {reached:?}");
}

#[tokio::test(start_paused = true)]
async fn a_replica_whose_disc_is_full_ends_and_says_so() {
    let world = world(1);
    let storage = Arc::new(FailingStorage::new(Arc::new(MemoryStorage::new(1))));
    world.set_storage(1, storage.clone());
    for number in 0..3 {
        world.start(number).await;
    }
    let voters: BTreeSet<VoterId> = (0..3).map(|number| world.voter(number)).collect();
    for number in 0..3 {
        world.group(number).found(voters.clone()).await.unwrap();
    }
    world.group(0).propose(b"before".to_vec()).await.unwrap();
    storage.fail();
    world.group(0).propose(b"after".to_vec()).await.unwrap();
    let ended = world.group(1);
    let mut standing = ended.standing();
    let failed = standing.wait_for(|standing| standing.failed.is_some()).await.unwrap().failed.clone().unwrap();
    assert!(failed.contains("on purpose"), "{failed}");
    assert!(matches!(ended.propose(b"x".to_vec()).await, Err(GroupError::Ended(_))));
    assert!(matches!(ended.barrier().await, Err(GroupError::Ended(_))));
    world.group(2).barrier().await.unwrap();
    assert_eq!(world.ledger(2).commands(), ["before", "after"]);
}

#[tokio::test(start_paused = true)]
async fn readers_share_rounds() {
    let world = world(1);
    for number in 0..3 {
        world.start(number).await;
    }
    let voters: BTreeSet<VoterId> = (0..3).map(|number| world.voter(number)).collect();
    world.group(0).found(voters).await.unwrap();
    world.group(0).propose(b"x".to_vec()).await.unwrap();
    for at in 0..3 {
        let began = tokio::time::Instant::now();
        let mut readers = tokio::task::JoinSet::new();
        for _ in 0..64 {
            let group = world.group(at);
            readers.spawn(async move {
                for _ in 0..20 {
                    group.barrier().await.unwrap();
                }
            });
        }
        while let Some(done) = readers.join_next().await {
            done.unwrap();
        }
        // A round is one way to the others and back, and for a follower one to the leader and back; each reader waits
        // for the end of one at most, and for its own.
        let took = began.elapsed();
        assert!(took < std::time::Duration::from_millis(20 * 2 * 12), "1,280 readers at {at} took {took:?}");
    }
}

/// Two core voters and a witness: what the lost core voter and the witness alone had committed is kept.
#[tokio::test(start_paused = true)]
async fn s1_13_a_witness_saves_what_it_alone_has_and_gives_leadership_away() {
    for seed in 0..5 {
        let world = RaftWorld::new(seed, Settings::default()).with_witnesses(&[2]);
        for number in 0..3 {
            world.start(number).await;
        }
        let voters: BTreeSet<VoterId> = (0..3).map(|number| world.voter(number)).collect();
        world.group(0).found(voters).await.unwrap();
        world.group(0).propose(b"before".to_vec()).await.unwrap();
        world.kill(1);
        world.group(0).propose(b"with the witness".to_vec()).await.unwrap();
        world.kill(0);
        world.start(1).await;
        let mut standing = world.group(1).standing();
        let limit = suite::LEADERLESS_MAX * 2;
        let leads = tokio::time::timeout(limit, standing.wait_for(|standing| standing.leads)).await.is_ok();
        assert!(leads, "seed {seed}: the core voter leads in the end");
        world.group(1).barrier().await.unwrap();
        assert_eq!(world.ledger(1).commands(), ["before", "with the witness"], "seed {seed}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_command_too_large_is_refused_and_the_largest_is_taken() {
    let world = world(1);
    for number in 0..3 {
        world.start(number).await;
    }
    let voters: BTreeSet<VoterId> = (0..3).map(|number| world.voter(number)).collect();
    world.group(0).found(voters).await.unwrap();
    let refused = world.group(0).propose(vec![b'x'; GROUP_COMMAND_MAX + 1]).await;
    assert!(matches!(refused, Err(GroupError::TooLarge { limit: GROUP_COMMAND_MAX, .. })));
    world.group(2).propose(vec![b'x'; GROUP_COMMAND_MAX]).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_stale_read_is_caught() {
    let world = RaftWorld::new(1, Settings::default()).with_faults(Faults { stale_read: true, ..Faults::default() });
    let found = suite::barriers_see_what_was_acknowledged(Arc::new(world)).await.unwrap_err();
    assert!(found.contains("does not see"), "{found}");
}

#[tokio::test(start_paused = true)]
async fn s1_9_a_forgotten_vote_is_caught() {
    let faults = Faults { forgotten_vote: true, ..Faults::default() };
    let world = RaftWorld::new(1, Settings::default()).with_faults(faults);
    let found = suite::votes_survive_restarts(Arc::new(world)).await.unwrap_err();
    assert!(found.contains("voted in term"), "{found}");
}

#[tokio::test(start_paused = true)]
async fn a_double_apply_is_caught() {
    let world = RaftWorld::new(1, Settings::default()).with_faults(Faults { double_apply: true, ..Faults::default() });
    let found = suite::commands_are_applied_once_and_in_one_order(Arc::new(world)).await.unwrap_err();
    assert!(found.contains("twice") || found.contains("the answer"), "{found}");
}
