//! All tables of one node: opens and drops them as the cluster has committed, keeps a link to each peer, and ticks.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, Weak};
use std::time::Duration;

use ekka_core::control::DialError;
use ekka_core::id::{Endpoint, Incarnation, NodeId, NodeName};
use ekka_core::table::{Body, Envelope, Hlc, HybridClock, Message};
use ekka_core::time::Now;
use ekka_core::view::{Role, View};
use ekka_core::wire::Lane;
use tokio::runtime::Handle;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

use super::available::AvailableSlot;
use super::bounds::{self, Bound};
use super::committed::Committed;
use super::copies::{self, Copied};
use super::def::{Available, TableDef};
use super::handle::Table;
use super::key::TableKey;
use super::link::{Driver, Link, Links};
use super::slot::Slot;
use crate::env::{BoxStream, Clock};
use crate::home::{Home, Vigil};
use crate::storage::Storage;
use crate::transport::{BulkConnection, LaneConnection, LaneHost, Transport};

/// How often the tables are ticked, and links looked after.
const TICK: Duration = Duration::from_millis(100);
/// Time for a link to be dialled.
const DIAL: Duration = Duration::from_secs(5);
/// A peer that could not be dialled is dialled again after this.
const AGAIN: Duration = Duration::from_millis(500);
/// Frames of full copies that may wait to be taken: the peer waits behind them.
const COPIED_MAX: usize = 4;

/// What tables see of the world around them.
pub(super) struct World {
    pub(super) clock: Arc<dyn Clock>,
    pub(super) links: Links,
    /// The other nodes that are up and hold tables.
    up: RwLock<Arc<[Incarnation]>>,
    names: RwLock<BTreeMap<NodeId, NodeName>>,
    /// No other node holds tables.
    sole: AtomicBool,
    bound: watch::Sender<Bound>,
}

impl World {
    /// The other nodes that are up and hold tables.
    pub(super) fn up(&self) -> Arc<[Incarnation]> {
        self.up.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Whether no other node holds tables.
    pub(super) fn is_sole(&self) -> bool {
        self.sole.load(Ordering::Relaxed)
    }

    pub(super) fn bound(&self) -> Bound {
        *self.bound.borrow()
    }

    /// Waits until the bound of stamps is raised, so long at most.
    pub(super) async fn bound_raised(&self, limit: Duration) {
        let mut bound = self.bound.subscribe();
        let raised = timeout(limit, bound.changed()).await;
        debug!(in_time = raised.is_ok(), "waited for the bound of stamps");
    }

    /// Who is up and does not hold all that was written here, in words.
    pub(super) fn missing(&self, slot: &AvailableSlot) -> String {
        let names = self.names.read().unwrap_or_else(PoisonError::into_inner);
        let behind = |peer: &&Incarnation| slot.lag_of(peer.node_id).is_none_or(|lag| lag > 0);
        let name = |peer: &Incarnation| names.get(&peer.node_id).map_or(peer.node_id.to_string(), NodeName::to_string);
        let missing: Vec<String> = self.up().iter().filter(behind).map(name).collect();
        if missing.is_empty() { "somebody".to_owned() } else { missing.join(", ") }
    }
}

/// All tables of one node.
pub(crate) struct Tables {
    pub(super) world: Arc<World>,
    state: RwLock<State>,
    life: watch::Sender<Option<Life>>,
    committed: watch::Receiver<Arc<Committed>>,
    views: watch::Receiver<Arc<View>>,
    dials: Mutex<BTreeMap<NodeId, Instant>>,
    storage: Arc<dyn Storage>,
    /// A higher bound of stamps is on its way to disc.
    raising: AtomicBool,
    home: Handle,
    vigil: Option<Arc<Vigil>>,
    copied: mpsc::Sender<Copied>,
    stop: CancellationToken,
    this: Weak<Self>,
}

/// What belongs to one start of the node.
#[derive(Clone)]
struct Life {
    me: Incarnation,
    transport: Transport,
}

#[derive(Default)]
struct State {
    by_id: BTreeMap<u64, Slot>,
    by_name: BTreeMap<String, u64>,
    /// All of them, for those who go through all.
    all: Arc<[Slot]>,
}

/// What the tables of a node are made with.
pub(crate) struct Setup {
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) storage: Arc<dyn Storage>,
    pub(crate) committed: watch::Receiver<Arc<Committed>>,
    pub(crate) views: watch::Receiver<Arc<View>>,
}

