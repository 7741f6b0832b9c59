//! One `available` table on one node: its state, and what the application does with it.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;

use super::changes::{Change, Changes, Resync, Revision};
use super::copy::{Giving, Taking, Waste, before_first_copy};
use super::estate::Given;
use super::event::Event;
use super::faults::Faults;
use super::index::{Extract, Index, Indexable};
use super::journal::Journal;
use super::log::{Log, Record};
use super::map::{Entry, Map};
use super::over::Over;
use super::peers::Peers;
use super::stamp::{Hlc, HybridClock, PeerClocks, Stamp, StampError};
use super::sweep::Members;
use super::terms::{Receipt, Settings, Size, WriteError};
use super::vector::{Dot, Numbers, OpId, OpNumber, OriginIndex, Origins, Vector};
use super::version::{Parts, Version};
use crate::id::Incarnation;
use crate::limits::{TABLE_KEY_MAX, TABLE_VALUE_MAX};
use crate::schema::Storage;
use crate::time::{Instant, Now, Wall};

/// Operations that a log keeps which is short on purpose.
const SHORT_LOG: u64 = 16;

/// One `available` table on one node.
#[derive(Clone, Debug)]
pub struct Table {
    pub(super) me: Incarnation,
    /// This incarnation's place among the origins.
    pub(super) here: OriginIndex,
    pub(super) storage: Storage,
    pub(super) clock: HybridClock,
    pub(super) origins: Origins,
    pub(super) rows: Map<Version>,
    /// What is in the rows, or was and is accounted for.
    pub(super) held: Numbers,
    /// The same, as far as it survives what the storage promises to survive.
    pub(super) stored: Numbers,
    pub(super) log: Log,
    /// Everything in front of this position of the log is in `stored`.
    pub(super) synced: u64,
    pub(super) journal: Journal,
    /// The newest version that was ever dropped as a tombstone.
    pub(super) gc_floor: Stamp,
    /// So many tombstones were dropped in this start.
    pub(super) dropped: u64,
    /// Tombstones, and rows that have expired and are as good as one, by the operation that carries them.
    pub(super) graves: BTreeMap<Dot, Version>,
    /// Rows that have not expired yet, by when they will.
    pub(super) expiring: BTreeMap<(Wall, Dot), Version>,
    pub(super) changes: Changes<Change>,
    pub(super) indexes: Vec<Index<Version>>,
    pub(super) peers: Peers,
    pub(super) members: Members,
    pub(super) over: Over,
    pub(super) giving: BTreeMap<Incarnation, Giving>,
    pub(super) taking: Option<Taking>,
    /// The number of the last copy, or part of one, that was given.
    pub(super) copies_given: u64,
    pub(super) waste: Waste,
    /// Who gave an estate here.
    pub(super) judged: BTreeMap<Incarnation, Given>,
    /// Another cluster goes into this one: no tombstone is dropped.
    pub(super) keeps_tombstones: bool,
    /// What `gc_floor` was when that began: as long as it is the same, nothing that came from there can have been dropped.
    pub(super) floor_before: Option<Stamp>,
    pub(super) next_report: Instant,
    pub(super) events: Vec<Event>,
    /// Bytes of the rows, tombstones included.
    pub(super) bytes: usize,
    pub(super) scratch: Vec<u8>,
    pub(super) faults: Faults,
}

impl Table {
    /// An empty table. It begins above `settings.bound`; the shell gives it a bound of its own before the first write
    /// ([`Table::wanted_bound`]).
    #[must_use]
    pub fn new(settings: Settings) -> Self {
        let mut origins = Origins::default();
        let here = origins.place(settings.me);
        Self {
            me: settings.me,
            here,
            storage: settings.storage,
            clock: HybridClock::new(if settings.faults.bound_forgotten { Hlc::ZERO } else { settings.bound }),
            origins,
            rows: Map::default(),
            held: Numbers::default(),
            stored: Numbers::default(),
            log: Log::default(),
            synced: 0,
            journal: Journal::default(),
            gc_floor: Stamp::default(),
            dropped: 0,
            graves: BTreeMap::new(),
            expiring: BTreeMap::new(),
            changes: Changes::default(),
            indexes: Vec::new(),
            peers: Peers::default(),
            members: Members::default(),
            over: Over::default(),
            giving: BTreeMap::new(),
            taking: None,
            copies_given: before_first_copy(settings.me),
            waste: Waste::default(),
            judged: BTreeMap::new(),
            keeps_tombstones: false,
            floor_before: None,
            next_report: Instant::ZERO,
            events: Vec::new(),
            bytes: 0,
            scratch: Vec::new(),
            faults: settings.faults,
        }
    }

