//! What the node believes, as JSON.

use axum::Json;
use axum::extract::{Path, State};
use axum::http::header::CONTENT_TYPE;
use axum::response::IntoResponse;
use ekka_core::control::{Command, Reply};
use ekka_core::decision::DecisionId;
use ekka_core::limits::{DECISIONS_KEPT, EVENTS_KEPT};
use serde::Deserialize;
use utoipa::IntoParams;

use super::error::ApiError;
use super::input::Params;
use crate::admin::AdminState;
use crate::admin::dto::{
    CookieAnswer, DecisionAnswer, LinkAnswer, MemberAnswer, StatusAnswer, VersionAnswer, event_id, parse_event_id,
};

/// The state of this node, and of the cluster as it sees it.
#[utoipa::path(get, path = "/v1/status", responses((status = OK, body = StatusAnswer)))]
pub(super) async fn status(State(state): State<AdminState>) -> Json<StatusAnswer> {
    Json(StatusAnswer::of(&state.node.view(), &state.node.cookie_ids(), &state.unfulfilled()))
}

/// All members, oldest first.
#[utoipa::path(get, path = "/v1/members", responses((status = OK, body = [MemberAnswer])))]
pub(super) async fn members(State(state): State<AdminState>) -> Json<Vec<MemberAnswer>> {
    Json(MemberAnswer::all(&state.node.view()))
}

/// The link matrix, as far as it is known.
#[utoipa::path(get, path = "/v1/links", responses((status = OK, body = [LinkAnswer])))]
pub(super) async fn links(State(state): State<AdminState>) -> Json<Vec<LinkAnswer>> {
    Json(LinkAnswer::all(&state.node.view()))
}

/// Fingerprints of the cookie that signs, of those that are trusted, and of what each member signs with.
#[utoipa::path(get, path = "/v1/cookie", responses((status = OK, body = CookieAnswer)))]
pub(super) async fn cookie(State(state): State<AdminState>) -> Json<CookieAnswer> {
    Json(CookieAnswer::of(state.node.cookie_ids(), state.node.signers().await))
}

/// Which software runs.
#[utoipa::path(get, path = "/v1/version", responses((status = OK, body = VersionAnswer)))]
pub(super) async fn version(State(state): State<AdminState>) -> Json<VersionAnswer> {
    Json(VersionAnswer::of(&state.node.view()))
}

/// The record of one decision, by its id, or by the id of an event that it caused.
#[utoipa::path(
    get, path = "/v1/why/{id}", params(("id" = String, Path, description = "`d-…` or `e-…`")),
    responses((status = OK, body = DecisionAnswer), (status = NOT_FOUND, body = crate::admin::dto::ErrorAnswer))
)]
pub(super) async fn why(
    State(state): State<AdminState>,
    Path(id): Path<String>,
) -> Result<Json<DecisionAnswer>, ApiError> {
    let id = match parse_event_id(&id) {
        Some(number) => behind_event(&state, number)?,
        None => id.parse().map_err(|_| {
            ApiError::bad_request(format!("`{id}` is no id: it looks like d-00001f, or e-00001f for an event"))
        })?,
    };
    match state.node.command(Command::Why { id }).await? {
        Reply::Decision(decision) => Ok(Json(decision.into())),
        other => Err(unexpected(&other)),
    }
}

fn behind_event(state: &AdminState, number: u64) -> Result<DecisionId, ApiError> {
    let not_found = |text: String| ApiError::new(axum::http::StatusCode::NOT_FOUND, "not_found", text);
    let name = event_id(number);
    let Some(event) = state.node.recent_events(EVENTS_KEPT).into_iter().find(|event| event.id == number) else {
        return Err(not_found(format!("no event {name} here: the latest {EVENTS_KEPT} of this start are kept")));
    };
    event.event.decision.ok_or_else(|| not_found(format!("no decision of this node is behind event {name}")))
}

/// How many records.
#[derive(Deserialize, IntoParams)]
pub(super) struct LastParams {
    /// At most so many.
    #[serde(default = "twenty")]
    last: u32,
}

fn twenty() -> u32 {
    20
}

/// The latest decisions, newest first.
#[utoipa::path(get, path = "/v1/decisions", params(LastParams), responses((status = OK, body = [DecisionAnswer])))]
pub(super) async fn decisions(
    State(state): State<AdminState>,
    Params(params): Params<LastParams>,
) -> Result<Json<Vec<DecisionAnswer>>, ApiError> {
    let last = params.last.min(u32::try_from(DECISIONS_KEPT).unwrap_or(u32::MAX));
    match state.node.command(Command::Decisions { last }).await? {
        Reply::Decisions(decisions) => Ok(Json(decisions.into_iter().map(Into::into).collect())),
        other => Err(unexpected(&other)),
    }
}

/// The document itself.
pub(super) fn openapi(document: String) -> impl IntoResponse {
    ([(CONTENT_TYPE, "application/json")], document)
}

/// An own bug, said as such.
pub(super) fn unexpected(reply: &Reply) -> ApiError {
    ApiError::internal(format!("the node answered with something else than was asked: {reply:?}"))
}
