//! Runs the replica of the cluster's durable group: what `Control` wants of it in order, what it says back.
//!
//! The replica and its messages live beside the loop, on its thread but not in it: no entry and no answer to another node
//! waits for a decision. `Control` gets what was committed, in order, through its own queue, and whatever applies entries
//! waits while that is full.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use ekka_core::consensus::{GroupEvent, GroupId, LogPlace, Standing, VoterId};
use ekka_core::control::{GroupNews, GroupRequest, Input};
use ekka_core::durable::{Ask, Failure};
use ekka_core::id::{ClusterId, Incarnation, NodeId};
use ekka_core::schema::Storage as Kept;
use ekka_core::view::{Role, View};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tracing::{debug, error};

use super::driver::Own;
use super::group_figures::GroupFigures;
use super::reading::{ReadRecord, Reader};
use super::recovered::{self, log_of};
use super::room::{forward_reluctant, is_full};
use super::shared::{GroupKind, Shared};
use crate::consensus::raft::{
    self, BulkUse, Gate, RaftGroup, Router, Settings, Setup, TransportLanes, bulk_use, leads,
};
use crate::consensus::{Applied, Group, GroupError};
use crate::env::Env;
use crate::storage::{LogName, Storage};
use crate::table::{Beside, Replica, Rows, Tables, no_room_for};
use crate::transport::Transport;

/// Events of the replica that may wait for the loop.
const EVENTS_MAX: usize = 256;
/// How long giving up leadership may take when the node stops.
const HAND_OVER: Duration = Duration::from_secs(2);
/// How long the replica may take to end.
const CLOSE: Duration = Duration::from_secs(3);

/// Frames of groups and of the bulk lane, as the transport gives them.
pub(super) struct Frames {
    pub(super) groups: mpsc::Receiver<(Incarnation, Vec<u8>)>,
    pub(super) bulk: mpsc::Receiver<(NodeId, Vec<u8>)>,
}

/// What the loop holds of it.
pub(super) struct Handle {
    wanted: mpsc::UnboundedSender<Wanted>,
    storage: Arc<dyn Storage>,
    router: Router,
    /// Of the replica that was wanted last.
    stop: Mutex<CancellationToken>,
}

/// Sees what the replica says, before `Control` does: for tests, and for tools that follow a log.
pub type GroupTap = Arc<dyn Fn(ClusterId, &GroupNews) + Send + Sync>;

enum Wanted {
    /// With what ends the replica that it opens.
    Request(GroupRequest, CancellationToken),
    Stop(oneshot::Sender<()>),
}

impl Handle {
    /// The way to the replicas of other nodes.
    pub(super) fn router(&self) -> Router {
        self.router.clone()
    }

    /// Begins what `Control` wants. Where that ends a replica it answers nothing from now on, however long it takes to
    /// close it: what this node says next may make a leader send it entries for a replica that begins anew, and the old
    /// one would take them.
    pub(super) fn request(&self, request: GroupRequest) {
        let mut stop = self.stop.lock().unwrap_or_else(PoisonError::into_inner);
        if matches!(request, GroupRequest::Open { .. } | GroupRequest::Close { .. } | GroupRequest::Whole { .. }) {
            std::mem::take(&mut *stop).cancel();
        }
        // The task ends after the loop only.
        let _ = self.wanted.send(Wanted::Request(request, stop.clone()));
    }

    /// Gives up leadership, ends the replica and the store.
    pub(super) async fn stop(&self) {
        self.release().await;
        self.storage.close().await;
    }

    /// Gives up leadership and ends the replica; the store stays open for the next start in this process.
    pub(super) async fn release(&self) {
        let (done, ended) = oneshot::channel();
        if self.wanted.send(Wanted::Stop(done)).is_ok() {
            let in_time = timeout(HAND_OVER + CLOSE, ended).await.is_ok();
            debug!(in_time, "the replica has ended");
        }
        // One that has not, and even one that is still being opened, writes nothing from here on.
        self.stop.lock().unwrap_or_else(PoisonError::into_inner).cancel();
    }
}

