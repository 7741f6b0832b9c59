//! Runs the replica of the cluster's volatile group: one generation after the other, each in memory of its own.
//!
//! A replica that was stopped is sealed: it serves nothing more, and what it held is kept for the next generation. That it
//! has ended is said only once it is certain, however long it takes: another group may begin on that word.

use std::collections::BTreeSet;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use ekka_core::consensus::{GroupEvent, GroupId, Standing};
use ekka_core::control::{Input, VolatileNews, VolatileRequest};
use ekka_core::id::{ClusterId, Incarnation};
use ekka_core::schema::Storage as Kept;
use ekka_core::volatile::state::{Answer, Command, State};
use ekka_core::volatile::{LogKey, Order, Report, Source, Start, voter};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::AbortHandle;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{debug, error};

use super::Node;
use super::driver::Own;
use super::group::{weak, witnesses};
use super::group_figures::GroupFigures;
use super::room::forward_reluctant;
use super::shared::{GroupKind, Shared};
use crate::consensus::raft::{HandedIn, RaftGroup, Router, Settings, Setup, seal, seed};
use crate::consensus::{Applied, Group, GroupError};
use crate::env::Env;
use crate::lock::{Book, Kept as LockState, Ledger, Locks};
use crate::storage::{LogName, MemoryStorage, Storage};
use crate::table::{Beside, Replica, Rows};

/// Events of the replica that may wait.
const EVENTS_MAX: usize = 256;
/// The first founder asks for votes once, and the others have to be there by then.
const FOUNDING: Duration = Duration::from_millis(30);
/// How long giving up leadership may take when the node stops.
const HAND_OVER: Duration = Duration::from_secs(2);
/// How long the replica may take to end when the node stops.
const CLOSE: Duration = Duration::from_secs(3);

/// What the loop holds of it.
pub(super) struct Handle {
    wanted: mpsc::UnboundedSender<Wanted>,
}

enum Wanted {
    Request(VolatileRequest),
    Stop(oneshot::Sender<()>),
}

impl Handle {
    /// Begins what `Control` wants.
    pub(super) fn request(&self, request: VolatileRequest) {
        // The task ends after the loop only.
        let _ = self.wanted.send(Wanted::Request(request));
    }

    /// Gives up leadership and ends the replica.
    pub(super) async fn stop(&self) {
        let (done, ended) = oneshot::channel();
        if self.wanted.send(Wanted::Stop(done)).is_ok() {
            let in_time = timeout(HAND_OVER + CLOSE, ended).await.is_ok();
            debug!(in_time, "the replica of the volatile group has ended");
        }
    }
}

/// Starts the task that runs replicas.
pub(super) fn start(
    (env, shared): (&Env, &Arc<Shared>),
    router: Router,
    own: mpsc::Sender<Own>,
    locks: Arc<Locks>,
) -> Handle {
    let (wanted, requests) = mpsc::unbounded_channel();
    let replicas = Replicas { env: env.clone(), shared: shared.clone(), router, own, locks, kept: None, running: None };
    shared.tasks.spawn(replicas.run(requests));
    Handle { wanted }
}

/// The replica of the volatile group that a node serves, as its programs use it.
#[derive(Clone)]
pub struct VolatileGroup {
    generation: u64,
    group: Arc<RaftGroup>,
}

impl VolatileGroup {
    /// Its generation. An answer of it is worth nothing once a later one has begun.
    #[must_use]
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// The port to the group.
    #[must_use]
    pub fn group(&self) -> &dyn Group {
        &*self.group
    }

    /// Has a command committed.
    ///
    /// # Errors
    /// See [`GroupError`]; `Unknown` also for an answer that this version cannot read.
    pub async fn propose(&self, command: &Command) -> Result<Answer, GroupError> {
        let Applied { answer, .. } = self.group.propose(command.encode()).await?;
        Answer::decode(&answer).map_err(|error| GroupError::Unknown(error.to_string()))
    }
}

