//! The adapter of the consensus port to the engine (`openraft`).
//!
//! | file | does |
//! |---|---|
//! | `types` | names the engine's types, once |
//! | `log`, `cache` | the engine's log over the storage port |
//! | `state`, `snapshots`, `image` | the state machine, its snapshots on disc and on their way, in pieces |
//! | `router`, `message`, `over_transport` | frames to and from other voters |
//! | `network`, `serve`, `transfer` | the engine's calls as frames, both sides; snapshots over the bulk lane |
//! | `owed` | word of commits, which goes with the next entries |
//! | `campaign`, `reports` | carries the machine that decides when to campaign; signs of life |
//! | `proposer`, `reads` | gather what waits: commands into entries, readers into rounds |
//! | `gate` | what a leader refuses for what holds on its node alone |
//! | `voters`, `hand_over` | changes on purpose |
//! | `sealed`, `handed_in` | how replicas of a volatile group end, and others begin with what they held |
//! | `whole` | what a log adds up to, for a group that goes on without its majority |

mod cache;
mod campaign;
mod gate;
mod hand_over;
mod handed_in;
mod image;
mod log;
mod message;
mod network;
mod over_transport;
mod owed;
mod proposer;
mod reads;
mod reports;
mod router;
mod sealed;
mod serve;
mod shared;
mod snapshots;
mod state;
#[cfg(test)]
mod tests;
mod transfer;
mod types;
mod voters;
mod whole;

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, OnceLock, Weak};
use std::time::Duration;

use ekka_core::consensus::campaign::Campaign;
use ekka_core::consensus::{GroupEvent, GroupId, LogPlace, Standing, StateMachine, VoterId};
use ekka_core::id::NodeId;
use ekka_core::limits::{
    GROUP_ANSWER_TIMEOUT, GROUP_COMMAND_MAX, GROUP_LOG_BYTES, GROUP_LOG_ENTRIES, GROUP_LOG_KEPT, GROUP_REQUESTS_MAX,
    GROUP_VOTE_LEASE,
};
use openraft::error::{InitializeError, RaftError};
use openraft::{Config, SnapshotPolicy};
use tokio::sync::{Semaphore, mpsc, watch};
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

pub(crate) use self::gate::Gate;
pub use self::handed_in::HandedIn;
pub use self::message::{BulkUse, bulk_use};
pub use self::over_transport::{Endpoints, TransportLanes};
pub(crate) use self::reads::leads;
pub use self::router::{BulkLane, Lanes, Router};
pub use self::sealed::{seal, seed};
use self::serve::Server;
use self::shared::{Shared, lock};
use self::types::{Blob, Raft};
pub use self::whole::{Whole, keep, kept, whole};
use super::{Applied, Group, GroupError};
use crate::consensus::raft::message::Proposed;
use crate::env::{BoxFuture, Clock};
use crate::histogram::Histogram;
use crate::storage::{LogName, Storage, StorageError};

/// Requests of leaders and candidates that are worked on at once.
const APPENDS_MAX: usize = 8;
/// Events of other tasks that may wait for the campaign.
const EVENTS_MAX: usize = 256;
/// Founders begin one after the other, this far apart, so that the first is elected before the next asks for votes.
const FOUNDERS_APART: Duration = Duration::from_millis(60);

/// What may differ between groups.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Entries given to the engine before the first of them is answered.
    pub entries_in_flight: usize,
    /// Entries after which the log is cut by a snapshot.
    pub log_entries: u64,
    /// Entries that stay in the log before the snapshot.
    pub log_kept: u64,
    /// Bytes of entries after which it is cut likewise, whatever their number.
    pub log_bytes: u64,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            entries_in_flight: 1,
            log_entries: GROUP_LOG_ENTRIES,
            log_kept: GROUP_LOG_KEPT,
            log_bytes: GROUP_LOG_BYTES,
        }
    }
}

/// Faults put in on purpose, to see that the tests can see. Nothing but tests can reach the way to them.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Faults {
    /// A barrier waits for nothing.
    pub(crate) stale_read: bool,
    /// The vote of an earlier start is not found.
    pub(crate) forgotten_vote: bool,
    /// Each command is applied twice.
    pub(crate) double_apply: bool,
}

