//! What tables see of the world around them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock, PoisonError, RwLock};

use ekka_core::event::EventKind;
use ekka_core::id::{Incarnation, NodeId, NodeName};
use ekka_core::table::{Faults, Hlc};
use ekka_core::view::{Role, Status, View};
use tokio::sync::{Notify, watch};

use super::super::aside::Tell;
use super::super::bounds::Bound;
use super::super::link::Links;
use super::super::watch::Cursors;
use super::clock::TableClock;
use crate::env::Clock;

/// What tables see of the world around them.
pub(in crate::table) struct World {
    pub(in crate::table) clock: TableClock,
    pub(in crate::table) links: Links,
    /// The other nodes that are up and hold tables.
    up: RwLock<Arc<[Incarnation]>>,
    /// Those of them that do not fetch rows themselves.
    whole: RwLock<Arc<[Incarnation]>>,
    running: RwLock<Arc<BTreeSet<Incarnation>>>,
    names: RwLock<BTreeMap<NodeId, NodeName>>,
    /// No other node holds tables.
    sole: AtomicBool,
    /// Nor is another one seen, up or down: a record that is read anew goes through states of long ago.
    alone: AtomicBool,
    bound: watch::Sender<Bound>,
    /// A full copy is in, and is to be merged.
    pub(in crate::table) merging: Notify,
    /// Planted faults; all off in production.
    pub(in crate::table) faults: Faults,
    /// Where followers keep how far they have come; a world of a test may have none.
    pub(in crate::table) cursors: Option<Cursors>,
    /// Tells people of events.
    teller: OnceLock<Tell>,
    /// So many want that nothing is written any more: what there is is handed over.
    closing: AtomicUsize,
    /// So many tables were opened.
    opened: AtomicU64,
}

impl World {
    /// A world of which nothing is known; `found` is the bound of stamps that the start before this one left.
    pub(in crate::table) fn new(clock: Arc<dyn Clock>, found: Hlc, faults: Faults) -> Self {
        Self {
            clock: TableClock::new(clock),
            links: Links::default(),
            up: RwLock::new(Arc::new([])),
            whole: RwLock::new(Arc::new([])),
            running: RwLock::default(),
            names: RwLock::default(),
            sole: AtomicBool::new(false),
            alone: AtomicBool::new(false),
            bound: watch::Sender::new(Bound { found, on_disc: found }),
            merging: Notify::new(),
            faults,
            cursors: None,
            teller: OnceLock::new(),
            closing: AtomicUsize::new(0),
            opened: AtomicU64::new(0),
        }
    }

    /// The same with a place for how far followers have come.
    pub(in crate::table) fn with_cursors(self, cursors: Cursors) -> Self {
        Self { cursors: Some(cursors), ..self }
    }

    /// Who tells people of events.
    pub(super) fn tells(&self, teller: Tell) {
        // It is made once.
        let _ = self.teller.set(teller);
    }

    /// Tells people of an event.
    pub(in crate::table) fn tell(&self, event: EventKind) {
        if let Some(tell) = self.teller.get() {
            tell(event);
        }
    }

    /// What the revisions of a table belong to that is opened now. Nothing else has the same: a start goes over into
    /// another cluster with its guid, where another table may have this number, and may open one table twice.
    pub(in crate::table) fn next_history(&self, me: Incarnation, table: u64) -> String {
        format!("{}:{table}:{}", me.guid, self.opened.fetch_add(1, Ordering::Relaxed))
    }

    /// Whether nothing is written any more.
    pub(in crate::table) fn is_closing(&self) -> bool {
        self.closing.load(Ordering::Relaxed) > 0
    }

    /// One more wants that, or one that did does no more.
    pub(super) fn close(&self, closing: bool) {
        if closing {
            self.closing.fetch_add(1, Ordering::Relaxed);
        } else {
            self.closing.fetch_sub(1, Ordering::Relaxed);
        }
    }

    /// Nobody else holds tables, nor is anybody seen.
    #[cfg(test)]
    pub(in crate::table) fn begin_alone(&self) {
        self.sole.store(true, Ordering::Relaxed);
        self.alone.store(true, Ordering::Relaxed);
    }

