//! The conformance suite of the consensus port on the ideal group.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::sync::Arc;

use ekka::testing::suite::consensus as suite;
use ekka_sim::ideal::IdealWorld;

fn world(seed: u64) -> Arc<IdealWorld> {
    Arc::new(IdealWorld::new(seed))
}

ekka::consensus_suite!(world, 5);

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
