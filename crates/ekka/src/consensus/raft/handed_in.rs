//! What sealed replicas of volatile groups held: kept by who sealed them, and had from there, or from a founder that has
//! begun with it, by whoever begins with it.
//!
//! Nothing of it is decided here: which state a generation begins with is in the record of the durable group, and one
//! that is named there is the same bytes wherever it is had from.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;

use ekka_core::consensus::{Gathered, GroupId, VoterId};
use ekka_core::id::{ClusterId, Incarnation};
use ekka_core::limits::{GROUP_CHUNK_BYTES, GROUP_SNAPSHOT_MAX};
use ekka_core::volatile::{LogKey, Source, voter};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::message::{Body, Notice, Piece, Reply, Request};
use super::router::{Replica, Router};
use super::shared::lock;
use super::transfer::Transfers;

/// How long one that is asked for a state may take to answer.
const ANSWER: Duration = Duration::from_secs(2);
/// Without a piece of a state for so long it is asked for elsewhere.
const STALLED: Duration = Duration::from_secs(5);
/// States that are handed out at once.
const HANDING_OUT_MAX: usize = 4;

#[derive(Default)]
struct Kept {
    /// What the last sealed replica of this process held.
    own: Option<(LogKey, Arc<[u8]>)>,
    /// What the present generation is to begin with.
    wanted: Option<Source>,
    /// That, once it is here.
    first: Option<(Source, Arc<[u8]>)>,
}

/// The states that this process keeps, for one cluster. Dropping it drops them.
pub struct HandedIn {
    inner: Arc<Inner>,
}

struct Inner {
    router: Router,
    group: GroupId,
    id: Incarnation,
    me: VoterId,
    transfers: Transfers,
    kept: Mutex<Kept>,
    room: Arc<Semaphore>,
    stop: CancellationToken,
    tasks: TaskTracker,
    this: Weak<Inner>,
}

impl HandedIn {
    /// Nothing yet, for this start of a node.
    #[must_use]
    pub fn new(router: Router, cluster_id: ClusterId, id: Incarnation) -> Self {
        let (group, me) = (GroupId::HandedIn { cluster_id }, voter(id));
        let inner = Arc::new_cyclic(|this| Inner {
            transfers: Transfers::new((router.clone(), || Box::new(Gathered::default())), group, me),
            router,
            group,
            id,
            me,
            kept: Mutex::default(),
            room: Arc::new(Semaphore::new(HANDING_OUT_MAX)),
            stop: CancellationToken::new(),
            tasks: TaskTracker::new(),
            this: this.clone(),
        });
        let replica: Weak<dyn Replica> = inner.this.clone();
        inner.router.attach(group, me, replica);
        Self { inner }
    }

    /// Whose it is.
    #[must_use]
    pub fn id(&self) -> Incarnation {
        self.inner.id
    }

    /// Keeps what a replica of this process held, in place of what an earlier one did.
    pub fn keep(&self, log: LogKey, state: Vec<u8>) {
        lock(&self.inner.kept).own = Some((log, state.into()));
    }

    /// A state that is here.
    #[must_use]
    pub fn state(&self, source: Source) -> Option<Arc<[u8]>> {
        self.inner.find(source)
    }

    /// The present generation is to begin with this state. Said before [`fetch`](Self::fetch), which may take its time: one
    /// that was wanted earlier and comes later must not take its place.
    pub fn want(&self, source: Source) {
        lock(&self.inner.kept).wanted = Some(source);
    }

    /// Has a state here, and keeps it as the one with which the present generation begins: from this process itself, from
    /// its source, or from a founder. Whether it is here; false too where another one is wanted by then. *Cancel safe.*
    pub async fn fetch(&self, source: Source, founders: &BTreeSet<Incarnation>) -> bool {
        let inner = &self.inner;
        if let Some(state) = inner.find(source) {
            return inner.begins_with(source, state);
        }
        let others = founders.iter().copied().filter(|id| *id != source.voter);
        for holder in std::iter::once(source.voter).chain(others).filter(|id| *id != inner.id) {
            match inner.have(source, voter(holder)).await {
                Ok(state) => return inner.begins_with(source, state.into()),
                Err(why) => {
                    let node_id = holder.node_id;
                    tracing::debug!(peer = %node_id, why, "the state of the last volatile group is not to be had there");
                }
            }
        }
        false
    }
}

