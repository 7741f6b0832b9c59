//! Health answers: under `/v1` for the command line, at the top for probes.

use std::fmt::Write as _;
use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use ekka_core::control::{Command, Reply};
use serde::Deserialize;
use utoipa::{IntoParams, ToSchema};

use super::error::ApiError;
use super::input::Params;
use super::read::unexpected;
use crate::admin::AdminState;
use crate::admin::dto::{LiveAnswer, ReadyAnswer, ReasonAnswer, SafeAnswer};
use crate::admin::metrics;

/// A control thread without a step for longer is stuck.
const STUCK_AFTER: Duration = Duration::from_secs(10);

/// Codes that `?verbose` lists even while they hold not.
const CONDITIONS: [&str; 8] = ["joining", "syncing", "minority", "healing", "draining", "fenced", "disc_full", "clock"];

/// Which readiness.
#[derive(Clone, Copy, PartialEq, Eq, Default, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
enum For {
    #[default]
    Quorum,
    Available,
}

/// What is asked of readiness.
#[derive(Deserialize, IntoParams)]
pub(super) struct ReadyParams {
    /// `quorum` (work that needs a majority) or `available` (`available` tables and local work).
    #[serde(default, rename = "for")]
    #[param(inline)]
    for_: For,
    /// List each condition, as text.
    verbose: Option<String>,
}

/// Whether the process makes steps. Never because of peers, disc or a split.
#[utoipa::path(
    get, path = "/livez",
    responses((status = OK, body = LiveAnswer), (status = SERVICE_UNAVAILABLE, body = LiveAnswer))
)]
pub(super) async fn livez(State(state): State<AdminState>) -> Response {
    lives(&state)
}

/// The same as `/livez`.
#[utoipa::path(
    get, path = "/v1/health/live",
    responses((status = OK, body = LiveAnswer), (status = SERVICE_UNAVAILABLE, body = LiveAnswer))
)]
pub(super) async fn live(State(state): State<AdminState>) -> Response {
    lives(&state)
}

/// Whether the node is ready.
#[utoipa::path(
    get, path = "/readyz", params(ReadyParams),
    responses((status = OK, body = ReadyAnswer), (status = SERVICE_UNAVAILABLE, body = ReadyAnswer))
)]
pub(super) async fn readyz(State(state): State<AdminState>, Params(params): Params<ReadyParams>) -> Response {
    is_ready(&state, &params)
}

/// The same as `/readyz`.
#[utoipa::path(
    get, path = "/v1/health/ready", params(ReadyParams),
    responses((status = OK, body = ReadyAnswer), (status = SERVICE_UNAVAILABLE, body = ReadyAnswer))
)]
pub(super) async fn ready(State(state): State<AdminState>, Params(params): Params<ReadyParams>) -> Response {
    is_ready(&state, &params)
}

/// For what the node is to be spared.
#[derive(Deserialize, IntoParams)]
pub(super) struct SafeParams {
    /// `quorum` (the groups keep their majorities) or `available` (the tables have another full copy); both where it is
    /// left out.
    #[serde(default, rename = "for")]
    #[param(inline)]
    for_: Option<For>,
}

/// Whether the node can stop without harm.
#[utoipa::path(
    get, path = "/v1/health/safe-to-stop", params(SafeParams),
    responses((status = OK, body = SafeAnswer), (status = SERVICE_UNAVAILABLE, body = SafeAnswer))
)]
pub(super) async fn safe_to_stop(
    State(state): State<AdminState>,
    Params(params): Params<SafeParams>,
) -> Result<Response, ApiError> {
    let of = |which| params.for_.is_none_or(|for_| for_ == which);
    // The tables may wait for word of their peers, and how the nodes stand is as it is after that.
    let of_tables = match state.node.tables().filter(|_| of(For::Available)) {
        Some(tables) => tables.only_here().await,
        None => Vec::new(),
    };
    let mut reasons = match state.node.command(Command::SafeToStop { groups: of(For::Quorum) }).await? {
        Reply::Answer { reasons, .. } => reasons,
        other => return Err(unexpected(&other)),
    };
    reasons.extend(of_tables);
    let safe = reasons.is_empty();
    Ok((status(safe), Json(SafeAnswer { safe, reasons })).into_response())
}

/// The metrics as Prometheus reads them.
#[utoipa::path(
    get, path = "/metrics",
    responses((status = OK, body = String, content_type = "application/openmetrics-text"))
)]
pub(super) async fn metrics(State(state): State<AdminState>) -> Result<Response, ApiError> {
    let text = metrics::scrape(&state).map_err(|error| ApiError::internal(error.to_string()))?;
    Ok(([(CONTENT_TYPE, "application/openmetrics-text; version=1.0.0; charset=utf-8")], text).into_response())
}

fn lives(state: &AdminState) -> Response {
    let last_step = state.node.last_step();
    let live = last_step < STUCK_AFTER;
    let last_step_ms = u64::try_from(last_step.as_millis()).unwrap_or(u64::MAX);
    (status(live), Json(LiveAnswer { live, last_step_ms })).into_response()
}

fn is_ready(state: &AdminState, params: &ReadyParams) -> Response {
    let view = state.node.view();
    let extra = state.unfulfilled();
    let (word, of_view) = match params.for_ {
        For::Quorum => ("quorum", view.ready_quorum),
        For::Available => ("available", view.ready_available),
    };
    let ready = of_view && extra.is_empty();
    // A minority, or to be fenced, is no reason for work that goes on so; `status` lists all reasons.
    let counts = |code: &str| !(params.for_ == For::Available && matches!(code, "minority" | "fenced"));
    let mut reasons: Vec<ReasonAnswer> = extra.iter().map(ReasonAnswer::from).collect();
    if !of_view {
        reasons.extend(view.reasons.iter().filter(|reason| counts(&reason.code)).map(ReasonAnswer::from));
    }
    let split = view.split.state.as_str().to_owned();
    let answer = ReadyAnswer { ready, for_: word.into(), reasons, split };
    if params.verbose.is_some() {
        return (status(ready), verbose(&answer)).into_response();
    }
    (status(ready), Json(answer)).into_response()
}

fn verbose(answer: &ReadyAnswer) -> String {
    let mut text = String::new();
    for code in CONDITIONS {
        if !answer.reasons.iter().any(|reason| reason.code == code) {
            let _ = writeln!(text, "[+] {code} ok"); // into a String: cannot fail
        }
    }
    for reason in &answer.reasons {
        let _ = writeln!(text, "[-] {} since {}: {}", reason.code, reason.since, reason.text);
    }
    let word = if answer.ready { "ready" } else { "not ready" };
    let _ = writeln!(text, "{word} for {}; split: {}", answer.for_, answer.split);
    text
}

fn status(yes: bool) -> StatusCode {
    if yes { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE }
}
