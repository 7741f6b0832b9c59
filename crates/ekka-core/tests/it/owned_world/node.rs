//! One node of the world: a table, and what the shell around it knows.

use std::collections::{BTreeMap, BTreeSet};

use ekka_core::id::{Guid, Incarnation, NodeId};
use ekka_core::table::{Extract, OwnedFaults, OwnedTable};

use crate::owned_world::watcher::Watcher;

/// What the cluster has committed: the present start of each member, and the latest that is over.
#[derive(Clone, Debug, Default)]
pub(crate) struct Committed {
    pub(crate) present: BTreeMap<NodeId, Incarnation>,
    pub(crate) over: BTreeMap<NodeId, Incarnation>,
}

impl Committed {
    pub(crate) fn is_over(&self, id: Incarnation) -> bool {
        self.over.get(&id.node_id).is_some_and(|over| over.guid >= id.guid)
    }
}

pub(crate) struct Node {
    pub(crate) id: Incarnation,
    /// `None` while it is down.
    pub(crate) table: Option<OwnedTable>,
    /// It was admitted once.
    pub(crate) known: bool,
    /// The cluster removed it: it comes back with nothing.
    pub(crate) removed: bool,
    /// How many of the committed entries it has followed.
    pub(crate) followed: usize,
    /// The same, by what they say.
    pub(crate) present: BTreeMap<NodeId, Incarnation>,
    /// Whom it was told to hide.
    pub(crate) hides: BTreeSet<NodeId>,
    pub(crate) watcher: Watcher,
    faults: OwnedFaults,
}

impl Node {
    pub(crate) fn new(n: usize, known: bool, faults: OwnedFaults) -> Self {
        Self {
            id: Incarnation { node_id: NodeId::from_u128(n as u128 + 1), guid: Guid::from_u128(0) },
            table: None,
            known,
            removed: false,
            followed: 0,
            present: BTreeMap::new(),
            hides: BTreeSet::new(),
            watcher: Watcher::default(),
            faults,
        }
    }

    fn next_guid(&mut self) {
        self.id.guid = Guid::from_u128(self.id.guid.as_u128() + 1);
        self.removed = false;
    }

    /// It starts, or starts anew: with nothing, and with what it knew of the cluster.
    pub(crate) fn start(&mut self) {
        self.next_guid();
        let mut table = OwnedTable::with_faults(self.id, self.faults);
        // `OwnedTable::check` compares the index with the rows.
        table.add_index(&Extract::new(|key, value| vec![value.iter().take(2).copied().collect(), key.to_vec()]));
        self.table = Some(table);
        self.followed = self.followed.saturating_sub(1);
        self.present = BTreeMap::from([(self.id.node_id, self.id)]);
        self.hides.clear();
        self.watcher = Watcher::default();
    }

    /// It was declared over while it ran: it goes on with its rows.
    pub(crate) fn renew(&mut self) {
        self.next_guid();
        self.present.insert(self.id.node_id, self.id);
        if let Some(table) = self.table.as_mut() {
            table.renew(self.id);
        }
    }

    /// Follows what is committed, as the shell does.
    pub(crate) fn follow(&mut self, number: usize, committed: &Committed) {
        let Some(table) = self.table.as_mut() else { return };
        self.followed = number;
        table.roster_is(committed.present.values().copied());
        for over in committed.over.values() {
            table.gone(*over);
        }
        self.present.clone_from(&committed.present);
        self.present.insert(self.id.node_id, self.id);
        self.hides.retain(|node| self.present.contains_key(node));
    }

    /// Shows and hides the rows of an owner.
    pub(crate) fn sees(&mut self, owner: NodeId, running: bool) {
        let Some(table) = self.table.as_mut() else { return };
        if running {
            table.up(owner);
            self.hides.remove(&owner);
        } else if owner != self.id.node_id {
            table.down(owner);
            self.hides.insert(owner);
        }
    }
}
