//! What must always hold, one file each, with the section that promises it.
//!
//! Every invariant looks at what nodes show (their views), so the same ones watch the cores alone and whole nodes.

mod agreement;
mod alone;
mod clock;
mod counters;
mod fenced;
mod hints;
mod id_kept;
mod left;
mod lies;
mod members_kept;
mod one_id;
mod original;
mod own_row;
mod parted;
mod rows;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use ekka_core::control::StopReason;
use ekka_core::durable::Proof;
use ekka_core::id::{ClusterId, Endpoint, Incarnation, NodeId};
use ekka_core::membership::Roster;
use ekka_core::view::View;

/// Everything that the invariants remember of one run.
#[derive(Clone, Debug, Default)]
pub struct Watch {
    /// Whether section 2 of the design promises one id for this set of lists.
    pub one_id_promised: bool,
    /// Every cluster id that any node ever showed.
    pub ids: BTreeSet<ClusterId>,
    copies: BTreeSet<NodeId>,
    /// Addresses that only lies of discovery named.
    pub made_up: BTreeSet<Endpoint>,
    /// An operator's `form` may draw founders of another cluster away.
    pub founders_may_go: bool,
    /// Whether a pause must leave the belief in the own clock untouched.
    pub pauses_count: bool,
    may_go: BTreeSet<NodeId>,
    left: BTreeSet<NodeId>,
    seats: BTreeMap<usize, Seat>,
    gone: BTreeSet<(ClusterId, Incarnation)>,
    /// Who declared whom down.
    fell: BTreeSet<(NodeId, NodeId)>,
    /// Clusters in which somebody was up.
    begun: BTreeSet<ClusterId>,
}

/// What is remembered of one machine.
#[derive(Clone, Debug, Default)]
struct Seat {
    seeds: usize,
    may_leave: bool,
    copy: bool,
    may_end: bool,
    clock: clock::Truth,
    was_up: Option<Incarnation>,
    counters: counters::Kept,
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

    /// The directory of this machine is a copy: others may end it, and whoever was deceived by it goes back to the
    /// original's start.
    pub fn copied(&mut self, machine: usize) {
        let seat = self.seats.entry(machine).or_default();
        seat.copy = true;
        seat.may_end = true;
    }

    /// The directory of this machine is set back to an older state.
    pub fn may_be_restored(&mut self, machine: usize) {
        let seat = self.seats.entry(machine).or_default();
        seat.may_end = true;
        // It may have been in another cluster then.
        seat.cluster = None;
    }

    /// This machine's directory is empty: whoever starts there is another node.
    pub fn another_node(&mut self, machine: usize) {
        let seat = self.seats.entry(machine).or_default();
        *seat = Seat { seeds: seat.seeds, may_leave: seat.may_leave, clock: seat.clock, ..Seat::default() };
    }

    /// A process starts on this machine, whose clock is off by so many milliseconds.
    pub fn started(&mut self, machine: usize, clock_offset_ms: i64) {
        let seat = self.seats.entry(machine).or_default();
        seat.clock = clock::Truth::at_start(clock_offset_ms);
        seat.counters = counters::Kept::default();
    }

    /// The clock of this machine jumps.
    pub fn clock_jumped(&mut self, machine: usize) {
        self.seats.entry(machine).or_default().clock = clock::Truth::Jumped;
    }

    /// This machine did not run for a while.
    pub fn paused(&mut self, machine: usize) {
        if !self.pauses_count {
            self.clock_jumped(machine);
        }
    }

    /// An operator wants this member out.
    pub fn may_go(&mut self, node_id: NodeId) {
        self.may_go.insert(node_id);
    }

    /// An operator was told that this member is out.
    pub fn left(&mut self, node_id: NodeId) {
        self.left.insert(node_id);
    }

    /// An operator lets this node in again.
    pub fn returns(&mut self, node_id: NodeId) {
        self.left.remove(&node_id);
    }

    /// Looks at the entry by which a start is over; `holds` says whether it holds its lease at this moment.
    ///
    /// # Errors
    /// The words for what is broken.
    pub fn gone(&mut self, cluster_id: ClusterId, id: Incarnation, proof: Proof, holds: bool) -> Result<(), String> {
        fenced::check(&mut self.gone, cluster_id, (id, proof), holds)
    }

    /// Whether this start was said to be over.
    #[must_use]
    pub fn is_gone(&self, cluster_id: ClusterId, id: Incarnation) -> bool {
        self.gone.contains(&(cluster_id, id))
    }

    /// One node declares another one down.
    pub fn fell(&mut self, by: NodeId, who: NodeId) {
        self.fell.insert((by, who));
    }

    /// Looks at a heal that begins.
    ///
    /// # Errors
    /// The words for what is broken.
    pub fn heals(&self, stays: &[NodeId], returns: &[NodeId]) -> Result<(), String> {
        parted::check(&self.fell, stays, returns)
    }

    /// Looks at the end of a process by its own decision.
    ///
    /// # Errors
    /// The words for what is broken.
    pub fn ended(&mut self, machine: usize, reason: &StopReason) -> Result<(), String> {
        let may_end = self.seats.get(&machine).is_some_and(|seat| seat.may_end);
        original::check(may_end, reason).map_err(|what| format!("machine {machine}: {what}"))
    }

    /// Looks at what a machine wants to keep of starts.
    ///
    /// # Errors
    /// The words for what is broken.
    pub fn saves(&mut self, machine: usize, roster: &Roster) -> Result<(), String> {
        let seat = self.seats.entry(machine).or_default();
        let kept = counters::Kept::of(roster);
        kept.check(&seat.counters, &self.copies).map_err(|what| format!("machine {machine}: {what}"))?;
        seat.counters = kept;
        Ok(())
    }

    /// Looks at the views of all that are together, and at those that are outside.
    ///
    /// # Errors
    /// The words for what is broken.
    pub fn settled(&self, views: &[Arc<View>], outside: &[NodeId]) -> Result<(), String> {
        for view in views {
            left::check(&self.left, &self.may_go, view, outside)?;
        }
        views.windows(2).try_for_each(|pair| agreement::check(&pair[0], &pair[1]))
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
        alone::check(self.one_id_promised && self.may_go.is_empty(), seat.seeds, view).map_err(words)?;
        rows::check(before.as_deref(), &self.copies, view).map_err(words)?;
        own_row::check(before.as_deref(), view).map_err(words)?;
        own_row::check_start(&mut seat.start, view).map_err(words)?;
        hints::check(view).map_err(words)?;
        self.begun.extend(view.cluster_id.filter(|_| view.status.takes_part()));
        // A cluster in which nobody was ever up may be given up.
        let begun = seat.cluster.is_none_or(|(_, id)| self.begun.contains(&id));
        id_kept::check(&mut seat.cluster, seat.may_leave || !begun, view).map_err(words)?;
        if !self.founders_may_go {
            members_kept::check(&self.may_go, before.as_deref(), view).map_err(words)?;
        }
        clock::check(seat.clock, &mut seat.was_up, view).map_err(words)?;
        lies::check(&self.made_up, view).map_err(words)?;
        Ok(new)
    }
}
