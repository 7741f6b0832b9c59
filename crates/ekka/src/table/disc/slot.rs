//! What the keeper does with the table that it keeps.

use ekka_core::table::Giving;

use super::super::available::AvailableSlot;

impl AvailableSlot {
    /// Everything in front of a position of the op log is on disc.
    pub(super) fn synced(&self, position: u64) {
        let mut table = self.write_lock();
        table.synced(position);
        drop(self.after(table, self.world.clock.now()));
        // The peers are to know.
        self.world.links.stir(self.id);
    }

    /// A checkpoint with everything in front of a position of the op log is on disc.
    pub(super) fn covered(&self, position: u64) {
        let mut table = self.write_lock();
        table.checkpointed(position);
        drop(self.after(table, self.world.clock.now()));
        self.world.links.stir(self.id);
    }

    /// A clone of it as it is now: writers go on. None while a full copy is merged, half of which would be in it.
    pub(super) fn clone_to_give(&self) -> Option<Giving> {
        let mut table = self.write_lock();
        (!table.is_merging()).then(|| table.clone_to_give(self.world.clock.now()))
    }
}