/// What a replica is made of.
pub struct Setup {
    /// Which group.
    pub group: GroupId,
    /// As whom this replica votes.
    pub me: VoterId,
    /// Where its log is kept; a `MemoryStorage` for a volatile group.
    pub storage: Arc<dyn Storage>,
    /// The name of the log there. Checkpoints have names below it.
    pub log: LogName,
    /// The state.
    pub machine: Box<dyn StateMachine>,
    /// The way to the other voters.
    pub router: Router,
    /// The clock of the campaigns.
    pub clock: Arc<dyn Clock>,
    /// The seed of their chance.
    pub seed: u64,
    /// Which nodes are witnesses; see [`RaftGroup::set_witnesses`].
    pub witnesses: BTreeSet<NodeId>,
    /// Who keeps a copy of the state. It is waited for, so it must be read, also while the replica is opened.
    pub events: Option<mpsc::Sender<GroupEvent>>,
    /// Once it is cancelled the replica answers nothing more and ends, also while it is still being opened.
    pub stop: CancellationToken,
    /// Counts the times from proposal to answer.
    pub commits: Arc<Histogram>,
    /// What may differ between groups.
    pub settings: Settings,
}

/// Deletes what a replica that has ended kept in the store: its log, its vote, its snapshot. Only for good, and only under
/// a name that is never used again: who voted here must not be found without its vote.
///
/// # Errors
/// The store does not take it; a part may be left, which only takes room.
pub fn forget(storage: &Arc<dyn Storage>, log: &LogName) -> Result<(), StorageError> {
    log::forget(storage.as_ref(), log)?;
    snapshots::Snapshots::new(storage.clone(), log.clone(), CancellationToken::new()).forget()
}

/// Whether a log has begun: it holds an entry, or was cut.
///
/// # Errors
/// The store cannot be read.
pub fn has_begun(storage: &Arc<dyn Storage>, log: &LogName) -> Result<bool, StorageError> {
    log::has_begun(storage.as_ref(), log)
}

/// One replica of one group. Dropping it ends it at once.
pub struct RaftGroup {
    shared: Arc<Shared>,
    server: Arc<Server>,
    commits: Arc<Histogram>,
    log: log::LogStore,
    _stop: DropGuard,
}

impl RaftGroup {
    /// Opens the replica: what is in the store is recovered, and applied up to the last commit mark on disc.
    ///
    /// # Errors
    /// `Ended`: the store cannot be read, or holds what no replica has written.
    pub async fn open(setup: Setup) -> Result<Self, GroupError> {
        Self::open_with(setup, Faults::default()).await
    }

    /// The same with faults put in on purpose.
    pub(crate) async fn open_with(setup: Setup, faults: Faults) -> Result<Self, GroupError> {
        let ended = |error: &dyn std::fmt::Display| GroupError::Ended(error.to_string());
        let (group, me, stop) = (setup.group, setup.me, setup.stop);
        let snapshots = Arc::new(snapshots::Snapshots::new(setup.storage, setup.log, stop.clone()));
        let log = log::LogStore::open(snapshots.clone(), me, faults.forgotten_vote).map_err(|error| ended(&error))?;
        let restorer = setup.machine.restorer();
        let mut applier = state::Applier {
            events: setup.events,
            applies_twice: faults.double_apply,
            ..state::Applier::new(setup.machine, snapshots)
        };
        let (applied, told) = (applier.applied.subscribe(), applier.told.clone());
        applier.recover().await.map_err(|error| ended(&error))?;
        let (events, inputs) = mpsc::channel(EVENTS_MAX);
        let standing = Standing { me, ..Standing::default() };
        let transfers = transfer::Transfers::new((setup.router.clone(), restorer), group, me);
        let shared = Arc::new(Shared {
            group,
            me,
            faults,
            clock: setup.clock,
            router: setup.router,
            raft: OnceLock::new(),
            standing: watch::channel(Arc::new(standing)).0,
            applied,
            told,
            events,
            yielding: Mutex::default(),
            yielding_from_callers: Mutex::default(),
            witnesses: Mutex::default(),
            gate: OnceLock::new(),
            changing: tokio::sync::Mutex::default(),
            majority_at: Mutex::default(),
            answered: Mutex::default(),
            owed: Mutex::default(),
            campaign: Mutex::new(Campaign::new(me, setup.seed)),
            transfers,
            stop: stop.clone(),
            tasks: TaskTracker::new(),
        });
        let clients = network::Clients { shared: shared.clone() };
        let config = Arc::new(config(&setup.settings));
        let raft = Raft::new(me, config, clients, log.clone(), applier).await.map_err(|error| ended(&error))?;
        // The engine has applied what is known to be committed: whoever opened this replica may ask how far at once.
        let (applied, last, term) = (*shared.applied.borrow(), log.last(), log.term().map_err(|error| ended(&error))?);
        let told = *lock(&shared.told);
        shared.standing.send_replace(Arc::new(Standing { me, term, applied, told, last, ..Standing::default() }));
        let driver = campaign::Driver::new(shared.clone(), raft.metrics(), log.clone(), setup.settings.log_bytes);
        assert!(shared.raft.set(raft).is_ok(), "it is set once");
        let (proposals, proposed) = proposer::queue();
        let (readers, reading) = reads::queue();
        shared.tasks.spawn(driver.run(inputs));
        let (in_flight, company) = (setup.settings.entries_in_flight, proposals.company());
        shared.tasks.spawn(proposer::run(shared.clone(), in_flight, company, proposed));
        shared.tasks.spawn(reads::run(shared.clone(), reading));
        let server = Arc::new(Server {
            shared: shared.clone(),
            proposals,
            readers,
            room: Arc::new(Semaphore::new(GROUP_REQUESTS_MAX)),
            appends: Arc::new(Semaphore::new(APPENDS_MAX)),
        });
        let weak: Weak<Server> = Arc::downgrade(&server);
        shared.router.attach(group, me, weak);
        let replica = Self { shared, server, commits: setup.commits, log, _stop: stop.drop_guard() };
        replica.set_witnesses(setup.witnesses).await;
        Ok(replica)
    }

