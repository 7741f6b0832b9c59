//! All tables of one node: opens and drops them as the cluster has committed, keeps a link to each peer, and ticks.

mod clock;
mod gate;
mod keep;
mod kept;
mod legacies;
mod loading;
mod parting;
mod peers;
mod room;
mod tidings;
mod world;

pub(crate) use self::parting::OnlyHere;
pub(super) use self::world::World;

use std::collections::BTreeMap;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, PoisonError, RwLock, Weak};
use std::time::Duration;

use ekka_core::control::Loading;
use ekka_core::id::{ClusterId, Incarnation, NodeId};
use ekka_core::schema::{Schema, Storage as Kept};
use ekka_core::table::{Body, Envelope, Faults, Message};
use ekka_core::time::Now;
use ekka_core::view::View;
use tokio::runtime::Handle;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{error, warn};

use self::gate::Gate;
use self::legacies::Legacies;
use self::room::Rooms;
use self::tidings::Tidings;
use super::acks::Answer;
use super::aside::{Aside, Tell};
use super::backup::Backups;
use super::bounds;
use super::committed::Committed;
use super::copies::{self, Copied};
use super::def::{TableDef, TableKind};
use super::digest::Verdicts;
use super::disc::{Discs, Sizes};
use super::handle::Table;
use super::link::Link;
use super::quorum::{BeginRows, Chores, Here, Mirror};
use super::slot::Slot;
use super::watch::Cursors;
use crate::answers::Answers;
use crate::env::{BoxFuture, Env};
use crate::home::{Home, Vigil};
use crate::rpc::Hub;
use crate::storage::Storage;
use crate::transport::{BulkConnection, Transport};

/// How often the tables are ticked, and links looked after.
const TICK: Duration = Duration::from_millis(100);
/// Time for a link to be dialled.
const DIAL: Duration = Duration::from_secs(5);
/// A peer that could not be dialled is dialled again after this.
const AGAIN: Duration = Duration::from_millis(500);
/// Between two steps of the merging of a full copy.
const BETWEEN_STEPS: Duration = Duration::from_millis(1);
/// Time for rows to be set aside when the node ends.
const LAST_TRY: Duration = Duration::from_secs(3);
/// Frames of full copies that may wait to be taken: the peer waits behind them.
const COPIED_MAX: usize = 4;

/// All tables of one node.
pub(crate) struct Tables {
    pub(super) world: Arc<World>,
    state: RwLock<State>,
    life: watch::Sender<Option<Life>>,
    committed: watch::Receiver<Arc<Committed>>,
    views: watch::Receiver<Arc<View>>,
    /// How far they are with what the peers held.
    loading: watch::Sender<Loading>,
    dials: Mutex<BTreeMap<NodeId, Instant>>,
    storage: Arc<dyn Storage>,
    pub(super) aside: Arc<Aside>,
    rooms: Arc<Rooms>,
    /// What the last comparison of each table came to.
    pub(super) verdicts: Verdicts,
    pub(super) backups: Backups,
    /// Those that are kept on disc.
    discs: Arc<Discs>,
    /// The cluster was left, and its tables are still open.
    left: AtomicBool,
    /// A higher bound of stamps is on its way to disc.
    raising: AtomicBool,
    /// The last one did not get there, and that was said.
    bound_fails: AtomicBool,
    home: Handle,
    vigil: Option<Arc<Vigil>>,
    copied: mpsc::Sender<Copied>,
    here: Arc<Here>,
    begin_rows: BeginRows,
    chores: Chores,
    gate: Gate,
    legacies: Mutex<Legacies>,
    tidings: Mutex<Tidings>,
    make_table: MakeTable,
    /// Rows that are being set aside, which are waited for at the end.
    saving: TaskTracker,
    ends: CancellationToken,
    stop: CancellationToken,
    this: Weak<Self>,
}

/// Has a table made where there is none of this name.
pub(crate) type MakeTable = Arc<dyn Fn(Schema) -> BoxFuture<'static, Result<(), String>> + Send + Sync>;

/// What belongs to one start of the node.
#[derive(Clone)]
struct Life {
    me: Incarnation,
    transport: Transport,
}

#[derive(Default)]
struct State {
    /// Whose tables they are.
    cluster: Option<ClusterId>,
    /// How many clusters are known to have gone into another one.
    merged: usize,
    by_id: BTreeMap<u64, Slot>,
    by_name: BTreeMap<String, u64>,
    /// All of them, for those who go through all.
    all: Arc<[Slot]>,
}

