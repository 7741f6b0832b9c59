//! Before this node goes: what only it has is brought to others.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::super::slot::Slot;
use super::Tables;

/// How often it is looked whether all is there.
const LOOK: Duration = Duration::from_millis(20);
/// Where one other node has all, the rest is waited for so long: they get it from that one.
const REST: Duration = Duration::from_secs(2);

/// A table, and how many of its writes no other node is known to have.
pub(crate) type OnlyHere = (String, u64);

impl Tables {
    /// What no other node is known to have.
    pub(crate) fn only_here(&self) -> Vec<OnlyHere> {
        if self.world.is_sole() {
            return Vec::new();
        }
        let (mut all, up) = (self.unjudged(), self.world.up());
        for slot in &*self.slots() {
            if let Slot::Available(slot) = slot {
                all.push((slot.schema.name.clone(), slot.read().only_here(&up) + slot.estate_versions()));
            }
        }
        all.retain(|(_, writes)| *writes > 0);
        all.sort();
        all
    }

    /// Waits until each other node that is up has all that is here, so long at most. What nobody is known to have comes
    /// back. With `closes` nothing is written from now on.
    pub(crate) async fn hand_over(&self, limit: Duration, closes: bool) -> Vec<OnlyHere> {
        if closes {
            self.close_writes(true);
        }
        let begun = Instant::now();
        loop {
            let (up, left) = (self.world.up(), self.only_here());
            let has_all = |slot: &Slot| match slot {
                Slot::Available(slot) => slot.read().is_held_by(&up),
                Slot::Owned(_) | Slot::Quorum(_) => true,
            };
            let waited = begun.elapsed();
            let enough = left.is_empty() && (waited >= REST || self.slots().iter().all(has_all));
            if enough || up.is_empty() || waited >= limit {
                return left;
            }
            sleep(LOOK).await;
        }
    }

    /// Nothing is written any more, or this is wanted no more: once for each time. Who writes just now has written when this
    /// returns.
    pub(crate) fn close_writes(&self, closed: bool) {
        self.world.close(closed);
        for slot in &*self.slots() {
            if let Slot::Available(slot) = slot {
                drop(slot.write_lock());
            }
        }
    }

    /// Has something done beside whoever asks for it.
    pub(crate) fn home(&self) -> &tokio::runtime::Handle {
        &self.home
    }
}