    /// Writes a row.
    ///
    /// # Errors
    /// See [`WriteError`]: nothing has changed, and a retry is safe.
    pub fn put(
        &mut self,
        key: &[u8],
        value: &[u8],
        expires_at: Option<Wall>,
        wall: Wall,
    ) -> Result<Receipt, WriteError> {
        if value.len() > TABLE_VALUE_MAX {
            return Err(WriteError::ValueTooLong { len: value.len() });
        }
        self.write(key, value, false, expires_at, wall)
    }

    /// Deletes a row, whether or not there is one.
    ///
    /// # Errors
    /// See [`WriteError`]: nothing has changed, and a retry is safe.
    pub fn delete(&mut self, key: &[u8], wall: Wall) -> Result<Receipt, WriteError> {
        self.write(key, &[], true, None, wall)
    }

    fn write(
        &mut self,
        key: &[u8],
        value: &[u8],
        delete: bool,
        expires_at: Option<Wall>,
        wall: Wall,
    ) -> Result<Receipt, WriteError> {
        if key.len() > TABLE_KEY_MAX {
            return Err(WriteError::KeyTooLong { len: key.len() });
        }
        let hlc = self.clock.stamp(wall)?;
        let id = Dot { origin: self.here, number: self.held.get(self.here) + 1 };
        let (scratch, mut written) = (&mut self.scratch, None);
        let old = self.rows.update(key, |held| {
            let replaced = held.map(Version::as_replaced);
            let parts = Parts { hlc, id, carrier: None, replaced, delete, aside: false, expires_at, key, value };
            written = Some(Version::pack(&parts, scratch));
            written.clone()
        });
        let version = written.expect("an update makes an entry once");
        self.changed(old.as_ref(), Some(&version), wall);
        self.append(version);
        Ok(Receipt { number: id.number, hlc, position: self.log.end() })
    }

    /// Appends an operation that is in the rows, or in the journal, and counts it as held.
    pub(super) fn append(&mut self, version: Version) {
        let Dot { origin, number } = version.carrier();
        self.held.raise(origin, number);
        self.log.push(Record::Op(version));
        if self.storage == Storage::Ram || self.faults.unsynced_counts {
            self.stored.raise(origin, number);
            self.synced = self.log.end();
        }
        self.log.trim(self.synced);
        if self.faults.short_log {
            self.log.drop_before(self.synced.min(self.log.end().saturating_sub(SHORT_LOG)));
        }
    }

    /// Keeps what hangs on the rows in step with a row that was changed.
    pub(super) fn changed(&mut self, old: Option<&Version>, new: Option<&Version>, wall: Wall) {
        self.bytes = self.bytes + new.map_or(0, Version::size) - old.map_or(0, Version::size);
        let shown = old.filter(|old| self.is_shown(old)).cloned();
        if let Some(old) = old {
            self.unhang(old);
        }
        if let Some(new) = new {
            self.bury_or_time(new, wall);
        }
        let live = new.filter(|new| new.is_live(wall));
        for index in &mut self.indexes {
            index.changed(shown.as_ref(), live);
        }
        let change = match (shown, live, new) {
            (_, Some(live), _) => Change::Put(live.clone()),
            (Some(old), None, _) => Change::Delete(old),
            (None, None, _) => return,
        };
        self.tell_watchers(change);
    }

    fn tell_watchers(&mut self, change: Change) {
        let bytes = change.version().size();
        self.changes.push(change, bytes);
    }

    fn unhang(&mut self, old: &Version) {
        if old.is_delete() || old.expires_at().is_some() {
            self.graves.remove(&old.carrier());
        }
        if let Some(at) = old.expires_at() {
            self.expiring.remove(&(at, old.carrier()));
        }
    }