/// What the tables of a node are made with.
pub(crate) struct Setup {
    pub(crate) env: Env,
    pub(crate) storage: Arc<dyn Storage>,
    /// Whether the disc is too full for more rows.
    pub(crate) is_full: Arc<dyn Fn() -> bool + Send + Sync>,
    pub(crate) committed: watch::Receiver<Arc<Committed>>,
    pub(crate) views: watch::Receiver<Arc<View>>,
    /// Tells people of events.
    pub(crate) tell: Tell,
    /// The replicas that quorum tables are in, and what their first row takes.
    pub(crate) quorum: (Arc<Here>, BeginRows),
    /// The way to replicas on other nodes.
    pub(crate) calls: Arc<Hub>,
    /// Planted faults; all off in production.
    pub(crate) faults: Faults,
    pub(crate) make_table: MakeTable,
}

/// Makes the tables of a node ready: none is open until the cluster has committed some, and none has a link until the
/// transport is there.
///
/// # Errors
/// What the start before this one left on disc cannot be read.
pub(crate) fn prepare(setup: Setup, home: &Home, stop: CancellationToken) -> Result<Arc<Tables>, String> {
    let Setup { env, storage, is_full, committed, views, tell, quorum, calls, faults, make_table } = setup;
    let (here, begin_rows) = quorum;
    let aside = Arc::new(Aside::new(env.clone(), tell.clone()));
    let found = bounds::read(&*storage)?;
    let cursors = Cursors::new(storage.clone(), committed.clone());
    let world = Arc::new(World::new(env.clock.clone(), found, faults).with_cursors(cursors));
    world.tells(tell);
    let backups = Backups::read(&*env.disk);
    let discs = Discs::new((env, storage.clone(), home.handle.clone()), Sizes::default(), stop.clone(), is_full)?;
    let (copied, frames) = mpsc::channel(COPIED_MAX);
    for kept in [Kept::Ram, Kept::Disc] {
        let mirror = Mirror::new((calls.clone(), kept), here.clone(), committed.clone(), views.clone());
        home.handle.spawn(stop.clone().run_until_cancelled_owned(mirror.run()));
    }
    let tables = Arc::new_cyclic(|this| Tables {
        world,
        state: RwLock::default(),
        life: watch::Sender::new(None),
        committed,
        views,
        loading: watch::Sender::new(Loading::default()),
        dials: Mutex::default(),
        storage,
        aside,
        rooms: Arc::default(),
        verdicts: Verdicts::default(),
        backups,
        discs,
        left: AtomicBool::new(false),
        raising: AtomicBool::new(false),
        bound_fails: AtomicBool::new(false),
        home: home.handle.clone(),
        vigil: home.own.clone(),
        copied,
        chores: Chores::new(here.clone()),
        here,
        begin_rows,
        gate: Gate::new(),
        legacies: Mutex::default(),
        tidings: Mutex::default(),
        make_table,
        saving: TaskTracker::new(),
        ends: CancellationToken::new(),
        stop,
        this: this.clone(),
    });
    let (kept, taker, pump) = (tables.clone(), tables.clone(), tables.world.clone());
    let merger = tables.clone();
    home.handle.spawn(tables.stop.clone().run_until_cancelled_owned(async move { merger.merge_copies().await }));
    home.handle.spawn(tables.stop.clone().run_until_cancelled_owned(async move { pump.links.keep_pumping().await }));
    home.handle.spawn(tables.stop.clone().run_until_cancelled_owned(async move { kept.keep().await }));
    home.handle.spawn(tables.stop.clone().run_until_cancelled_owned(taker.take_copies(frames)));
    Ok(tables)
}

impl Tables {
    /// Gives it the transport of this start of the node; `in_cluster`: it begins as a member of a cluster.
    pub(crate) fn use_transport(&self, me: Incarnation, transport: Transport, in_cluster: bool) {
        self.gate.outside_is(!in_cluster);
        // What the start before this one said does not hold for it.
        self.loading.send_replace(Loading::default());
        self.life.send_replace(Some(Life { me, transport }));
    }

    /// The replica of the cluster has ended, and the next one may be of another membership: until the record says that this
    /// start is a member, nothing is exchanged, and what there is stays as it is.
    pub(crate) fn outside(&self) {
        self.gate.shut_is(true);
        self.gate.outside_is(true);
        self.world.links.all().iter().for_each(|link| link.end.cancel());
    }

    /// What the replica that has ended had committed is shown no more.
    pub(crate) fn next_replica(&self) {
        self.gate.shut_is(false);
    }

    /// It goes on with the replica that it had.
    pub(crate) fn goes_on(&self) {
        self.gate.outside_is(false);
    }

    /// Ends all of it. Whoever waits is told; what could not be set aside so far is tried once more before.
    pub(crate) async fn stop(&self) {
        self.ends.cancel();
        self.saving.close();
        if timeout(LAST_TRY, self.saving.wait()).await.is_err() {
            error!("the node ends while rows are being set aside: the disc does not answer");
        }
        self.stop.cancel();
        self.slots().iter().for_each(Slot::end);
    }

