//! Frames of groups to and from the replicas of this node.
//!
//! The lanes below may lose any frame; whoever asks stops waiting after its own time.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use ekka_core::consensus::{GroupId, VoterId};
use ekka_core::id::NodeId;
use tokio::sync::oneshot;
use tokio::time::timeout;

use super::message::{Body, Envelope, Notice, Piece, Reply, Request};
use crate::env::BoxFuture;

/// The way to other nodes, as groups see it.
pub trait Lanes: Send + Sync + 'static {
    /// Queues a frame of the control lane; whether it was taken. It may be lost all the same.
    fn send(&self, to: NodeId, frame: &[u8]) -> bool;

    /// Opens a connection of the bulk lane.
    ///
    /// # Errors
    /// It could not be opened, in words.
    fn open_bulk(&self, to: NodeId) -> BoxFuture<'_, Result<Box<dyn BulkLane>, String>>;
}

/// The sending end of a bulk connection; dropping it closes it.
pub trait BulkLane: Send + Sync + 'static {
    /// Queues a frame; waits while there is no room.
    ///
    /// # Errors
    /// The connection has ended, in words.
    fn send<'a>(&'a self, frame: &'a [u8]) -> BoxFuture<'a, Result<(), String>>;
}

/// Why there is no reply.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum NoReply {
    /// The lane did not take the request: it was certainly not seen.
    NotSent,
    /// No reply came in time, or the replica ended.
    Silent,
}

/// A replica as the router sees it. Neither call may wait.
pub(super) trait Replica: Send + Sync {
    fn request(&self, from: VoterId, number: u64, request: Request);
    fn notice(&self, from: VoterId, notice: Notice);
    fn piece(&self, piece: Piece);
}

#[derive(Default)]
struct State {
    replicas: BTreeMap<GroupId, (VoterId, Weak<dyn Replica>)>,
    waiting: BTreeMap<u64, (VoterId, oneshot::Sender<Reply>)>,
}

/// The router of one node. Clones are handles to the same one.
#[derive(Clone)]
pub struct Router {
    lanes: Arc<dyn Lanes>,
    numbers: Arc<AtomicU64>,
    state: Arc<Mutex<State>>,
}

impl Router {
    /// A router over these lanes. `first` is where the numbers of its requests begin: random, so that a reply to an
    /// earlier start of this node fits none of them.
    #[must_use]
    pub fn new(lanes: Arc<dyn Lanes>, first: u64) -> Self {
        Self { lanes, numbers: Arc::new(AtomicU64::new(first)), state: Arc::default() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing below leaves it half changed.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn lanes(&self) -> &dyn Lanes {
        &*self.lanes
    }

    pub(super) fn next_number(&self) -> u64 {
        self.numbers.fetch_add(1, Ordering::Relaxed)
    }

    /// Frames for this voter of the group go to the replica from now on.
    pub(super) fn attach(&self, group: GroupId, me: VoterId, replica: Weak<dyn Replica>) {
        self.state().replicas.insert(group, (me, replica));
    }

    /// Not where another one, of the same voter even, has taken its place.
    pub(super) fn detach(&self, group: GroupId, replica: &Weak<dyn Replica>) {
        let mut state = self.state();
        if state.replicas.get(&group).is_some_and(|(_, attached)| attached.ptr_eq(replica)) {
            state.replicas.remove(&group);
        }
    }

    /// Takes a frame of the control lane that a node has sent.
    pub fn deliver(&self, from: NodeId, frame: &[u8]) {
        let envelope = match postcard::from_bytes::<Envelope>(frame) {
            Ok(envelope) => envelope,
            Err(error) => return tracing::debug!(peer = %from, err = %error, "frame of a group that cannot be read"),
        };
        // Nobody speaks for the voter of another node.
        if envelope.from.node_id != from {
            return tracing::warn!(peer = %from, voter = %envelope.from, "frame in the name of another voter dropped");
        }
        let sender = envelope.from;
        match envelope.body {
            Body::Reply(number, reply) => {
                let mut state = self.state();
                if state.waiting.get(&number).is_some_and(|(expected, _)| *expected == sender)
                    && let Some((_, waiting)) = state.waiting.remove(&number)
                {
                    let _ = waiting.send(reply);
                }
            }
            Body::Request(number, request) => {
                if let Some(replica) = self.replica(envelope.group, envelope.to) {
                    replica.request(sender, number, request);
                }
            }
            Body::Notice(notice) => {
                if let Some(replica) = self.replica(envelope.group, envelope.to) {
                    replica.notice(sender, notice);
                }
            }
        }
    }

    /// Takes a frame of the bulk lane for [`BulkUse::GroupSnapshot`](super::BulkUse).
    pub fn deliver_bulk(&self, from: NodeId, frame: &[u8]) {
        let Ok(piece) = postcard::from_bytes::<Piece>(frame) else { return };
        if piece.from.node_id == from
            && let Some(replica) = self.replica(piece.group, piece.to)
        {
            replica.piece(piece);
        }
    }

    fn replica(&self, group: GroupId, to: VoterId) -> Option<Arc<dyn Replica>> {
        let state = self.state();
        let (me, replica) = state.replicas.get(&group)?;
        if *me == to { replica.upgrade() } else { None }
    }

    pub(super) fn send(&self, group: GroupId, from: VoterId, to: VoterId, body: Body) -> bool {
        let envelope = Envelope { group, from, to, body };
        let frame = postcard::to_allocvec(&envelope).expect("a message has nothing that cannot be written");
        self.lanes.send(to.node_id, &frame)
    }

    /// Asks a voter and waits for its reply.
    pub(super) async fn ask(
        &self,
        (group, from, to): (GroupId, VoterId, VoterId),
        request: Request,
        limit: Duration,
    ) -> Result<Reply, NoReply> {
        let number = self.next_number();
        let (waiting, reply) = oneshot::channel();
        self.state().waiting.insert(number, (to, waiting));
        let _forget = Forget { router: self, number };
        if !self.send(group, from, to, Body::Request(number, request)) {
            return Err(NoReply::NotSent);
        }
        match timeout(limit, reply).await {
            Ok(Ok(reply)) => Ok(reply),
            Ok(Err(_)) | Err(_) => Err(NoReply::Silent),
        }
    }
}

/// Forgets a request whose asker no longer waits, also where its future was dropped.
struct Forget<'a> {
    router: &'a Router,
    number: u64,
}

impl Drop for Forget<'_> {
    fn drop(&mut self) {
        self.router.state().waiting.remove(&self.number);
    }
}