impl Drop for HandedIn {
    fn drop(&mut self) {
        let this: Weak<dyn Replica> = self.inner.this.clone();
        self.inner.router.detach(self.inner.group, &this);
        self.inner.stop.cancel();
    }
}

impl Inner {
    fn begins_with(&self, source: Source, state: Arc<[u8]>) -> bool {
        let mut kept = lock(&self.kept);
        let wanted = kept.wanted == Some(source);
        if wanted {
            kept.first = Some((source, state));
        }
        wanted
    }

    fn find(&self, source: Source) -> Option<Arc<[u8]>> {
        let kept = lock(&self.kept);
        let own = kept.own.as_ref().filter(|(log, _)| Source { voter: self.id, log: *log } == source);
        let first = kept.first.as_ref().filter(|(first, _)| *first == source);
        own.map(|(_, state)| state.clone()).or_else(|| first.map(|(_, state)| state.clone()))
    }

    /// Asks one other process for a state.
    async fn have(&self, source: Source, from: VoterId) -> Result<Vec<u8>, String> {
        let asked = self.router.ask((self.group, self.me, from), Request::HandOut(source), ANSWER).await;
        let (transfer, length) = match asked {
            Ok(Reply::HandingOut { transfer, length }) => (transfer, length),
            Ok(Reply::Failed(why)) => return Err(why),
            Ok(_) => return Err("a reply to something else".into()),
            Err(_) => return Err("no answer".into()),
        };
        if length > GROUP_SNAPSHOT_MAX as u64 {
            return Err(format!("a state of {length} bytes"));
        }
        let state = self.transfers.complete(from, (transfer, length), STALLED).await.ok_or("it has not come whole")?;
        state?.into_state().ok_or_else(|| "it is no bytes".into())
    }

    async fn hand_out(&self, to: VoterId, number: u64, state: &[u8]) {
        let mut transfer = self.transfers.begin(to);
        let reply = Reply::HandingOut { transfer: transfer.number(), length: state.len() as u64 };
        let pieces = u32::try_from(state.len().div_ceil(GROUP_CHUNK_BYTES)).unwrap_or(u32::MAX);
        let _ = self.router.send(self.group, self.me, to, Body::Reply(number, reply));
        let handed = match transfer.push(state.chunks(GROUP_CHUNK_BYTES).map(<[u8]>::to_vec)).await {
            // The lane is closed once all of it is there.
            Ok(_lane) => transfer.taken(pieces).await,
            Err(why) => Err(why),
        };
        if let Err(why) = handed {
            tracing::debug!(peer = %to.node_id, why, "the state of the last volatile group was not handed out");
        }
    }
}

impl Replica for Inner {
    fn request(&self, from: VoterId, number: u64, request: Request) {
        let Request::HandOut(source) = request else { return };
        // Who finds no room asks again.
        let (Some(this), Ok(permit)) = (self.this.upgrade(), self.room.clone().try_acquire_owned()) else { return };
        let Some(state) = self.find(source) else {
            let reply = Reply::Failed("it is not here".into());
            let _ = self.router.send(self.group, self.me, from, Body::Reply(number, reply));
            return;
        };
        let stop = self.stop.clone();
        self.tasks.spawn(async move {
            let _permit = permit;
            tokio::select! {
                biased;
                () = stop.cancelled() => {}
                () = this.hand_out(from, number, &state) => {}
            }
        });
    }

    fn notice(&self, _: VoterId, notice: Notice) {
        if let Notice::Credit { transfer, taken } = notice {
            self.transfers.credit(transfer, taken);
        }
    }

    fn piece(&self, piece: Piece) {
        self.transfers.take(&piece);
    }
}
