//! Calls: what is asked and what is answered.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

/// The body of `rpc/ping`.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PingRequest {
    /// A name, or at least 6 hex digits of a node id.
    pub node: String,
    /// How long to wait; 5 s where it is not said.
    #[serde(default = "deadline_ms")]
    pub deadline_ms: u64,
}

/// What came of a ping.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
pub struct PingAnswer {
    /// Whose answer it is.
    pub node: String,
    /// Who that is.
    pub node_id: String,
    /// The way there and back.
    pub rtt_us: u64,
}

/// The body of `rpc/call`.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CallRequest {
    /// A name, or at least 6 hex digits of a node id.
    pub node: String,
    /// The method.
    pub method: String,
    /// The request; null where it is not said.
    #[serde(default)]
    pub request: Value,
    /// How long to wait; 5 s where it is not said.
    #[serde(default = "deadline_ms")]
    pub deadline_ms: u64,
}

/// What came of a call.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
pub struct CallAnswer {
    /// Whose answer it is.
    pub node: String,
    /// Who that is.
    pub node_id: String,
    /// The method.
    pub method: String,
    /// What it answered.
    pub answer: Value,
    /// How long it took.
    pub took_us: u64,
}

/// The body of `bench/rpc`.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct BenchRequest {
    /// A name, or at least 6 hex digits of a node id.
    pub node: String,
    /// Bytes of each request and answer, at most 1048576.
    pub bytes: usize,
    /// Calls at once, at most 1024.
    pub callers: usize,
    /// For how long, at most a minute.
    pub for_ms: u64,
}

/// What was measured.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, ToSchema)]
pub struct BenchAnswer {
    /// Who was called.
    pub node: String,
    /// Bytes of each request and answer.
    pub bytes: usize,
    /// Calls at once.
    pub callers: usize,
    /// Calls that were answered.
    pub calls: u64,
    /// In a second.
    pub calls_per_s: f64,
    /// Half of them took no longer.
    pub p50_us: u64,
    /// One of a hundred took longer.
    pub p99_us: u64,
}

/// The body of `bench/count`.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CountRequest {
    /// How many numbers.
    pub n: u64,
}

/// Numbers of the counter of the volatile group.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
pub struct CountAnswer {
    /// The generation that gave them: no other caller got them there.
    pub generation: u64,
    /// The first of them.
    pub from: u64,
    /// One more than the last.
    pub to: u64,
}

fn deadline_ms() -> u64 {
    u64::try_from(ekka_core::limits::CALL_DEADLINE.as_millis()).unwrap_or(u64::MAX)
}
