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
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize, ToSchema)]
pub struct ErrorBody {
    /// For programs: `refused`, `not_found`, `ambiguous`, `failed`, `stopping`, `bad_request`, `unauthorized`,
    /// `too_many`, `method_not_allowed`, `too_large`; of calls `unreachable`, `timed_out`, `no_such_method`,
    /// `handler_failed`, `version_mismatch`, `cancelled`, `busy`; of groups `no_quorum`.
    pub code: String,
    /// For people.
    pub message: String,
    /// Whom an ambiguous name may mean.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub candidates: Vec<String>,
    /// Of calls: the request may have been carried out all the same.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outcome_unknown: Option<bool>,
}