    /// Says which nodes are witnesses: they campaign only where no core voter is as up to date, and hand over to one
    /// once it is.
    pub async fn set_witnesses(&self, nodes: BTreeSet<NodeId>) {
        lock(&self.shared.witnesses).clone_from(&nodes);
        let _ = self.shared.events.send(campaign::Event::Witnesses(nodes)).await;
    }

    /// Where this replica leads, it refuses from now on what this gate says. It is set once.
    pub(crate) fn set_gate(&self, gate: Gate) {
        assert!(self.shared.gate.set(gate).is_ok(), "it is set once");
    }

    /// Begins to end without a word to anybody, as a killed process does; `close` then waits for the end.
    #[cfg(any(test, feature = "testing"))]
    pub fn kill(&self) {
        self.detach();
        self.shared.stop.cancel();
    }

    fn detach(&self) {
        let server: Weak<Server> = Arc::downgrade(&self.server);
        let server: Weak<dyn router::Replica> = server;
        self.shared.router.detach(self.shared.group, &server);
    }

    fn raft(&self) -> Result<&Raft, GroupError> {
        if let Some(failed) = &self.shared.standing().failed {
            return Err(GroupError::Ended(failed.clone()));
        }
        match self.shared.raft() {
            Some(raft) if !self.shared.stop.is_cancelled() => Ok(raft),
            _ => Err(GroupError::Ended("it was closed".into())),
        }
    }

    async fn found_now(&self, voters: BTreeSet<VoterId>) -> Result<(), GroupError> {
        let raft = self.raft()?;
        let Some(rank) = voters.iter().position(|voter| *voter == self.shared.me) else {
            return Err(GroupError::Refused("this replica is not among the founders".into()));
        };
        let rank = u32::try_from(rank).unwrap_or(u32::MAX);
        let mut standing = self.standing();
        tokio::select! {
            biased;
            // The log has come from another founder.
            _ = standing.wait_for(|standing| standing.last.index > 0) => return Ok(()),
            () = sleep(FOUNDERS_APART.saturating_mul(rank)) => {}
        }
        let Ok(initialized) = timeout(GROUP_ANSWER_TIMEOUT, raft.initialize(voters::nodes(voters))).await else {
            return Err(GroupError::Unknown("the engine has not answered in time: its disc may hang".into()));
        };
        match initialized {
            Ok(()) | Err(RaftError::APIError(InitializeError::NotAllowed(_))) => Ok(()),
            Err(RaftError::APIError(error)) => Err(GroupError::Refused(error.to_string())),
            Err(RaftError::Fatal(error)) => Err(GroupError::Ended(error.to_string())),
        }
    }

    async fn propose_now(&self, command: Vec<u8>) -> Result<Applied, GroupError> {
        self.raft()?;
        if command.len() > GROUP_COMMAND_MAX {
            return Err(GroupError::TooLarge { length: command.len(), limit: GROUP_COMMAND_MAX });
        }
        let began = Instant::now();
        match proposer::propose(&self.server.proposals, vec![Blob::from(command)], 2).await {
            Proposed::Done { at, mut answers } => match answers.pop() {
                Some(answer) => {
                    self.commits.count(began.elapsed());
                    Ok(Applied { at, answer })
                }
                None => Err(GroupError::Unknown("the answer is missing".into())),
            },
            Proposed::NotHanded(why) => match self.raft() {
                Ok(_) => Err(GroupError::NoQuorum(why)),
                Err(ended) => Err(ended),
            },
            Proposed::Unknown(why) => Err(GroupError::Unknown(why)),
        }
    }

