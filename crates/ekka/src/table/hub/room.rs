//! Room in the journals: what lost and does not fit into memory any more is set aside. Where that cannot be done it is tried
//! again ever more seldom, for the same file; the table merges nothing meanwhile.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::time::Instant;

use super::super::aside::{Everything, Place, Rows};
use super::super::slot::Slot;
use super::Tables;

/// The journals that could not be set aside, by their tables: where they go to, and when that is tried again.
#[derive(Default)]
pub(super) struct Rooms(Mutex<BTreeMap<u64, (Place, Instant)>>);

impl Rooms {
    fn waiting(&self) -> MutexGuard<'_, BTreeMap<u64, (Place, Instant)>> {
        // Nothing that holds this lock can leave it half-changed.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the journal of a table is not to be tried yet.
    fn rests(&self, table: u64) -> bool {
        self.waiting().get(&table).is_some_and(|(_, at)| *at > Instant::now())
    }

    /// Where that of a table could not be written to before.
    fn take(&self, table: u64) -> Option<Place> {
        self.waiting().remove(&table).map(|(place, _)| place)
    }

    fn failed(&self, table: u64, place: Place) {
        let at = Instant::now() + place.wait();
        self.waiting().insert(table, (place, at));
    }

    /// Only these tables are open.
    fn retain(&self, slots: &[Slot]) {
        self.waiting().retain(|table, _| slots.iter().any(|slot| slot.id() == *table));
    }
}

impl Tables {
    /// Sets aside what lost and has no room in memory.
    pub(super) fn make_room(&self, slots: &[Slot]) {
        self.rooms.retain(slots);
        for slot in slots {
            let Slot::Available(slot) = slot else { continue };
            if self.rooms.rests(slot.id) {
                continue;
            }
            let versions = slot.write_lock().to_set_aside();
            if versions.is_empty() {
                continue;
            }
            let (aside, rooms, slot) = (self.aside.clone(), self.rooms.clone(), slot.clone());
            let mut place = rooms.take(slot.id).unwrap_or_else(|| aside.place(&slot.schema.name));
            self.home.spawn(async move {
                let rows = Arc::new(Rows::Versions(Everything::lost(versions)));
                let done = aside.write(&mut place, &slot.schema, &rows).await;
                if !done {
                    // Before the journal is asked again.
                    rooms.failed(slot.id, place);
                }
                slot.write_lock().set_aside(done);
            });
        }
    }
}
