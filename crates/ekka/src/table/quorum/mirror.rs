//! The rows of a group of which this node has no replica that can be used, followed from one that has.
//!
//! A node beyond the voters has no replica of the volatile group; a voter may be cut off from the leader while another
//! voter is not. Such a node takes all rows from any replica with a leader, and then what changes; it goes on at another
//! one where the first is out of reach, without taking all anew, since revisions are the same in one history. Reads wait
//! for what a barrier of the group says, so they are as linearizable as a voter's; nothing else of Raft is here, and no
//! vote.

use std::sync::Arc;
use std::time::Duration;

use ekka_core::id::NodeId;
use ekka_core::schema::{Kind, Storage};
use ekka_core::table::quorum::Reader;
use ekka_core::view::View;
use tokio::sync::watch;
use tokio::time::{Instant, sleep};
use tracing::debug;

use super::super::committed::Committed;
use super::door::Door;
use super::here::{Here, Replica};
use super::lender::is_led;
use super::rows::Rows;
use super::wire::{Lane, Told, WAIT, What};
use crate::consensus::Group;
use crate::rpc::{CallError, Hub};

/// How often it is looked whether rows are to be followed.
const LOOK: Duration = Duration::from_millis(100);
/// How long this node may be without a replica, or that without a leader, before another one is followed.
const PATIENCE: Duration = Duration::from_millis(1_500);
/// How much longer is waited before the next node is asked, for each one before that could not answer.
const AGAIN: Duration = Duration::from_millis(50);
/// After so many it is not longer any more.
const AGAIN_MAX: u32 = 10;
/// How long a node may take to answer, beside the time that it waits for news.
const ANSWER: Duration = Duration::from_secs(2);

/// What is followed.
struct Followed {
    replica: Replica,
    door: Arc<Door>,
    leader: Option<NodeId>,
}

/// Follows the group of one storage as long as this node needs it.
pub(in crate::table) struct Mirror {
    lane: Lane,
    here: Arc<Here>,
    committed: watch::Receiver<Arc<Committed>>,
    views: watch::Receiver<Arc<View>>,
    locks: watch::Receiver<bool>,
    /// Since when this node's own replica cannot be used.
    unfit_since: Option<Instant>,
    /// How many nodes could not answer: the next is asked then.
    turn: usize,
    followed: Option<Followed>,
}

impl Mirror {
    pub(in crate::table) fn new(
        (hub, storage): (Arc<Hub>, Storage),
        here: Arc<Here>,
        committed: watch::Receiver<Arc<Committed>>,
        views: watch::Receiver<Arc<View>>,
    ) -> Self {
        let lane = Lane { hub, storage };
        let locks = here.locks_wanted();
        Self { lane, here, committed, views, locks, unfit_since: None, turn: 0, followed: None }
    }

    /// Runs until it is dropped.
    pub(in crate::table) async fn run(mut self) {
        let mut failed = 0;
        loop {
            let holds = self.holds();
            self.forget_another_cluster();
            if !(holds && self.is_wanted()) {
                self.followed = None;
                self.here.follows(self.lane.storage, None);
                if holds {
                    sleep(LOOK).await;
                } else {
                    tokio::select! {
                        changed = self.committed.changed() => if changed.is_err() { return },
                        // It changes once, and lives as long as this.
                        _ = self.locks.changed() => {}
                    }
                }
                continue;
            }
            let done = match &self.followed {
                Some(_) => self.go_on().await,
                None => self.begin().await,
            };
            failed = match done {
                Ok(()) => 0,
                Err(why) => {
                    debug!(storage = ?self.lane.storage, why, "rows of quorum tables could not be followed there");
                    self.turn = self.turn.wrapping_add(1);
                    sleep(AGAIN * failed.min(AGAIN_MAX)).await;
                    failed + 1
                }
            };
        }
    }

    /// What is followed is of the cluster that this node is in: tables of two clusters have the same numbers.
    fn forget_another_cluster(&mut self) {
        let cluster = self.committed.borrow().cluster;
        if self.followed.as_ref().is_some_and(|followed| Some(followed.replica.cluster) != cluster) {
            self.followed = None;
            self.here.follows(self.lane.storage, None);
        }
    }

    /// Whether this node holds quorum tables of the storage, or locks are in its group and wanted here.
    fn holds(&mut self) -> bool {
        let locks = self.lane.storage == Storage::Ram && *self.locks.borrow();
        let me = self.views.borrow().me.node_id;
        let committed = self.committed.borrow_and_update();
        let is_one = |kind, storage| kind == Kind::Quorum && storage == self.lane.storage;
        committed.members.contains(&me)
            && (locks || committed.tables.values().any(|entry| is_one(entry.schema.kind, entry.schema.storage)))
    }

