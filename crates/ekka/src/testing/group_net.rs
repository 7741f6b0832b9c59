//! A network in memory for consensus groups: delays, loss and cut links by a seed, in the time of the runtime.
//!
//! Frames of one direction of one link keep their order, as on a connection. A cut link swallows frames; after a while
//! it is seen to be down, and takes none.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use ekka_core::id::NodeId;
use ekka_core::limits::LINK_SILENCE;
use ekka_core::rng::Rng;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep_until};
use tokio_util::task::TaskTracker;

use crate::consensus::raft::{BulkLane, Lanes, Router};
use crate::env::BoxFuture;

/// What a link is like.
#[derive(Clone, Copy, Debug)]
pub struct Weather {
    /// The shortest time of a frame on its way.
    pub delay: Duration,
    /// What chance adds to it at most.
    pub jitter: Duration,
    /// Of a thousand frames so many are lost.
    pub loss_per_mille: u64,
    /// How much longer frames of the bulk lane are on their way.
    pub bulk: Duration,
}

impl Default for Weather {
    fn default() -> Self {
        Self {
            delay: Duration::from_micros(200),
            jitter: Duration::from_millis(1),
            loss_per_mille: 0,
            bulk: Duration::ZERO,
        }
    }
}

type Frame = (Instant, bool, Vec<u8>);

struct State {
    rng: Rng,
    weather: Weather,
    routers: BTreeMap<NodeId, Router>,
    pipes: BTreeMap<(NodeId, NodeId, bool), mpsc::UnboundedSender<Frame>>,
    cut: BTreeMap<(NodeId, NodeId), Instant>,
    down: BTreeSet<NodeId>,
    /// Whose frames, to and from them, are kept back.
    paused: watch::Sender<BTreeSet<NodeId>>,
    watched: Option<Watched>,
}

/// A way whose frames are counted, and its silence measured.
#[derive(Clone, Copy)]
struct Watched {
    way: (NodeId, NodeId),
    last: Instant,
    longest: Duration,
    frames: u64,
}

/// The network. Clones are handles to the same one.
#[derive(Clone)]
pub struct GroupNet {
    state: Arc<Mutex<State>>,
    tasks: TaskTracker,
}