/// Makes the tables of a node ready: none is open until the cluster has committed some, and none has a link until the
/// transport is there.
///
/// # Errors
/// What the start before this one left on disc cannot be read.
pub(crate) fn prepare(setup: Setup, home: &Home, stop: CancellationToken) -> Result<Arc<Tables>, String> {
    let Setup { clock, storage, committed, views } = setup;
    let found = bounds::read(&*storage)?;
    let world = Arc::new(World {
        clock,
        links: Links::default(),
        up: RwLock::new(Arc::new([])),
        names: RwLock::default(),
        sole: AtomicBool::new(false),
        bound: watch::Sender::new(Bound { found, on_disc: found }),
    });
    let (copied, frames) = mpsc::channel(COPIED_MAX);
    let tables = Arc::new_cyclic(|this| Tables {
        world,
        state: RwLock::default(),
        life: watch::Sender::new(None),
        committed,
        views,
        dials: Mutex::default(),
        storage,
        raising: AtomicBool::new(false),
        home: home.handle.clone(),
        vigil: home.own.clone(),
        copied,
        stop,
        this: this.clone(),
    });
    let (kept, taker) = (tables.clone(), tables.clone());
    home.handle.spawn(tables.stop.clone().run_until_cancelled_owned(async move { kept.keep().await }));
    home.handle.spawn(tables.stop.clone().run_until_cancelled_owned(taker.take_copies(frames)));
    Ok(tables)
}

impl Tables {
    /// Gives it the transport of this start of the node.
    pub(crate) fn use_transport(&self, me: Incarnation, transport: Transport) {
        self.life.send_replace(Some(Life { me, transport }));
    }

