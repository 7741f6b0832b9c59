//! `bench table`: what writes and reads of an `available` table cost, in a cluster that runs or in one of its own.

use std::time::Duration;

use ekka::admin::dto::TableBenchAnswer;
use serde_json::json;

use super::{bench, block_on, pass_on};
use crate::client::Client;
use crate::demo::Scratch;
use crate::exit::Failure;
use crate::out;

/// The table that is made for it, and dropped in the end.
const TABLE: &str = "bench.available";
/// What is measured: the operation, how it is acknowledged, how many at once.
const CASES: [(&str, Option<&str>, usize); 8] = [
    ("put", Some("local"), 1),
    ("put", Some("local"), 16),
    ("put", Some("two"), 1),
    ("put", Some("two"), 16),
    ("put", Some("all"), 1),
    ("put", Some("all"), 16),
    ("get", None, 1),
    ("get", None, 16),
];

/// Rows, bytes of a value, time of each measurement.
type Size = (usize, usize, Duration);

/// In the cluster of a running agent, at that agent.
pub(super) async fn run(client: &Client, size: Size, json: bool) -> Result<(), Failure> {
    show(&measure(client, size).await?, json)
}

/// In three processes on loopback that are started for it.
pub(super) fn self_contained(size: Size, json: bool) -> Result<(), Failure> {
    let scratch = Scratch::make()?;
    let rows = block_on(async {
        let mut nodes = bench::three(&scratch).await?;
        let rows = measure(nodes[0].client(), size).await?;
        for node in &mut nodes {
            node.stop().await?;
        }
        Ok(rows)
    })?;
    show(&rows, json)
}

async fn measure(client: &Client, size: Size) -> Result<Vec<TableBenchAnswer>, Failure> {
    client.post("/v1/tables", &json!({"name": TABLE, "codec": "raw"})).await?.success()?;
    let measured = measure_all(client, size).await;
    let dropped = client.delete(&format!("/v1/tables/{TABLE}")).await.and_then(crate::client::Answer::success);
    let rows = measured?;
    dropped.map(|_| rows)
}

async fn measure_all(client: &Client, (rows, value_bytes, each): Size) -> Result<Vec<TableBenchAnswer>, Failure> {
    let for_ms = out::millis(each);
    let mut answers = Vec::new();
    for (op, ack, writers) in CASES {
        let body = json!({
            "table": TABLE, "op": op, "ack": ack, "writers": writers, "rows": rows, "value_bytes": value_bytes,
            "for_ms": for_ms,
        });
        answers.push(client.post("/v1/bench/table", &body).await?.success()?.read()?);
    }
    Ok(answers)
}

fn show(rows: &[TableBenchAnswer], json: bool) -> Result<(), Failure> {
    if json {
        return pass_on(&json!({"bench": "table", "rows": rows}).to_string());
    }
    let rows = rows.iter().map(|row| {
        vec![
            row.op.clone(),
            row.ack.clone().unwrap_or_else(|| "-".to_owned()),
            row.writers.to_string(),
            format!("{:.0}", row.ops_per_s),
            format!("{:.1}", row.p50_us),
            format!("{:.1}", row.p99_us),
            format!("{:.1}", row.settle_ms),
            row.peers.to_string(),
        ]
    });
    out::print(&out::table(&["OP", "ACK", "AT ONCE", "OPS/S", "P50 US", "P99 US", "SETTLE MS", "PEERS"], rows))
}
