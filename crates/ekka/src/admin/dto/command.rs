//! Commands: what is asked and what is answered.

use ekka_core::decision::Decision;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::admin::rfc3339;

/// The body of `form`, `leave`, `drain` and `undrain`; no body is the same as `{}`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PlanRequest {
    /// Only say what would happen.
    #[serde(default)]
    pub plan: bool,
    /// Answer at the end of the work; else within a second, while it goes on.
    #[serde(default = "yes")]
    pub wait: bool,
}

/// The body of `stop`.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct StopRequest {
    /// Only say what would happen.
    #[serde(default)]
    pub plan: bool,
    /// Answer at the end of the work; else within a second, while it goes on.
    #[serde(default = "yes")]
    pub wait: bool,
    /// Who asked, for the record: `api` where it is not said.
    #[serde(default = "by_api")]
    pub by: String,
}

/// The body of `join`.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct JoinRequest {
    /// A node of the cluster to go into.
    pub node: String,
    /// This node's whole cluster goes into that one, although its quorum tables have held rows.
    #[serde(default)]
    pub absorb: bool,
    /// Only say what would happen.
    #[serde(default)]
    pub plan: bool,
    /// Answer at the end of the work; else within a second, while it goes on.
    #[serde(default = "yes")]
    pub wait: bool,
}

/// The body of `force-leave`.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ForceLeaveRequest {
    /// A name, or at least 6 hex digits of a node id.
    pub node: String,
    /// Who is to take its vote, named likewise: waits until that one has caught up, then moves the vote in one change.
    #[serde(default)]
    pub replace_with: Option<String>,
    /// Do it although the member is up.
    #[serde(default)]
    pub alive: bool,
    /// Only say what would happen.
    #[serde(default)]
    pub plan: bool,
    /// Answer at the end of the work; else within a second, while it goes on.
    #[serde(default = "yes")]
    pub wait: bool,
}

/// The body of `recover`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RecoverRequest {
    /// What only the lost voters held is given up; without it nothing is changed, and the answer is the plan.
    #[serde(default)]
    pub accept_loss: bool,
    /// Only say what would happen.
    #[serde(default)]
    pub plan: bool,
    /// Answer at the end of the work; else within a second, while it goes on.
    #[serde(default = "yes")]
    pub wait: bool,
}

/// What came of a command.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
#[serde(untagged)]
pub enum CommandAnswer {
    /// It is done.
    Done {
        /// In words.
        text: String,
        /// What `ekka why` takes.
        decision: String,
        /// The cluster that the node is in now.
        cluster_id: Option<String>,
    },
    /// What would happen.
    Plan {
        /// Line by line.
        plan: Vec<String>,
        /// Why it would be refused.
        refused: Option<String>,
    },
    /// It goes on.
    Accepted {
        /// Always true.
        accepted: bool,
        /// In words.
        text: String,
    },
}

/// What a reload changed.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
pub struct ReloadAnswer {
    /// Keys that are in effect now.
    pub changed: Vec<String>,
    /// Keys that take effect at the next start.
    pub needs_restart: Vec<String>,
    /// What an operator should know of it, in words.
    #[serde(default)]
    pub warnings: Vec<String>,
}

/// The record of one decision.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
pub struct DecisionAnswer {
    /// Its id.
    pub id: String,
    /// When.
    pub time: String,
    /// `form`, `join`, `admit`, `refuse`, `down`, `up`, `remove`, `merge`, `leave`, `stop`, `heal` or `command`.
    pub kind: String,
    /// What was decided.
    pub what: String,
    /// The rule applied.
    pub rule: String,
    /// Who saw what, and when.
    pub evidence: Vec<String>,
    /// What it was decided from, whole, in hex digits: for whoever looks into a report.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub inputs: Option<String>,
}

impl From<Decision> for DecisionAnswer {
    fn from(decision: Decision) -> Self {
        let Decision { id, time, kind, what, rule, evidence, inputs } = decision;
        Self { id: id.to_string(), time: rfc3339(time), kind, what, rule, evidence, inputs }
    }
}

fn yes() -> bool {
    true
}

fn by_api() -> String {
    "api".into()
}