    /// These others are up, by the ends of their addresses, and of them these fetch rows themselves.
    #[cfg(test)]
    pub(in crate::table) fn sees(&self, up: &[Incarnation], syncing: &[Incarnation]) {
        let name = |id: &Incarnation| format!("ekka@10.0.0.{}", id.node_id.as_u128()).parse().expect("a name");
        *self.names.write().unwrap_or_else(PoisonError::into_inner) =
            up.iter().map(|id| (id.node_id, name(id))).collect();
        *self.up.write().unwrap_or_else(PoisonError::into_inner) = up.into();
        let whole = up.iter().copied().filter(|id| !syncing.contains(id)).collect();
        *self.whole.write().unwrap_or_else(PoisonError::into_inner) = whole;
    }

    /// These starts run.
    #[cfg(test)]
    pub(in crate::table) fn runs(&self, running: BTreeSet<Incarnation>) {
        *self.running.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(running);
    }

    /// Takes what membership sees; whether anything of it is new to tables.
    pub(in crate::table) fn see(&self, view: &View) -> bool {
        let others = view.members.iter().filter(|member| member.id.node_id != view.me.node_id);
        self.alone.store(view.members.len() == 1, Ordering::Relaxed);
        let holds = others.filter(|member| member.role != Role::Witness && member.status.takes_part());
        let up: Arc<[Incarnation]> = holds.clone().map(|member| member.id).collect();
        let whole = holds.filter(|member| member.status != Status::Syncing).map(|member| member.id).collect();
        let running = view.members.iter().filter(|member| member.status.is_running() || member.id == view.me);
        let running: BTreeSet<Incarnation> = running.map(|member| member.id).collect();
        *self.names.write().unwrap_or_else(PoisonError::into_inner) =
            view.members.iter().map(|member| (member.id.node_id, member.name.clone())).collect();
        let mut present = self.up.write().unwrap_or_else(PoisonError::into_inner);
        let others_up = *std::mem::replace(&mut *present, up.clone()) != *up;
        drop(present);
        *self.whole.write().unwrap_or_else(PoisonError::into_inner) = whole;
        let mut present = self.running.write().unwrap_or_else(PoisonError::into_inner);
        let others_run = **present != running;
        if others_run {
            *present = Arc::new(running);
        }
        others_up || others_run
    }

    /// Whether another node holds tables.
    pub(super) fn sole_is(&self, sole: bool) {
        self.sole.store(sole, Ordering::Relaxed);
    }

    /// This bound of stamps is on disc.
    pub(in crate::table) fn bound_is(&self, on_disc: Hlc) {
        self.bound.send_modify(|bound| bound.on_disc = on_disc);
    }

    /// The other nodes that are up and hold tables.
    pub(in crate::table) fn up(&self) -> Arc<[Incarnation]> {
        self.up.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Those of [`World::up`] that do not fetch rows themselves.
    pub(in crate::table) fn whole(&self) -> Arc<[Incarnation]> {
        self.whole.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Whether no other node holds tables.
    pub(in crate::table) fn is_sole(&self) -> bool {
        self.sole.load(Ordering::Relaxed) && self.alone.load(Ordering::Relaxed)
    }

    pub(in crate::table) fn bound(&self) -> Bound {
        *self.bound.borrow()
    }

    /// The bound of stamps, whenever it is raised.
    pub(in crate::table) fn bounds(&self) -> watch::Receiver<Bound> {
        self.bound.subscribe()
    }

    /// Which starts of nodes run, as far as this one sees: it among them.
    pub(in crate::table) fn running(&self) -> Arc<BTreeSet<Incarnation>> {
        self.running.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The name of a node, or its id where that is not known.
    pub(in crate::table) fn name_of(&self, node: NodeId) -> String {
        let names = self.names.read().unwrap_or_else(PoisonError::into_inner);
        names.get(&node).map_or_else(|| node.to_string(), NodeName::to_string)
    }

    /// The names of those that are up and behind, in words.
    pub(in crate::table) fn names_of(&self, is_behind: impl Fn(Incarnation) -> bool) -> String {
        // Tables are looked at first: whoever holds one may be here too.
        let behind: Vec<Incarnation> = self.up().iter().copied().filter(|peer| is_behind(*peer)).collect();
        let behind: Vec<String> = behind.iter().map(|peer| self.name_of(peer.node_id)).collect();
        if behind.is_empty() { "somebody".to_owned() } else { behind.join(", ") }
    }
}
