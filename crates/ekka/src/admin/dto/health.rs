//! `health`

use ekka_core::view::Reason;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::admin::rfc3339;

/// Why a node is not ready, in words.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
pub struct ReasonAnswer {
    /// For programs: `joining`, `syncing`, `minority`, `healing`, `draining`, `fenced`, `disc_full`, `clock`,
    /// `conflict`, `stopping`, `left`.
    pub code: String,
    /// For people.
    pub text: String,
    /// Since when.
    pub since: String,
}

/// Whether the node is ready.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
pub struct ReadyAnswer {
    /// The answer.
    pub ready: bool,
    /// For what: `quorum` or `available`.
    #[serde(rename = "for")]
    pub for_: String,
    /// Why not.
    pub reasons: Vec<ReasonAnswer>,
    /// The state of the split, as in `status`.
    pub split: String,
}

/// Whether the control thread makes steps.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
pub struct LiveAnswer {
    /// The answer.
    pub live: bool,
    /// How long ago it made its last step.
    pub last_step_ms: u64,
}

/// Whether the node can stop without harm.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
pub struct SafeAnswer {
    /// The answer.
    pub safe: bool,
    /// Why not.
    pub reasons: Vec<String>,
}

impl From<&Reason> for ReasonAnswer {
    fn from(reason: &Reason) -> Self {
        Self { code: reason.code.clone(), text: reason.text.clone(), since: rfc3339(reason.since) }
    }
}