    /// A frame of a full copy came over the bulk lane; waits while others are being taken.
    pub(crate) async fn copied(&self, from: NodeId, frame: Vec<u8>) {
        // Nobody takes it once the node has ended.
        let _ = self.copied.send((from, frame)).await;
    }

    pub(super) fn now(&self) -> Now {
        self.world.clock.now()
    }

    pub(super) fn slot(&self, id: u64) -> Option<Slot> {
        self.state.read().unwrap_or_else(PoisonError::into_inner).by_id.get(&id).cloned()
    }

    /// The table of this name.
    pub(super) fn named(&self, name: &str) -> Option<Slot> {
        let state = self.state.read().unwrap_or_else(PoisonError::into_inner);
        state.by_id.get(state.by_name.get(name)?).cloned()
    }

    pub(super) fn slots(&self) -> Arc<[Slot]> {
        self.state.read().unwrap_or_else(PoisonError::into_inner).all.clone()
    }

    /// What the cluster has committed, now and whenever that changes.
    pub(super) fn committed(&self) -> watch::Receiver<Arc<Committed>> {
        self.committed.clone()
    }

    /// Resolves once the node has ended.
    pub(crate) async fn stopped(&self) {
        self.stop.cancelled().await;
    }

    pub(crate) fn is_stopped(&self) -> bool {
        self.stop.is_cancelled()
    }

    /// What this node sees of the cluster.
    pub(super) fn view(&self) -> Arc<View> {
        self.views.borrow().clone()
    }

    /// The handle of a table with the types of its definition.
    pub(crate) fn typed<K, V: 'static, C: TableKind>(
        &self,
        id: u64,
        def: &TableDef<K, V, C>,
    ) -> Option<Table<K, V, C>> {
        Some(Table::new(C::of(self.slot(id)?)?, def))
    }

    /// Goes on with this until the node ends.
    pub(super) fn while_it_runs(&self, work: impl Future<Output = ()> + Send + 'static) {
        self.home.spawn(self.stop.clone().run_until_cancelled_owned(work));
    }

    /// Does what takes long, off the runtime.
    pub(super) async fn blocking<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> T {
        self.aside.env().blocking(work).await
    }

    /// Whether there is a link with any peer.
    #[cfg(test)]
    pub(crate) fn has_links(&self) -> bool {
        !self.world.links.all().is_empty()
    }

    fn me(&self) -> Option<Incarnation> {
        self.life.borrow().as_ref().map(|life| life.me)
    }

    fn transport(&self) -> Option<Transport> {
        self.life.borrow().as_ref().map(|life| life.transport.clone())
    }

    /// Takes a message of a peer.
    ///
    /// # Errors
    /// It is not what it should be: the connection is to be ended.
    pub(super) fn take(
        &self,
        link: &Arc<Link>,
        envelope: Envelope,
        answers: &mut Answers<Answer>,
    ) -> Result<(), String> {
        let Envelope { table, shard, body } = envelope;
        if shard != 0 {
            return Err(format!("shard {shard} of table {table}, and tables have one"));
        }
        // One that is not open here yet, or no more: when it is opened both begin anew.
        let Some(slot) = self.slot(table) else { return Ok(()) };
        let asks = matches!(body, Body::Available(Message::CopyAsk { .. } | Message::EstateWanted { .. }));
        let received = slot.receive(link.peer, body, self.now(), answers);
        link.mark(table);
        if asks {
            link.copies.notify_one();
        }
        received.map_err(|error| format!("table {}: {error}", slot.schema().name))
    }

    async fn take_copies(self: Arc<Self>, mut frames: mpsc::Receiver<Copied>) {
        while let Some((from, frame)) = frames.recv().await {
            let Some(link) = self.world.links.all().iter().find(|link| link.peer.node_id == from).cloned() else {
                continue;
            };
            let taken = copies::decode(&frame).and_then(|envelope| {
                let table = envelope.table;
                self.take(&link, envelope, &mut Answers::default()).map(|()| self.world.links.stir(table))
            });
            if let Err(text) = taken {
                warn!(peer = %link.name, err = text, "a frame of a full copy is malformed");
                link.end.cancel();
            }
            tokio::task::yield_now().await;
        }
    }

    /// Merges full copies that are in, step by step; writers have the locks in between.
    async fn merge_copies(self: Arc<Self>) {
        loop {
            self.world.merging.notified().await;
            while self.slots().iter().filter(|slot| slot.merge_some(self.now())).count() > 0 {
                // Who waits for a lock that is free for a moment only is not always fast enough to get it.
                sleep(BETWEEN_STEPS).await;
            }
        }
    }

    pub(super) async fn open_bulk(&self, node: NodeId) -> Result<BulkConnection, String> {
        let transport = self.transport().ok_or("this node is starting")?;
        let endpoint = self.view().member(node).map(|member| member.endpoint.clone()).ok_or("it is no member")?;
        transport.open_bulk(&endpoint).await.map_err(|error| error.to_string())
    }
}
