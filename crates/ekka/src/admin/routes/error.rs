//! Errors on their way out.

use axum::Json;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use ekka_core::control::CommandError;

use crate::admin::dto::{ErrorAnswer, ErrorBody};

/// An answer that is no success.
pub(in crate::admin) struct ApiError {
    status: StatusCode,
    body: ErrorBody,
}

impl ApiError {
    pub(in crate::admin) fn new(status: StatusCode, code: &str, message: impl Into<String>) -> Self {
        Self { status, body: ErrorBody { code: code.into(), message: message.into(), candidates: Vec::new() } }
    }

    pub(in crate::admin) fn bad_request(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "bad_request", message)
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

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        (self.status, Json(ErrorAnswer { error: self.body })).into_response()
    }
}
