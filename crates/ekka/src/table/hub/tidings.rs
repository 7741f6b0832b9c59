//! What people are told of the tables: which are ready, how many rows lost to others, who lags behind.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::PoisonError;
use std::time::Duration;

use ekka_core::event::EventKind;
use ekka_core::id::NodeId;
use ekka_core::time::Instant;

use super::super::committed::Committed;
use super::super::slot::Slot;
use super::Tables;

/// What lost is told of each table at most so often.
const AGAIN: Duration = Duration::from_secs(60);

/// What was told of each open table.
#[derive(Debug, Default)]
pub(super) struct Tidings(BTreeMap<u64, Told>);

#[derive(Debug, Default)]
struct Told {
    ready: bool,
    /// How many versions had lost when that was told last.
    lost: u64,
    at: Option<Instant>,
}

impl Told {
    /// How many versions have lost since that was told last, where it is to be told now.
    fn overridden(&mut self, lost: u64, now: Instant) -> Option<u64> {
        let count = lost.saturating_sub(self.lost);
        if count == 0 || self.at.is_some_and(|at| now.since(at) < AGAIN) {
            return None;
        }
        (self.lost, self.at) = (lost, Some(now));
        Some(count)
    }
}

impl Tables {
    /// The other members that hold tables.
    pub(in crate::table) fn others(&self, committed: &Committed) -> BTreeSet<NodeId> {
        let me = self.view().me.node_id;
        committed.members.iter().copied().filter(|node| *node != me).collect()
    }

    /// So many bytes of files of rows that were set aside are no reason for a warning.
    pub(crate) fn warns_above(&self, keep: u64) {
        self.aside.warns_above(keep);
    }

    /// Takes note of how far the others are with what was written here, and tells people what is new.
    pub(super) fn tidings(&self, slots: &[Slot], committed: &Committed, now: Instant) {
        let (others, links) = (self.others(committed), self.world.links.all());
        let mut all = self.tidings.lock().unwrap_or_else(PoisonError::into_inner);
        for slot in slots {
            if let Some(latest) = slot.latest() {
                let acked = |lag: u64| latest.saturating_sub(lag);
                let linked = links.iter().filter_map(|link| Some((link.peer, acked(slot.lag_of(link.peer.node_id)?))));
                slot.figures().see(latest, &others, linked, now);
            }
            self.tell_of(slot, all.0.entry(slot.id()).or_default(), now);
        }
        all.0.retain(|id, _| slots.iter().any(|slot| slot.id() == *id));
    }

    fn tell_of(&self, slot: &Slot, told: &mut Told, now: Instant) {
        let (table, lost, ready) = (&slot.schema().name, slot.overridden(), slot.is_ready());
        if !told.ready || !ready {
            // What lost elsewhere, and came with the rows of the others, is no news.
            told.lost = lost;
            if ready {
                told.ready = true;
                self.world.tell(EventKind::TableReady { table: table.clone() });
            }
            return;
        }
        if let Some(count) = told.overridden(lost, now) {
            self.world.tell(EventKind::TableOverride { table: table.clone(), count });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_lost_is_told_at_once_and_then_once_a_minute_with_its_number() {
        let mut told = Told { ready: true, lost: 5, at: None };
        let at = |seconds| Instant::ZERO + Duration::from_secs(seconds);
        assert_eq!(told.overridden(5, at(1)), None);
        assert_eq!(told.overridden(6, at(2)), Some(1));
        assert_eq!(told.overridden(9, at(61)), None);
        assert_eq!(told.overridden(11, at(62)), Some(5));
        assert_eq!(told.overridden(11, at(200)), None);
        assert_eq!(told.overridden(3, at(201)), None, "a table that was opened anew begins with nothing");
    }
}