/// Numbers of the counter of a volatile group: nobody else was given them in this generation.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Counted {
    /// The generation that gave them.
    pub generation: u64,
    /// The numbers.
    pub numbers: Range<u64>,
}

impl Node {
    /// The replica of the volatile group that this node serves; none where it has no vote in it, or before it begins.
    #[must_use]
    pub fn volatile(&self) -> Option<VolatileGroup> {
        self.inner.shared.volatile()
    }

    /// Takes the next numbers of the counter of the volatile group. A generation that may have lost writes may give
    /// numbers again.
    ///
    /// # Errors
    /// See [`GroupError`]: `NoQuorum` also where this node serves no replica. After `Unknown` nobody owns the numbers.
    pub async fn count(&self, n: u64) -> Result<Counted, GroupError> {
        let none = || GroupError::NoQuorum("this node serves no volatile group".into());
        let group = self.volatile().ok_or_else(none)?;
        match group.propose(&Command::Count { n }).await? {
            Answer::Range { from, to } => Ok(Counted { generation: group.generation, numbers: from..to }),
            other => Err(GroupError::Unknown(format!("{other:?}"))),
        }
    }
}

/// The replica that runs.
struct Running {
    cluster_id: ClusterId,
    generation: u64,
    founder: bool,
    group: Arc<RaftGroup>,
    storage: Arc<dyn Storage>,
    log: LogName,
    changing: Option<(BTreeSet<Incarnation>, AbortHandle)>,
}

struct Replicas {
    env: Env,
    shared: Arc<Shared>,
    router: Router,
    own: mpsc::Sender<Own>,
    locks: Arc<Locks>,
    kept: Option<(ClusterId, Arc<HandedIn>)>,
    running: Option<Running>,
}

impl Replicas {
    async fn run(mut self, mut requests: mpsc::UnboundedReceiver<Wanted>) {
        while let Some(wanted) = requests.recv().await {
            match wanted {
                Wanted::Request(VolatileRequest::Order { cluster_id, me, order }) => {
                    self.carry_out((cluster_id, me), order).await;
                }
                Wanted::Request(VolatileRequest::Close) => self.close().await,
                Wanted::Stop(done) => {
                    if let Some(running) = &self.running {
                        let in_time = timeout(HAND_OVER, running.group.hand_over()).await.is_ok();
                        debug!(in_time, "leadership of the volatile group was given up");
                    }
                    self.close().await;
                    let _ = done.send(());
                    return;
                }
            }
        }
    }

    async fn carry_out(&mut self, of: (ClusterId, Incarnation), order: Order) {
        match order {
            Order::Fetch { generation, from, founders } => self.fetch(of, generation, from, founders),
            Order::Start { generation, start } => self.start(of, generation, start).await,
            Order::Stop { generation } => self.seal(generation).await,
            Order::ChangeVoters { generation, voters } => self.change_voters(generation, voters),
            Order::Open { generation } => self.open(generation),
        }
    }

    /// What this start of the node keeps for the cluster.
    fn kept(&mut self, (cluster_id, me): (ClusterId, Incarnation)) -> Arc<HandedIn> {
        match &self.kept {
            Some((of, kept)) if (*of, kept.id()) == (cluster_id, me) => kept.clone(),
            _ => {
                let kept = Arc::new(HandedIn::new(self.router.clone(), cluster_id, me));
                self.kept = Some((cluster_id, kept.clone()));
                kept
            }
        }
    }

    fn fetch(&mut self, of: (ClusterId, Incarnation), generation: u64, from: Source, founders: BTreeSet<Incarnation>) {
        let (kept, own) = (self.kept(of), self.own.clone());
        kept.want(from);
        self.shared.tasks.spawn(async move {
            let ok = kept.fetch(from, &founders).await;
            tell(&own, of.0, VolatileNews::Report(Report::Fetched { generation, ok })).await;
        });
    }

