//! The durable group as an ideal log: one order, applied by each process in its own time.

use std::collections::{BTreeMap, BTreeSet};

use ekka_core::id::{Guid, Incarnation, NodeId};
use ekka_core::volatile::{Decided, Facts, Proposal};

#[derive(Clone, Debug)]
pub(crate) enum Entry {
    Propose(Proposal),
    /// A start of a directory.
    Started(Incarnation),
    Gone(Incarnation),
    /// A member has left; its process runs on.
    Left(Incarnation),
    /// It is back, under the same guid.
    Joined(Incarnation),
    /// Tokens below this may be issued by that generation.
    Ceiling {
        generation: u64,
        below: u64,
    },
}

/// The state that the log gives.
#[derive(Clone, Debug, Default)]
pub(crate) struct State {
    pub(crate) decided: Decided,
    pub(crate) present: BTreeMap<NodeId, Guid>,
    pub(crate) gone: BTreeMap<NodeId, Guid>,
    /// Who left and is not back.
    left: BTreeMap<NodeId, Guid>,
    /// Tokens below this may be issued.
    pub(crate) ceiling: u64,
    /// The present generation issues none below this.
    pub(crate) floor: u64,
}

impl State {
    /// Whether a generation was decided by it.
    pub(crate) fn apply(&mut self, entry: &Entry, no_compare: bool) -> bool {
        match entry {
            Entry::Propose(proposal) => {
                let before = self.decided.generation().number();
                let applied = self.decided.apply(proposal);
                if !applied && no_compare && proposal.next.number() >= before {
                    self.decided.replace(proposal.next.clone());
                }
                let decided = applied || no_compare;
                let next =
                    self.decided.generation().number() > before || (no_compare && proposal.next.version.revision == 0);
                if decided && next {
                    self.floor = self.ceiling;
                }
                decided && next
            }
            Entry::Started(id) => {
                let guid = self.present.entry(id.node_id).or_insert(id.guid);
                *guid = (*guid).max(id.guid);
                self.left.remove(&id.node_id);
                false
            }
            Entry::Gone(id) => {
                let guid = self.gone.entry(id.node_id).or_insert(id.guid);
                *guid = (*guid).max(id.guid);
                false
            }
            Entry::Left(id) => {
                if self.present.get(&id.node_id) == Some(&id.guid) {
                    self.present.remove(&id.node_id);
                    self.left.insert(id.node_id, id.guid);
                }
                false
            }
            Entry::Joined(id) => {
                if self.left.get(&id.node_id) == Some(&id.guid) {
                    self.left.remove(&id.node_id);
                    self.present.insert(id.node_id, id.guid);
                }
                false
            }
            Entry::Ceiling { generation, below } => {
                if *generation == self.decided.generation().number() {
                    self.ceiling = self.ceiling.max(*below);
                }
                false
            }
        }
    }

    pub(crate) fn facts(&self, wanted: &BTreeSet<NodeId>) -> Facts {
        let mut gone = self.gone.clone();
        for (node_id, guid) in &self.left {
            let latest = gone.entry(*node_id).or_insert(*guid);
            *latest = (*latest).max(*guid);
        }
        Facts {
            generation: self.decided.generation().clone(),
            present: self.present.clone(),
            gone,
            wanted: wanted.difference(&self.left.keys().copied().collect()).copied().collect(),
            members: self.present.keys().copied().collect(),
        }
    }
}
