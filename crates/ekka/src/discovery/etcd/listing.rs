//! What stands below the base. Pure.
//!
//! Keys of nodes and the id have room of their own: however many keys others keep there, they push none of them out.

use super::layout::is_ours;

/// Keys of nodes that are read: more than are taken as candidates, so that more are seen to be there.
const NODES_MAX: usize = ekka_core::limits::CANDIDATES_MAX + 64;
/// Keys of others that are left out by name; the rest is counted.
pub(super) const OTHERS_MAX: usize = 64;

/// What stands below the base.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct Listing {
    pub(super) entries: Vec<Entry>,
    /// Keys that are no node's, beside those in `entries`.
    pub(super) others: u64,
    /// How many keys there are, where those are not all.
    pub(super) of: Option<u64>,
}

/// A key, by its part below the base.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Entry {
    pub(super) name: String,
    /// The value, or why there is none.
    pub(super) value: Result<Vec<u8>, &'static str>,
}

/// What was taken into a list so far.
#[derive(Debug, Default)]
pub(super) struct Room {
    nodes: usize,
    others: usize,
    /// Keys of others that found no room.
    pub(super) more_others: u64,
}

impl Room {
    /// Whether the key of that name is taken.
    pub(super) fn takes(&mut self, name: &str) -> bool {
        if is_ours(name) {
            self.nodes += 1;
            return self.nodes <= NODES_MAX;
        }
        let takes = self.others < OTHERS_MAX;
        if takes {
            self.others += 1;
        } else {
            self.more_others += 1;
        }
        takes
    }

    /// Whether a node found no room.
    pub(super) fn is_over(&self) -> bool {
        self.nodes > NODES_MAX
    }
}
