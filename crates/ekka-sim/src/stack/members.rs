//! What hosts show of members and voters, beside what is committed.

use std::collections::{BTreeMap, BTreeSet};

use ekka_core::id::NodeId;

use super::World;

impl World {
    /// Who votes, as this host shows it.
    #[must_use]
    pub fn voters(&self, i: usize) -> BTreeSet<NodeId> {
        let members = self.view(i).into_iter().flat_map(|view| &view.members);
        members.filter(|member| member.voter).map(|member| member.id.node_id).collect()
    }

    /// Whether the group of this host's cluster has exactly these voters, none of them by a store that is gone.
    #[must_use]
    pub fn all_vote(&self, i: usize, wanted: &BTreeSet<NodeId>) -> bool {
        let Some(cluster_id) = self.view(i).and_then(|view| view.cluster_id) else { return false };
        let groups = self.lock_groups();
        let Some(configuration) = groups.configuration(cluster_id) else { return false };
        let voters = configuration.all_voters();
        let known = voters.iter().all(|voter| groups.host_of(*voter).is_some());
        configuration.voters.len() == 1
            && known
            && voters.iter().map(|voter| voter.node_id).collect::<BTreeSet<_>>() == *wanted
    }

    /// The host that leads the group of this host's cluster.
    #[must_use]
    pub fn leader_of(&self, i: usize) -> Option<usize> {
        let cluster_id = self.view(i)?.cluster_id?;
        self.lock_groups().leader(cluster_id)
    }

    /// Whether all that are inside show the members, and the order in which they came, as it is committed.
    #[must_use]
    pub fn shows_what_is_committed(&self) -> bool {
        let outside = self.outsiders();
        let mut committed: Option<(ekka_core::id::ClusterId, Option<BTreeMap<NodeId, u64>>)> = None;
        (0..self.hosts()).filter(|i| !outside.contains(i)).all(|i| {
            let Some((view, id)) = self.view(i).and_then(|view| Some((view, view.cluster_id?))) else { return false };
            let (_, members) = committed.get_or_insert_with(|| (id, self.lock_groups().members(id)));
            let shown = view.members.iter().map(|member| (member.id.node_id, member.seniority));
            members.as_ref().is_none_or(|members| *members == shown.collect::<BTreeMap<_, _>>())
        })
    }
}
