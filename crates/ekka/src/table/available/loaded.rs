//! Whether a table has what its peers held, and its peers what it has.

use std::sync::Arc;

use ekka_core::id::Incarnation;
use ekka_core::table::{Table, Vector};
use ekka_core::time::Now;

use super::super::signals::ALONE;
use super::AvailableSlot;

impl AvailableSlot {
    /// Whether it holds what a peer had that has all, or what all peers have where none says that of itself, or there is
    /// nobody to get anything from.
    pub(super) fn is_loaded(&self, table: &Table, now: Now) -> bool {
        let up = self.world.up();
        let abreast = |peer: &Incarnation| table.is_abreast_of(*peer) == Some(true);
        let sources = self.told.with_all(&up);
        if !sources.is_empty() {
            return sources.iter().any(abreast);
        }
        let waited = now.mono.since(self.opened) >= ALONE;
        let beside_all = !up.is_empty() && up.iter().all(abreast);
        let beside_one = || up.is_empty() || self.believed(&up).iter().any(abreast);
        beside_all || self.world.is_sole() || waited && beside_one()
    }

    /// Those that may have all although they did not say so: one that fetches rows itself is taken for one only where there
    /// is no other, as where all nodes start at once.
    fn believed(&self, up: &Arc<[Incarnation]>) -> Arc<[Incarnation]> {
        let whole = self.world.whole();
        if whole.is_empty() { up.clone() } else { whole }
    }

    /// What it waits for until it has what its peers held, in words; `None` where it waits for nothing.
    pub(in crate::table) fn waits(&self) -> Option<String> {
        if self.signals.is_loaded() {
            return None;
        }
        let up = self.world.up();
        if up.is_empty() {
            return Some("a node that holds it".into());
        }
        let sources = self.told.with_all(&up);
        let whom = if sources.is_empty() { self.believed(&up).to_vec() } else { sources };
        let table = self.read();
        let names = self.world.names_of(|peer| whom.contains(&peer) && table.is_abreast_of(peer) != Some(true));
        let missing = whom.iter().filter_map(|peer| table.missing_from(*peer)).max();
        let here = table.size().bytes + table.arriving();
        Some(match (self.told.amount(&whom), missing) {
            (Some(bytes), _) => format!("{names} ({})", of_mib(here, bytes)),
            (None, Some(missing)) if missing > 0 => format!("{names} ({missing} operations)"),
            (None, _) => names,
        })
    }

    /// Bytes of rows that are here, or have come of a full copy.
    pub(in crate::table) fn bytes_here(&self) -> usize {
        let table = self.read();
        table.size().bytes + table.arriving()
    }

    /// Whether a peer has all that its peers held, and all up to a vector of this table.
    pub(in crate::table) fn is_whole_at(&self, peer: Incarnation, goal: &Vector) -> bool {
        self.told.has_all(peer) && self.lacks(peer, goal) == Some(0)
    }

    /// How many operations up to a vector a peer has not said to hold; `None` where it has said nothing.
    pub(in crate::table) fn lacks(&self, peer: Incarnation, goal: &Vector) -> Option<u64> {
        self.read().missing_at(peer, goal)
    }
}

/// How much of a whole is here.
fn of_mib(here: usize, whole: u64) -> String {
    let tenths = |bytes: u64| {
        let tenths = bytes.saturating_mul(10) >> 20;
        format!("{}.{}", tenths / 10, tenths % 10)
    };
    let here = u64::try_from(here).unwrap_or(u64::MAX).min(whole);
    format!("{} of {} MiB", tenths(here), tenths(whole))
}