/// Starts the task that runs replicas, and those that give frames to them.
pub(super) fn start(
    (env, shared): (&Env, &Arc<Shared>),
    transport: &Transport,
    storage: Arc<dyn Storage>,
    (frames, tables): (Frames, Arc<Tables>),
    (own, tap): (mpsc::Sender<Own>, Option<GroupTap>),
) -> Handle {
    shared.stores_in(&storage);
    let members = shared.clone();
    let endpoints = move |id| members.view().member(id).map(|member| member.endpoint.clone());
    let lanes = TransportLanes::new(transport.clone(), Arc::new(endpoints));
    let router = Router::new(Arc::new(lanes), env.entropy.seed());
    let Frames { mut groups, mut bulk } = frames;
    let to_groups = router.clone();
    shared.tasks.spawn(async move {
        while let Some((from, frame)) = groups.recv().await {
            to_groups.deliver(from.node_id, &frame);
        }
    });
    let (to_bulk, to_tables) = (router.clone(), tables.clone());
    shared.tasks.spawn(async move {
        while let Some((from, frame)) = bulk.recv().await {
            match bulk_use(&frame) {
                Some(BulkUse::GroupSnapshot) => to_bulk.deliver_bulk(from, &frame),
                Some(BulkUse::TableCopy) => to_tables.copied(from, frame).await,
                None => debug!(peer = %from, "frame of the bulk lane for what this version does not know"),
            }
        }
    });
    let (wanted, requests) = mpsc::unbounded_channel();
    let (of_replicas, kept) = (router.clone(), storage.clone());
    let replicas = Replicas {
        env: env.clone(),
        shared: shared.clone(),
        storage: kept,
        router: of_replicas,
        to: Listeners { own, tap },
        tables,
        running: None,
        last: None,
    };
    shared.tasks.spawn(replicas.run(requests));
    Handle { wanted, storage, router, stop: Mutex::default() }
}

/// How a replica stands, whenever it changes.
type Standings = watch::Receiver<Arc<Standing>>;

/// The replica that runs.
struct Running {
    of: (ClusterId, CancellationToken),
    log: LogName,
    /// `None`: it could not be opened, and that was said.
    group: Option<Arc<RaftGroup>>,
}

struct Replicas {
    env: Env,
    shared: Arc<Shared>,
    storage: Arc<dyn Storage>,
    router: Router,
    to: Listeners,
    tables: Arc<Tables>,
    running: Option<Running>,
    /// What was opened last.
    last: Option<(ClusterId, VoterId)>,
}

/// Who hears what a replica says.
#[derive(Clone)]
struct Listeners {
    own: mpsc::Sender<Own>,
    tap: Option<GroupTap>,
}

impl Listeners {
    /// What a replica says that is to answer nothing more is dropped, also where it waits for the loop already: `Control`
    /// would take it for news of the one that was opened in its place.
    async fn tell(&self, (cluster_id, stop): &(ClusterId, CancellationToken), news: GroupNews) {
        let cluster_id = *cluster_id;
        if let Some(tap) = &self.tap {
            tap(cluster_id, &news);
        }
        // An error only says that the node has ended.
        let _ = self.own.send(Own::Until(stop.clone(), Input::Group { cluster_id, news })).await;
    }
}

impl Replicas {
    async fn run(mut self, mut requests: mpsc::UnboundedReceiver<Wanted>) {
        while let Some(wanted) = requests.recv().await {
            match wanted {
                Wanted::Request(GroupRequest::Open { cluster_id, me, goes_on }, stop) => {
                    if self.last.replace((cluster_id, me)) == Some((cluster_id, me)) {
                        self.tables.goes_on();
                    }
                    self.open((cluster_id, me, goes_on), stop).await;
                }
                Wanted::Request(GroupRequest::Close { delete }, _) => {
                    self.tables.outside();
                    self.close(delete).await;
                    self.shared.committed().send_replace(Arc::default());
                    self.tables.next_replica();
                }
                Wanted::Request(GroupRequest::Ask(ask), _) => self.ask(ask),
                Wanted::Request(GroupRequest::Confirm { round, term }, _) => self.confirm(round, term),
                Wanted::Request(GroupRequest::Whole { next }, stop) => self.whole(next, stop).await,
                Wanted::Request(GroupRequest::HandOver { among }, _) => {
                    if let Some(group) = self.group() {
                        self.shared.tasks.spawn(async move { hand_over(&group, among).await });
                    }
                }
                Wanted::Stop(done) => {
                    if let Some(group) = self.group() {
                        hand_over(&group, BTreeSet::new()).await;
                    }
                    self.close(false).await;
                    let _ = done.send(());
                    return;
                }
            }
        }
    }