    /// Whether it has no replica of its own that can be used.
    fn is_wanted(&mut self) -> bool {
        let own = self.here.own(self.lane.storage);
        if let (Some(own), Some(followed)) = (&own, &self.followed)
            && is_led(own)
        {
            // It takes over once nobody who was told something here would be told less.
            let (theirs, ours) = (followed.replica.rows.view().mark(), own.rows.view().mark());
            return *own.history == *followed.replica.history && !ours.reaches(&theirs);
        }
        if own.as_ref().is_some_and(is_led) {
            self.unfit_since = None;
            return false;
        }
        let since = *self.unfit_since.get_or_insert_with(Instant::now);
        self.followed.is_some() || since.elapsed() >= PATIENCE
    }

    /// Whom to ask, the best first: who leads, then the others, another one first each time that one could not answer.
    fn whom(&self) -> Vec<NodeId> {
        let view = self.views.borrow();
        let runs = |node: &NodeId| view.member(*node).is_some_and(|member| member.status.is_running());
        let mut nodes: Vec<NodeId> = match self.lane.storage {
            Storage::Ram => view.volatile.voters.clone(),
            Storage::Disc => {
                view.members.iter().filter(|member| member.voter).map(|member| member.id.node_id).collect()
            }
        };
        nodes.retain(|node| *node != view.me.node_id && runs(node));
        if !nodes.is_empty() {
            let turn = self.turn % nodes.len();
            nodes.rotate_left(turn);
        }
        nodes
    }

    /// Takes all rows of a replica.
    async fn begin(&mut self) -> Result<(), String> {
        let node = *self.whom().first().ok_or("nobody who has a replica is in reach")?;
        let told = self.lane.ask(node, What::All, ANSWER).await.map_err(|error| error.to_string())?;
        let Told::Begun { number, cluster, history } = told else { return Err(other(told)) };
        if self.committed.borrow().cluster != Some(cluster) {
            return Err(format!("it is in cluster {cluster}"));
        }
        let mut reader = Reader::default();
        for piece in 0.. {
            let told = self.lane.ask(node, What::Piece { number, piece }, ANSWER).await;
            let Told::Piece(bytes) = told.map_err(|error| error.to_string())? else {
                return Err("it does not give out the rest".into());
            };
            let Some(bytes) = bytes else { break };
            reader.take(&bytes).map_err(|error| error.to_string())?;
            // It is a thread that others share.
            tokio::task::yield_now().await;
        }
        let rows = Arc::<Rows>::default();
        rows.adopt(reader.finish().map_err(|error| error.to_string())?);
        let door = Arc::new(Door::new(self.lane.clone(), history.clone(), rows.clone()));
        door.asks(self.whom());
        let group: Arc<dyn Group> = door.clone();
        let replica = Replica::new(cluster, history, Arc::downgrade(&group), rows);
        self.followed = Some(Followed { replica, door, leader: None });
        // Only once it is known who votes, and that the rows are followed.
        self.go_on().await
    }

    /// Takes what is new, and lets the tables use it.
    async fn go_on(&mut self) -> Result<(), String> {
        let Some(Followed { replica, leader, .. }) = &self.followed else { return Ok(()) };
        let mut whom = self.whom();
        // Rows are followed from one that was not asked in vain; commands go to the leader first.
        let source = *whom.first().ok_or("nobody who has a replica is in reach")?;
        if let Some(place) = leader.and_then(|leader| whom.iter().position(|node| *node == leader)) {
            whom[..=place].rotate_right(1);
        }
        let (history, mark) = (replica.history.to_string(), replica.rows.view().mark());
        let told = self.lane.ask(source, What::After { history, mark }, WAIT + ANSWER).await;
        let told = match told {
            Ok(told) => told,
            // More than an answer holds: pieces of all of it are shorter.
            Err(CallError::TooLarge { .. }) => {
                self.followed = None;
                return Ok(());
            }
            Err(error) => {
                self.asks_others(source, whom);
                return Err(error.to_string());
            }
        };
        let Some(followed) = &mut self.followed else { return Ok(()) };
        match told {
            Told::News { delta, leader, voters } => {
                followed.leader = leader;
                followed.door.votes(voters);
                followed.door.asks(whom);
                if followed.replica.rows.follow(&delta).is_err() {
                    self.followed = None;
                    return Err("what changed does not fit".into());
                }
                if self.committed.borrow().cluster != Some(followed.replica.cluster) {
                    // It is forgotten at once.
                    return Ok(());
                }
                self.here.follows(self.lane.storage, Some(followed.replica.clone()));
                Ok(())
            }
            // What is here stays readable as an old state until the new one is there.
            Told::Anew => {
                self.followed = None;
                Ok(())
            }
            told => {
                self.asks_others(source, whom);
                Err(other(told))
            }
        }
    }

    /// One that does not answer is asked last.
    fn asks_others(&self, silent: NodeId, mut whom: Vec<NodeId>) {
        whom.retain(|node| *node != silent);
        whom.push(silent);
        if let Some(followed) = &self.followed {
            followed.door.asks(whom);
        }
    }
}

fn other(told: Told) -> String {
    match told {
        Told::Not(words) | Told::Unknown(words) => words,
        other => format!("an answer to something else: {other:?}"),
    }
}
