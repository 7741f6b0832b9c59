//! What can be read of an owned table.

use alloc::vec::Vec;
use core::ops::Bound;

use super::row::OwnedRow;
use super::{Map, OwnedTable, Owner};
use crate::id::{Incarnation, NodeId};

impl OwnedTable {
    fn shown(&self) -> impl Iterator<Item = &Owner> {
        self.owners.values().filter(|owner| !self.down.contains(&owner.id.node_id))
    }

    /// The rows of a key, one for each owner that is up.
    pub fn get(&self, key: &[u8]) -> impl Iterator<Item = (NodeId, &OwnedRow)> {
        self.shown().filter_map(move |owner| Some((owner.id.node_id, owner.rows.get(key)?)))
    }

    /// The rows of a key, of owners that are down as well.
    pub fn get_including_down(&self, key: &[u8]) -> impl Iterator<Item = (NodeId, &OwnedRow)> {
        self.owners.values().filter_map(move |owner| Some((owner.id.node_id, owner.rows.get(key)?)))
    }

    /// The rows whose keys begin with a prefix, of the owners that are up; in the order of keys for each owner.
    pub fn prefix<'a>(&'a self, prefix: &'a [u8]) -> impl Iterator<Item = (NodeId, &'a OwnedRow)> {
        self.shown().flat_map(move |owner| {
            let rows = owner.rows.from(Bound::Included(prefix)).take_while(|row| row.key().starts_with(prefix));
            rows.map(|row| (owner.id.node_id, row))
        })
    }

    /// The rows of every owner, with whether they are shown: clones that cost nothing. Who is down is among them also
    /// where it has no rows here yet: those that come are hidden.
    #[must_use]
    pub fn snapshot(&self) -> Vec<(Incarnation, bool, Map<OwnedRow>)> {
        let shown = |id: Incarnation| !self.down.contains(&id.node_id);
        let owners = self.owners.values().map(|owner| (owner.id, shown(owner.id), owner.rows.clone()));
        let without = self.down.iter().filter(|node| !self.owners.contains_key(node));
        let without = without.filter_map(|node| self.present.get(node)).map(|id| (*id, false, Map::default()));
        owners.chain(without).collect()
    }
}
