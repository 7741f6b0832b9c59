//! What this node held before it was admitted: estates wait here until the table that goes on is open, by its number where
//! this node was taken out and came back, by its name and schema where its cluster went into another one.

use std::collections::BTreeSet;
use std::sync::{Arc, MutexGuard, PoisonError};
use std::time::Duration;

use ekka_core::id::{ClusterId, Incarnation};
use ekka_core::schema::{Kind, Schema, Storage};
use ekka_core::table::quorum::{Row, TableId, View};
use ekka_core::table::{Estate, Faults, KeyRange, PageLimits, Settings};
use tokio::time::Instant;
use tracing::{info, warn};

use super::super::aside::{Everything, Rows};
use super::super::committed::Committed;
use super::super::disc::{Key, OnDisc};
use super::super::estate::{Legacy, fits, has_parts};
use super::super::slot::Slot;
use super::Tables;

/// Before a table that could not be made is tried again.
const AGAIN: Duration = Duration::from_secs(2);
/// Time for this node to have a replica of the group that holds quorum tables.
const REPLICA: Duration = Duration::from_secs(30);
/// So long no tombstone is dropped after another cluster began to go into this one.
const ABSORBING: Duration = Duration::from_secs(600);

/// The estates that no table gives yet.
#[derive(Default)]
pub(super) struct Legacies {
    waiting: Vec<Legacy>,
    /// Quorum tables of the cluster before, as this node had them, and until when those of this one are waited for.
    quorum: Vec<(Key, Schema, View, Instant)>,
    /// Those on disc that are read, or given.
    taken: BTreeSet<(Key, u32)>,
    /// What is being set aside: the tables, and how many versions of each.
    leaving: Vec<(String, u64)>,
    /// When tables that are missing are made next.
    make_at: Option<Instant>,
    /// Until when another cluster goes into this one, as far as is known.
    absorbing: Option<Instant>,
}

impl Tables {
    fn legacies(&self) -> MutexGuard<'_, Legacies> {
        // Nothing that holds this lock can leave it half-changed.
        self.legacies.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The tables of a membership that is over end; what they held is to be given to others.
    pub(super) fn bequeath(&self, dropped: &[Slot], cluster: ClusterId, (since, me): (u64, Incarnation), moved: bool) {
        for slot in dropped {
            let key = Key { cluster, table: slot.id() };
            match slot {
                Slot::Available(slot) => {
                    slot.end();
                    let mut waiting = slot.disinherit();
                    // What is on disc is read from there.
                    let estate = Estate::new(slot.read().clone());
                    if slot.schema.storage == Storage::Ram && estate.versions() > 0 {
                        waiting.push(legacy((key, slot.schema.clone()), estate, (me, since), moved));
                    }
                    self.legacies().waiting.extend(waiting);
                }
                Slot::Quorum(slot) if moved => {
                    if let Some(view) = self.here.last(slot.schema.storage, cluster) {
                        let until = Instant::now() + REPLICA;
                        self.legacies().quorum.push((key, slot.schema.clone(), view, until));
                    }
                }
                // The owner writes its rows.
                Slot::Owned(_) | Slot::Quorum(_) => {}
            }
        }
    }

    /// Gives on what waits, where that can be done now.
    pub(super) fn tend_legacies(&self, committed: &Arc<Committed>) {
        self.settle_given();
        if self.gate.is_outside() || committed.cluster.is_none() {
            return;
        }
        self.read_estates(committed);
        let mut missing = Vec::new();
        let waiting = std::mem::take(&mut self.legacies().waiting);
        for legacy in waiting {
            match self.heir_of(&legacy.key, &legacy.schema, committed) {
                Fate::Gives(Slot::Available(slot)) => slot.inherit(legacy),
                Fate::Waits => self.legacies().waiting.push(legacy),
                Fate::Missing => {
                    missing.push(legacy.schema.clone());
                    self.legacies().waiting.push(legacy);
                }
                Fate::Dropped => self.forget(&legacy),
                Fate::Gives(_) | Fate::Aside | Fate::Foreign => self.set_estate_aside(legacy),
            }
        }
        self.export_quorum(committed);
        self.make_missing(missing);
        self.keep_tombstones();
    }

