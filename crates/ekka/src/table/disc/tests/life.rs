//! One start of a node with one table on a disc that crashes, and a peer that never does.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use ekka_core::durable::TableEntry;
use ekka_core::id::{ClusterId, Guid, Incarnation, NodeId};
use ekka_core::schema::{Kind, Schema};
use ekka_core::table::{Ack, Faults, Hlc, OpId, PeerClocks, Settings, Storage as Kept, Table, Version};
use ekka_core::time::{Now, Wall};
use tokio::runtime::Handle;
use tokio::sync::oneshot;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::super::keeper::Sizes;
use super::super::names::Key;
use super::super::recover;
use super::super::{Discs, Names};
use crate::answers::Answers;
use crate::env::{Clock, Env};
use crate::storage::Storage;
use crate::table::acks::Answer;
use crate::table::acks::{Terms, Written};
use crate::table::available::{AvailableSlot, Write};
use crate::table::committed::Committed;
use crate::table::hub::World;
use crate::testing::{CrashingDisc, RuntimeClock};

pub(super) const KEY: Key = Key { cluster: ClusterId::from_u128(5), table: 7 };
pub(super) const SIZES: Sizes = Sizes { record: 256, piece: 512, log_max: 1024 };
const LOCAL: Terms = Terms { ack: Ack::Local, strict: false };

pub(super) fn id(node: u128, guid: u128) -> Incarnation {
    Incarnation { node_id: NodeId::from_u128(node), guid: Guid::from_u128(guid) }
}

/// The world around all starts.
pub(super) struct Around {
    pub(super) env: Env,
    pub(super) schema: Schema,
    pub(super) is_full: Arc<std::sync::atomic::AtomicBool>,
    faults: Faults,
    _folder: tempfile::TempDir,
}

impl Around {
    pub(super) fn new() -> Self {
        Self::with_faults(Faults::default())
    }

    pub(super) fn with_faults(faults: Faults) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let clock = Arc::new(RuntimeClock::default());
        let env = Env { clock, threads: false, ..Env::real(folder.path()).unwrap() };
        let schema = Schema { storage: Kept::Disc, ..Schema::new("t", Kind::Available) };
        Self { env, schema, is_full: Arc::default(), faults, _folder: folder }
    }

    pub(super) fn now(&self) -> Now {
        self.env.clock.now()
    }

    /// A table in ram of a peer.
    pub(super) fn peer(&self) -> Table {
        let mut peer = Table::new(self.settings(id(2, 1), Kept::Ram));
        peer.bound_is(Hlc::at(Wall::from_millis(self.now().wall.as_millis() + 10_000_000)));
        peer
    }

    pub(super) fn world(&self) -> Arc<World> {
        let world = Arc::new(World::new(self.env.clock.clone(), Hlc::at(self.now().wall), Faults::default()));
        world.begin_alone();
        world.bound_is(Hlc::at(Wall::from_millis(self.now().wall.as_millis() + 10_000_000)));
        world
    }

    pub(super) fn discs(&self, disc: &CrashingDisc, stop: CancellationToken) -> Arc<Discs> {
        let full = self.is_full.clone();
        let is_full = Arc::new(move || full.load(std::sync::atomic::Ordering::Relaxed));
        let means = (self.env.clone(), Arc::new(disc.open()) as Arc<dyn Storage>, Handle::current());
        Discs::new(means, SIZES, stop, is_full).expect("the index can be read")
    }

    pub(super) fn settings(&self, me: Incarnation, storage: Kept) -> Settings {
        Settings { me, storage, bound: Hlc::at(self.now().wall), faults: self.faults }
    }

    /// What a start would find on a disc.
    pub(super) fn read(&self, disc: &CrashingDisc, me: Incarnation) -> Table {
        let settings = self.settings(me, Kept::Disc);
        recover::read(&disc.open(), &Names::new(KEY, 0), settings, self.now()).expect("it can be read").table
    }
}

/// One start of the node.
pub(super) struct Life {
    pub(super) me: Incarnation,
    pub(super) slot: Arc<AvailableSlot>,
    pub(super) world: Arc<World>,
    pub(super) discs: Arc<Discs>,
    stop: CancellationToken,
    disc: CrashingDisc,
    clock: Arc<dyn Clock>,
    waiting: Vec<(OpId, oneshot::Receiver<Answer>)>,
    /// What was acknowledged, and how many changes no crash took by then.
    pub(super) acked: Vec<(OpId, usize)>,
}

impl Life {
    pub(super) async fn begin(around: &Around, disc: &CrashingDisc, guid: u128) -> Self {
        // All stamps of the start before are below this one's.
        sleep(Duration::from_millis(10)).await;
        let me = id(1, guid);
        let settings = around.settings(me, Kept::Disc);
        let (stop, world) = (CancellationToken::new(), around.world());
        let discs = around.discs(disc, stop.clone());
        let slot = loop {
            if let Some(slot) = discs.open(KEY, &around.schema, settings, &world) {
                break slot;
            }
            assert!(discs.open(KEY, &around.schema, settings, &world).is_none(), "it is read once");
            discs.changed().await;
        };
        let clock = around.env.clock.clone();
        let life =
            Self { me, slot, world, discs, stop, disc: disc.clone(), clock, waiting: Vec::new(), acked: Vec::new() };
        life.slot.follow(&life.committed(guid));
        life.slot.tick(PeerClocks::default(), life.now());
        life
    }

