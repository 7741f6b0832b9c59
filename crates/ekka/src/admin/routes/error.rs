//! Errors on their way out.

use axum::Json;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use ekka_core::control::CommandError;

use crate::admin::dto::{ErrorAnswer, ErrorBody};
use crate::consensus::GroupError;
use crate::rpc::CallError;

/// An answer that is no success.
pub(in crate::admin) struct ApiError {
    status: StatusCode,
    body: ErrorBody,
}

impl ApiError {
    pub(in crate::admin) fn new(status: StatusCode, code: &str, message: impl Into<String>) -> Self {
        Self { status, body: ErrorBody { code: code.into(), message: message.into(), ..ErrorBody::default() } }
    }

    pub(in crate::admin) fn bad_request(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "bad_request", message)
    }

    /// Whether it may have been done all the same.
    pub(in crate::admin) fn unknown(mut self, outcome_unknown: bool) -> Self {
        self.body.outcome_unknown = Some(outcome_unknown);
        self
    }

    /// What it says, without its status.
    pub(in crate::admin) fn into_body(self) -> ErrorBody {
        self.body
    }

    pub(in crate::admin) fn internal(message: impl Into<String>) -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "failed", message)
    }
}

impl From<CommandError> for ApiError {
    fn from(error: CommandError) -> Self {
        let (status, code) = match &error {
            CommandError::Refused(_) => (StatusCode::CONFLICT, "refused"),
            CommandError::NotFound(_) => (StatusCode::NOT_FOUND, "not_found"),
            CommandError::Ambiguous { .. } => (StatusCode::BAD_REQUEST, "ambiguous"),
            CommandError::Stopping => (StatusCode::SERVICE_UNAVAILABLE, "stopping"),
            _ => (StatusCode::INTERNAL_SERVER_ERROR, "failed"),
        };
        let mut answer = Self::new(status, code, error.to_string());
        if let CommandError::Ambiguous { candidates, .. } = error {
            answer.body.candidates = candidates;
        }
        answer
    }
}

impl From<CallError> for ApiError {
    fn from(error: CallError) -> Self {
        let status = match &error {
            CallError::TimedOut { .. } => StatusCode::GATEWAY_TIMEOUT,
            CallError::NoSuchMethod { .. } => StatusCode::NOT_FOUND,
            CallError::TooLarge { .. } => StatusCode::PAYLOAD_TOO_LARGE,
            CallError::VersionMismatch { ran: false, .. } => StatusCode::BAD_REQUEST,
            CallError::Unreachable { .. } | CallError::Busy { .. } => StatusCode::SERVICE_UNAVAILABLE,
            _ => StatusCode::BAD_GATEWAY,
        };
        let unknown = error.outcome_unknown();
        let more = if unknown { "; whether it was carried out is not known" } else { "" };
        let mut answer = Self::new(status, error.code(), format!("{error}{more}"));
        answer.body.outcome_unknown = Some(unknown);
        answer
    }
}

impl From<GroupError> for ApiError {
    fn from(error: GroupError) -> Self {
        let (status, code) = match &error {
            GroupError::NoQuorum(_) => (StatusCode::SERVICE_UNAVAILABLE, "no_quorum"),
            GroupError::Ended(_) => (StatusCode::SERVICE_UNAVAILABLE, "stopping"),
            GroupError::Unknown(_) => (StatusCode::BAD_GATEWAY, "timed_out"),
            GroupError::TooLarge { .. } => (StatusCode::PAYLOAD_TOO_LARGE, "too_large"),
            GroupError::Refused(_) => (StatusCode::CONFLICT, "refused"),
        };
        let mut answer = Self::new(status, code, error.to_string());
        answer.body.outcome_unknown = Some(error.outcome_unknown());
        answer
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        (self.status, Json(ErrorAnswer { error: self.body })).into_response()
    }
}
