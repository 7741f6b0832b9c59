//! The conformance suite on the engine's adapter, and that it catches faults put in on purpose.

use std::sync::Arc;

use super::{Faults, Settings};
use crate::testing::groups::RaftWorld;
use crate::testing::suite::consensus as suite;

fn world(seed: u64) -> Arc<RaftWorld> {
    Arc::new(RaftWorld::new(seed, Settings::default()))
}

fn small_logs(seed: u64) -> Arc<RaftWorld> {
    Arc::new(RaftWorld::new(seed, Settings { log_entries: 20, log_kept: 5, ..Settings::default() }))
}

macro_rules! conforms {
    ($($name:ident),+ $(,)?) => {
        $(#[tokio::test(start_paused = true)]
        async fn $name() {
            for seed in 0..3 {
                suite::$name(world(seed)).await.unwrap();
            }
        })+
    };
}

conforms!(
    commands_are_applied_once_and_in_one_order,
    barriers_see_what_was_acknowledged,
    leadership_is_handed_over,
    a_killed_leader_is_replaced,
    a_minority_refuses,
    restarts_keep_what_was_committed,
    a_partial_partition_does_not_move_leadership,
    a_leader_that_hears_nobody_is_replaced,
    a_forgotten_vote_elects_nobody_twice,
    voters_change_under_load,
    a_learner_follows,
);

#[tokio::test(start_paused = true)]
async fn a_sleeper_comes_back_by_snapshot() {
    suite::a_sleeper_comes_back_by_snapshot(small_logs(1), 5_000).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn churn_loses_and_doubles_nothing() {
    for seed in 0..10 {
        suite::churn(small_logs(seed), seed).await.unwrap_or_else(|found| panic!("seed {seed}: {found}"));
    }
}

#[tokio::test(start_paused = true)]
async fn a_stale_read_is_caught() {
    let world = RaftWorld::new(1, Settings::default()).with_faults(Faults { stale_read: true, ..Faults::default() });
    let found = suite::barriers_see_what_was_acknowledged(Arc::new(world)).await.unwrap_err();
    assert!(found.contains("does not see"), "{found}");
}

#[tokio::test(start_paused = true)]
async fn a_forgotten_vote_is_caught() {
    let faults = Faults { forgotten_vote: true, ..Faults::default() };
    let world = RaftWorld::new(1, Settings::default()).with_faults(faults);
    let found = suite::a_forgotten_vote_elects_nobody_twice(Arc::new(world)).await.unwrap_err();
    assert!(found.contains("voted in term"), "{found}");
}

#[tokio::test(start_paused = true)]
async fn a_double_apply_is_caught() {
    let world = RaftWorld::new(1, Settings::default()).with_faults(Faults { double_apply: true, ..Faults::default() });
    let found = suite::commands_are_applied_once_and_in_one_order(Arc::new(world)).await.unwrap_err();
    assert!(found.contains("twice") || found.contains("the answer"), "{found}");
}
