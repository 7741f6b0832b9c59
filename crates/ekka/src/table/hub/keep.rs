//! Follows what the cluster has committed and what membership sees: opens and drops tables, and ticks.

use std::collections::BTreeSet;
use std::collections::btree_map::Entry;
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};

use ekka_core::id::Incarnation;
use ekka_core::schema::{Kind, Schema, Storage};
use ekka_core::table::{Hlc, HybridClock};
use ekka_core::view::View;
use tokio::time::{Instant, sleep};
use tracing::{debug, warn};

use super::super::available::AvailableSlot;
use super::super::bounds;
use super::super::committed::Committed;
use super::super::owned::OwnedSlot;
use super::super::quorum::QuorumSlot;
use super::super::slot::Slot;
use super::gate::Admitted;
use super::{AGAIN, TICK, Tables};

impl Tables {
    /// Follows the cluster until the node ends.
    pub(super) async fn keep(self: Arc<Self>) {
        let (mut committed, mut views, mut life) = (self.committed.clone(), self.views.clone(), self.life.subscribe());
        let (mut me, mut seen, mut followed, mut said) = (None, None, None, None);
        let (mut bounded, mut next) = (false, Instant::now());
        loop {
            if self.follow_life(&mut me) {
                followed = None;
            }
            let present = committed.borrow_and_update().clone();
            if !bounded && !present.tables.is_empty() {
                self.first_bound().await;
                bounded = true;
            }
            let is_new = !followed.as_ref().is_some_and(|followed| Arc::ptr_eq(followed, &present));
            if me.is_some() {
                if self.follow_committed(&present, is_new) {
                    self.say_loading(&present, &mut said);
                    followed = Some(present);
                } else {
                    // What is open is of the membership before.
                    self.say_loading(&Committed::default(), &mut said);
                }
            }
            let view = views.borrow_and_update().clone();
            if !seen.as_ref().is_some_and(|seen| Arc::ptr_eq(seen, &view)) {
                self.follow_view(&view);
                seen = Some(view.clone());
            }
            self.look_after_links(&view);
            if Instant::now() >= next {
                next = Instant::now() + TICK;
                self.tick();
            }
            tokio::select! {
                changed = committed.changed() => if changed.is_err() { return },
                changed = views.changed() => if changed.is_err() { return },
                changed = life.changed() => if changed.is_err() { return },
                () = self.discs.changed() => {}
                () = tokio::time::sleep_until(next) => {}
            }
        }
    }

    /// Whether another start of the node runs than before.
    fn follow_life(&self, me: &mut Option<Incarnation>) -> bool {
        let present = self.me();
        if *me == present {
            return false;
        }
        if me.is_some()
            && let Some(present) = present
        {
            // The connections of the start before have ended with its transport.
            self.world.links.all().iter().for_each(|link| link.end.cancel());
            self.slots().iter().for_each(|slot| slot.renew(present));
        }
        *me = present;
        true
    }

    /// Opens and drops tables by what is committed. What else is in it the tables take once, where it is new: none of them
    /// lives from hearing it again. False where nothing of it is for this start of the node.
    fn follow_committed(&self, committed: &Committed, is_new: bool) -> bool {
        let Some(me) = self.me() else { return false };
        let (left, had) = (self.has_left(), self.gate.had(me));
        let admitted = self.gate.follow(committed, me);
        if self.gate.is_outside() && !left {
            return false;
        }
        let membership = self.gate.membership();
        let buried = membership.map(|(cluster, since)| self.discs.admitted(cluster, since, me)).unwrap_or_default();
        let wanted: BTreeSet<u64> = committed.tables.values().map(|entry| entry.id).collect();
        let (mut opened, mut dropped) = (Vec::new(), Vec::new());
        let (before, absorbs);
        {
            let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
            let news = committed.merged.len() > std::mem::replace(&mut state.merged, committed.merged.len());
            absorbs = news && had;
            before = state.cluster;
            state.cluster = committed.cluster.or(before);
            // Tables of another cluster may have the same numbers.
            let all_gone = left || admitted == Admitted::Elsewhere;
            // A replica that is opened anew may go through an earlier membership: what is on disc knows its own.
            let is_buried = |id: &u64| buried.iter().any(|key| key.table == *id);
            let begins_anew = |id: &u64, slot: &Slot| {
                admitted == Admitted::Anew && if slot.is_on_disc() { is_buried(id) } else { slot.is_used() }
            };
            let is_gone = |(id, slot): (&u64, &Slot)| {
                all_gone || begins_anew(id, slot) || !wanted.contains(id) && committed.is_past(*id)
            };
            let gone: Vec<u64> = state.by_id.iter().filter(|of| is_gone(*of)).map(|(id, _)| *id).collect();
            dropped.extend(gone.iter().filter_map(|id| state.by_id.remove(id)));
            self.delete_dropped(committed);
            for entry in committed.tables.values() {
                if let Entry::Vacant(vacant) = state.by_id.entry(entry.id)
                    && let Some(slot) = self.open(committed, entry.id, &entry.schema, me)
                {
                    vacant.insert(slot.clone());
                    opened.push(slot);
                }
            }
            if !(opened.is_empty() && dropped.is_empty()) {
                state.by_name = state.by_id.values().map(|slot| (slot.schema().name.clone(), slot.id())).collect();
                state.all = state.by_id.values().cloned().collect();
            }
        }
        if admitted != Admitted::AsBefore
            && !left
            && let (Some(before), Some((_, since))) = (before, membership)
        {
            self.bequeath(&dropped, before, (since, me), admitted == Admitted::Elsewhere);
        }
        dropped.iter().for_each(Slot::end);
        self.connect_opened(&opened);
        if is_new {
            self.slots().iter().for_each(|slot| slot.follow(committed));
            self.world.sole_is(committed.members.iter().all(|id| *id == me.node_id));
        } else {
            for slot in &opened {
                slot.follow(committed);
            }
        }
        if absorbs {
            self.absorbs();
        }
        self.end_links_of_others();
        true
    }

