//! A cluster goes on in a later generation: who is in it raises its own, who is not is out of it at once.

use alloc::string::String;
use alloc::vec::Vec;

use super::room::Autocluster;
use super::{Output, Outranked};
use crate::id::NodeId;

impl Autocluster {
    /// The record of this node's cluster has this generation.
    pub(super) fn raise_generation(&mut self, generation: u64, out: &mut Vec<Output>) {
        if let Some(mine) = self.saved.cluster_id.filter(|_| generation > self.saved.generation) {
            self.saved.generation = generation;
            self.saved.merged.forget_before(mine, generation);
            self.persist_then(Vec::new(), out);
        }
    }

    /// Whether a peer has not said yet that it is in the generation of this node's cluster, or a later one.
    #[must_use]
    pub fn is_behind(&self, node_id: NodeId) -> bool {
        let said = self.peers.get(&node_id).and_then(|known| known.said.as_ref());
        let with_us = said
            .is_some_and(|said| said.cluster_id == self.saved.cluster_id && said.generation >= self.saved.generation);
        self.saved.generation > 0 && !with_us
    }

    /// Back to a node without a cluster. Promise and acceptance stay: the old decree is decided, and a second answer to
    /// it would be another one.
    pub(super) fn forget_cluster(&mut self) {
        self.remember_cluster();
        self.saved.cluster_id = None;
        self.saved.first_voters.clear();
        self.saved.generation = 0;
        self.joining = None;
        self.met.clear();
    }

    /// The cluster goes on without this node: it is out at once, takes part in no vote, and asks that cluster alone to be
    /// let in.
    pub(super) fn outranked(&mut self, words: String, out: &mut Vec<Output>) {
        let Some(cluster_id) = self.saved.cluster_id else { return };
        self.forget_cluster();
        // Where it was to go then is no way to where that cluster is now.
        self.saved.merged.forget(cluster_id);
        self.saved.outranked = Some(Outranked { cluster_id, words });
        self.persist_then(Vec::new(), out);
    }
}
