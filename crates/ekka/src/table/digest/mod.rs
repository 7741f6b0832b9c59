//! Whether the nodes have the same rows: each compares sums of ranges of keys with each peer, at a cut.
//!
//! The two questions that it takes are calls between nodes ([`DIGEST`]), or go through a third one ([`PASSED`]). What counts at a cut, and why, is in
//! `ekka_core::table` (`Cut`). A difference is asked for again before it is believed.

mod answer;
mod compare;
mod reach;
mod verdict;

pub(crate) use self::answer::{Answering, serve};
pub(in crate::table) use self::compare::Found;
pub(in crate::table) use self::reach::Reach;
pub(in crate::table) use self::verdict::Verdicts;
pub use self::verdict::{PeerVerdict, Step, TableVerdict};

use std::collections::BTreeSet;

use ekka_core::id::Incarnation;
use ekka_core::table::{Digest, KeyHash, Revision, Vector};
use ekka_core::time::Wall;
use serde::{Deserialize, Serialize};

use crate::rpc::Method;

/// Asks a node for what its rows sum to.
pub(super) const DIGEST: Method<Ask, Told> = Method::<Ask, Told>::new("ekka.table.digest").postcard();

/// The same, of one that need not be the node that is called: that one passes it on.
const PASSED: Method<Passed, Told> = Method::<Passed, Told>::new("ekka.table.digest.passed").postcard();

/// So many keys may be above a cut; where more are on their way nothing is compared.
const ABOVE_MAX: usize = 100_000;

/// What is asked about a table. New ones are appended.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub(super) enum Ask {
    /// What is held of it.
    Held { table: u64 },
    /// The sums at the cut with a node that holds this, of which these keys are new to who is asked.
    Available { table: u64, held: Vector, above: BTreeSet<KeyHash>, wall: Wall },
    /// The sums of a quorum table, once this revision of a history was applied, or without it.
    Quorum { table: u64, history: String, revision: Revision },
    /// Which tables are open.
    Open,
}

impl Ask {
    /// The table that is asked about, where it is one.
    fn table(&self) -> Option<u64> {
        match self {
            Self::Held { table } | Self::Available { table, .. } | Self::Quorum { table, .. } => Some(*table),
            Self::Open => None,
        }
    }
}

/// What this start of a node is asked: by itself where it is called, or by another one that may still reach it.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
struct Passed {
    node: Incarnation,
    /// Never another one of these: a question is passed on once.
    ask: Ask,
}

/// What is answered. New ones are appended.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub(super) enum Told {
    /// Nothing can be said; why, in words.
    Not(String),
    /// What is held, and how many tombstones were dropped until then.
    Held(Vector, u64),
    /// The sums at the cut, what was held then, which keys are new to who asked (`None`: too many), and how many tombstones
    /// were dropped until then.
    Available { held: Vector, above: Option<BTreeSet<KeyHash>>, digest: Digest, dropped: u64 },
    /// The sums at this revision, without the keys that were changed after the one that was asked for.
    Quorum { revision: Revision, changed: BTreeSet<KeyHash>, digest: Digest },
    /// The node has no replica of the group that the table is in.
    NoReplica,
    /// These tables are open.
    Open(BTreeSet<u64>),
    /// The node has not opened the table.
    NotOpen,
    /// Whoever was to pass a question on does not reach the node either; why, in words.
    NotReached(String),
}
