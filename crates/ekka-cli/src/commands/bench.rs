//! `bench rpc`: what calls cost, in a cluster that runs or in one of its own.

use std::time::{Duration, Instant};

use ekka::admin::dto::{BenchAnswer, CountAnswer, MemberAnswer, StatusAnswer};
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
/// Turns of the comparison beside a stopped node.
const TURNS: usize = 9;
/// One measurement beside a stopped node: over before the others know that it is down.
const STOPPED: Duration = Duration::from_millis(1500);
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

/// Takes numbers of the counter of the volatile group.
pub(super) async fn count(client: &Client, n: u64, json: bool) -> Result<(), Failure> {
    let answer = client.post("/v1/bench/count", &json!({ "n": n })).await?.success()?;
    if json {
        return pass_on(&answer.text());
    }
    let CountAnswer { generation, from, to } = answer.read()?;
    out::print(&format!("{from} up to {to} (not included), given by generation {generation}\n"))
}

/// In three processes on loopback that are started for it.
pub(super) fn self_contained(each: Duration, json: bool) -> Result<(), Failure> {
    let scratch = Scratch::make()?;
    let rows = block_on(async {
        let mut nodes = three(&scratch).await?;
        let rows = measure(nodes[0].client(), &nodes[1].name, each).await?;
        for node in &mut nodes {
            node.stop().await?;
        }
        Ok(rows)
    })?;
    show(&rows, json)
}

/// Three processes that have formed.
pub(super) async fn three(scratch: &Scratch) -> Result<Vec<DemoNode>, Failure> {
    started(scratch, &names(NODES)?).await
}

/// Processes of these names, the seeds of each other, that have formed.
pub(super) async fn started(scratch: &Scratch, names: &[String]) -> Result<Vec<DemoNode>, Failure> {
    scratch.bake()?;
    let seeds = names.join(",");
    let mut nodes: Vec<DemoNode> = names.iter().map(|name| DemoNode::new(scratch.path(), name, &seeds)).collect();
    for node in &mut nodes {
        node.start(scratch.path())?;
    }
    formed(&nodes).await?;
    Ok(nodes)
}

/// What calls to a stopped node cost the calls to another: alone and beside, in turn.
pub(super) fn stopped_peer(json: bool) -> Result<(), Failure> {
    let scratch = Scratch::make()?;
    let (alone, beside) = block_on(async {
        let mut nodes = three(&scratch).await?;
        let (mut alone, mut beside) = (Vec::new(), Vec::new());
        for _ in 0..TURNS {
            alone.push(rate(&nodes).await?);
            nodes[2].freeze()?;
            let stuck = async {
                // Once the link is seen to be silent its calls fail, and are made again, as a program would.
                loop {
                    let _ = ask(nodes[0].client(), &nodes[2].name, CASES[1], STOPPED * 2).await;
                    tokio::time::sleep(LOOK).await;
                }
            };
            let beside_it: Result<f64, Failure> = tokio::select! {
                () = stuck => Err(Failure::failed("calls to the stopped node ended")),
                rate = rate(&nodes) => rate,
            };
            beside.push(beside_it?);
            nodes[2].thaw()?;
            formed(&nodes).await?;
        }
        for node in &mut nodes {
            node.stop().await?;
        }
        Ok((alone, beside))
    })?;
    let ratio = median(&beside) / median(&alone);
    if json {
        let whole = json!({
            "bench": "rpc_stopped_peer", "alone_per_s": alone, "beside_per_s": beside,
            "median_alone": median(&alone), "median_beside": median(&beside), "ratio": ratio,
        });
        return pass_on(&whole.to_string());
    }
    let text = format!(
        "alone {:.0} calls/s, beside calls to a stopped node {:.0}: {:.0} % (medians of {TURNS} turns)\n",
        median(&alone),
        median(&beside),
        ratio * 100.0
    );
    out::print(&text)
}

/// Calls a second from the first node to the second.
async fn rate(nodes: &[DemoNode]) -> Result<f64, Failure> {
    Ok(ask(nodes[0].client(), &nodes[1].name, CASES[1], STOPPED).await?.calls_per_s)
}

fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted.get(sorted.len() / 2).copied().unwrap_or(f64::NAN)
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
    for case in CASES {
        rows.push(ask(client, target, case, each).await?);
    }
    Ok(rows)
}

async fn ask(
    client: &Client,
    target: &str,
    (bytes, callers): (usize, usize),
    each: Duration,
) -> Result<BenchAnswer, Failure> {
    let for_ms = out::millis(each);
    let body = json!({"node": target, "bytes": bytes, "callers": callers, "for_ms": for_ms});
    client.post("/v1/bench/rpc", &body).await?.success()?.read()
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
