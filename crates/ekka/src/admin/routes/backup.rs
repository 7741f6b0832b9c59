//! Backups as streams of bytes in both directions, and comparisons of tables.

use std::convert::Infallible;
use std::fs::File;
use std::io::{self, Write};
use std::time::Duration;

use axum::Json;
use axum::body::{Body, Bytes};
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::http::header::{CONTENT_DISPOSITION, CONTENT_TYPE};
use axum::response::{IntoResponse, Response};
use http_body_util::BodyExt;
use http_body_util::channel::{Channel, Sender};
use serde::Deserialize;
use tokio::sync::{mpsc, oneshot};
use utoipa::IntoParams;

use super::error::ApiError;
use super::input::{Body as Json_, Params};
use super::table::{absent, door};
use crate::admin::AdminState;
use crate::admin::dto::{ErrorAnswer, RestoreLine, RestoredAnswer, VerifyAnswer, VerifyRequest};
use crate::table::{Backup, BackupError, RestoreError, RestoreMode, Restored, TableRestored};

/// Pieces that wait for a client.
const PIECES_MAX: usize = 4;
/// A line without words, which shows a client that its work goes on.
const STILL_HERE: Duration = Duration::from_secs(5);

/// A backup of all tables that are kept on disc, while writers go on: bytes for a file, made as they are read.
#[utoipa::path(
    get, path = "/v1/backup",
    responses(
        (status = OK, body = String, content_type = "application/octet-stream"),
        (status = CONFLICT, body = ErrorAnswer), (status = SERVICE_UNAVAILABLE, body = ErrorAnswer)
    )
)]
pub(super) async fn backup(State(state): State<AdminState>) -> Result<Response, ApiError> {
    let backup = state.node.back_up().await?;
    let (sender, body) = Channel::<Bytes, io::Error>::new(PIECES_MAX);
    tokio::spawn(give(backup, sender));
    let headers =
        [(CONTENT_TYPE, "application/octet-stream"), (CONTENT_DISPOSITION, "attachment; filename=\"ekka.backup\"")];
    Ok((headers, Body::new(body)).into_response())
}

async fn give(mut backup: Backup, mut sender: Sender<Bytes, io::Error>) {
    let result = loop {
        match backup.next_bytes() {
            Ok(Some(bytes)) => {
                if sender.send_data(bytes.into()).await.is_err() {
                    break Err("whoever asked for it has gone".to_owned());
                }
            }
            Ok(None) => break Ok(()),
            Err(error) => break Err(error.to_string()),
        }
        tokio::task::yield_now().await;
    };
    if let Err(error) = &result {
        // The client must not take it for whole.
        sender.abort(io::Error::other(error.clone()));
    } else {
        drop(sender);
    }
    backup.ended(result).await;
}

/// How a backup is put back.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
pub(super) struct RestoreParams {
    /// `merge`: the newer row stays; `replace`: the tables become what the backup has.
    #[serde(default = "merge")]
    mode: String,
    /// Only say what would become of it.
    #[serde(default)]
    plan: bool,
}

fn merge() -> String {
    "merge".into()
}

/// Put a backup back: its bytes are the body. It is read whole before anything is changed; the work goes on when the
/// client goes away. The answer is one JSON object a line, the last one with `done` or `error`; a failure before anything
/// was changed is an answer of its own.
#[utoipa::path(
    post, path = "/v1/restore", params(RestoreParams),
    request_body(content = String, content_type = "application/octet-stream"),
    responses(
        (status = OK, body = RestoreLine, content_type = "application/x-ndjson"),
        (status = BAD_REQUEST, body = ErrorAnswer), (status = CONFLICT, body = ErrorAnswer),
        (status = SERVICE_UNAVAILABLE, body = ErrorAnswer)
    )
)]
pub(super) async fn restore(
    State(state): State<AdminState>,
    Params(params): Params<RestoreParams>,
    request: Request,
) -> Result<Response, ApiError> {
    let mode = match params.mode.as_str() {
        "merge" => RestoreMode::Merge,
        "replace" => RestoreMode::Replace,
        other => return Err(ApiError::bad_request(format!("the mode {other:?}: merge, replace are taken"))),
    };
    let file = spool(&state, request.into_body()).await?;
    let (progress, seen) = mpsc::channel(PIECES_MAX);
    let (ended, end) = oneshot::channel();
    let (node, plan) = (state.node.clone(), params.plan);
    tokio::spawn(async move {
        let result = node.restore(file, (mode, plan), progress).await;
        // Who asked may have gone: the work was done all the same.
        let _ = ended.send(result);
    });
    lines(seen, end, plan).await
}