    async fn start(&mut self, of: (ClusterId, Incarnation), generation: u64, start: Start) {
        let kept = self.kept(of);
        let (cluster_id, me) = of;
        let storage: Arc<dyn Storage> = Arc::new(MemoryStorage::new(voter(me).start));
        let log: LogName = format!("volatile/{generation}").into();
        let founder = matches!(start, Start::Found { .. });
        let (rows, book) = (Arc::<Rows>::default(), Book::new(generation));
        match self.begin((of, rows.clone(), book.clone()), generation, &start, (&storage, &log), &kept).await {
            Ok(group) => {
                let group = Arc::new(group);
                let history = format!("{cluster_id}-{generation}");
                let to_tables = Replica::new(cluster_id, history, weak(&group), rows);
                self.shared.quorum().runs(Kept::Ram, Some(to_tables));
                let figures = self.shared.groups(GroupKind::Volatile).clone();
                let to = (self.own.clone(), figures, self.locks.clone());
                self.locks.serves(Some((generation, &group, book)));
                self.shared.tasks.spawn(forward_standing(cluster_id, generation, group.standing(), to));
                let (views, room) = (self.shared.view_changes(), self.shared.room().subscribe());
                self.shared.tasks.spawn(forward_reluctant(me.node_id, views, room, Arc::downgrade(&group)));
                if let Start::Found { from: None, founders } = start {
                    let founding = group.clone();
                    self.shared.tasks.spawn(async move {
                        sleep(FOUNDING).await;
                        if let Err(err) = founding.found(founders.into_iter().map(voter).collect()).await {
                            error!(%err, generation, "the volatile group could not be founded");
                        }
                    });
                }
                self.shared.serves_volatile(Some(VolatileGroup { generation, group: group.clone() }));
                self.running = Some(Running { cluster_id, generation, founder, group, storage, log, changing: None });
            }
            // It serves nothing, and says nothing: to the others it is a voter that is silent.
            Err(err) => error!(%err, generation, "no replica of the volatile group runs here: restart this node"),
        }
    }

    async fn begin(
        &self,
        ((cluster_id, me), rows, book): ((ClusterId, Incarnation), Arc<Rows>, Book),
        generation: u64,
        start: &Start,
        (storage, log): (&Arc<dyn Storage>, &LogName),
        kept: &HandedIn,
    ) -> Result<RaftGroup, GroupError> {
        if let Start::Found { from: Some(source), founders } = start {
            let missing = || GroupError::Ended("the state that it begins with is not here".into());
            let state = kept.state(*source).ok_or_else(missing)?;
            seed(storage, log, founders.iter().copied().map(voter).collect(), &state).await?;
        }
        let (events, seen) = mpsc::channel(EVENTS_MAX);
        self.shared.tasks.spawn(forward_marks(cluster_id, seen, self.own.clone()));
        let view = self.shared.view();
        RaftGroup::open(Setup {
            group: GroupId::Volatile { cluster_id, generation },
            me: voter(me),
            storage: storage.clone(),
            log: log.clone(),
            machine: Box::new(Beside::new(LockState::new(generation, book, Ledger::of(&self.locks)), rows)),
            router: self.router.clone(),
            clock: self.env.clock.clone(),
            seed: self.env.entropy.seed(),
            witnesses: witnesses(&view),
            events: Some(events),
            stop: CancellationToken::new(),
            commits: self.shared.groups(GroupKind::Volatile).commits.clone(),
            settings: Settings::default(),
        })
        .await
    }

    /// Ends the replica for good, keeps what it held, and says so.
    async fn seal(&mut self, generation: u64) {
        let Some(running) = self.running.take_if(|running| running.generation == generation) else {
            return;
        };
        self.ended();
        let Running { cluster_id, founder, group, storage, log, .. } = running;
        let machine = LockState::new(generation, Book::new(generation), Ledger::default());
        match seal(&group, &storage, &log, Box::new(Beside::new(machine, Arc::default()))).await {
            Ok(sealed) => {
                // Who only learned, and was given nothing, has nothing of this generation, and still what it had before.
                let log = (founder || sealed.last.index > 0).then_some(LogKey { generation, place: sealed.last });
                if let (Some(log), Some((_, kept))) = (log, &self.kept) {
                    kept.keep(log, sealed.state);
                }
                tell(&self.own, cluster_id, VolatileNews::Report(Report::Stopped { generation, log })).await;
            }
            // Whoever waits for its log waits for the end of this process.
            Err(err) => error!(%err, generation, "what the volatile replica held cannot be read: restart this node"),
        }
    }

