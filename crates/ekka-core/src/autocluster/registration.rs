//! What backends are to know of this node.

use alloc::vec::Vec;

use super::Output;
use super::room::{Autocluster, Known};
use crate::id::ClusterId;
use crate::view::Status;

/// What a backend is to know of this node.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Registration {
    /// It wants to be found. Off once it has left, or is on its way out.
    pub listed: bool,
    /// The cluster that it is in, once that is on disc.
    pub cluster_id: Option<ClusterId>,
    /// Which record of another cluster that cluster replaces in a backend that decides.
    pub supersedes: Supersedes,
    /// All founders are in: the record needs to name them no more, and should not, or one whose disc was set back could
    /// found the same cluster once more.
    pub settled: bool,
}

/// Which clusters another one has taken the place of.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Supersedes {
    /// These, which were merged into it.
    Merged(Vec<ClusterId>),
    /// Any: it was formed by an operator's word.
    Any,
}

impl Default for Supersedes {
    fn default() -> Self {
        Self::Merged(Vec::new())
    }
}

impl Supersedes {
    /// Whether the record of that cluster gives way.
    #[must_use]
    pub fn includes(&self, cluster_id: ClusterId) -> bool {
        match self {
            Self::Merged(merged) => merged.contains(&cluster_id),
            Self::Any => true,
        }
    }
}

/// Clusters that a node remembers having been in.
const WAS_IN_MAX: usize = 16;

impl Autocluster {
    /// Says it when it changed.
    pub(super) fn register(&mut self, out: &mut Vec<Output>) {
        let cluster_id = self.cluster_on_disc();
        let supersedes = if self.saved.by_word && cluster_id.is_some() {
            Supersedes::Any
        } else {
            Supersedes::Merged(cluster_id.map(|mine| self.merged_into(mine)).unwrap_or_default())
        };
        let listed = !self.saved.left && !matches!(self.status, Status::Leaving | Status::Stopped);
        // All founders were seen in it: that stays true, and is not looked for again at each step.
        let was_settled = |told: &Registration| told.settled && told.cluster_id == cluster_id;
        let settled = self.registered.as_ref().is_some_and(was_settled) || self.settled();
        let registration = Registration { listed, cluster_id, supersedes, settled };
        if self.registered.as_ref() != Some(&registration) {
            self.registered = Some(registration.clone());
            out.push(Output::Register(registration));
        }
    }

    /// Whether every first voter of this node's cluster was seen in it.
    fn settled(&mut self) -> bool {
        let Some(mine) = self.cluster_on_disc() else { return false };
        let me = self.me().node_id;
        let is_in = |known: &Known| known.said.as_ref().is_some_and(|said| said.cluster_id == Some(mine));
        let first = &self.saved.first_voters;
        let seen = first
            .iter()
            .map(|founder| founder.id.node_id)
            .filter(|id| *id == me || self.peers.get(id).is_some_and(is_in));
        self.entered.extend(seen);
        first.iter().all(|founder| self.entered.contains(&founder.id.node_id))
    }

    /// The clusters whose chain of records ends in this one.
    fn merged_into(&self, mine: ClusterId) -> Vec<ClusterId> {
        self.saved.merged.iter().map(|record| record.from).filter(|id| self.end_of_chain(*id) == mine).collect()
    }

    /// This node is in its cluster no more.
    pub(super) fn remember_cluster(&mut self) {
        let Some(id) = self.saved.cluster_id else { return };
        self.saved.by_word = false;
        self.entered.clear();
        let was_in = &mut self.saved.was_in;
        was_in.retain(|other| *other != id);
        was_in.push(id);
        let more = was_in.len().saturating_sub(WAS_IN_MAX);
        was_in.drain(..more);
    }
}
