//! `bench commit`: what commits of a group cost, in a cluster that runs or in one of its own.

use std::time::{Duration, Instant};

use ekka::admin::dto::{CommitBenchAnswer, GroupWord};
use serde_json::json;

use super::{bench, block_on, pass_on};
use crate::args::BenchGroup;
use crate::client::Client;
use crate::demo::{DemoNode, Scratch};
use crate::exit::{Code, Failure};
use crate::out;

/// Proposers of each measurement.
const CASES: [usize; 4] = [1, 16, 64, 256];
/// How long the group of a cluster that has formed may take until it commits.
const GROUP: Duration = Duration::from_secs(20);
const LOOK: Duration = Duration::from_millis(50);

/// In the cluster of a running agent, proposed at that agent.
pub(super) async fn run(client: &Client, group: BenchGroup, each: Duration, json: bool) -> Result<(), Failure> {
    show(&measure(client, group, each).await?, json)
}

/// In three processes on loopback that are started for it, proposed at the one that leads.
pub(super) fn self_contained(group: BenchGroup, each: Duration, json: bool) -> Result<(), Failure> {
    let scratch = Scratch::make()?;
    let rows = block_on(async {
        let mut nodes = bench::three(&scratch).await?;
        let leader = leader(&nodes, group).await?;
        let rows = measure(nodes[leader].client(), group, each).await?;
        for node in &mut nodes {
            node.stop().await?;
        }
        Ok(rows)
    })?;
    show(&rows, json)
}

/// The node whose replica leads, once all three follow: a group of one voter would be measured otherwise.
pub(super) async fn leader(nodes: &[DemoNode], group: BenchGroup) -> Result<usize, Failure> {
    let begun = Instant::now();
    let mut last = Failure::new(Code::TimedOut, "timed_out", "nobody was asked yet".to_owned());
    while begun.elapsed() < GROUP {
        for (number, node) in nodes.iter().enumerate() {
            let voters = node.status().await.map_or(0, |status| status.quorum.voters);
            match ask(node.client(), group, 1, Duration::from_millis(1)).await {
                Ok(answer) if answer.leads && voters as usize == nodes.len() => return Ok(number),
                Ok(_) => {}
                Err(error) => last = error,
            }
        }
        tokio::time::sleep(LOOK).await;
    }
    Err(last)
}

async fn measure(client: &Client, group: BenchGroup, each: Duration) -> Result<Vec<CommitBenchAnswer>, Failure> {
    let mut rows = Vec::new();
    for proposers in CASES {
        rows.push(ask(client, group, proposers, each).await?);
    }
    Ok(rows)
}

async fn ask(
    client: &Client,
    group: BenchGroup,
    proposers: usize,
    each: Duration,
) -> Result<CommitBenchAnswer, Failure> {
    let for_ms = out::millis(each);
    let body = json!({"group": word(group), "proposers": proposers, "for_ms": for_ms});
    client.post("/v1/bench/commit", &body).await?.success()?.read()
}

fn word(group: BenchGroup) -> GroupWord {
    match group {
        BenchGroup::Durable => GroupWord::Durable,
        BenchGroup::Volatile => GroupWord::Volatile,
    }
}

fn show(rows: &[CommitBenchAnswer], json: bool) -> Result<(), Failure> {
    if json {
        return pass_on(&json!({"bench": "commit", "rows": rows}).to_string());
    }
    let rows = rows.iter().map(|row| {
        vec![
            row.proposers.to_string(),
            format!("{:.0}", row.commits_per_s),
            row.p50_us.to_string(),
            row.p99_us.to_string(),
            format!("{:.2}", row.fsyncs_per_commit),
            row.unknown.to_string(),
        ]
    });
    out::print(&out::table(&["PROPOSERS", "COMMITS/S", "P50 US", "P99 US", "FSYNCS/COMMIT", "UNKNOWN"], rows))
}