impl GroupNet {
    /// A network whose chance comes from a seed.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        let state = State {
            rng: Rng::new(seed),
            weather: Weather::default(),
            routers: BTreeMap::new(),
            pipes: BTreeMap::new(),
            cut: BTreeMap::new(),
            down: BTreeSet::new(),
            paused: watch::Sender::default(),
            watched: None,
        };
        Self { state: Arc::new(Mutex::new(state)), tasks: TaskTracker::new() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes what links are like from now on.
    pub fn set_weather(&self, weather: Weather) {
        self.state().weather = weather;
    }

    /// A new start of a node: what it sends and gets goes through this router from now on.
    #[must_use]
    pub fn join(&self, node: NodeId) -> Router {
        let lanes = Arc::new(NodeLanes { net: self.clone(), node });
        let mut state = self.state();
        let router = Router::new(lanes, state.rng.next_u64());
        state.routers.insert(node, router.clone());
        state.down.remove(&node);
        router
    }

    /// The process of a node ends: frames to it are lost, and its peers see that the link is gone.
    pub fn kill(&self, node: NodeId) {
        let mut state = self.state();
        state.routers.remove(&node);
        state.down.insert(node);
        state.paused.send_if_modified(|paused| paused.remove(&node));
    }

    /// Keeps back all frames from and to a node until [`GroupNet::wake`]: to the others it stands still, and what it sent
    /// comes late, in order.
    pub fn pause(&self, node: NodeId) {
        self.state().paused.send_if_modified(|paused| paused.insert(node));
    }

    /// Lets everything through that was kept back.
    pub fn wake(&self) {
        self.state().paused.send_if_modified(|paused| !std::mem::take(paused).is_empty());
    }

    /// Cuts the way from one node to another, or mends it.
    pub fn set_cut(&self, from: NodeId, to: NodeId, cut: bool) {
        let mut state = self.state();
        if cut {
            state.cut.entry((from, to)).or_insert_with(Instant::now);
        } else {
            state.cut.remove(&(from, to));
        }
    }

    /// Measures from now on how long one node is silent towards another, and how many frames it sends, on the control lane.
    pub fn watch(&self, from: NodeId, to: NodeId) {
        let watched = Watched { way: (from, to), last: Instant::now(), longest: Duration::ZERO, frames: 0 };
        self.state().watched = Some(watched);
    }

    /// The longest silence on the way that is watched, the one that lasts included.
    #[must_use]
    pub fn longest_gap(&self) -> Duration {
        let state = self.state();
        state.watched.as_ref().map_or(Duration::ZERO, |watched| watched.longest.max(watched.last.elapsed()))
    }

    /// How many frames have gone the way that is watched.
    #[must_use]
    pub fn frames(&self) -> u64 {
        self.state().watched.as_ref().map_or(0, |watched| watched.frames)
    }

    fn send(&self, from: NodeId, to: NodeId, bulk: bool, frame: &[u8]) -> bool {
        let mut state = self.state();
        if state.down.contains(&to) || state.down.contains(&from) {
            return false;
        }
        // Either way of a link is needed for it to stay up.
        let cut = [(from, to), (to, from)].iter().filter_map(|way| state.cut.get(way)).min().copied();
        if cut.is_some_and(|since| since.elapsed() > LINK_SILENCE) {
            return false;
        }
        if let Some(watched) = state.watched.as_mut().filter(|watched| watched.way == (from, to) && !bulk) {
            watched.longest = watched.longest.max(watched.last.elapsed());
            watched.last = Instant::now();
            watched.frames += 1;
        }
        let weather = state.weather;
        let lost = state.rng.below(1000) < weather.loss_per_mille && !bulk;
        let delay = weather.delay + state.rng.up_to(weather.jitter);
        let delay = if bulk { delay + weather.bulk } else { delay };
        if lost || state.cut.contains_key(&(from, to)) {
            return true;
        }
        let State { pipes, paused, .. } = &mut *state;
        let pipe = pipes.entry((from, to, bulk)).or_insert_with(|| self.pipe(from, to, paused));
        pipe.send((Instant::now() + delay, bulk, frame.to_vec())).is_ok()
    }

    fn pipe(&self, from: NodeId, to: NodeId, paused: &watch::Sender<BTreeSet<NodeId>>) -> mpsc::UnboundedSender<Frame> {
        let (sender, mut frames) = mpsc::unbounded_channel::<Frame>();
        let (state, mut paused) = (Arc::downgrade(&self.state), paused.subscribe());
        self.tasks.spawn(async move {
            while let Some((at, bulk, frame)) = frames.recv().await {
                // The timer is coarse: what is due is not put to sleep for it.
                if at > Instant::now() {
                    sleep_until(at).await;
                }
                let awake = |paused: &BTreeSet<NodeId>| !paused.contains(&from) && !paused.contains(&to);
                if paused.wait_for(awake).await.is_err() {
                    return;
                }
                let Some(state) = state.upgrade() else { return };
                let router = {
                    let state = state.lock().unwrap_or_else(PoisonError::into_inner);
                    let open = !state.cut.contains_key(&(from, to)) && !state.down.contains(&from);
                    state.routers.get(&to).filter(|_| open).cloned()
                };
                match router {
                    Some(router) if bulk => router.deliver_bulk(from, &frame),
                    Some(router) => router.deliver(from, &frame),
                    None => {}
                }
            }
        });
        sender
    }
}

/// The way of one node to the others.
struct NodeLanes {
    net: GroupNet,
    node: NodeId,
}

impl Lanes for NodeLanes {
    fn send(&self, to: NodeId, frame: &[u8]) -> bool {
        self.net.send(self.node, to, false, frame)
    }

    fn open_bulk(&self, to: NodeId) -> BoxFuture<'_, Result<Box<dyn BulkLane>, String>> {
        let lane = NodeBulk { net: self.net.clone(), node: self.node, to };
        Box::pin(async move { Ok(Box::new(lane) as Box<dyn BulkLane>) })
    }
}

struct NodeBulk {
    net: GroupNet,
    node: NodeId,
    to: NodeId,
}

impl BulkLane for NodeBulk {
    fn send<'a>(&'a self, frame: &'a [u8]) -> BoxFuture<'a, Result<(), String>> {
        let taken = self.net.send(self.node, self.to, true, frame);
        Box::pin(async move { taken.then_some(()).ok_or_else(|| "the link is down".to_owned()) })
    }
}