/// Takes the body into a file of the data directory.
async fn spool(state: &AdminState, mut body: Body) -> Result<File, ApiError> {
    let failed = |error: &dyn std::fmt::Display| {
        ApiError::internal(format!("the backup could not be taken in: {error}; nothing was changed"))
    };
    let mut file = state.node.scratch().map_err(|error| failed(&error))?;
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| failed(&error))?;
        if !state.node.has_room() {
            let text = "the backup has no room beside storage.reserve on this node's disc; nothing was changed";
            return Err(ApiError::new(StatusCode::INSUFFICIENT_STORAGE, "disc_full", text));
        }
        if let Ok(bytes) = frame.into_data() {
            let written = tokio::task::spawn_blocking(move || file.write_all(&bytes).map(|()| file)).await;
            file = written.map_err(|error| failed(&error))?.map_err(|error| failed(&error))?;
        }
    }
    Ok(file)
}

type End = oneshot::Receiver<Result<Restored, RestoreError>>;

/// The answer: what goes wrong before there is any progress has a status of its own.
async fn lines(mut seen: mpsc::Receiver<TableRestored>, mut end: End, plan: bool) -> Result<Response, ApiError> {
    let first = tokio::select! {
        biased;
        ended = &mut end => {
            let restored = ended.map_err(|_| ApiError::internal("the restore was broken off"))??;
            let done = RestoreLine { done: Some(RestoredAnswer::of(restored, plan)), ..RestoreLine::default() };
            return Ok(([(CONTENT_TYPE, NDJSON)], line(&done)).into_response());
        }
        first = seen.recv() => first,
        () = tokio::time::sleep(STILL_HERE) => None,
    };
    let (sender, body) = Channel::<Bytes, Infallible>::new(PIECES_MAX);
    tokio::spawn(tell(sender, (first, seen), end, plan));
    Ok(([(CONTENT_TYPE, NDJSON)], Body::new(body)).into_response())
}

const NDJSON: &str = "application/x-ndjson";

async fn tell(
    mut sender: Sender<Bytes, Infallible>,
    (mut next, mut seen): (Option<TableRestored>, mpsc::Receiver<TableRestored>),
    mut end: End,
    plan: bool,
) {
    loop {
        let text = match next.take() {
            Some(table) => line(&RestoreLine { progress: Some(table.into()), ..RestoreLine::default() }),
            None => "\n".to_owned(),
        };
        if sender.send_data(text.into()).await.is_err() {
            return;
        }
        tokio::select! {
            biased;
            Some(table) = seen.recv() => next = Some(table),
            ended = &mut end => {
                let last = match ended {
                    Ok(Ok(restored)) => {
                        RestoreLine { done: Some(RestoredAnswer::of(restored, plan)), ..RestoreLine::default() }
                    }
                    Ok(Err(error)) => RestoreLine { error: Some(ApiError::from(error).into_body()), ..RestoreLine::default() },
                    Err(_) => return,
                };
                // The last line; nobody may be there to read it.
                let _ = sender.send_data(line(&last).into()).await;
                return;
            }
            () = tokio::time::sleep(STILL_HERE) => {}
        }
    }
}

fn line(line: &RestoreLine) -> String {
    serde_json::to_string(line).unwrap_or_default() + "\n"
}

/// Compare tables with each node that is up.
#[utoipa::path(
    post, path = "/v1/verify", request_body = VerifyRequest,
    responses((status = OK, body = Vec<VerifyAnswer>), (status = NOT_FOUND, body = ErrorAnswer))
)]
pub(super) async fn verify(
    State(state): State<AdminState>,
    Json_(body): Json_<VerifyRequest>,
) -> Result<Json<Vec<VerifyAnswer>>, ApiError> {
    match state.node.verify_tables(body.table.clone()).await {
        Some(verdicts) => Ok(Json(verdicts.into_iter().map(VerifyAnswer::from).collect())),
        None => Err(absent(&door(&state)?, &body.table.unwrap_or_default())),
    }
}

impl From<BackupError> for ApiError {
    fn from(error: BackupError) -> Self {
        let (status, code) = match &error {
            BackupError::NoCluster => (StatusCode::CONFLICT, "refused"),
            BackupError::NotLoaded(_) => (StatusCode::SERVICE_UNAVAILABLE, "not_loaded"),
            BackupError::Quorum { .. } => (StatusCode::SERVICE_UNAVAILABLE, "no_quorum"),
            BackupError::Failed(_) => (StatusCode::INTERNAL_SERVER_ERROR, "failed"),
        };
        Self::new(status, code, error.to_string())
    }
}

impl From<RestoreError> for ApiError {
    fn from(error: RestoreError) -> Self {
        let (status, code) = match &error {
            RestoreError::Backup(_) => (StatusCode::BAD_REQUEST, "bad_backup"),
            RestoreError::Mismatch { .. } => (StatusCode::CONFLICT, "mismatch"),
            RestoreError::Refused(_) => (StatusCode::CONFLICT, "refused"),
            RestoreError::Stopping => (StatusCode::SERVICE_UNAVAILABLE, "stopping"),
            RestoreError::Made(_) | RestoreError::Row { .. } | RestoreError::Tokens(_) => {
                (StatusCode::INTERNAL_SERVER_ERROR, "failed")
            }
        };
        Self::new(status, code, error.to_string())
    }
}
