//! What a comparison came to.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use ekka_core::id::NodeId;
use ekka_core::schema::Kind;

/// How a peer stands to this node, by one table.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Step {
    /// Both have the same.
    InStep,
    /// What both hold is equal; one has not got everything of the other yet.
    Behind {
        /// By so many operations the peer is behind.
        peer: u64,
        /// By so many this node is.
        here: u64,
    },
    /// What both hold is not equal, in these ranges of keys.
    Differs {
        /// The ranges, of 256.
        ranges: Vec<usize>,
    },
    /// They could not be compared; why, in words.
    NotCompared(String),
}

/// A peer by one table.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PeerVerdict {
    /// Its name.
    pub name: String,
    /// Who it is.
    pub node: NodeId,
    /// How it stands.
    pub step: Step,
}

/// A table, compared with the peers that are up.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TableVerdict {
    /// Its name.
    pub table: String,
    /// Its kind.
    pub kind: Kind,
    /// The rows that were compared, on this node.
    pub rows: u64,
    /// All that this node sums to then.
    pub digest: u64,
    /// Each peer.
    pub peers: Vec<PeerVerdict>,
    /// Why it was not compared at all, in words.
    pub left_out: Option<String>,
}

impl TableVerdict {
    /// Whether a difference was found; `None` where nothing was compared.
    #[must_use]
    pub fn differs(&self) -> Option<bool> {
        let compared = |peer: &&PeerVerdict| !matches!(peer.step, Step::NotCompared(_));
        let mut peers = self.peers.iter().filter(compared).peekable();
        peers.peek()?;
        Some(peers.any(|peer| matches!(peer.step, Step::Differs { .. })))
    }
}

/// What the last comparison of each table came to.
#[derive(Default)]
pub(in crate::table) struct Verdicts(Mutex<BTreeMap<u64, bool>>);

impl Verdicts {
    /// Takes a comparison down; whether it is the first to find a difference.
    pub(super) fn take(&self, table: u64, differs: bool) -> bool {
        let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        last.insert(table, differs) != Some(true) && differs
    }

    /// Whether the last comparison of a table found a difference; `None` where there was none.
    pub(in crate::table) fn differs(&self, table: u64) -> Option<bool> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(&table).copied()
    }
}
