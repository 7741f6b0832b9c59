//! Tables: what is asked and what is answered.
//!
//! Keys, and values of the codec `raw`, are a text, or `{"base64": …}` where they are not UTF-8. Values of `messagepack` and
//! `json` are JSON; what cannot be said in JSON, and `postcard`, is `{"base64": …}`.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

/// The body of `tables`: a table to be made.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CreateTableRequest {
    /// Its name.
    pub name: String,
    /// `available`, `owned` or `quorum`.
    #[serde(default = "available")]
    pub kind: String,
    /// `ram` or `disc`.
    #[serde(default = "ram")]
    pub storage: String,
    /// `set`, `ordered_set` or `bag`.
    #[serde(default = "set", rename = "type")]
    pub type_: String,
    /// `last-writer`, `union`, `max` or `sum`; where it is not said, what the type takes.
    #[serde(default)]
    pub merge: Option<String>,
    /// `messagepack`, `json`, `postcard` or `raw`.
    #[serde(default = "messagepack")]
    pub codec: String,
}

fn available() -> String {
    "available".into()
}

fn ram() -> String {
    "ram".into()
}

fn set() -> String {
    "set".into()
}

fn messagepack() -> String {
    "messagepack".into()
}

/// What a change of the tables came to.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
pub struct TableChangedAnswer {
    /// The table.
    pub name: String,
    /// What was done, in words.
    pub text: String,
    /// The record behind `ekka why`; none where nothing had to be done.
    pub decision: Option<String>,
}

/// A table on this node.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
pub struct TableAnswer {
    /// Its name.
    pub name: String,
    /// `available`, `owned` or `quorum`.
    pub kind: String,
    /// `ram` or `disc`.
    pub storage: String,
    /// `set`, `ordered_set` or `bag`.
    #[serde(rename = "type")]
    pub type_: String,
    /// How it merges.
    pub merge: String,
    /// How its values are written.
    pub codec: String,
    /// Rows that are there.
    pub rows: u64,
    /// Rows that are deleted, and kept until every member knows.
    pub tombstones: u64,
    /// Bytes of both.
    pub bytes: u64,
    /// Whether it has got from its peers what they hold.
    pub loaded: bool,
    /// Writes of this node that a linked peer has not said to hold.
    pub lag: BTreeMap<String, u64>,
    /// Versions that lost to one whose writer had not seen them: they are in the journal.
    pub overridden: u64,
    /// What the last comparison with the peers found: `equal`, `differs`, or `unknown` where there was none.
    #[serde(default)]
    pub digest: String,
}

/// The body of `bench/table`.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct TableBenchRequest {
    /// Its rows are written over.
    pub table: String,
    /// `put` or `get`; of an `owned` table `put_many`: all rows in one go, acknowledged by all.
    pub op: String,
    /// `two`, `local` or `all`; for `put`.
    #[serde(default)]
    pub ack: Option<String>,
    /// Writers or readers at once, at most 1024.
    pub writers: usize,
    /// Rows, 1 to 10,000,000.
    pub rows: usize,
    /// Bytes of a value, at most 1048576.
    pub value_bytes: usize,
    /// For how long, at most a minute.
    pub for_ms: u64,
    /// Threads on which the measured ones run, at most 64; one for each core where it is left out.
    #[serde(default)]
    pub threads: Option<usize>,
    /// The rows are there already, from a measurement before this one.
    #[serde(default)]
    pub filled: bool,
}

/// What was measured.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, ToSchema)]
pub struct TableBenchAnswer {
    /// As it was asked for.
    pub op: String,
    /// How writes were acknowledged.
    pub ack: Option<String>,
    /// Writers or readers at once.
    pub writers: usize,
    /// Operations that ended.
    pub ops: u64,
    /// In a second, counted until every linked peer held the last of them; of a quorum table, until it was committed.
    pub ops_per_s: f64,
    /// Half of them took no longer.
    pub p50_us: f64,
    /// One of a hundred took longer.
    pub p99_us: f64,
    /// After the last one had ended, until every peer held it.
    pub settle_ms: f64,
    /// Peers that held all in the end.
    pub peers: usize,
}