    async fn barrier_now(&self) -> Result<LogPlace, GroupError> {
        self.raft()?;
        if self.shared.faults.stale_read {
            return Ok(*self.shared.applied.borrow());
        }
        let read = async {
            let at = reads::index(&self.server.readers, 2).await?;
            reads::applied(&self.shared, at).await.map(|()| at)
        };
        match read.await {
            Ok(at) => Ok(at),
            Err(why) => Err(self.raft().err().unwrap_or(GroupError::NoQuorum(why))),
        }
    }

    async fn snapshot_now(&self) -> Result<(), GroupError> {
        let raft = self.raft()?;
        let mut metrics = raft.metrics();
        let Some(at) = metrics.borrow().last_applied else { return Ok(()) };
        let ended = |error: &dyn std::fmt::Display| GroupError::Ended(error.to_string());
        raft.trigger().snapshot().await.map_err(|error| ended(&error))?;
        let made = metrics.wait_for(|metrics| metrics.snapshot >= Some(at) || metrics.running_state.is_err()).await;
        let made = made.map_err(|_| ended(&"it was closed"))?.running_state.clone();
        made.map_err(|error| ended(&error))
    }

    async fn hand_over_now(&self, among: BTreeSet<VoterId>) {
        let Ok(raft) = self.raft() else { return };
        if let Some(best) = hand_over::best(&self.shared, raft, &among).await {
            hand_over::to(&self.shared, &self.log, best).await;
        }
    }

    async fn close_now(&self) {
        if !self.shared.stop.is_cancelled() {
            owed::all_now(&self.shared);
        }
        self.detach();
        self.shared.stop.cancel();
        self.log.fence();
        self.shared.tasks.close();
        self.shared.tasks.wait().await;
    }
}

impl Group for RaftGroup {
    fn found(&self, voters: BTreeSet<VoterId>) -> BoxFuture<'_, Result<(), GroupError>> {
        Box::pin(self.found_now(voters))
    }

    fn propose(&self, command: Vec<u8>) -> BoxFuture<'_, Result<Applied, GroupError>> {
        Box::pin(self.propose_now(command))
    }

    fn barrier(&self) -> BoxFuture<'_, Result<LogPlace, GroupError>> {
        Box::pin(self.barrier_now())
    }

    fn change_voters(&self, voters: BTreeSet<VoterId>) -> BoxFuture<'_, Result<(), GroupError>> {
        Box::pin(voters::change(&self.shared, voters))
    }

    fn set_learners(&self, learners: BTreeSet<VoterId>) -> BoxFuture<'_, Result<(), GroupError>> {
        Box::pin(voters::learners(&self.shared, learners))
    }

    fn snapshot(&self) -> BoxFuture<'_, Result<(), GroupError>> {
        Box::pin(self.snapshot_now())
    }

    fn hand_over_to(&self, among: BTreeSet<VoterId>) -> BoxFuture<'_, ()> {
        Box::pin(self.hand_over_now(among))
    }

    fn standing(&self) -> watch::Receiver<Arc<Standing>> {
        self.shared.standing.subscribe()
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        Box::pin(self.close_now())
    }
}

/// The engine's configuration. Its own elections are off: `campaign` says when; its own signs of life too.
fn config(settings: &Settings) -> Config {
    let lease = u64::try_from(GROUP_VOTE_LEASE.as_millis()).unwrap_or(u64::MAX);
    Config {
        cluster_name: "ekka".into(),
        // Its lease is the largest election timeout; its calls wait for one interval of heartbeats.
        heartbeat_interval: lease - 10,
        election_timeout_min: lease - 2,
        election_timeout_max: lease - 1,
        enable_heartbeat: false,
        enable_elect: false,
        max_payload_entries: settings.log_entries,
        snapshot_policy: SnapshotPolicy::LogsSinceLast(settings.log_entries),
        max_in_snapshot_log_to_keep: settings.log_kept,
        // A follower that lacks more gets a snapshot, where there is one.
        replication_lag_threshold: settings.log_entries,
        ..Config::default()
    }
}