    fn bury_or_time(&mut self, new: &Version, wall: Wall) {
        if !new.is_live(wall) {
            self.graves.insert(new.carrier(), new.clone());
        } else if let Some(at) = new.expires_at() {
            self.expiring.insert((at, new.carrier()), new.clone());
        }
    }

    /// Takes note of a row that came as one of many: watchers are told of all at once.
    pub(super) fn hang(&mut self, version: &Version, wall: Wall) {
        self.bytes += version.size();
        self.bury_or_time(version, wall);
        for index in &mut self.indexes {
            index.changed(None, Some(version).filter(|version| version.is_live(wall)));
        }
    }

    /// Whether watchers and indexes count a version as a row that is there.
    pub(super) fn is_shown(&self, version: &Version) -> bool {
        let expired = |at| !self.expiring.contains_key(&(at, version.carrier()));
        !version.is_delete() && !version.expires_at().is_some_and(expired)
    }

    /// Says of each row that has expired that it has, as every tick does.
    pub fn expire(&mut self, wall: Wall) {
        while let Some(first) = self.expiring.first_entry()
            && first.key().0 <= wall
        {
            let version = first.remove();
            self.graves.insert(version.carrier(), version.clone());
            for index in &mut self.indexes {
                index.changed(Some(&version), None);
            }
            self.tell_watchers(Change::Expired(version));
        }
    }

    /// The row of a key.
    #[must_use]
    pub fn get(&self, key: &[u8], wall: Wall) -> Option<&Version> {
        self.get_at(key, || wall)
    }

    /// The same at a time that is asked for only where the row expires.
    #[must_use]
    pub fn get_at(&self, key: &[u8], wall: impl FnOnce() -> Wall) -> Option<&Version> {
        self.rows.get(key).filter(|version| version.is_live_at(wall))
    }

    /// All rows as they are now, tombstones included; the clone costs nothing and stays as it is.
    #[must_use]
    pub fn rows(&self) -> Map<Version> {
        self.rows.clone()
    }

    /// The number of this incarnation's latest operation.
    #[must_use]
    pub fn latest(&self) -> OpNumber {
        self.held.get(self.here)
    }

    /// How much there is of it.
    #[must_use]
    pub fn size(&self) -> Size {
        let (rows, tombstones) = (self.rows.len() - self.graves.len(), self.graves.len());
        Size { rows, tombstones, bytes: self.bytes }
    }

    /// The revision of the latest change: with [`Table::rows`], where a watcher begins.
    #[must_use]
    pub fn revision(&self) -> Revision {
        self.changes.revision()
    }

    /// The changes after a revision, in order.
    ///
    /// # Errors
    /// Where they are not kept: a new snapshot is needed.
    pub fn changes_after(&self, revision: Revision) -> Result<impl Iterator<Item = &Change>, Resync> {
        self.changes.after(revision)
    }

    /// Adds a secondary index; its place is what [`Table::index`] is asked with.
    pub fn add_index(&mut self, extract: &Extract, wall: Wall) -> usize {
        let shown = self.rows.iter().filter(|version| version.is_live(wall) && self.is_shown(version));
        let index = Index::of(extract, shown);
        self.indexes.push(index);
        self.indexes.len() - 1
    }

    /// A secondary index.
    #[must_use]
    pub fn index(&self, at: usize) -> Option<&Index<Version>> {
        self.indexes.get(at)
    }

    /// The bound of stamps that is to be brought to disc now, if one is.
    #[must_use]
    pub fn wanted_bound(&self, wall: Wall) -> Option<Hlc> {
        self.clock.wanted_bound(wall)
    }

    /// What the clocks of the peers say.
    pub fn peer_clocks_are(&mut self, peers: PeerClocks) {
        self.clock.peers_are(peers);
    }

    /// The clock of the node that admitted this one, above which its own must be before it writes.
    ///
    /// # Errors
    /// Where that clock is not to be believed, or the bound on disc has to be raised first.
    pub fn raise_clock(&mut self, clock: Hlc, wall: Wall) -> Result<(), StampError> {
        self.clock.accept(clock, wall)
    }

    /// The highest stamp given or accepted.
    #[must_use]
    pub fn clock(&self) -> Hlc {
        self.clock.last()
    }

