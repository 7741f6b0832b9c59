//! Locks: what is asked and what is answered.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// How a lock is held.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum LockMode {
    /// Alone.
    #[default]
    Exclusive,
    /// Beside others that share it.
    Shared,
    /// As one of several permits.
    Permit,
}

/// Somebody who holds a lock.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
pub struct LockHolderAnswer {
    /// Whose it is.
    pub owner: String,
    /// Its session.
    pub session: String,
    /// How it holds it.
    pub mode: LockMode,
    /// Its fencing token.
    pub token: u64,
}

/// A lock that somebody holds or waits for.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
pub struct LockAnswer {
    /// Which.
    pub name: String,
    /// Who lets in.
    #[serde(rename = "type")]
    pub kind: String,
    /// Who holds it.
    pub holders: Vec<LockHolderAnswer>,
    /// How many wait.
    pub waiters: u64,
}

/// The body of `locks/hold`.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct HoldRequest {
    /// The locks: all of them, taken in the order of their names.
    pub names: Vec<String>,
    /// For how long they outlive the last word of the agent; 15 s where it is not said.
    #[serde(default)]
    pub ttl_ms: Option<u64>,
    /// How long they are waited for: 0 takes them only where they are free, and without it there is no limit.
    #[serde(default)]
    pub wait_ms: Option<u64>,
    /// How they are held.
    #[serde(default)]
    pub mode: LockMode,
    /// How many permits there are, where one of them is wanted.
    #[serde(default)]
    pub permits: Option<u32>,
}

/// The body of `locks/force-release`.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ForceReleaseRequest {
    /// Which lock.
    pub name: String,
    /// Who asks, for the record.
    #[serde(default)]
    pub by: String,
}

/// A lock was taken from those who held it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
pub struct ForceReleaseAnswer {
    /// Which lock.
    pub name: String,
    /// How many held it.
    pub holders: u64,
}

/// A line of what `locks/hold` answers; the first one says `held`.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
pub struct HoldLine {
    /// `held`, `still` (now and then), or `lost`, which is the last one.
    pub state: String,
    /// The fencing token; of several locks the highest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token: Option<u64>,
    /// How long it is valid, should nothing more come.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub left_ms: Option<u64>,
    /// Until when, by the clock of the agent's host since it booted (`CLOCK_BOOTTIME`): a client on the same host compares with
    /// that, however long the line was under way.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until_boot_ms: Option<u64>,
}
