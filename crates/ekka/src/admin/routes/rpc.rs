//! Calls of other nodes, JSON in and out.

use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use ekka_core::control::CommandError;
use ekka_core::id::NodeName;
use ekka_core::view::{Member, View};
use tokio::time::Instant;

use super::error::ApiError;
use super::input::Body;
use crate::admin::AdminState;
use crate::admin::dto::{
    BenchAnswer, BenchRequest, CallAnswer, CallRequest, CountAnswer, CountRequest, ErrorAnswer, PingAnswer, PingRequest,
};
use crate::node::Counted;
use crate::rpc::BenchPlan;

/// The way to a node and back.
#[utoipa::path(
    post, path = "/v1/rpc/ping", request_body = PingRequest,
    responses(
        (status = OK, body = PingAnswer), (status = NOT_FOUND, body = ErrorAnswer),
        (status = SERVICE_UNAVAILABLE, body = ErrorAnswer), (status = GATEWAY_TIMEOUT, body = ErrorAnswer)
    )
)]
pub(super) async fn ping(
    State(state): State<AdminState>,
    Body(body): Body<PingRequest>,
) -> Result<Json<PingAnswer>, ApiError> {
    let view = state.node.view();
    let member = member(&view, &body.node)?;
    let begun = Instant::now();
    state.node.ping(member.id.node_id, Duration::from_millis(body.deadline_ms)).await?;
    let (node, node_id) = (member.name.to_string(), member.id.node_id.to_string());
    Ok(Json(PingAnswer { node, node_id, rtt_us: micros(begun) }))
}

/// Call a method of a node. Its handler may have run although the answer is an error: see `outcome_unknown`.
#[utoipa::path(
    post, path = "/v1/rpc/call", request_body = CallRequest,
    responses(
        (status = OK, body = CallAnswer), (status = BAD_REQUEST, body = ErrorAnswer),
        (status = NOT_FOUND, body = ErrorAnswer), (status = BAD_GATEWAY, body = ErrorAnswer),
        (status = SERVICE_UNAVAILABLE, body = ErrorAnswer), (status = GATEWAY_TIMEOUT, body = ErrorAnswer)
    )
)]
pub(super) async fn call(
    State(state): State<AdminState>,
    Body(body): Body<CallRequest>,
) -> Result<Json<CallAnswer>, ApiError> {
    let view = state.node.view();
    let member = member(&view, &body.node)?;
    let begun = Instant::now();
    let deadline = Duration::from_millis(body.deadline_ms);
    let answer = state.node.call_json(member.id.node_id, body.method.clone(), body.request, deadline).await?;
    let (node, node_id) = (member.name.to_string(), member.id.node_id.to_string());
    Ok(Json(CallAnswer { node, node_id, method: body.method, answer, took_us: micros(begun) }))
}

/// Measure calls of this node to another.
#[utoipa::path(
    post, path = "/v1/bench/rpc", request_body = BenchRequest,
    responses(
        (status = OK, body = BenchAnswer), (status = BAD_REQUEST, body = ErrorAnswer),
        (status = NOT_FOUND, body = ErrorAnswer), (status = SERVICE_UNAVAILABLE, body = ErrorAnswer)
    )
)]
pub(super) async fn bench(
    State(state): State<AdminState>,
    Body(body): Body<BenchRequest>,
) -> Result<Json<BenchAnswer>, ApiError> {
    let BenchRequest { node, bytes, callers, for_ms } = body;
    if bytes > BENCH_BYTES_MAX || !(1..=BENCH_CALLERS_MAX).contains(&callers) || !(1..=BENCH_MS_MAX).contains(&for_ms) {
        let text = format!(
            "at most {BENCH_BYTES_MAX} bytes, 1 to {BENCH_CALLERS_MAX} callers and 1 to {BENCH_MS_MAX} ms are measured"
        );
        return Err(ApiError::bad_request(text));
    }
    let view = state.node.view();
    let member = member(&view, &node)?;
    let time = Duration::from_millis(for_ms);
    let figures = state.node.bench(BenchPlan { node: member.id.node_id, bytes, callers, time }).await?;
    #[expect(clippy::cast_precision_loss, reason = "a rate is no exact number")]
    let calls_per_s = figures.calls as f64 / figures.time.as_secs_f64();
    Ok(Json(BenchAnswer {
        node: member.name.to_string(),
        bytes,
        callers,
        calls: figures.calls,
        calls_per_s,
        p50_us: in_micros(figures.p50),
        p99_us: in_micros(figures.p99),
    }))
}

/// Take the next numbers of the counter of the volatile group: one committed command.
#[utoipa::path(
    post, path = "/v1/bench/count", request_body = CountRequest,
    responses(
        (status = OK, body = CountAnswer), (status = BAD_GATEWAY, body = ErrorAnswer),
        (status = SERVICE_UNAVAILABLE, body = ErrorAnswer)
    )
)]
pub(super) async fn count(
    State(state): State<AdminState>,
    Body(body): Body<CountRequest>,
) -> Result<Json<CountAnswer>, ApiError> {
    let Counted { generation, numbers } = state.node.count(body.n).await?;
    Ok(Json(CountAnswer { generation, from: numbers.start, to: numbers.end }))
}

/// Bounds of one measurement, so that none keeps a node busy for ever.
const BENCH_BYTES_MAX: usize = 1024 * 1024;
const BENCH_CALLERS_MAX: usize = 1024;
pub(super) const BENCH_MS_MAX: u64 = 60_000;

fn micros(begun: Instant) -> u64 {
    in_micros(begun.elapsed())
}

pub(super) fn in_micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

/// The one member that a name, or at least six hex digits of a node id, means.
fn member<'a>(view: &'a View, text: &str) -> Result<&'a Member, ApiError> {
    let name = text.parse::<NodeName>().ok();
    let hex: String = text.chars().filter(|c| *c != '-').collect::<String>().to_ascii_lowercase();
    let is_hex = hex.len() >= 6 && hex.chars().all(|c| c.is_ascii_hexdigit());
    let by_id = |member: &Member| is_hex && format!("{:032x}", member.id.node_id.as_u128()).starts_with(&hex);
    let meant = |member: &&Member| name.as_ref() == Some(&member.name) || by_id(member);
    let found: Vec<&Member> = view.members.iter().filter(meant).collect();
    match found.as_slice() {
        [one] => Ok(one),
        [] => {
            let names: Vec<String> = view.members.iter().map(|member| member.name.to_string()).collect();
            let text = format!(
                "no member is `{text}`: give a name, or at least 6 hex digits of a node id. Members: {}",
                names.join(", ")
            );
            Err(ApiError::new(StatusCode::NOT_FOUND, "not_found", text))
        }
        _ => {
            let candidates = found.iter().map(|member| member.name.to_string()).collect();
            Err(CommandError::Ambiguous { text: text.to_owned(), candidates }.into())
        }
    }
}
