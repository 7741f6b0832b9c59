//! What etcd keeps beside the entries of nodes: the key that decides the id, and who wants to be listed.

use std::collections::BTreeMap;
use std::time::Duration;

use ekka_core::autocluster::{Proposal, Registration};
use ekka_core::id::ClusterId;

/// `cluster.etcd.node_ttl`
pub(super) const TTL: Duration = Duration::from_secs(60);

/// The keys.
#[derive(Clone, Debug, Default)]
pub(in crate::core_world) struct Keys {
    id: Option<Proposal>,
    wanted: BTreeMap<usize, (u64, Registration)>,
}

impl Keys {
    pub(super) fn id(&self) -> Option<ClusterId> {
        self.id.as_ref().map(|held| held.cluster_id)
    }

    /// The key is lost; what processes want is not.
    pub(super) fn wipe(&mut self) {
        self.id = None;
    }

    /// Compare and create, in one step.
    pub(super) fn claim(&mut self, offer: Proposal) -> Proposal {
        self.id.get_or_insert(offer).clone()
    }

    /// What a process wants to be known by; whether that is its first word.
    pub(super) fn registered(&mut self, machine: usize, life: u64, registration: Registration) -> bool {
        let before = self.wanted.insert(machine, (life, registration));
        before.is_none_or(|(before, _)| before != life)
    }

    pub(super) fn of(&self, machine: usize, life: u64) -> Option<Registration> {
        self.wanted.get(&machine).filter(|(of, _)| *of == life).map(|(_, registration)| registration.clone())
    }

    /// A formed member writes the record again where it is gone, and in place of one that its cluster replaces.
    pub(super) fn record(&mut self, registration: &Registration) {
        let Some(cluster_id) = registration.cluster_id else { return };
        let gives_way =
            |held: &Proposal| held.cluster_id != cluster_id && registration.supersedes.includes(held.cluster_id);
        let done = |held: &Proposal| held.cluster_id == cluster_id && registration.settled && !held.founders.is_empty();
        if self.id.as_ref().is_none_or(|held| gives_way(held) || done(held)) {
            self.id = Some(Proposal { cluster_id, founders: Vec::new() });
        }
    }
}