    /// What is held without gaps, origins that are over and folded left out.
    #[must_use]
    pub fn held(&self) -> Vector {
        self.wire(&self.held)
    }

    /// The same, as far as it is stored.
    #[must_use]
    pub fn stored(&self) -> Vector {
        self.wire(&self.stored)
    }

    /// What is held without gaps, origins that are folded included.
    #[must_use]
    pub fn all_held(&self) -> Vector {
        self.held.iter().map(|(place, number)| (self.origins.get(place), number)).collect()
    }

    fn wire(&self, numbers: &Numbers) -> Vector {
        let named = numbers.iter().filter(|(origin, _)| !self.over.is_folded(*origin));
        named.map(|(origin, number)| (self.origins.get(origin), number)).collect()
    }

    /// A vector from the wire, by the places of this table.
    pub(super) fn numbers(&mut self, vector: &Vector) -> Numbers {
        let mut numbers = Numbers::default();
        for (origin, number) in vector.iter() {
            numbers.raise(self.origins.place(origin), number);
        }
        numbers
    }

    /// Whether an operation is held.
    #[must_use]
    pub fn holds(&self, id: OpId) -> bool {
        self.origins.find(id.origin).is_some_and(|origin| self.held.covers(Dot { origin, number: id.number }))
    }

    /// The operation that wrote a version of this table.
    #[must_use]
    pub fn id_of(&self, version: &Version) -> OpId {
        self.origins.id(version.id())
    }

    /// The operation that wrote the version which a version of this table replaced.
    #[must_use]
    pub fn replaced_by(&self, version: &Version) -> Option<OpId> {
        version.replaced().map(|replaced| self.origins.id(replaced.id))
    }

    /// The stamp of a version of this table.
    #[must_use]
    pub fn stamp_of(&self, version: &Version) -> Stamp {
        Stamp { hlc: version.hlc(), origin: Some(self.origins.get(version.id().origin)) }
    }

    /// The versions in the override journal.
    pub fn journal(&self) -> impl Iterator<Item = &Version> {
        self.journal.versions()
    }

    /// How many versions are in the journal in memory, how many bytes they take, and how many there ever were.
    #[must_use]
    pub fn journal_size(&self) -> (usize, usize, u64) {
        (self.journal.len(), self.journal.bytes(), self.journal.total())
    }

    /// Versions of the journal that are to be set aside on disc now; then [`Table::set_aside`].
    pub fn to_set_aside(&mut self) -> Vec<Version> {
        self.journal.overflow()
    }

    /// What [`Table::to_set_aside`] gave is on disc, or could not be brought there: then nothing is merged until it is.
    pub fn set_aside(&mut self, done: bool) {
        self.journal.set_aside(done);
    }

    /// Whether merging stands still, because what loses could be kept nowhere.
    #[must_use]
    pub fn is_stuck(&self) -> bool {
        self.journal.is_stuck()
    }

    /// The stamp of the newest version that was dropped as a tombstone.
    #[must_use]
    pub fn gc_floor(&self) -> Stamp {
        self.gc_floor
    }

    /// This node goes on under a new guid, with all that it holds: the one before it is over, although it ran. The
    /// connections are made anew.
    pub fn renew(&mut self, me: Incarnation, now: Now) {
        self.abandon_copy(now);
        self.me = me;
        self.here = self.origins.place(me);
        self.peers = Peers::default();
        self.giving.clear();
        self.copies_given = before_first_copy(me);
    }

    /// This start of this node.
    #[must_use]
    pub fn me(&self) -> Incarnation {
        self.me
    }

    /// The position behind the last record of the log.
    #[must_use]
    pub fn log_end(&self) -> u64 {
        self.log.end()
    }

    /// The origins that the table has met.
    #[must_use]
    pub fn origins(&self) -> BTreeSet<Incarnation> {
        self.origins.list().iter().copied().collect()
    }

    /// What happened since this was last asked.
    pub fn take_events(&mut self) -> Vec<Event> {
        core::mem::take(&mut self.events)
    }
}

impl Entry for Version {
    fn key(&self) -> &[u8] {
        Self::key(self)
    }
}

impl Indexable for Version {
    fn value(&self) -> &[u8] {
        Self::value(self)
    }
}