    pub(super) fn committed(&self, guid: u128) -> Committed {
        let members = [self.me.node_id, id(2, 1).node_id].into();
        let over = if guid > 1 { [id(1, guid - 1)].into() } else { [].into() };
        let entry = TableEntry { id: KEY.table, schema: self.slot.schema.clone() };
        let tables = BTreeMap::from([("t".to_owned(), entry)]);
        Committed { cluster: Some(KEY.cluster), members, over, number: 9, tables, ..Committed::default() }
    }

    pub(super) fn now(&self) -> Now {
        self.clock.now()
    }

    pub(super) fn write(&mut self, write: Write<'_>) {
        let written = self.slot.write(write, LOCAL).expect("it is taken");
        let number = self.slot.read().all_held().get(self.me);
        if let Written::Later(answer) = written {
            self.waiting.push((OpId { origin: self.me, number }, answer));
        }
    }

    /// Lets time pass, and takes note of what is acknowledged by then.
    pub(super) async fn pass(&mut self, time: Duration) {
        sleep(time).await;
        let now = self.disc.changes().0;
        let acked = &mut self.acked;
        self.waiting.retain_mut(|(id, answer)| match answer.try_recv() {
            Ok(answer) => {
                let answer = answer.expect("no copies were asked for");
                assert!(answer.durable, "acknowledged means synced");
                acked.push((*id, now));
                false
            }
            Err(oneshot::error::TryRecvError::Empty) => true,
            Err(oneshot::error::TryRecvError::Closed) => panic!("nobody answers"),
        });
    }

    pub(super) fn waiting(&self) -> usize {
        self.waiting.len()
    }

    /// Waits until all is on disc.
    pub(super) async fn settle(&mut self) {
        for _ in 0..100 {
            self.pass(Duration::from_millis(5)).await;
            let table = self.slot.read();
            if self.waiting.is_empty() && table.stored() == table.held() {
                return;
            }
        }
        panic!("{} writes wait, stored is {:?}", self.waiting.len(), self.slot.read().stored());
    }

    pub(super) fn connect(&self, peer: &mut Table) {
        self.slot.connect(peer.me(), self.now());
        peer.connect(self.me, self.now());
    }

    /// Ends it, as a crash does.
    pub(super) async fn crash(self, peer: &mut Table) -> Table {
        self.stop.cancel();
        let shadow = self.slot.read().clone();
        peer.disconnect(self.me, self.now());
        tokio::task::yield_now().await;
        shadow
    }

    /// Exchanges all that the two have for each other.
    pub(super) fn exchange(&self, peer: &mut Table) {
        let (now, me, other) = (self.now(), self.me, peer.me());
        loop {
            let here = self.slot.poll(other, 300).or_else(|| self.slot.poll_copy(other, now));
            let there = peer.poll(me, 300).or_else(|| peer.poll_copy(me, now));
            if here.is_none() && there.is_none() {
                return;
            }
            if let Some(message) = here {
                peer.receive(me, message, now).unwrap();
            }
            if let Some(message) = there {
                self.slot.receive(other, message, now, &mut Answers::default()).unwrap();
            }
            while self.slot.merge_some(now) {}
            peer.merge_some(usize::MAX, now);
        }
    }

    /// Exchanges until both have everything.
    pub(super) async fn converge(&mut self, peer: &mut Table) {
        for _ in 0..20 {
            self.pass(Duration::from_millis(1100)).await;
            self.slot.tick(PeerClocks::default(), self.now());
            peer.tick(self.now());
            self.exchange(peer);
        }
    }
}

type Seen = (Vec<u8>, Vec<u8>, Hlc, bool);

fn seen(version: &Version) -> Seen {
    (version.key().to_vec(), version.value().to_vec(), version.hlc(), version.is_delete())
}

fn live(table: &Table, wall: Wall) -> BTreeSet<Seen> {
    table.rows().iter().filter(|version| version.is_live(wall)).map(seen).collect()
}

/// What one of two tables has and the other has not, of live rows.
pub(super) fn other_rows(one: &Table, other: &Table, wall: Wall) -> Vec<Seen> {
    live(one, wall).symmetric_difference(&live(other, wall)).cloned().collect()
}

/// Asserts that the journal that was read back has all that was in it. It may have tombstones beside: one that was swept
/// is there again until it is swept again, and whoever had put a row in its place had not seen it.
pub(super) fn assert_journal(read: &Table, before: &Table) {
    let losers = |table: &Table| table.journal().map(seen).collect::<BTreeSet<_>>();
    let (read, before) = (losers(read), losers(before));
    assert!(read.is_superset(&before), "{:?} is not in the journal", before.difference(&read).collect::<Vec<_>>());
    let more: Vec<_> = read.difference(&before).filter(|(_, _, _, delete)| !delete).collect();
    assert!(more.is_empty(), "{more:?} is in the journal");
}
