//! Measures calls from this node to another: how many a second, and how long each takes.

use std::time::Duration;

use ekka_core::id::NodeId;
use tokio::time::Instant;

use super::builtin::ECHO;
use super::error::CallError;
use crate::node::Node;
use crate::node::bench::percentiles;

/// What is to be measured.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct BenchPlan {
    /// Whom to call.
    pub node: NodeId,
    /// Bytes of request and answer.
    pub bytes: usize,
    /// Calls at once.
    pub callers: usize,
    /// For how long.
    pub time: Duration,
}

/// What was measured.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct BenchFigures {
    /// Calls that were answered.
    pub calls: u64,
    /// For how long.
    pub time: Duration,
    /// Half of the calls took no longer.
    pub p50: Duration,
    /// Of a hundred calls one took longer.
    pub p99: Duration,
}

/// Calls `ekka.echo` of a node for a while, after a fifth of that time to warm up.
///
/// # Errors
/// A call failed.
pub async fn bench(node: &Node, plan: BenchPlan) -> Result<BenchFigures, CallError> {
    run(node, BenchPlan { time: plan.time / 5, ..plan }).await?;
    run(node, plan).await
}

async fn run(node: &Node, plan: BenchPlan) -> Result<BenchFigures, CallError> {
    let begun = Instant::now();
    let mut callers = tokio::task::JoinSet::new();
    for _ in 0..plan.callers.max(1) {
        let node = node.clone();
        callers.spawn(async move {
            let request = vec![0x5a; plan.bytes];
            let mut times = Vec::new();
            let mut last = begun;
            while last - begun < plan.time {
                node.call(plan.node, &ECHO, &request).await?;
                let now = Instant::now();
                times.push(now - last);
                last = now;
            }
            Ok::<_, CallError>(times)
        });
    }
    let mut times = Vec::new();
    while let Some(caller) = callers.join_next().await {
        // A caller neither panics nor is aborted.
        if let Ok(called) = caller {
            times.extend(called?);
        }
    }
    let time = begun.elapsed();
    let (p50, p99) = percentiles(&mut times);
    Ok(BenchFigures { calls: times.len() as u64, time, p50, p99 })
}
