//! Errors as JSON.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// An answer that is no success.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
pub struct ErrorAnswer {
    /// What went wrong.
    pub error: ErrorBody,
}

/// What went wrong.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
pub struct ErrorBody {
    /// For programs: `refused`, `not_found`, `ambiguous`, `failed`, `stopping`, `bad_request`, `unauthorized`,
    /// `too_many`, `method_not_allowed`, `too_large`.
    pub code: String,
    /// For people.
    pub message: String,
    /// Whom an ambiguous name may mean.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub candidates: Vec<String>,
}
