//! Tables that are kept on disc: when they are opened, and which of them are deleted.

use std::sync::atomic::Ordering;

use ekka_core::id::Incarnation;
use ekka_core::schema::{Schema, Storage};
use ekka_core::table::Settings;

use super::super::committed::Committed;
use super::super::disc::Key;
use super::super::slot::Slot;
use super::Tables;

impl Tables {
    /// This node has left its cluster: all tables end here, and nothing of them is kept.
    pub(crate) fn leave(&self) {
        self.left.store(true, Ordering::Relaxed);
        self.slots().iter().for_each(Slot::end);
        self.discs.leave();
    }

    /// Whether the cluster was left since this was last asked.
    pub(super) fn has_left(&self) -> bool {
        self.left.swap(false, Ordering::Relaxed)
    }

    /// Opens a table with what there is of it on disc; `None` until that is read.
    pub(super) fn open_kept(&self, committed: &Committed, id: u64, schema: &Schema, me: Incarnation) -> Option<Slot> {
        let key = Key { cluster: committed.cluster?, table: id };
        let bound = self.world.bound().found;
        let settings = Settings { me, storage: Storage::Disc, bound, faults: self.world.faults };
        self.discs.open(key, schema, settings, &self.world).map(Slot::Available)
    }

    /// Has those deleted that were dropped.
    pub(super) fn delete_dropped(&self, committed: &Committed) {
        let Some(cluster) = committed.cluster else { return };
        let is_wanted = |id| committed.tables.values().any(|entry| entry.id == id);
        self.discs.drop_those(|key| key.cluster == cluster && !is_wanted(key.table) && committed.is_past(key.table));
    }
}
