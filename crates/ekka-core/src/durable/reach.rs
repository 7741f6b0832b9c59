//! Whom a node hears in its cluster, and with which stores they vote: what counts towards a majority.

use alloc::collections::BTreeMap;

use crate::consensus::{Configuration, VoterId};
use crate::id::NodeId;

/// The nodes in reach, this one included. A node whose store was damaged or lost is heard as before, and the vote that went
/// with that store is lost all the same: who counted nodes would refuse to `recover` a group that elects nobody any more.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct InReach {
    stores: BTreeMap<NodeId, Option<u128>>,
}

impl InReach {
    /// These nodes, and the store of each as far as that is known.
    pub fn new(nodes: impl IntoIterator<Item = (NodeId, Option<u128>)>) -> Self {
        Self { stores: nodes.into_iter().collect() }
    }

    /// Whether this node is in reach.
    #[must_use]
    pub fn has(&self, node_id: NodeId) -> bool {
        self.stores.contains_key(&node_id)
    }

    /// Whether it is, with the store that votes.
    #[must_use]
    pub fn has_voter(&self, voter: VoterId) -> bool {
        self.stores.get(&voter.node_id).is_some_and(|store| store.is_none_or(|store| store == voter.start))
    }

    /// How many of these voters are in reach.
    #[must_use]
    pub fn count<'a>(&self, voters: impl IntoIterator<Item = &'a VoterId>) -> usize {
        voters.into_iter().filter(|voter| self.has_voter(**voter)).count()
    }

    /// Whether they are a majority in each set of voters: the one meaning of *majority*. Members that do not vote count
    /// for nothing, however many they are.
    #[must_use]
    pub fn is_majority_of(&self, configuration: &Configuration) -> bool {
        configuration.is_majority(|voter| self.has_voter(voter))
    }
}