    async fn open(&mut self, (cluster_id, me, goes_on): (ClusterId, VoterId, bool), stop: CancellationToken) {
        self.close(false).await;
        // A name for each voter of each cluster: a directory that was restored as another node must not take the votes of
        // the old one for its own.
        let log = log_of("durable", cluster_id, me);
        let (events, seen) = mpsc::channel(EVENTS_MAX);
        let replayed = Arc::new(AtomicU64::new(u64::MAX));
        let (opened, standing) = oneshot::channel();
        let figures = self.shared.groups(GroupKind::Durable).clone();
        let of = (cluster_id, stop.clone());
        let news = News { of: of.clone(), to: self.to.clone(), figures, replayed: replayed.clone() };
        self.shared.tasks.spawn(news.forward(seen, standing));
        let view = self.shared.view();
        let record = ReadRecord::new(self.shared.committed().clone());
        let ceiling = record.ceiling();
        let rows = Arc::<Rows>::default();
        let setup = Setup {
            group: GroupId::Durable { cluster_id },
            me,
            storage: self.storage.clone(),
            log: log.clone(),
            machine: Box::new(Beside::new(record, rows.clone())),
            router: self.router.clone(),
            clock: self.env.clock.clone(),
            seed: self.env.entropy.seed(),
            witnesses: witnesses(&view),
            events: Some(events),
            stop: stop.clone(),
            commits: self.shared.groups(GroupKind::Durable).commits.clone(),
            settings: Settings::default(),
        };
        let begun = recovered::begin(&self.storage, (cluster_id, me, goes_on), &log).await;
        let opened_now = match begun {
            Ok(()) => RaftGroup::open(setup).await,
            Err(error) => Err(error),
        };
        let group = match opened_now {
            // This start of the node has ended meanwhile, and the next one may have a replica of its own.
            Ok(_) if stop.is_cancelled() => None,
            Ok(group) => {
                let group = Arc::new(group);
                group.set_gate(Gate { is_shut: is_full(&self.shared), refusal: no_room_for });
                let history = format!("{cluster_id}-{:032x}", me.start);
                let to_tables = Replica::new(cluster_id, history, weak(&group), rows);
                self.shared.quorum().runs(Kept::Disc, Some(to_tables));
                self.shared.reads_from(Some(Reader { group: Arc::downgrade(&group), ceiling }));
                replayed.store(group.standing().borrow().applied.index, Ordering::Relaxed);
                // It ends with the loop only.
                let _ = opened.send(group.standing());
                let (views, room) = (self.shared.view_changes(), self.shared.room().subscribe());
                self.shared.tasks.spawn(forward_reluctant(me.node_id, views, room, Arc::downgrade(&group)));
                Some(group)
            }
            Err(err) => {
                error!(%err, %log, "the log of the cluster's group cannot be used");
                let standing = Standing { me, failed: Some(err.to_string()), ..Standing::default() };
                self.to.tell(&of, GroupNews::Standing(Box::new(standing))).await;
                None
            }
        };
        self.running = Some(Running { of, log, group });
    }

    /// Ends the replica and reads what its log adds up to.
    async fn whole(&mut self, next: VoterId, stop: CancellationToken) {
        let Some(Running { of, log, .. }) = &self.running else { return };
        let (of, log) = ((of.0, stop), log.clone());
        self.close(false).await;
        let record = recovered::read(&self.storage, log, (of.0, next)).await;
        self.to.tell(&of, GroupNews::Whole(record)).await;
    }

    async fn close(&mut self, delete: bool) {
        let Some(Running { group, log, .. }) = self.running.take() else { return };
        self.shared.quorum().runs(Kept::Disc, None);
        self.shared.reads_from(None);
        self.shared.groups(GroupKind::Durable).ended();
        if let Some(group) = group {
            let in_time = timeout(CLOSE, group.close()).await.is_ok();
            debug!(in_time, %log, "the replica was closed");
        }
        if delete && let Err(err) = raft::forget(&self.storage, &log) {
            error!(%err, %log, "the log of a cluster that was left could not be deleted: it only takes room");
        }
    }

    /// The replica that runs.
    fn group(&self) -> Option<Arc<RaftGroup>> {
        self.running.as_ref()?.group.clone()
    }

    fn confirm(&self, round: u64, term: u64) {
        let Some(Running { of, group, .. }) = &self.running else { return };
        let (of, group, to) = (of.clone(), group.clone(), self.to.clone());
        self.shared.tasks.spawn(async move {
            let ok = match group {
                Some(group) => leads(&group, term).await,
                None => false,
            };
            to.tell(&of, GroupNews::Confirmed { round, ok }).await;
        });
    }

    /// Asks the replica, beside what follows: answers come in the order of the log.
    fn ask(&self, ask: Ask) {
        let Some(Running { of, group, .. }) = &self.running else { return };
        let (of, group, to) = (of.clone(), group.clone(), self.to.clone());
        self.shared.tasks.spawn(async move {
            let news = match group {
                Some(group) => answer(&group, ask).await,
                None => ended(&ask),
            };
            if let Some(news) = news {
                to.tell(&of, news).await;
            }
        });
    }
}