    /// Ends all of it. Whoever waits is told.
    pub(crate) fn stop(&self) {
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
    pub(super) async fn stopped(&self) {
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
    pub(crate) fn typed<K: TableKey, V>(&self, id: u64, def: &TableDef<K, V, Available>) -> Option<Table<K, V, Available>> {
        match self.slot(id)? {
            Slot::Available(slot) => Some(Table::new(slot, def)),
        }
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
    pub(super) fn take(&self, link: &Arc<Link>, envelope: Envelope) -> Result<(), String> {
        let Envelope { table, shard, body } = envelope;
        if shard != 0 {
            return Err(format!("shard {shard} of table {table}, and tables have one"));
        }
        // One that is not open here yet, or no more: when it is opened both begin anew.
        let Some(slot) = self.slot(table) else { return Ok(()) };
        let asks = matches!(body, Body::Available(Message::CopyAsk { .. }));
        let received = slot.receive(link.peer, body, self.now());
        link.stir(table);
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
            if let Err(text) = copies::decode(&frame).and_then(|envelope| self.take(&link, envelope)) {
                warn!(peer = %link.name, err = text, "a frame of a full copy is malformed");
                link.end.cancel();
            }
            tokio::task::yield_now().await;
        }
    }

    pub(super) async fn open_bulk(&self, node: NodeId) -> Result<BulkConnection, String> {
        let transport = self.transport().ok_or("this node is starting")?;
        let endpoint = self.view().member(node).map(|member| member.endpoint.clone()).ok_or("it is no member")?;
        transport.open_bulk(&endpoint).await.map_err(|error| error.to_string())
    }

    /// Follows the cluster until the node ends.
    async fn keep(self: Arc<Self>) {
        self.first_bound().await;
        let (mut committed, mut views, mut life) =
            (self.committed.clone(), self.views.clone(), self.life.subscribe());
        let mut me = None;
        let mut next = Instant::now();
        loop {
            self.follow_life(&mut me);
            self.follow_committed(&committed.borrow_and_update().clone());
            let view = views.borrow_and_update().clone();
            self.follow_view(&view);
            self.look_after_links(&view);
            if Instant::now() >= next {
                next = Instant::now() + TICK;
                self.tick();
            }
            tokio::select! {
                changed = committed.changed() => if changed.is_err() { return },
                changed = views.changed() => if changed.is_err() { return },
                changed = life.changed() => if changed.is_err() { return },
                () = tokio::time::sleep_until(next) => {}
            }
        }
    }

    fn follow_life(&self, me: &mut Option<Incarnation>) {
        let present = self.me();
        if *me == present {
            return;
        }
        if me.is_some()
            && let Some(present) = present
        {
            // The connections of the start before have ended with its transport.
            self.world.links.all().iter().for_each(|link| link.end.cancel());
            self.slots().iter().for_each(|slot| slot.renew(present));
        }
        *me = present;
    }

    fn follow_committed(&self, committed: &Committed) {
        let Some(me) = self.me() else { return };
        let wanted: BTreeSet<u64> = committed.tables.values().map(|entry| entry.id).collect();
        let (mut opened, mut dropped) = (Vec::new(), Vec::new());
        {
            let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
            let gone: Vec<u64> = state.by_id.keys().copied().filter(|id| !wanted.contains(id)).collect();
            dropped.extend(gone.iter().filter_map(|id| state.by_id.remove(id)));
            for entry in committed.tables.values() {
                if !state.by_id.contains_key(&entry.id)
                    && let Some(slot) = self.open(entry.id, &entry.schema, me)
                {
                    state.by_id.insert(entry.id, slot.clone());
                    opened.push(slot);
                }
            }
            if !(opened.is_empty() && dropped.is_empty()) {
                state.by_name = state.by_id.values().map(|slot| (slot.schema().name.clone(), slot.id())).collect();
                state.all = state.by_id.values().cloned().collect();
            }
        }
        dropped.iter().for_each(Slot::end);
        let (now, links) = (self.now(), self.world.links.all());
        for slot in &opened {
            debug!(table = slot.schema().name, "opened");
            for link in &*links {
                slot.connect(link.peer, now);
                link.opened(slot.id());
            }
        }
        self.slots().iter().for_each(|slot| slot.follow(committed));
        self.world.sole.store(committed.members.iter().all(|id| *id == me.node_id), Ordering::Relaxed);
    }

    fn open(&self, id: u64, schema: &ekka_core::schema::Schema, me: Incarnation) -> Option<Slot> {
        use ekka_core::schema::Kind;
        match schema.kind {
            Kind::Available => {
                let slot = AvailableSlot::new(id, schema.clone(), me, self.world.clone());
                Some(Slot::Available(Arc::new(slot)))
            }
            Kind::Owned | Kind::Quorum => None,
        }
    }

    fn follow_view(&self, view: &View) {
        let others = || view.members.iter().filter(|member| member.id.node_id != view.me.node_id);
        let holds = others().filter(|member| member.role != Role::Witness && member.status.takes_part());
        let up: Arc<[Incarnation]> = holds.map(|member| member.id).collect();
        *self.world.names.write().unwrap_or_else(PoisonError::into_inner) =
            view.members.iter().map(|member| (member.id.node_id, member.name.clone())).collect();
        let changed = {
            let mut present = self.world.up.write().unwrap_or_else(PoisonError::into_inner);
            *std::mem::replace(&mut *present, up.clone()) != *up
        };
        if changed {
            let (ahead, now) = (view.clock_offset_ms.unwrap_or(0), self.now());
            self.slots().iter().for_each(|slot| slot.sees(ahead, now));
        }
    }

    fn tick(&self) {
        let (now, slots) = (self.now(), self.slots());
        let ahead = self.view().clock_offset_ms.unwrap_or(0);
        for slot in &*slots {
            slot.sees(ahead, now);
            slot.tick(now);
            self.world.links.stir(slot.id());
        }
        self.raise_bound(slots.iter().filter_map(|slot| slot.wanted_bound(now.wall)).max());
    }

    /// No table is opened before there is a bound: an operation that came meanwhile would be refused for its stamp.
    async fn first_bound(&self) {
        let clock = HybridClock::new(self.world.bound().found);
        let mut told = false;
        while let Some(bound) = clock.wanted_bound(self.now().wall) {
            match bounds::write(self.storage.clone(), bound).await {
                Ok(()) => {
                    self.world.bound.send_modify(|known| known.on_disc = bound);
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
                    tables.world.bound.send_modify(|bound| bound.on_disc = wanted);
                    tables.slots().iter().for_each(|slot| slot.bound_is(wanted));
                }
                Err(err) => {
                    warn!(%err, "the bound of stamps cannot be written: no table is written to beyond it");
                    sleep(AGAIN).await;
                }
            }
            tables.raising.store(false, Ordering::Relaxed);
        });
    }

    fn locked_dials(&self) -> MutexGuard<'_, BTreeMap<NodeId, Instant>> {
        self.dials.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Of two nodes the one with the smaller id dials; the other one does where it is asked to.
    fn look_after_links(&self, view: &View) {
        let linked: BTreeSet<NodeId> = self.world.links.all().iter().map(|link| link.peer.node_id).collect();
        for member in &view.members {
            let node = member.id.node_id;
            let wanted = member.status.is_running() && member.role != Role::Witness && node > view.me.node_id;
            if wanted && !linked.contains(&node) {
                self.dial(node, member.endpoint.clone(), true);
            }
        }
    }

    /// Dials a peer, unless that is under way, or was tried just now.
    fn dial(&self, node: NodeId, endpoint: Endpoint, asks: bool) {
        let (Some(transport), Some(tables)) = (self.transport(), self.this.upgrade()) else { return };
        let now = Instant::now();
        {
            let mut dials = self.locked_dials();
            if dials.get(&node).is_some_and(|until| *until > now) {
                return;
            }
            dials.insert(node, now + DIAL);
        }
        self.home.spawn(async move {
            let opened = timeout(DIAL, transport.open_lane(Lane::Tables, &endpoint, node)).await;
            tables.locked_dials().insert(node, Instant::now() + AGAIN);
            match opened {
                Ok(Ok((port, stream))) => tables.carry(port, stream).await,
                Ok(Err(error)) => {
                    let asked = asks && !is_final(&error) && transport.ask_for_lane(Lane::Tables, node);
                    debug!(peer = %endpoint, err = %error, asked, "no link for tables");
                }
                Err(_) => debug!(peer = %endpoint, "no link for tables within its time"),
            }
        });
    }

    /// Carries a link to its end.
    async fn carry(self: Arc<Self>, port: LaneConnection, stream: BoxStream) {
        let (peer, name) = (port.peer().incarnation(), port.peer().name.clone());
        let link = Arc::new(Link::new(peer, name));
        self.begin(&link);
        let (giver, given) = (self.clone(), link.clone());
        let copies = self.home.spawn(async move { copies::give(giver, given).await });
        let driver = Driver::new(self.clone(), link.clone(), stream, self.vigil.clone());
        let cause = driver.run(&port, &self.stop).await;
        debug!(peer = %link.name, lane = "tables", reason = ?cause, "connection ended");
        copies.abort();
        link.end.cancel();
        if self.world.links.remove(&link) {
            let now = self.now();
            self.slots().iter().for_each(|slot| slot.disconnect(peer, now));
        }
    }

    fn begin(&self, link: &Arc<Link>) {
        let now = self.now();
        if let Some(replaced) = self.world.links.insert(link) {
            replaced.end.cancel();
            self.slots().iter().for_each(|slot| slot.disconnect(replaced.peer, now));
        }
        for slot in &*self.slots() {
            slot.connect(link.peer, now);
            link.stir(slot.id());
        }
    }
}

/// Whether a dial failed for a reason that the other direction would not mend.
fn is_final(error: &DialError) -> bool {
    matches!(error, DialError::Credentials(_) | DialError::Rejected(_) | DialError::Garbage(_))
}

impl LaneHost for Tables {
    fn accepted(&self, port: LaneConnection, mut stream: BoxStream) {
        let Some(tables) = self.this.upgrade() else { return };
        self.home.spawn(async move {
            if tables.vigil.is_some()
                && let Err(error) = LaneConnection::rehome(&mut stream)
            {
                warn!(err = %error, "a connection for tables could not be moved to its thread");
                return;
            }
            tables.carry(port, stream).await;
        });
    }

    fn asked(&self, by: NodeId) {
        if let Some(member) = self.view().member(by) {
            self.dial(by, member.endpoint.clone(), false);
        }
    }
}
