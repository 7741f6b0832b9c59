//! Commits of groups: measured, and one at a time for those who check what a cluster promises.

use std::time::Duration;

use axum::Json;
use axum::extract::State;
use serde::Deserialize;
use utoipa::IntoParams;

use super::error::ApiError;
use super::input::{Body, Params};
use super::rpc::{BENCH_MS_MAX, in_micros};
use crate::admin::AdminState;
use crate::admin::dto::{
    CeilingAnswer, CommitBenchAnswer, CommitBenchRequest, ErrorAnswer, GroupWord, TakeTokensAnswer, TakeTokensRequest,
};
use crate::node::{BenchGroup, CommitPlan};

/// Bound of one measurement, beside that of its time.
const PROPOSERS_MAX: usize = 1024;

/// Measure commits of a group, proposed at this node. Uses up a fencing token for each.
#[utoipa::path(
    post, path = "/v1/bench/commit", request_body = CommitBenchRequest,
    responses(
        (status = OK, body = CommitBenchAnswer), (status = BAD_REQUEST, body = ErrorAnswer),
        (status = CONFLICT, body = ErrorAnswer)
    )
)]
pub(super) async fn bench(
    State(state): State<AdminState>,
    Body(body): Body<CommitBenchRequest>,
) -> Result<Json<CommitBenchAnswer>, ApiError> {
    let CommitBenchRequest { group, proposers, for_ms } = body;
    if !(1..=PROPOSERS_MAX).contains(&proposers) || !(1..=BENCH_MS_MAX).contains(&for_ms) {
        let text = format!("1 to {PROPOSERS_MAX} proposers and 1 to {BENCH_MS_MAX} ms are measured");
        return Err(ApiError::bad_request(text));
    }
    let of = match group {
        GroupWord::Durable => BenchGroup::Durable,
        GroupWord::Volatile => BenchGroup::Volatile,
    };
    let plan = CommitPlan { group: of, proposers, time: Duration::from_millis(for_ms) };
    let figures = state.node.bench_commits(plan).await?;
    Ok(Json(CommitBenchAnswer {
        group,
        proposers,
        commits: figures.commits,
        unknown: figures.unknown,
        commits_per_s: figures.commits_per_s(),
        p50_us: in_micros(figures.p50),
        p99_us: in_micros(figures.p99),
        fsyncs_per_commit: figures.syncs_per_commit(),
        first: figures.span.map(|(first, _)| first),
        last: figures.span.map(|(_, last)| last),
        leads: figures.leads,
    }))
}

/// Take fencing tokens that nobody else gets.
#[utoipa::path(
    post, path = "/v1/bench/tokens", request_body = TakeTokensRequest,
    responses((status = OK, body = TakeTokensAnswer), (status = CONFLICT, body = ErrorAnswer))
)]
pub(super) async fn tokens(
    State(state): State<AdminState>,
    Body(body): Body<TakeTokensRequest>,
) -> Result<Json<TakeTokensAnswer>, ApiError> {
    let tokens = state.node.take_tokens(body.count).await?;
    Ok(Json(TakeTokensAnswer { from: tokens.start, to: tokens.end }))
}

/// How the ceiling is read.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
pub(super) struct CeilingParams {
    /// As far as this node has followed the group, which may be an old state, in place of a linearizable read.
    #[serde(default)]
    applied: bool,
}

/// Below which number all fencing tokens are that were ever taken.
#[utoipa::path(
    get, path = "/v1/bench/ceiling", params(CeilingParams),
    responses((status = OK, body = CeilingAnswer), (status = CONFLICT, body = ErrorAnswer))
)]
pub(super) async fn ceiling(
    State(state): State<AdminState>,
    Params(params): Params<CeilingParams>,
) -> Result<Json<CeilingAnswer>, ApiError> {
    let ceiling = if params.applied { state.node.applied_token_ceiling()? } else { state.node.token_ceiling().await? };
    Ok(Json(CeilingAnswer { ceiling }))
}