    /// What a legacy of a table has to expect.
    fn heir_of(&self, key: &Key, schema: &Schema, committed: &Committed) -> Fate {
        let same = committed.cluster == Some(key.cluster);
        if same {
            return match self.slot(key.table) {
                Some(slot) => Fate::Gives(slot),
                None if committed.tables.values().any(|entry| entry.id == key.table) => Fate::Waits,
                None if committed.is_past(key.table) => Fate::Dropped,
                None => Fate::Waits,
            };
        }
        if !committed.has_absorbed(key.cluster) {
            return Fate::Foreign;
        }
        match (self.named(&schema.name), committed.tables.get(&schema.name)) {
            (Some(slot), _) if fits(schema, slot.schema()) => Fate::Gives(slot),
            (_, Some(entry)) if !fits(schema, &entry.schema) => Fate::Aside,
            (_, Some(_)) => Fate::Waits,
            (_, None) => Fate::Missing,
        }
    }

    /// What others have is discarded here.
    fn settle_given(&self) {
        for slot in &*self.slots() {
            if let Slot::Available(slot) = slot {
                slot.given().iter().for_each(|legacy| self.forget(legacy));
            }
        }
    }

    fn forget(&self, legacy: &Legacy) {
        if let Some(turn) = legacy.turn {
            self.discs.discard(legacy.key, turn);
        }
    }

    /// Reads the estates on disc that nobody has read yet.
    fn read_estates(&self, committed: &Committed) {
        let (Some(me), Some(tables)) = (self.me(), self.this.upgrade()) else { return };
        for found in self.discs.estates() {
            if !self.legacies().taken.insert((found.key, found.turn)) {
                continue;
            }
            if matches!(self.heir_of(&found.key, &found.schema, committed), Fate::Foreign) {
                let (table, cluster) = (found.schema.name, found.key.cluster);
                warn!(table, %cluster, "a table of another cluster is in the data directory: it is kept, unused");
                continue;
            }
            let settings =
                Settings { me, storage: Storage::Disc, bound: self.world.bound().found, faults: Faults::default() };
            let moved = committed.cluster != Some(found.key.cluster);
            let tables = tables.clone();
            self.home.spawn(async move {
                let Some(table) = tables.discs.read_estate(&found, settings).await else { return };
                let OnDisc { key, turn, schema, start, since } = found;
                let mut legacy = legacy((key, schema), Estate::new(table), (start, since), moved);
                legacy.turn = Some(turn);
                if legacy.estate.versions() == 0 {
                    return tables.forget(&legacy);
                }
                tables.legacies().waiting.push(legacy);
            });
        }
    }

    /// Rows that have no place in a table of this cluster. What is on disc of them stays there until they are in a file.
    fn set_estate_aside(&self, legacy: Legacy) {
        let rows = Rows::Versions(Everything::of(legacy.estate.old(), self.now().wall));
        if rows.is_empty() {
            return self.forget(&legacy);
        }
        self.set_aside(legacy.schema.clone(), rows, move |tables| tables.forget(&legacy));
    }

    /// Sets rows aside, as often as it takes, and does this then.
    fn set_aside(&self, schema: Schema, rows: Rows, then: impl FnOnce(&Self) + Send + 'static) {
        let Some(tables) = self.this.upgrade() else { return };
        let leaving = (schema.name.clone(), rows.len() as u64);
        self.legacies().leaving.push(leaving.clone());
        let saving = self.saving.clone();
        let save = async move {
            if tables.aside.keep_writing(&schema, rows, &tables.ends).await {
                then(&tables);
                let mut legacies = tables.legacies();
                if let Some(at) = legacies.leaving.iter().position(|one| *one == leaving) {
                    legacies.leaving.swap_remove(at);
                }
            }
        };
        saving.spawn_on(save, &self.home);
    }

