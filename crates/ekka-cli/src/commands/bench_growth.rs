//! `bench growth`: many rows in processes of its own: memory, a newcomer beside writers, the end of an owner.

use std::time::{Duration, Instant};

use ekka::admin::dto::{TableAnswer, TableBenchAnswer};
use serde::Serialize;
use serde_json::{Value, json};

use super::{bench, block_on, pass_on};
use crate::args::{StorageWord, word};
use crate::client::{Answer, Client};
use crate::demo::{DemoNode, Scratch, names};
use crate::exit::{Code, Failure};
use crate::out;

const TABLE: &str = "bench.growth";
const OWNED: &str = "bench.owned";
/// Writers at once beside the newcomer.
const WRITERS: usize = 4;
/// One piece of the writing beside it.
const PIECE: Duration = Duration::from_millis(500);
/// How long anything of it may take.
const LIMIT: Duration = Duration::from_secs(300);
const LOOK: Duration = Duration::from_millis(2);

/// What is to be measured.
#[derive(Clone, Copy)]
pub(super) struct Plan {
    pub(super) nodes: usize,
    pub(super) rows: usize,
    pub(super) value_bytes: usize,
    pub(super) storage: StorageWord,
    /// For how long writes and reads are measured.
    pub(super) each: Duration,
}

/// What was measured.
#[derive(Serialize)]
struct Figures {
    nodes: usize,
    rows: usize,
    value_bytes: usize,
    storage: String,
    /// Writes acknowledged by two, 16 at once.
    puts_per_s: f64,
    put_p99_us: f64,
    /// Reads, 16 at once.
    gets_per_s: f64,
    /// By how much a node grew for each row; the one that grew most.
    bytes_per_row: f64,
    /// Of four writers, before the newcomer started.
    p99_before_us: f64,
    /// The worst half second of them while it had not all rows.
    p99_beside_us: f64,
    /// From the start of its process.
    newcomer_ms: f64,
    /// From when it was seen up.
    newcomer_from_up_ms: f64,
    /// The same number of rows in an owned table, acknowledged by all.
    owned_put_many_ms: f64,
    /// From the kill of the owner until no survivor shows one of its rows, or holds one.
    owned_hidden_ms: f64,
    owned_dropped_ms: f64,
}

pub(super) fn self_contained(plan: Plan, json: bool) -> Result<(), Failure> {
    let scratch = Scratch::make()?;
    let figures = block_on(measure(&scratch, plan))?;
    if json {
        return pass_on(&json!({"bench": "growth", "figures": figures}).to_string());
    }
    let Value::Object(fields) = serde_json::to_value(&figures).unwrap_or_default() else { return Ok(()) };
    out::print(&out::table(&["FIGURE", "VALUE"], fields.into_iter().map(|(name, value)| vec![name, shown(&value)])))
}

fn shown(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Number(number) if number.is_f64() => format!("{:.1}", number.as_f64().unwrap_or(f64::NAN)),
        other => other.to_string(),
    }
}

async fn measure(scratch: &Scratch, plan: Plan) -> Result<Figures, Failure> {
    let all = names(plan.nodes + 1)?;
    let (named, newcomer) = all.split_at(plan.nodes);
    let mut nodes = bench::started(scratch, named).await?;
    let body = json!({"name": TABLE, "codec": "raw", "storage": word(&plan.storage)});
    nodes[0].client().post("/v1/tables", &body).await?.success()?;
    let before = resident(&nodes).await?;
    let puts = ask(nodes[0].client(), plan, ("put", Some("two"), 16), (plan.each, false)).await?;
    let after = resident(&nodes).await?;
    let gets = ask(nodes[0].client(), plan, ("get", None, 16), (plan.each, true)).await?;
    let quiet = ask(nodes[0].client(), plan, ("put", Some("two"), WRITERS), (plan.each, true)).await?;
    let added = DemoNode::new(scratch.path(), &newcomer[0], &named.join(","));
    let (beside, taken, from_up) = beside(scratch, &nodes[0], added, plan).await?;
    let owned = owned(&mut nodes, plan).await?;
    for node in nodes.iter_mut().skip(1) {
        node.stop().await?;
    }
    let grown = before.iter().zip(&after).map(|(before, after)| after - before).fold(0.0, f64::max);
    #[expect(clippy::cast_precision_loss, reason = "no table has so many rows")]
    let bytes_per_row = grown / plan.rows as f64;
    Ok(Figures {
        nodes: plan.nodes,
        rows: plan.rows,
        value_bytes: plan.value_bytes,
        storage: word(&plan.storage),
        puts_per_s: puts.ops_per_s,
        put_p99_us: puts.p99_us,
        gets_per_s: gets.ops_per_s,
        bytes_per_row,
        p99_before_us: quiet.p99_us,
        p99_beside_us: beside,
        newcomer_ms: millis(taken),
        newcomer_from_up_ms: millis(from_up),
        owned_put_many_ms: owned[0],
        owned_hidden_ms: owned[1],
        owned_dropped_ms: owned[2],
    })
}

fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

async fn ask(
    client: &Client,
    plan: Plan,
    (op, ack, writers): (&str, Option<&str>, usize),
    (each, filled): (Duration, bool),
) -> Result<TableBenchAnswer, Failure> {
    let table = if op == "put_many" { OWNED } else { TABLE };
    let body = json!({
        "table": table, "op": op, "ack": ack, "writers": writers, "rows": plan.rows, "value_bytes": plan.value_bytes,
        "for_ms": out::millis(each), "filled": filled,
    });
    client.post("/v1/bench/table", &body).await?.success()?.read()
}

/// Resident bytes of each.
async fn resident(nodes: &[DemoNode]) -> Result<Vec<f64>, Failure> {
    let mut all = Vec::new();
    for node in nodes {
        let text = node.client().get("/metrics").await?.success()?.text();
        let line = text.lines().find_map(|line| line.strip_prefix("process_resident_memory_bytes")?.rsplit(' ').next());
        all.push(line.and_then(|bytes| bytes.parse().ok()).unwrap_or(f64::NAN));
    }
    Ok(all)
}

async fn table(client: &Client, name: &str) -> Option<TableAnswer> {
    client.get(&format!("/v1/tables/{name}")).await.ok()?.success().ok()?.read().ok()
}

/// A node that is added while others write: the worst p99 of these, and how long it took until it held all rows.
async fn beside(
    scratch: &Scratch,
    writer: &DemoNode,
    mut newcomer: DemoNode,
    plan: Plan,
) -> Result<(f64, Duration, Duration), Failure> {
    let begun = Instant::now();
    newcomer.start(scratch.path())?;
    let mut worst = 0.0f64;
    let writing = async {
        loop {
            let piece = ask(writer.client(), plan, ("put", Some("two"), WRITERS), (PIECE, true)).await?;
            worst = worst.max(piece.p99_us);
        }
    };
    let holding = async {
        let mut up = None;
        loop {
            if up.is_none() && newcomer.status().await.is_some_and(|status| status.status == "up") {
                up = Some(begun.elapsed());
            }
            let held = table(newcomer.client(), TABLE).await;
            let complete = held.is_some_and(|held| held.loaded && held.rows >= plan.rows as u64);
            if let Some(up) = up.filter(|_| complete) {
                return Ok((begun.elapsed(), begun.elapsed().saturating_sub(up)));
            }
            if begun.elapsed() >= LIMIT {
                return Err(late("the newcomer does not hold all rows"));
            }
            tokio::time::sleep(LOOK).await;
        }
    };
    let (taken, from_up) = tokio::select! {
        ended = writing => return ended,
        held = holding => held?,
    };
    newcomer.stop().await?;
    Ok((worst, taken, from_up))
}

/// All rows in one go, and the end of their owner: milliseconds until all had them, until hidden, until dropped.
async fn owned(nodes: &mut [DemoNode], plan: Plan) -> Result<[f64; 3], Failure> {
    let body = json!({"name": OWNED, "kind": "owned", "codec": "raw"});
    nodes[0].client().post("/v1/tables", &body).await?.success()?;
    let put = ask(nodes[0].client(), plan, ("put_many", None, 1), (plan.each, false)).await?;
    nodes[0].kill().await?;
    let begun = Instant::now();
    for node in &nodes[1..] {
        until(begun, "rows of an owner that was killed are shown", async || {
            let body = json!({"limit": 1});
            let scanned =
                node.client().post(&format!("/v1/tables/{OWNED}/scan"), &body).await.and_then(Answer::success);
            scanned
                .ok()
                .and_then(|scanned| scanned.read::<Value>().ok())
                .is_some_and(|page| page["rows"].as_array().is_some_and(Vec::is_empty))
        })
        .await?;
    }
    let hidden = begun.elapsed();
    for node in &nodes[1..] {
        until(begun, "rows of an owner that was killed are held", async || {
            table(node.client(), OWNED).await.is_some_and(|table| table.rows == 0)
        })
        .await?;
    }
    Ok([put.p99_us / 1e3, millis(hidden), millis(begun.elapsed())])
}

async fn until(begun: Instant, not: &str, mut done: impl AsyncFnMut() -> bool) -> Result<(), Failure> {
    while !done().await {
        if begun.elapsed() >= LIMIT {
            return Err(late(not));
        }
        tokio::time::sleep(LOOK).await;
    }
    Ok(())
}

fn late(what: &str) -> Failure {
    Failure::new(Code::TimedOut, "timed_out", format!("{what} after {} s", LIMIT.as_secs()))
}
