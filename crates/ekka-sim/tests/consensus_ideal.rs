//! The conformance suite of the consensus port on the ideal group.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::sync::Arc;

use ekka::testing::suite::consensus as suite;
use ekka_sim::ideal::IdealWorld;

macro_rules! conforms {
    ($($name:ident),+ $(,)?) => {
        $(#[tokio::test(start_paused = true)]
        async fn $name() {
            for seed in 0..5 {
                suite::$name(Arc::new(IdealWorld::new(seed))).await.unwrap();
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
    votes_survive_restarts,
    an_interrupted_change_is_ended_by_the_next_leader,
    voters_change_under_load,
    a_learner_follows,
);

#[tokio::test(start_paused = true)]
async fn a_sleeper_comes_back_by_snapshot() {
    suite::a_sleeper_comes_back_by_snapshot(Arc::new(IdealWorld::new(1)), 2_000).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn churn_loses_and_doubles_nothing() {
    for seed in 0..10 {
        let done = suite::churn(Arc::new(IdealWorld::new(seed)), seed).await;
        done.unwrap_or_else(|found| panic!("seed {seed}: {found}"));
    }
}