    /// Has tables made that the cluster before had and this one has not.
    fn make_missing(&self, mut missing: Vec<Schema>) {
        missing.dedup_by(|a, b| a.name == b.name);
        let now = Instant::now();
        if missing.is_empty() || self.legacies().make_at.is_some_and(|at| at > now) {
            return;
        }
        self.legacies().make_at = Some(now + AGAIN);
        for schema in missing {
            let made = (self.make_table)(schema.clone());
            self.home.spawn(async move {
                match made.await {
                    Ok(()) => info!(table = schema.name, "the table of the cluster before is made in this one"),
                    Err(why) => warn!(table = schema.name, why, "the table of the cluster before is not made yet"),
                }
            });
        }
    }

    /// Rows of quorum tables that the cluster before had, and this one lacks or has otherwise.
    fn export_quorum(&self, committed: &Committed) {
        let waiting = std::mem::take(&mut self.legacies().quorum);
        for (key, schema, view, until) in waiting {
            let same = committed.tables.get(&schema.name).filter(|entry| entry.schema.kind == Kind::Quorum);
            let theirs = match same {
                None => None,
                Some(entry) => match self.here.last(entry.schema.storage, committed.cluster.unwrap_or(key.cluster)) {
                    Some(theirs) => Some((entry.id, theirs)),
                    None if Instant::now() < until => {
                        self.legacies().quorum.push((key, schema, view, until));
                        continue;
                    }
                    None => None,
                },
            };
            let rows = lacking((key.table, &view), theirs.as_ref().map(|(id, view)| (*id, view)));
            if !rows.is_empty() {
                self.set_aside(schema, Rows::Quorum(rows), |_| {});
            }
        }
    }

    /// Another cluster began to go into this one: what its members bring can be told from what was dropped here.
    pub(super) fn absorbs(&self) {
        self.legacies().absorbing = Some(Instant::now() + ABSORBING);
        self.keep_tombstones();
    }

    fn keep_tombstones(&self) {
        let Some(until) = self.legacies().absorbing else { return };
        let keep = until > Instant::now();
        if !keep {
            self.legacies().absorbing = None;
        }
        for slot in &*self.slots() {
            if let Slot::Available(slot) = slot {
                slot.keep_tombstones(keep);
            }
        }
    }

    /// How many versions of each table are in the memory of this node only until somebody has judged them, or they are in
    /// a file.
    pub(super) fn unjudged(&self) -> Vec<(String, u64)> {
        let legacies = self.legacies();
        let of = |legacy: &Legacy| (legacy.schema.name.clone(), legacy.estate.versions() as u64);
        legacies.waiting.iter().map(of).chain(legacies.leaving.iter().cloned()).collect()
    }
}

/// What becomes of an estate.
enum Fate {
    Gives(Slot),
    /// Its table is there, and not open yet.
    Waits,
    /// Its table is not there.
    Missing,
    /// Its table was dropped.
    Dropped,
    /// Nothing takes its rows.
    Aside,
    /// Its cluster has not gone into this one.
    Foreign,
}

fn legacy((key, schema): (Key, Schema), estate: Estate, (start, since): (Incarnation, u64), moved: bool) -> Legacy {
    let parts = has_parts(&schema);
    let estate =
        if moved { estate.absorbed(key.cluster.as_u128(), parts) } else { estate.renaming(start, since, parts) };
    Legacy { key, schema, estate, turn: None }
}

/// Rows that the other side lacks, or has with another value.
fn lacking((id, view): (TableId, &View), theirs: Option<(TableId, &View)>) -> Vec<Row> {
    let has = |key: &[u8]| theirs.and_then(|(id, view)| view.get(id, key).ok().flatten());
    let all = PageLimits { rows: usize::MAX, bytes: usize::MAX };
    let mut rows = view.page(id, &KeyRange::all(), None, all).map_or_else(|_| Vec::new(), |page| page.rows);
    rows.retain(|row| has(row.key()).is_none_or(|other| other.value() != row.value()));
    rows
}