/// What is answered where no replica runs.
fn ended(ask: &Ask) -> Option<GroupNews> {
    let failure = || Failure::Ended("the log of the cluster's group cannot be used".to_owned());
    match *ask {
        Ask::Found { .. } => None,
        Ask::Propose { token, .. } => Some(GroupNews::Answered { token, result: Err(failure()) }),
        Ask::ChangeVoters { token, .. } | Ask::SetLearners { token, .. } => {
            Some(GroupNews::Reconfigured { token, result: Err(failure()), latest: LogPlace::default() })
        }
    }
}

async fn answer(group: &RaftGroup, ask: Ask) -> Option<GroupNews> {
    let (token, result) = match ask {
        Ask::Found { voters } => {
            if let Err(err) = group.found(voters).await {
                error!(%err, "the group of the cluster could not be founded");
            }
            return None;
        }
        Ask::Propose { token, command } => {
            let result = group.propose(command).await.map(|Applied { answer, .. }| answer).map_err(failure);
            return Some(GroupNews::Answered { token, result });
        }
        Ask::ChangeVoters { token, voters } => (token, group.change_voters(voters).await),
        Ask::SetLearners { token, learners } => (token, group.set_learners(learners).await),
    };
    let latest = group.standing().borrow().configuration.at;
    Some(GroupNews::Reconfigured { token, result: result.map_err(failure), latest })
}

/// Lets one of these voters lead, any other one where none is named, as far as that is done in time.
async fn hand_over(group: &RaftGroup, among: BTreeSet<VoterId>) {
    let in_time = timeout(HAND_OVER, group.hand_over_to(among)).await.is_ok();
    debug!(in_time, "leadership was given up");
}

fn failure(error: GroupError) -> Failure {
    match error {
        GroupError::NoQuorum(words) => Failure::NoQuorum(words),
        GroupError::Unknown(words) => Failure::Unknown(words),
        GroupError::Ended(words) => Failure::Ended(words),
        GroupError::Refused(words) => Failure::Refused(words),
        GroupError::TooLarge { .. } => Failure::Refused(error.to_string()),
    }
}

/// What one replica tells, in one order.
struct News {
    of: (ClusterId, CancellationToken),
    to: Listeners,
    figures: Arc<GroupFigures>,
    /// Up to here it was applied before this start.
    replayed: Arc<AtomicU64>,
}

impl News {
    /// Passes on entries, and how the replica stands, which never overtakes the entries that led to it: what the leader of
    /// a term may say of leases it may say only with everything known that was committed before.
    async fn forward(self, mut events: mpsc::Receiver<GroupEvent>, opened: oneshot::Receiver<Standings>) {
        let mut opened = std::pin::pin!(opened);
        let mut more = true;
        // While it is opened, what it has on disc is told already.
        let mut standings = loop {
            tokio::select! {
                biased;
                event = events.recv(), if more => match event {
                    Some(event) => drop(self.event(event).await),
                    None => more = false,
                },
                standings = &mut opened => match standings {
                    Ok(standings) => break standings,
                    Err(_) => return,
                },
            }
        };
        loop {
            let standing = standings.borrow_and_update().clone();
            self.figures.stands(standing.clone());
            // What it says was applied was put into the queue before it was said; what comes later need not be waited for.
            while let Ok(event) = events.try_recv() {
                if self.event(event).await >= standing.told.index {
                    break;
                }
            }
            self.to.tell(&self.of, GroupNews::Standing(Box::new((*standing).clone()))).await;
            loop {
                tokio::select! {
                    biased;
                    // Before entries, which may come without a pause.
                    changed = standings.changed() => match changed {
                        Ok(()) => break,
                        Err(_) => return,
                    },
                    event = events.recv(), if more => match event {
                        Some(event) => drop(self.event(event).await),
                        None => more = false,
                    },
                }
            }
        }
    }

    /// Tells an event; its place in the log.
    async fn event(&self, event: GroupEvent) -> u64 {
        let index = event.at().index;
        let replay = index <= self.replayed.load(Ordering::Relaxed);
        self.to.tell(&self.of, GroupNews::Event { event, replay }).await;
        index
    }
}

/// The way to a replica that does not keep it running.
pub(super) fn weak(group: &Arc<RaftGroup>) -> Weak<dyn Group> {
    let weak: Weak<RaftGroup> = Arc::downgrade(group);
    weak
}

/// Members that vote and hold no table.
pub(super) fn witnesses(view: &View) -> BTreeSet<NodeId> {
    view.members.iter().filter(|member| member.role == Role::Witness).map(|member| member.id.node_id).collect()
}
