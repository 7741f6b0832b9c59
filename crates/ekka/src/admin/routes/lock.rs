//! Locks for programs in any language: held for as long as a connection is.

use std::convert::Infallible;
use std::time::Duration;

use axum::Json;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::response::{IntoResponse, Response};
use ekka_core::lock::Mode;
use http_body_util::channel::{Channel, Sender};

use super::error::ApiError;
use super::input::Body;
use crate::admin::AdminState;
use crate::admin::dto::{
    ErrorAnswer, ForceReleaseAnswer, ForceReleaseRequest, HoldLine, HoldRequest, LockAnswer, LockHolderAnswer, LockMode,
};
use crate::env::boot_ms;
use crate::lock::{Guard, LockError, LockRow};

/// Lines that wait for one client.
const LINES_MAX: usize = 4;
/// How often a holder is told that it still holds; a connection that is over is seen by then.
const STILL: Duration = Duration::from_secs(1);

/// The locks that somebody holds or waits for.
#[utoipa::path(
    get, path = "/v1/locks",
    responses((status = OK, body = [LockAnswer]), (status = SERVICE_UNAVAILABLE, body = ErrorAnswer))
)]
pub(super) async fn list(State(state): State<AdminState>) -> Result<Json<Vec<LockAnswer>>, ApiError> {
    let rows = state.node.lock_list().await?;
    Ok(Json(rows.into_iter().map(answer).collect()))
}

fn answer(row: LockRow) -> LockAnswer {
    let holder = |holder: crate::lock::LockHolder| LockHolderAnswer {
        owner: holder.owner,
        session: holder.session,
        mode: match holder.mode {
            Mode::Exclusive => LockMode::Exclusive,
            Mode::Shared => LockMode::Shared,
            Mode::Permit { .. } => LockMode::Permit,
        },
        token: holder.token,
    };
    LockAnswer {
        name: row.name.to_string(),
        kind: "quorum".into(),
        holders: row.holders.into_iter().map(holder).collect(),
        waiters: row.waiters,
    }
}

/// Take a lock from all who hold it; whoever is next gets a higher token.
#[utoipa::path(
    post, path = "/v1/locks/force-release", request_body = ForceReleaseRequest,
    responses(
        (status = OK, body = ForceReleaseAnswer), (status = NOT_FOUND, body = ErrorAnswer),
        (status = SERVICE_UNAVAILABLE, body = ErrorAnswer)
    )
)]
pub(super) async fn force_release(
    State(state): State<AdminState>,
    Body(body): Body<ForceReleaseRequest>,
) -> Result<Json<ForceReleaseAnswer>, ApiError> {
    let ForceReleaseRequest { name, by } = body;
    match state.node.lock_force_release(name.clone(), by).await {
        Ok(holders) => Ok(Json(ForceReleaseAnswer { name, holders })),
        Err(LockError::Refused(text)) => Err(ApiError::new(StatusCode::NOT_FOUND, "not_found", text)),
        Err(error) => Err(error.into()),
    }
}

/// Hold locks for as long as this connection is open. The answer begins once they are held: lines of JSON, the first one
/// `held`, one each second, and `lost` where they are lost. They are released when the client closes the connection, or ends.
#[utoipa::path(
    post, path = "/v1/locks/hold", request_body = HoldRequest,
    responses(
        (status = OK, body = HoldLine, content_type = "application/x-ndjson"),
        (status = BAD_REQUEST, body = ErrorAnswer), (status = CONFLICT, body = ErrorAnswer),
        (status = SERVICE_UNAVAILABLE, body = ErrorAnswer), (status = GATEWAY_TIMEOUT, body = ErrorAnswer)
    )
)]
pub(super) async fn hold(State(state): State<AdminState>, Body(body): Body<HoldRequest>) -> Result<Response, ApiError> {
    // The handler is dropped with the connection: a client that ends while it waits, waits no more.
    let guard = state.node.lock_hold(body).await?;
    let (sender, answer) = Channel::<Bytes, Infallible>::new(LINES_MAX);
    tokio::spawn(keep(sender, guard, state));
    let headers = [(CONTENT_TYPE, "application/x-ndjson"), (CACHE_CONTROL, "no-store")];
    Ok((headers, axum::body::Body::new(answer)).into_response())
}

/// Until the client is gone, the lock is lost, or the server ends. The guard is dropped then, and releases.
async fn keep(mut sender: Sender<Bytes, Infallible>, guard: Guard, state: AdminState) {
    let mut next = "held";
    // Several in the shortest time that it can be valid.
    let pause = STILL.min(guard.left() / 10);
    loop {
        let left_ms = u64::try_from(guard.left().as_millis()).unwrap_or(u64::MAX);
        let state_now = if left_ms == 0 { "lost" } else { next };
        let until_boot_ms = Some(boot_ms() + left_ms);
        let (token, left_ms_said) = (Some(guard.token()), Some(left_ms));
        let line = HoldLine { state: state_now.into(), token, left_ms: left_ms_said, until_boot_ms };
        let line = serde_json::to_string(&line).unwrap_or_default() + "\n";
        // A client that does not read must not keep the end from being seen.
        let sent = tokio::time::timeout(STILL, sender.send_data(Bytes::from(line))).await;
        if matches!(sent, Ok(Err(_))) || left_ms == 0 {
            return;
        }
        next = "still";
        tokio::select! {
            () = state.shutdown.cancelled() => return,
            () = guard.lost() => {}
            () = tokio::time::sleep(pause) => {}
        }
    }
}

impl From<LockError> for ApiError {
    fn from(error: LockError) -> Self {
        let (status, code) = match &error {
            LockError::Name(_) | LockError::Bad(_) => (StatusCode::BAD_REQUEST, "bad_request"),
            LockError::Held { .. } => (StatusCode::CONFLICT, "not_acquired"),
            LockError::TimedOut { .. } => (StatusCode::GATEWAY_TIMEOUT, "timed_out"),
            LockError::NoQuorum(_) => (StatusCode::SERVICE_UNAVAILABLE, "no_quorum"),
            LockError::Stopping => (StatusCode::SERVICE_UNAVAILABLE, "stopping"),
            _ => (StatusCode::CONFLICT, "refused"),
        };
        Self::new(status, code, error.to_string())
    }
}
