//! `bench rpc`: what calls cost, in a cluster that runs or in one of its own.

use std::time::{Duration, Instant};

use ekka::admin::dto::{BenchAnswer, MemberAnswer, StatusAnswer};
use serde_json::json;

use super::{block_on, pass_on};
use crate::client::Client;
use crate::demo::{DemoNode, Scratch, names};
use crate::exit::{Code, Failure};
use crate::out;

/// Bytes and callers of each measurement.
const CASES: [(usize, usize); 4] = [(16, 1), (16, 64), (1024, 1), (1024, 64)];
/// Nodes of a cluster of its own.
const NODES: usize = 3;
/// How long these may take to form.
const FORM: Duration = Duration::from_secs(20);
/// How often they are asked.
const LOOK: Duration = Duration::from_millis(50);

/// In the cluster of a running agent.
pub(super) async fn run(client: &Client, target: Option<String>, each: Duration, json: bool) -> Result<(), Failure> {
    let target = match target {
        Some(target) => target,
        None => another(client).await?,
    };
    let rows = measure(client, &target, each).await?;
    show(&rows, json)
}

/// In three processes on loopback that are started for it.
pub(super) fn self_contained(each: Duration, json: bool) -> Result<(), Failure> {
    let scratch = Scratch::make()?;
    let rows = block_on(async {
        scratch.bake()?;
        let names = names(NODES)?;
        let seeds = names.join(",");
        let mut nodes: Vec<DemoNode> = names.iter().map(|name| DemoNode::new(scratch.path(), name, &seeds)).collect();
        for node in &mut nodes {
            node.start(scratch.path())?;
        }
        formed(&nodes).await?;
        let rows = measure(nodes[0].client(), &names[1], each).await?;
        for node in &mut nodes {
            node.stop().await?;
        }
        Ok(rows)
    })?;
    show(&rows, json)
}

/// Waits until all are in one cluster.
async fn formed(nodes: &[DemoNode]) -> Result<(), Failure> {
    let begun = Instant::now();
    let mut ready = 0;
    while begun.elapsed() < FORM {
        ready = 0;
        for node in nodes {
            let up = node.members().await.map_or(0, |members| members.iter().filter(|m| m.status == "up").count());
            ready += usize::from(up == nodes.len());
        }
        if ready == nodes.len() {
            return Ok(());
        }
        tokio::time::sleep(LOOK).await;
    }
    let text = format!("{ready} of {} nodes saw all others up within {} s", nodes.len(), FORM.as_secs());
    Err(Failure::new(Code::TimedOut, "timed_out", text))
}

async fn another(client: &Client) -> Result<String, Failure> {
    let me: StatusAnswer = client.get("/v1/status").await?.success()?.read()?;
    let members: Vec<MemberAnswer> = client.get("/v1/members").await?.success()?.read()?;
    let other = members.into_iter().find(|member| member.status == "up" && member.node_id != me.node_id);
    other.map(|member| member.name).ok_or_else(|| {
        let text = format!("{} sees no other member up: there is nobody to call", me.node);
        Failure::new(Code::NotFound, "not_found", text)
    })
}

async fn measure(client: &Client, target: &str, each: Duration) -> Result<Vec<BenchAnswer>, Failure> {
    let mut rows = Vec::new();
    for (bytes, callers) in CASES {
        let for_ms = u64::try_from(each.as_millis()).unwrap_or(u64::MAX);
        let body = json!({"node": target, "bytes": bytes, "callers": callers, "for_ms": for_ms});
        rows.push(client.post("/v1/bench/rpc", &body).await?.success()?.read()?);
    }
    Ok(rows)
}

fn show(rows: &[BenchAnswer], json: bool) -> Result<(), Failure> {
    if json {
        return pass_on(&json!({"bench": "rpc", "rows": rows}).to_string());
    }
    let rows = rows.iter().map(|row| {
        vec![
            row.bytes.to_string(),
            row.callers.to_string(),
            format!("{:.0}", row.calls_per_s),
            row.p50_us.to_string(),
            row.p99_us.to_string(),
        ]
    });
    out::print(&out::table(&["BYTES", "CALLERS", "CALLS/S", "P50 US", "P99 US"], rows))
}
