//! `rpc ping`, `rpc call`: calls of other nodes, by the agent.

use std::time::Duration;

use ekka::admin::dto::{CallAnswer, PingAnswer};
use serde_json::{Value, json};

use super::pass_on;
use crate::args::RpcCommand;
use crate::client::Client;
use crate::exit::Failure;
use crate::out;

/// Time between two pings.
const PAUSE: Duration = Duration::from_millis(200);

pub(super) async fn run(client: &Client, command: RpcCommand, json: bool) -> Result<(), Failure> {
    match command {
        RpcCommand::Ping { target, count, timeout } => ping(client, &target, count, timeout, json).await,
        RpcCommand::Call { target, method, request, timeout } => {
            let request: Value = serde_json::from_str(&request).map_err(|error| {
                Failure::usage(format!("`{request}` is no JSON: {error}; write a text as '\"text\"'"))
            })?;
            call(client, &target, &method, &request, (timeout, json)).await
        }
    }
}

async fn ping(client: &Client, target: &str, count: u32, timeout: Duration, json: bool) -> Result<(), Failure> {
    let body = json!({"node": target, "deadline_ms": out::millis(timeout)});
    let mut answers: Vec<PingAnswer> = Vec::new();
    for n in 0..count {
        if n > 0 {
            tokio::time::sleep(PAUSE).await;
        }
        let answer: PingAnswer = client.post("/v1/rpc/ping", &body).await?.success()?.read()?;
        if !json {
            out::print(&format!("{} answered after {}\n", answer.node, out::in_millis(answer.rtt_us)))?;
        }
        answers.push(answer);
    }
    let times: Vec<u64> = answers.iter().map(|answer| answer.rtt_us).collect();
    let (Some(first), Some(least), Some(most)) = (answers.first(), times.iter().min(), times.iter().max()) else {
        return Ok(());
    };
    let mean = times.iter().sum::<u64>() / u64::from(count);
    if json {
        let whole = json!({
            "node": first.node, "node_id": first.node_id, "count": count, "rtt_us": times,
            "min_us": least, "mean_us": mean, "max_us": most,
        });
        return pass_on(&whole.to_string());
    }
    if count > 1 {
        let text = format!(
            "least {}, mean {}, most {}\n",
            out::in_millis(*least),
            out::in_millis(mean),
            out::in_millis(*most)
        );
        out::print(&text)?;
    }
    Ok(())
}

async fn call(
    client: &Client,
    target: &str,
    method: &str,
    request: &Value,
    (timeout, json): (Duration, bool),
) -> Result<(), Failure> {
    let body = json!({"node": target, "method": method, "request": request, "deadline_ms": out::millis(timeout)});
    let answer = client.post("/v1/rpc/call", &body).await?.success()?;
    if json {
        return pass_on(&answer.text());
    }
    let answer: CallAnswer = answer.read()?;
    let text = match &answer.answer {
        Value::String(text) => text.clone(),
        value => serde_json::to_string_pretty(value).unwrap_or_default(),
    };
    out::print(&format!("{text}\n"))
}