    /// No replica serves any more.
    fn ended(&self) {
        self.shared.quorum().runs(Kept::Ram, None);
        self.shared.serves_volatile(None);
        self.shared.groups(GroupKind::Volatile).ended();
        self.locks.serves(None);
    }

    fn running(&self, generation: u64) -> Option<&Running> {
        self.running.as_ref().filter(|running| running.generation == generation)
    }

    /// One change at a time, and the latest one that is wanted: a start that has ended must not be waited for once the next
    /// one of its node is there.
    fn change_voters(&mut self, generation: u64, voters: BTreeSet<Incarnation>) {
        let Some(running) = self.running.as_mut().filter(|running| running.generation == generation) else { return };
        if let Some((wanted, under_way)) = &running.changing {
            if *wanted == voters && !under_way.is_finished() {
                return;
            }
            under_way.abort();
        }
        let group = running.group.clone();
        let wanted = voters.iter().copied().map(voter).collect();
        let task = self.shared.tasks.spawn(async move {
            let changed = async {
                group.change_voters(wanted).await?;
                // Of changes that were given up.
                group.set_learners(BTreeSet::new()).await
            };
            if let Err(err) = changed.await {
                debug!(%err, generation, "the voters of the volatile group are not changed yet");
            }
        });
        running.changing = Some((voters, task.abort_handle()));
    }

    fn open(&self, generation: u64) {
        let Some(running) = self.running(generation) else { return };
        let group = running.group.clone();
        self.shared.tasks.spawn(async move {
            if let Err(err) = group.propose(Command::Open { generation }.encode()).await {
                debug!(%err, generation, "that locks may be granted is not committed yet");
            }
        });
    }

    /// Ends everything, and drops it.
    async fn close(&mut self) {
        self.kept = None;
        self.ended();
        if let Some(running) = self.running.take() {
            let in_time = timeout(CLOSE, running.group.close()).await.is_ok();
            debug!(in_time, generation = running.generation, "the replica of the volatile group was closed");
        }
    }
}

async fn tell(own: &mpsc::Sender<Own>, cluster_id: ClusterId, news: VolatileNews) {
    // An error only says that the node has ended.
    let _ = own.send(Own::Input(Input::Volatile { cluster_id, news })).await;
}

/// Tells the marks that stand in the log.
async fn forward_marks(cluster_id: ClusterId, mut events: mpsc::Receiver<GroupEvent>, own: mpsc::Sender<Own>) {
    while let Some(event) = events.recv().await {
        let opened = match event {
            GroupEvent::Applied { command, .. } => match Command::decode(&command) {
                Some(Command::Open { generation }) => generation,
                _ => continue,
            },
            GroupEvent::Restored { snapshot, .. } => State::from_snapshot(&snapshot).map_or(0, |state| state.opened()),
            GroupEvent::Reconfigured(_) => continue,
        };
        tell(&own, cluster_id, VolatileNews::Report(Report::Opened { generation: opened })).await;
    }
}

async fn forward_standing(
    cluster_id: ClusterId,
    generation: u64,
    mut standing: watch::Receiver<Arc<Standing>>,
    (own, figures, locks): (mpsc::Sender<Own>, Arc<GroupFigures>, Arc<Locks>),
) {
    loop {
        let present = standing.borrow_and_update().clone();
        figures.stands(present.clone());
        locks.stands(generation, present.clone());
        let standing_now = Box::new((*present).clone());
        tell(&own, cluster_id, VolatileNews::Standing { generation, standing: standing_now }).await;
        if standing.changed().await.is_err() {
            return;
        }
    }
}
