//! Commands.

use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use ekka_core::control::{Command, Reply};

use super::error::ApiError;
use super::input::Body;
use super::read::unexpected;
use crate::admin::AdminState;
use crate::admin::dto::{
    CommandAnswer, ErrorAnswer, ForceLeaveRequest, JoinRequest, PlanRequest, RecoverRequest, ReloadAnswer, StopRequest,
};
use crate::node::Reloaded;

/// How long an answer takes at most where the client does not want to wait for the end of the work.
const NO_WAIT: Duration = Duration::from_secs(1);

/// Form a cluster of this node now.
#[utoipa::path(
    post, path = "/v1/form", request_body = PlanRequest,
    responses((status = OK, body = CommandAnswer), (status = CONFLICT, body = ErrorAnswer))
)]
pub(super) async fn form(State(state): State<AdminState>, Body(body): Body<PlanRequest>) -> Result<Response, ApiError> {
    run(state, Command::Form { plan: body.plan }, body.wait).await
}

/// Go into the cluster of a node.
#[utoipa::path(
    post, path = "/v1/join", request_body = JoinRequest,
    responses((status = OK, body = CommandAnswer), (status = ACCEPTED, body = CommandAnswer), (status = CONFLICT, body = ErrorAnswer))
)]
pub(super) async fn join(State(state): State<AdminState>, Body(body): Body<JoinRequest>) -> Result<Response, ApiError> {
    let name = body.node.parse().map_err(|error: ekka_core::id::NameError| ApiError::bad_request(error.to_string()))?;
    run(state, Command::Join { name, absorb: body.absorb, plan: body.plan }, body.wait).await
}

/// Leave for good.
#[utoipa::path(
    post, path = "/v1/leave", request_body = PlanRequest,
    responses((status = OK, body = CommandAnswer), (status = ACCEPTED, body = CommandAnswer), (status = CONFLICT, body = ErrorAnswer))
)]
pub(super) async fn leave(
    State(state): State<AdminState>,
    Body(body): Body<PlanRequest>,
) -> Result<Response, ApiError> {
    run(state, Command::Leave { plan: body.plan }, body.wait).await
}

/// Say goodbye and end; the node stays a member and comes back by itself.
#[utoipa::path(
    post, path = "/v1/stop", request_body = StopRequest,
    responses((status = OK, body = CommandAnswer), (status = CONFLICT, body = ErrorAnswer))
)]
pub(super) async fn stop(State(state): State<AdminState>, Body(body): Body<StopRequest>) -> Result<Response, ApiError> {
    run(state, Command::Stop { by: body.by, plan: body.plan }, body.wait).await
}

/// Send new work elsewhere.
#[utoipa::path(
    post, path = "/v1/drain", request_body = PlanRequest,
    responses((status = OK, body = CommandAnswer), (status = ACCEPTED, body = CommandAnswer), (status = CONFLICT, body = ErrorAnswer))
)]
pub(super) async fn drain(
    State(state): State<AdminState>,
    Body(body): Body<PlanRequest>,
) -> Result<Response, ApiError> {
    run(state, Command::Drain { plan: body.plan }, body.wait).await
}

/// Take new work again.
#[utoipa::path(
    post, path = "/v1/undrain", request_body = PlanRequest,
    responses((status = OK, body = CommandAnswer), (status = CONFLICT, body = ErrorAnswer))
)]
pub(super) async fn undrain(
    State(state): State<AdminState>,
    Body(body): Body<PlanRequest>,
) -> Result<Response, ApiError> {
    run(state, Command::Undrain { plan: body.plan }, body.wait).await
}

/// Bring the sides of a partition that was repaired together now, also where `cluster.autoheal` is off.
#[utoipa::path(
    post, path = "/v1/heal", request_body = PlanRequest,
    responses((status = OK, body = CommandAnswer), (status = ACCEPTED, body = CommandAnswer), (status = CONFLICT, body = ErrorAnswer))
)]
pub(super) async fn heal(State(state): State<AdminState>, Body(body): Body<PlanRequest>) -> Result<Response, ApiError> {
    run(state, Command::Heal { plan: body.plan }, body.wait).await
}

/// Take a member that is down out for good.
#[utoipa::path(
    post, path = "/v1/force-leave", request_body = ForceLeaveRequest,
    responses(
        (status = OK, body = CommandAnswer), (status = ACCEPTED, body = CommandAnswer),
        (status = NOT_FOUND, body = ErrorAnswer), (status = CONFLICT, body = ErrorAnswer)
    )
)]
pub(super) async fn force_leave(
    State(state): State<AdminState>,
    Body(body): Body<ForceLeaveRequest>,
) -> Result<Response, ApiError> {
    let ForceLeaveRequest { node, replace_with, alive, plan, wait } = body;
    run(state, Command::ForceLeave { node, replace_with, alive, plan }, wait).await
}

/// Go on although the majority of the voters is lost for good.
#[utoipa::path(
    post, path = "/v1/recover", request_body = RecoverRequest,
    responses((status = OK, body = CommandAnswer), (status = ACCEPTED, body = CommandAnswer), (status = CONFLICT, body = ErrorAnswer))
)]
pub(super) async fn recover(
    State(state): State<AdminState>,
    Body(body): Body<RecoverRequest>,
) -> Result<Response, ApiError> {
    let RecoverRequest { accept_loss, plan, wait } = body;
    run(state, Command::Recover { accept_loss, plan }, wait).await
}

/// Read the configuration again and take what needs no restart.
#[utoipa::path(
    post, path = "/v1/reload",
    responses((status = OK, body = ReloadAnswer), (status = CONFLICT, body = ErrorAnswer))
)]
pub(super) async fn reload(State(state): State<AdminState>) -> Result<Json<ReloadAnswer>, ApiError> {
    let refused = |text: String| ApiError::new(StatusCode::CONFLICT, "refused", text);
    let Some(hook) = &state.reload else {
        return Err(refused("this program was configured by its own code: there is nothing to read again".into()));
    };
    let Reloaded { changed, needs_restart, warnings } = hook().await.map_err(refused)?;
    Ok(Json(ReloadAnswer { changed, needs_restart, warnings }))
}

async fn run(state: AdminState, command: Command, wait: bool) -> Result<Response, ApiError> {
    if wait {
        return answered(state.node.command(command).await?);
    }
    if let Ok(reply) = tokio::time::timeout(NO_WAIT, state.node.command(command)).await {
        return answered(reply?);
    }
    // Dropping the future does not undo the command.
    let text = "it goes on: see `ekka status`".into();
    Ok((StatusCode::ACCEPTED, Json(CommandAnswer::Accepted { accepted: true, text })).into_response())
}

fn answered(reply: Reply) -> Result<Response, ApiError> {
    let answer = match reply {
        Reply::Done { text, decision, cluster_id } => CommandAnswer::Done {
            text,
            decision: decision.to_string(),
            cluster_id: cluster_id.map(|id| id.to_string()),
        },
        Reply::Plan { plan, refused } => CommandAnswer::Plan { plan, refused },
        other => return Err(unexpected(&other)),
    };
    Ok(Json(answer).into_response())
}
