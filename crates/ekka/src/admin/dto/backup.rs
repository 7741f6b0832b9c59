//! Backups, and comparisons of tables.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::ErrorBody;
use crate::table::{PeerVerdict, Restored, Step, TableRestored, TableVerdict};

/// The body of `verify`.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct VerifyRequest {
    /// The table; all where it is not said.
    #[serde(default)]
    pub table: Option<String>,
}

/// A table, compared with the nodes that are up.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
pub struct VerifyAnswer {
    /// Its name.
    pub table: String,
    /// `available`, `owned` or `quorum`.
    pub kind: String,
    /// Rows of this node that were compared.
    pub rows: u64,
    /// What they sum to, in hex; equal rows, equal sums.
    pub digest: String,
    /// Whether a difference was found; none where nothing was compared.
    pub differs: Option<bool>,
    /// Why it was not compared, in words.
    pub left_out: Option<String>,
    /// Each node that is up.
    pub peers: Vec<VerifiedPeer>,
}

/// A node by one table.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
pub struct VerifiedPeer {
    /// Its name.
    pub node: String,
    /// Who it is.
    pub node_id: String,
    /// `in_step`, `behind` (what both hold is equal, one has not got everything yet), `differs`, `not_compared`.
    pub state: String,
    /// Operations that it has not got yet.
    pub behind: u64,
    /// Operations that this node has not got yet.
    pub ahead: u64,
    /// The ranges of keys, of 256, in which they differ.
    pub ranges: Vec<usize>,
    /// Why it was not compared, in words.
    pub why: Option<String>,
}

impl From<TableVerdict> for VerifyAnswer {
    fn from(verdict: TableVerdict) -> Self {
        Self {
            differs: verdict.differs(),
            table: verdict.table,
            kind: verdict.kind.as_str().into(),
            rows: verdict.rows,
            digest: format!("{:016x}", verdict.digest),
            left_out: verdict.left_out,
            peers: verdict.peers.into_iter().map(VerifiedPeer::from).collect(),
        }
    }
}

impl From<PeerVerdict> for VerifiedPeer {
    fn from(peer: PeerVerdict) -> Self {
        let (state, (behind, ahead), ranges, why) = match peer.step {
            Step::InStep => ("in_step", (0, 0), Vec::new(), None),
            Step::Behind { peer, here } => ("behind", (peer, here), Vec::new(), None),
            Step::Differs { ranges } => ("differs", (0, 0), ranges, None),
            Step::NotCompared(why) => ("not_compared", (0, 0), Vec::new(), Some(why)),
        };
        let (node, node_id) = (peer.name, peer.node.to_string());
        Self { node, node_id, state: state.into(), behind, ahead, ranges, why }
    }
}

/// One line of the answer to `restore`: exactly one field is there.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize, ToSchema)]
pub struct RestoreLine {
    /// How far a table is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub progress: Option<RestoredTable>,
    /// It is done: the last line.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub done: Option<RestoredAnswer>,
    /// It failed: the last line.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<ErrorBody>,
}

/// What a restore did, or would do.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
pub struct RestoredAnswer {
    /// Nothing was changed: this is what would be done.
    pub plan: bool,
    /// Each table.
    pub tables: Vec<RestoredTable>,
    /// The ceiling of fencing tokens was, or would be, raised to this.
    pub token_ceiling: Option<u64>,
    /// What else there is to know.
    pub notes: Vec<String>,
}

/// A table that was put back, or would be.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
pub struct RestoredTable {
    /// Its name.
    pub table: String,
    /// What it is.
    pub what: String,
    /// It was not there and was made.
    pub made: bool,
    /// Rows that were not there.
    pub added: u64,
    /// Rows that took the place of others.
    pub replaced: u64,
    /// Rows that are there as they should be, or newer.
    pub kept: u64,
    /// Rows of the backup that were deleted since, and stay so.
    pub stay_deleted: u64,
    /// Rows of the backup that have expired.
    pub expired: u64,
    /// Rows that are not in the backup and were deleted.
    pub deleted: u64,
}

impl From<TableRestored> for RestoredTable {
    fn from(table: TableRestored) -> Self {
        let TableRestored { table, what, made, added, replaced, kept, stay_deleted, expired, deleted } = table;
        Self { table, what, made, added, replaced, kept, stay_deleted, expired, deleted }
    }
}

impl RestoredAnswer {
    /// Of a restore, or of its plan.
    #[must_use]
    pub fn of(restored: Restored, plan: bool) -> Self {
        let Restored { tables, token_ceiling, notes } = restored;
        Self { plan, tables: tables.into_iter().map(RestoredTable::from).collect(), token_ceiling, notes }
    }
}