/// A key of a table.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct KeyRequest {
    /// The key.
    pub key: Value,
    /// Of a quorum table: as this node has it, without asking a majority; it may be old.
    #[serde(default)]
    pub stale: bool,
}

/// A row to be written.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PutRequest {
    /// Its key.
    pub key: Value,
    /// Its value.
    pub value: Value,
    /// The value is `{"base64": …}` of the bytes that are to be stored, whatever the codec.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub encoded: bool,
    /// Of a quorum table: only where the row has this revision; 0: only where there is none.
    #[serde(default)]
    pub if_revision: Option<u64>,
    /// It expires so long from now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ttl_ms: Option<u64>,
    /// How it is acknowledged.
    #[serde(flatten)]
    pub terms: TermsRequest,
}

/// A row to be deleted.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct DeleteRequest {
    /// Its key.
    pub key: Value,
    /// How it is acknowledged.
    #[serde(flatten)]
    pub terms: TermsRequest,
}

/// How a write is acknowledged.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize, ToSchema)]
pub struct TermsRequest {
    /// `two` (here and on one more node that is up), `local` or `all`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ack: Option<String>,
    /// Fewer than two copies are an error.
    #[serde(default)]
    pub strict: bool,
    /// How long copies are waited for; 5 s where it is not said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deadline_ms: Option<u64>,
}

/// A write that is acknowledged.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, ToSchema)]
pub struct WrittenAnswer {
    /// The key.
    pub key: Value,
    /// How many nodes have it, this one included.
    pub copies: u32,
    /// Whether each of them has it so that it survives the loss of power.
    pub durable: bool,
    /// Two copies were asked for, and no other node is up.
    pub lonely: bool,
}

/// A row.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, ToSchema)]
pub struct RowAnswer {
    /// Its key.
    pub key: Value,
    /// Its value.
    pub value: Value,
    /// The value is `{"base64": …}` of the bytes that are stored, which JSON cannot say in the codec of the table.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub encoded: bool,
    /// Of a bag, which of its values are so; left out where none is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub values_encoded: Option<Vec<bool>>,
    /// Which version of it.
    pub revision: String,
    /// When it expires; left out where it does not. Of a bag, when the last value does, where all do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<String>,
    /// Of a bag, when each value expires, null where it does not; left out where none does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub values_expire_at: Option<Vec<Option<String>>>,
}

/// Some rows.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize, ToSchema)]
pub struct RowsAnswer {
    /// The rows, in the order of the bytes of their keys.
    pub rows: Vec<RowAnswer>,
    /// The key after which to go on; none where there are no more.
    pub next: Option<Value>,
}

/// A version that lost to one whose writer had not seen it.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, ToSchema)]
pub struct LossAnswer {
    /// The table.
    pub table: String,
    /// The key.
    pub key: Value,
    /// The value; none where it was a deletion. Of a counter, the number of one node's part.
    pub value: Option<Value>,
    /// The value is `{"base64": …}` of the bytes that are stored, which JSON cannot say in the codec of the table.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub encoded: bool,
    /// Whether it was a deletion.
    #[serde(default)]
    pub deleted: bool,
    /// Who wrote it: the name of a member, or the id of a node that is none any more.
    pub node: String,
    /// Which version it was.
    pub revision: String,
    /// When it was written.
    pub written: String,
    /// When it expires; left out where it does not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<String>,
}

/// Which rows.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ScanRequest {
    /// Those whose keys begin with this; all where it is not said.
    #[serde(default)]
    pub prefix: Option<Value>,
    /// Those after this key.
    #[serde(default)]
    pub after: Option<Value>,
    /// At most so many; 1000 where it is not said.
    #[serde(default)]
    pub limit: Option<usize>,
    /// The highest key first; `after` then says below which one.
    #[serde(default)]
    pub reverse: bool,
    /// Of a quorum table: as this node has it, without asking a majority; it may be old.
    #[serde(default)]
    pub stale: bool,
}
