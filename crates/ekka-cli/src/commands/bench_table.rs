//! `bench table`: what writes and reads of a table cost, in a cluster that runs or in one of its own.

use std::time::{Duration, Instant};

use ekka::admin::dto::{RowAnswer, TableBenchAnswer};
use serde::Serialize;
use serde_json::json;

use super::{bench, bench_commit, block_on, pass_on};
use crate::args::{BenchGroup, KindWord, StorageWord, word};
use crate::client::{Answer, Client};
use crate::demo::{DemoNode, Scratch};
use crate::exit::{Code, Failure};
use crate::out;

/// What is measured: the operation, how it is acknowledged, how many at once.
type Case = (&'static str, Option<&'static str>, usize);

const AVAILABLE: [Case; 8] = [
    ("put", Some("local"), 1),
    ("put", Some("local"), 16),
    ("put", Some("two"), 1),
    ("put", Some("two"), 16),
    ("put", Some("all"), 1),
    ("put", Some("all"), 16),
    ("get", None, 1),
    ("get", None, 16),
];
const QUORUM: [Case; 6] =
    [("put", None, 1), ("put", None, 16), ("put", None, 64), ("get", None, 1), ("get", None, 16), ("get", None, 64)];
/// The row that is written last: a replica of a quorum table that has it has all before it.
const LAST: &str = "last";
/// How long replicas may take to get there.
const SETTLE: Duration = Duration::from_secs(120);
const LOOK: Duration = Duration::from_millis(1);

/// What is to be measured.
#[derive(Clone, Copy)]
pub(super) struct Plan {
    pub(super) kind: KindWord,
    pub(super) storage: StorageWord,
    pub(super) rows: usize,
    pub(super) value_bytes: usize,
    /// One for each core where not given.
    pub(super) threads: Option<usize>,
    /// For how long each.
    pub(super) each: Duration,
}

impl Plan {
    /// # Errors
    /// There is nothing of it that is measured.
    pub(super) fn cases(&self) -> Result<&'static [Case], Failure> {
        match self.kind {
            KindWord::Available => Ok(&AVAILABLE),
            KindWord::Quorum => Ok(&QUORUM),
            KindWord::Owned => Err(Failure::usage("owned tables are not measured; accepted are available and quorum")),
        }
    }

    /// The table that is made for it, and dropped in the end.
    fn table(&self) -> String {
        format!("bench.{}.{}", word(&self.kind), word(&self.storage))
    }

    /// The group whose leader is measured.
    fn group(&self) -> BenchGroup {
        match self.storage {
            StorageWord::Ram => BenchGroup::Volatile,
            StorageWord::Disc => BenchGroup::Durable,
        }
    }
}

/// One measurement.
#[derive(Serialize)]
struct Row {
    #[serde(flatten)]
    figures: TableBenchAnswer,
    /// Batches that all nodes that were asked wrote and synced meanwhile, the warming up included.
    syncs: u64,
}

/// In the cluster of a running agent, at that agent.
pub(super) async fn run(client: &Client, plan: Plan, json: bool) -> Result<(), Failure> {
    show(&measure(&[client], 0, plan).await?, json)
}

/// In three processes on loopback that are started for it: at the one whose replica leads, where one does.
pub(super) fn self_contained(plan: Plan, json: bool) -> Result<(), Failure> {
    plan.cases()?;
    let scratch = Scratch::make()?;
    let rows = block_on(async {
        let mut nodes = bench::three(&scratch).await?;
        let at = if plan.kind == KindWord::Quorum { bench_commit::leader(&nodes, plan.group()).await? } else { 0 };
        let clients: Vec<&Client> = nodes.iter().map(DemoNode::client).collect();
        let rows = measure(&clients, at, plan).await?;
        for node in &mut nodes {
            node.stop().await?;
        }
        Ok(rows)
    })?;
    show(&rows, json)
}

async fn measure(clients: &[&Client], at: usize, plan: Plan) -> Result<Vec<Row>, Failure> {
    let cases = plan.cases()?;
    let body = json!({
        "name": plan.table(), "kind": word(&plan.kind), "storage": word(&plan.storage), "codec": "raw",
    });
    clients[at].post("/v1/tables", &body).await?.success()?;
    let measured = measure_all(clients, at, plan, cases).await;
    let dropped = clients[at].delete(&format!("/v1/tables/{}", plan.table())).await.and_then(Answer::success);
    let rows = measured?;
    dropped.map(|_| rows)
}

