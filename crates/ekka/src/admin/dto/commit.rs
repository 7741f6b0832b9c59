//! Commits of groups, measured and one by one: what is asked and what is answered.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Which group commits.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum GroupWord {
    /// The one whose log is on disc.
    #[default]
    Durable,
    /// The one whose log is in memory.
    Volatile,
}

/// The body of `bench/commit`.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CommitBenchRequest {
    /// Which group; the durable one where it is not said.
    #[serde(default)]
    pub group: GroupWord,
    /// Proposals at once, at most 1024.
    pub proposers: usize,
    /// For how long, at most a minute.
    pub for_ms: u64,
}

/// What was measured.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, ToSchema)]
pub struct CommitBenchAnswer {
    /// Which group.
    pub group: GroupWord,
    /// Proposals at once.
    pub proposers: usize,
    /// Proposals that were acknowledged.
    pub commits: u64,
    /// Proposals of which nobody knows what became of them.
    pub unknown: u64,
    /// Acknowledged in a second.
    pub commits_per_s: f64,
    /// Half of them took no longer.
    pub p50_us: u64,
    /// One of a hundred took longer.
    pub p99_us: u64,
    /// Syncs of this node's disc, divided by the commits.
    pub fsyncs_per_commit: f64,
    /// The lowest number that was given out: each commit is a fetch-and-add.
    pub first: Option<u64>,
    /// The highest one.
    pub last: Option<u64>,
    /// Whether this node led the group at the end; other nodes pass their proposals on.
    pub leads: bool,
}

/// The body of `bench/tokens`.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct TakeTokensRequest {
    /// How many.
    pub count: u64,
}

/// Fencing tokens that nobody else gets.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
pub struct TakeTokensAnswer {
    /// The first of them.
    pub from: u64,
    /// The first that is none of them any more.
    pub to: u64,
}

/// Below which number all tokens are that were ever taken.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
pub struct CeilingAnswer {
    /// The number.
    pub ceiling: u64,
}
