//! What must always hold, one file each, with the section that promises it.
//!
//! Every invariant looks at what nodes show (their views), so the same ones watch the cores alone and whole nodes.

mod alone;
mod hints;
mod id_kept;
mod one_id;
mod own_row;
mod rows;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use ekka_core::id::{ClusterId, Incarnation, NodeId};
use ekka_core::view::View;

/// Everything that the invariants remember of one run.
#[derive(Clone, Debug, Default)]
pub struct Watch {
    /// Whether section 2 of the design promises one id for this set of lists.
    pub one_id_promised: bool,
    /// Every cluster id that any node ever showed.
    pub ids: BTreeSet<ClusterId>,
    copies: BTreeSet<NodeId>,
    seats: BTreeMap<usize, Seat>,
}

/// What is remembered of one machine.
#[derive(Clone, Debug, Default)]
struct Seat {
    seeds: usize,
    may_leave: bool,
    copy: bool,
    before: Option<Arc<View>>,
    cluster: Option<(NodeId, ClusterId)>,
    start: Option<Incarnation>,
}

impl Watch {
    /// Remembers nothing yet; one id is promised.
    #[must_use]
    pub fn new() -> Self {
        Self { one_id_promised: true, ..Self::default() }
    }

    /// Says how many seeds a machine has.
    pub fn seeds(&mut self, machine: usize, seeds: usize) {
        self.seats.entry(machine).or_default().seeds = seeds;
    }

    /// An operator moves this machine: from now on it may go from one cluster to any other.
    pub fn may_leave(&mut self, machine: usize) {
        self.seats.entry(machine).or_default().may_leave = true;
    }

    /// This machine runs on a copied directory: who was deceived by it goes back to the original's start.
    pub fn copied(&mut self, machine: usize) {
        self.seats.entry(machine).or_default().copy = true;
    }

    /// Looks at everything that a new view of one machine can break; whether it shows a cluster that nobody showed
    /// before.
    ///
    /// # Errors
    /// The words for what is broken.
    pub fn see(&mut self, machine: usize, view: &Arc<View>) -> Result<bool, String> {
        let new = view.cluster_id.is_some_and(|id| self.ids.insert(id));
        let seat = self.seats.entry(machine).or_default();
        let before = seat.before.replace(view.clone()).filter(|before| before.me == view.me);
        if seat.copy {
            self.copies.insert(view.me.node_id);
        }
        let words = |what: String| format!("machine {machine}: {what}");
        one_id::check(self.one_id_promised, &self.ids)?;
        alone::check(self.one_id_promised, seat.seeds, view).map_err(words)?;
        rows::check(before.as_deref(), &self.copies, view).map_err(words)?;
        own_row::check(before.as_deref(), view).map_err(words)?;
        own_row::check_start(&mut seat.start, view).map_err(words)?;
        hints::check(view).map_err(words)?;
        id_kept::check(&mut seat.cluster, seat.may_leave, view).map_err(words)?;
        Ok(new)
    }
}