async fn measure_all(clients: &[&Client], at: usize, plan: Plan, cases: &[Case]) -> Result<Vec<Row>, Failure> {
    let mut rows = Vec::new();
    for (number, (op, ack, writers)) in cases.iter().enumerate() {
        let mut body = json!({
            "table": plan.table(), "op": op, "ack": ack, "writers": writers, "rows": plan.rows,
            "value_bytes": plan.value_bytes, "for_ms": out::millis(plan.each),
        });
        // An older agent knows no such field.
        if let Some(threads) = plan.threads {
            body["threads"] = json!(threads);
        }
        let before = syncs(clients).await?;
        let mut figures: TableBenchAnswer = clients[at].post("/v1/bench/table", &body).await?.success()?.read()?;
        if plan.kind == KindWord::Quorum && *op == "put" {
            everywhere(clients, at, plan, number, &mut figures).await?;
        }
        rows.push(Row { figures, syncs: syncs(clients).await? - before });
    }
    Ok(rows)
}

/// Waits until all replicas that can be asked hold what was written, and counts that in.
async fn everywhere(
    clients: &[&Client],
    at: usize,
    plan: Plan,
    number: usize,
    figures: &mut TableBenchAnswer,
) -> Result<(), Failure> {
    let (begun, path) = (Instant::now(), format!("/v1/tables/{}", plan.table()));
    let value = format!("{number:010}");
    clients[at].post(&format!("{path}/put"), &json!({"key": LAST, "value": value})).await?.success()?;
    for client in clients {
        while !holds(client, &format!("{path}/get"), &value).await {
            if begun.elapsed() >= SETTLE {
                let text = format!("a replica does not hold what was written after {} s", SETTLE.as_secs());
                return Err(Failure::new(Code::TimedOut, "timed_out", text));
            }
            tokio::time::sleep(LOOK).await;
        }
    }
    let settle = begun.elapsed().as_secs_f64();
    #[expect(clippy::cast_precision_loss, reason = "a rate is no exact number")]
    let ops = figures.ops as f64;
    figures.ops_per_s = ops / (ops / figures.ops_per_s + settle);
    figures.settle_ms = settle * 1e3;
    figures.peers = clients.len() - 1;
    Ok(())
}

async fn holds(client: &Client, path: &str, value: &str) -> bool {
    let answer = client.post(path, &json!({"key": LAST, "stale": true})).await.and_then(Answer::success);
    answer.and_then(|answer| answer.read::<RowAnswer>()).is_ok_and(|row| row.value == json!(value))
}

/// How many batches these nodes have written and synced since they started.
async fn syncs(clients: &[&Client]) -> Result<u64, Failure> {
    let mut sum = 0;
    for client in clients {
        let text = client.get("/metrics").await?.success()?.text();
        let count = text.lines().find_map(|line| line.strip_prefix("ekka_fsync_seconds_count")?.rsplit(' ').next());
        sum += count.and_then(|count| count.parse().ok()).unwrap_or(0);
    }
    Ok(sum)
}

fn show(rows: &[Row], json: bool) -> Result<(), Failure> {
    if json {
        return pass_on(&json!({"bench": "table", "rows": rows}).to_string());
    }
    let rows = rows.iter().map(|Row { figures, syncs }| {
        vec![
            figures.op.clone(),
            figures.ack.clone().unwrap_or_else(|| "-".to_owned()),
            figures.writers.to_string(),
            format!("{:.0}", figures.ops_per_s),
            format!("{:.1}", figures.p50_us),
            format!("{:.1}", figures.p99_us),
            format!("{:.1}", figures.settle_ms),
            figures.peers.to_string(),
            syncs.to_string(),
        ]
    });
    let header = ["OP", "ACK", "AT ONCE", "OPS/S", "P50 US", "P99 US", "SETTLE MS", "PEERS", "SYNCS"];
    out::print(&out::table(&header, rows))
}