    fn connect_opened(&self, opened: &[Slot]) {
        let (now, links) = (self.now(), self.world.links.all());
        for slot in opened {
            debug!(table = slot.schema().name, "opened");
            // That it is opened is said before anything of it.
            for link in &*links {
                link.opened(slot.id());
                slot.connect(link.peer, now);
            }
            self.world.links.stir(slot.id());
        }
    }

    /// Whoever is no member any more is exchanged with no longer.
    fn end_links_of_others(&self) {
        for link in self.world.links.all().iter().filter(|link| !self.gate.is_open_for(link.peer.node_id)) {
            link.end.cancel();
        }
    }

    /// The judge of what a table held before is sent the rest of it.
    fn stir_estate(&self, slot: &Slot) {
        let Slot::Available(slot) = slot else { return };
        if let Some(judge) = slot.estate_goes_to() {
            self.world.links.all().iter().filter(|link| link.peer == judge).for_each(|link| link.copies.notify_one());
        }
    }

    fn open(&self, committed: &Committed, id: u64, schema: &Schema, me: Incarnation) -> Option<Slot> {
        if schema.kind == Kind::Available && schema.storage == Storage::Disc {
            return self.open_kept(committed, id, schema, me);
        }
        Some(match schema.kind {
            Kind::Available => {
                let slot = AvailableSlot::new(id, schema.clone(), me, self.world.clone());
                Slot::Available(Arc::new(slot))
            }
            Kind::Owned => {
                let slot = OwnedSlot::new(id, schema.clone(), me, self.world.clone());
                Slot::Owned(Arc::new(slot))
            }
            Kind::Quorum => {
                let groups = (self.here.clone(), self.begin_rows.clone(), self.discs.is_full());
                let slot = QuorumSlot::new((id, schema.clone()), self.world.clone(), groups, self.committed.clone());
                Slot::Quorum(Arc::new(slot))
            }
        })
    }

    fn follow_view(&self, view: &View) {
        if self.world.see(view) {
            let (clocks, now) = (self.world.clock.look(view), self.now());
            let committed = self.committed.borrow().clone();
            self.slots().iter().for_each(|slot| slot.sees(&committed, clocks, now));
        }
    }

    fn tick(&self) {
        let clocks = self.world.clock.look(&self.view());
        let (now, slots) = (self.now(), self.slots());
        let committed = self.committed.borrow().clone();
        self.chores.tick(self.world.clock.for_command(), &committed, &self.home);
        self.tend_legacies(&committed);
        for slot in &*slots {
            slot.tick(&committed, clocks, now);
            self.stir_estate(slot);
            // Reports that are due, and what is asked for again.
            if self.world.links.all().iter().any(|link| slot.has_more_for(link.peer)) {
                self.world.links.stir(slot.id());
            }
        }
        self.make_room(&slots);
        self.tidings(&slots, &committed, now.mono);
        self.aside.tick(now.mono, &self.home);
        self.raise_bound(slots.iter().filter_map(|slot| slot.wanted_bound(now.wall)).max());
    }

    /// No table is opened before there is a bound: an operation that came meanwhile would be refused for its stamp.
    async fn first_bound(&self) {
        let mut clock = HybridClock::new(self.world.bound().found);
        let mut told = false;
        loop {
            clock.peers_are(self.world.clock.look(&self.view()));
            let Some(bound) = clock.wanted_bound(self.now().wall) else { return };
            match bounds::write(self.storage.clone(), bound).await {
                Ok(()) => {
                    self.world.bound_is(bound);
                    return;
                }
                Err(err) if !std::mem::replace(&mut told, true) => {
                    warn!(%err, "the bound of stamps cannot be written: no table is opened until it is");
                }
                Err(_) => {}
            }
            sleep(AGAIN).await;
        }
    }

    /// Brings a higher bound of stamps to disc, one at a time.
    fn raise_bound(&self, wanted: Option<Hlc>) {
        let Some(wanted) = wanted.filter(|wanted| *wanted > self.world.bound().on_disc) else { return };
        let Some(tables) = self.this.upgrade() else { return };
        if self.raising.swap(true, Ordering::Relaxed) {
            return;
        }
        self.home.spawn(async move {
            match bounds::write(tables.storage.clone(), wanted).await {
                Ok(()) => {
                    tables.bound_fails.store(false, Ordering::Relaxed);
                    // Who waits for it is woken last, and finds it in its table.
                    tables.slots().iter().for_each(|slot| slot.bound_is(wanted));
                    tables.world.bound_is(wanted);
                }
                Err(err) => {
                    // Once, until it works again: it is tried for as long as the disc takes nothing.
                    if !tables.bound_fails.swap(true, Ordering::Relaxed) {
                        warn!(%err, "the bound of stamps cannot be written: no table is written to beyond it");
                    }
                    sleep(AGAIN).await;
                }
            }
            tables.raising.store(false, Ordering::Relaxed);
        });
    }
}
