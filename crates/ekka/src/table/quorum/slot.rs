//! A quorum table on this node: reads behind a barrier, and commands for the group of its storage.
//!
//! The replica that runs changes: generations of the volatile group, a durable log that is opened anew. What was read
//! from one is proposed to that one only; what was handed to one is never handed to another.

use std::sync::Arc;
use std::time::Duration;

use ekka_core::limits::{GROUP_COMMAND_MAX, GROUP_LEADER_WAIT};
use ekka_core::schema::{Schema, Storage};
use ekka_core::table::quorum::{Answer, Command, Figures, Page, Row, Transaction, View};
use ekka_core::table::{Acknowledged, Extract, Index, KeyRange, PageLimits, Revision};
use ekka_core::time::Wall;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until, timeout_at};
use tokio_util::sync::CancellationToken;

use super::super::committed::Committed;
use super::super::disc::IsFull;
use super::super::figures::{Figures as Counts, Op};
use super::super::hub::World;
use super::BeginRows;
use super::beside::logged;
use super::error::{NotDone, QuorumError};
use super::here::{Here, Replica};
use crate::consensus::GroupError;

/// Before a replica that had no majority is asked again.
const AGAIN: Duration = Duration::from_millis(50);

/// A write that was committed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::table) struct Written {
    /// The revision of the tables with it.
    pub(in crate::table) revision: Revision,
    /// How many voters a majority has.
    pub(in crate::table) majority: u32,
}

/// A quorum table.
pub struct QuorumSlot {
    pub(in crate::table) id: u64,
    pub(in crate::table) schema: Schema,
    pub(in crate::table) world: Arc<World>,
    pub(in crate::table) closed: CancellationToken,
    loaded: watch::Sender<bool>,
    here: Arc<Here>,
    committed: watch::Receiver<Arc<Committed>>,
    begin_rows: BeginRows,
    is_full: IsFull,
    /// How its writes from here ended.
    pub(in crate::table) counted: Counts,
}

impl QuorumSlot {
    pub(in crate::table) fn new(
        (id, schema): (u64, Schema),
        world: Arc<World>,
        (here, begin_rows, is_full): (Arc<Here>, BeginRows, IsFull),
        committed: watch::Receiver<Arc<Committed>>,
    ) -> Self {
        // Reads and writes wait for the group themselves.
        let loaded = watch::Sender::new(true);
        Self {
            id,
            schema,
            world,
            closed: CancellationToken::new(),
            loaded,
            here,
            committed,
            begin_rows,
            is_full,
            counted: Counts::default(),
        }
    }

    pub(in crate::table) fn loaded(&self) -> watch::Receiver<bool> {
        self.loaded.subscribe()
    }

    pub(in crate::table) fn end(&self) {
        self.closed.cancel();
    }

    pub(in crate::table) fn is_closed(&self) -> bool {
        self.closed.is_cancelled()
    }

    /// The replica that runs on this node, now and whenever that changes.
    pub(super) fn replica(&self) -> watch::Receiver<Option<Replica>> {
        self.here.replica(self.schema.storage)
    }

    /// The wall clock of this node.
    pub(super) fn wall(&self) -> Wall {
        self.world.clock.now().wall
    }

    /// What the table amounts to, as this node has it.
    pub(in crate::table) fn figures(&self) -> Figures {
        self.present().and_then(|view| view.figures(self.id)).unwrap_or_default()
    }

    fn present(&self) -> Option<View> {
        self.replica().borrow().as_ref().map(|replica| replica.rows.view())
    }

    /// Whether this node has a replica of its group, or follows one.
    pub(in crate::table) fn has_replica(&self) -> bool {
        self.replica().borrow().is_some()
    }

    fn check_open(&self) -> Result<(), QuorumError> {
        if self.closed.is_cancelled() { Err(QuorumError::Closed) } else { Ok(()) }
    }

    /// The row of a key as this node has it: it may be an old one.
    pub(in crate::table) fn get_stale(&self, key: &[u8]) -> Result<Option<Row>, QuorumError> {
        self.check_open()?;
        let view = self.present().ok_or_else(|| self.no_replica())?;
        Ok(self.row(&view, key))
    }

    /// The row of a key after everything that was committed anywhere before this call.
    pub(in crate::table) async fn get(&self, key: &[u8], until: Instant) -> Result<Option<Row>, QuorumError> {
        let replica = self.fresh(until).await?;
        let tables = replica.rows.read();
        Ok(self.row(tables.view(), key))
    }

    /// Rows of a range; of one moment, which is that of the view.
    pub(in crate::table) fn page(
        &self,
        view: &View,
        range: &KeyRange,
        after: Option<&[u8]>,
        limits: PageLimits,
    ) -> Page {
        // One that the group does not know of yet has no row.
        view.page(self.id, range, after, limits).unwrap_or(Page { rows: Vec::new(), next: None })
    }

    /// All rows after everything that was committed anywhere before this call.
    pub(in crate::table) async fn view(&self, until: Instant) -> Result<View, QuorumError> {
        self.fresh(until).await.map(|replica| replica.rows.view())
    }

    /// All rows as this node has them.
    pub(in crate::table) fn stale_view(&self) -> Result<View, QuorumError> {
        self.check_open()?;
        self.present().ok_or_else(|| self.no_replica())
    }

    /// An index of the rows as this node has them, with the clock of the tables; `None` where the group does not know of
    /// the table yet. A replica that has not got it gets it now.
    pub(in crate::table) fn index(
        &self,
        id: &str,
        extract: &Extract,
    ) -> Result<(Option<Index<Row>>, Wall), QuorumError> {
        self.check_open()?;
        let replica = self.replica().borrow().clone().ok_or_else(|| self.no_replica())?;
        Ok(self.index_of(&replica, id, extract))
    }

    /// The same after everything that was committed anywhere before this call.
    pub(in crate::table) async fn fresh_index(
        &self,
        (id, extract): (&str, &Extract),
        until: Instant,
    ) -> Result<(Option<Index<Row>>, Wall), QuorumError> {
        let replica = self.fresh(until).await?;
        Ok(self.index_of(&replica, id, extract))
    }

    fn index_of(&self, replica: &Replica, id: &str, extract: &Extract) -> (Option<Index<Row>>, Wall) {
        let find = |view: &View| (view.index(self.id, id).ok().flatten().cloned(), view.clock());
        let found = find(replica.rows.read().view());
        if found.0.is_some() {
            return found;
        }
        replica.rows.add_index(self.id, id, extract);
        find(replica.rows.read().view())
    }

    fn row(&self, view: &View, key: &[u8]) -> Option<Row> {
        view.get(self.id, key).ok().flatten().cloned()
    }

    /// A replica whose rows have everything that was committed anywhere before this call. Reading changes nothing, so
    /// it is tried until the deadline.
    pub(super) async fn fresh(&self, until: Instant) -> Result<Replica, QuorumError> {
        let mut tries = self.tries(until);
        loop {
            let replica = tries.replica().await?;
            let Some(group) = replica.group() else {
                tries.failed(ENDED.into());
                continue;
            };
            if self.world.faults.reads_stale {
                return Ok(replica);
            }
            match timeout_at(until, group.barrier()).await {
                Ok(Ok(_)) => return Ok(replica),
                Ok(Err(error)) => tries.failed(words_of(error)),
                Err(_) => tries.failed(LATE.into()),
            }
        }
    }

    fn tries(&self, until: Instant) -> Tries<'_> {
        Tries { slot: self, replicas: self.replica(), until, least: Duration::ZERO, last: None }
    }

    fn no_replica(&self) -> QuorumError {
        let group = match self.schema.storage {
            Storage::Disc => "the cluster's durable group",
            Storage::Ram => "the volatile group (locks, ram quorum tables)",
        };
        let text = format!("this node has no replica of {group} now, and no node that has one answers");
        QuorumError::NoQuorum(text)
    }

    /// Has a write committed that goes by nothing that was read, or by versions.
    pub(in crate::table) async fn write(&self, write: Transaction, until: Instant) -> Result<Written, QuorumError> {
        let (op, begun) = (Op::of(&write), Instant::now());
        let result = self.write_until(write, until).await;
        self.counted.count_quorum(op, begun.elapsed(), result.as_ref().map(drop));
        result
    }

    async fn write_until(&self, write: Transaction, until: Instant) -> Result<Written, QuorumError> {
        let command = Command::from(write);
        self.check_open()?;
        self.check_room(&command)?;
        self.begin_rows(until).await?;
        // One that is broken off may have been handed in, so none is begun that has no time to say that it was not.
        let mut tries = Tries { least: GROUP_LEADER_WAIT, ..self.tries(until) };
        loop {
            let replica = tries.replica().await?;
            match self.commit(&replica, &command, until).await {
                Ok(written) => return Ok(written),
                Err(NotDone::End(error)) => return Err(error),
                Err(NotDone::NotHanded(words)) => tries.failed(words),
            }
        }
    }

    /// What is put into a table on disc grows the log and the rows of every voter, so it needs room from the start: a
    /// voter whose disc is full ends, and without a majority no delete makes room any more.
    pub(super) fn check_room(&self, command: &Command) -> Result<(), QuorumError> {
        let is_full = self.schema.storage == Storage::Disc && command.puts() && (self.is_full)();
        if is_full { Err(QuorumError::DiscFull) } else { Ok(()) }
    }

    /// What each first write of a cluster takes: from then on its quorum tables hold rows.
    pub(super) async fn begin_rows(&self, until: Instant) -> Result<(), QuorumError> {
        self.check_open()?;
        let (held, merging) = {
            let committed = self.committed.borrow();
            (committed.quorum_rows, committed.merging)
        };
        if merging {
            let text = "this cluster goes into another one: its quorum tables take no write any more";
            return Err(QuorumError::Refused(text.into()));
        }
        if held {
            return Ok(());
        }
        match timeout_at(until, (self.begin_rows)()).await {
            Ok(begun) => begun.map_err(QuorumError::NoQuorum),
            Err(_) => Err(QuorumError::NoQuorum(LATE.into())),
        }
    }

    /// Has a command committed by the group of a replica.
    pub(super) async fn commit(
        &self,
        replica: &Replica,
        command: &Command,
        until: Instant,
    ) -> Result<Written, NotDone> {
        let bytes = logged(command);
        if bytes.len() > GROUP_COMMAND_MAX {
            return Err(NotDone::End(QuorumError::command_too_large(bytes.len())));
        }
        loop {
            let (answer, majority) = propose(replica, bytes.clone(), until).await?;
            let refused = |words: String| Err(NotDone::End(QuorumError::Refused(words)));
            match answer {
                Answer::Committed { revision } => return Ok(Written { revision, majority }),
                Answer::Conflict { .. } => return Err(NotDone::End(QuorumError::Conflict)),
                Answer::TooLarge(error) => return Err(NotDone::End(error.into())),
                Answer::Unknown { words } => return refused(words),
                Answer::DiscFull => return Err(NotDone::End(QuorumError::DiscFull)),
                Answer::NoTable { table } if self.makes(table) => {
                    self.make(replica, until).await?;
                }
                Answer::NoTable { table } if table == self.id => return Err(NotDone::End(QuorumError::Closed)),
                Answer::NoTable { table } => return refused(format!("there is no quorum table {table}")),
            }
        }
    }

    /// Whether the group has to be told that there is this table. The durable one has the schemas itself.
    fn makes(&self, table: u64) -> bool {
        table == self.id && self.schema.storage == Storage::Ram && !self.closed.is_cancelled()
    }

    /// Has the table made in the group of a replica, where it is not there. Done twice it is done once.
    async fn make(&self, replica: &Replica, until: Instant) -> Result<(), NotDone> {
        match propose(replica, logged(&Command::Create { table: self.id }), until).await {
            Ok(_) => Ok(()),
            Err(NotDone::End(QuorumError::Unknown(words))) => Err(NotDone::NotHanded(words)),
            Err(error) => Err(error),
        }
    }

    /// A replica that is as [`fresh`](Self::fresh) gives it, and knows of this table.
    pub(super) async fn ready(&self, until: Instant) -> Result<Replica, QuorumError> {
        self.begin_rows(until).await?;
        loop {
            let replica = self.fresh(until).await?;
            if replica.rows.read().view().figures(self.id).is_some() {
                return Ok(replica);
            }
            if !self.makes(self.id) {
                return Err(QuorumError::Closed);
            }
            match self.make(&replica, until).await {
                Ok(()) => {}
                Err(NotDone::End(error)) => return Err(error),
                Err(NotDone::NotHanded(words)) if Instant::now() >= until => return Err(QuorumError::NoQuorum(words)),
                Err(NotDone::NotHanded(_)) => tokio::time::sleep(AGAIN).await,
            }
        }
    }

    /// How a write is acknowledged: by as many voters as a majority has.
    pub(in crate::table) fn acknowledged(&self, written: Written) -> Acknowledged {
        Acknowledged { copies: written.majority, durable: self.schema.storage == Storage::Disc, lonely: false }
    }
}

const ENDED: &str = "the replica has ended";
const LATE: &str = "no answer within the deadline";

/// The words of an error of a group, without those that say what kind it is.
fn words_of(error: GroupError) -> String {
    match error {
        GroupError::NoQuorum(words) | GroupError::Ended(words) => words,
        other => other.to_string(),
    }
}

/// Tries with each replica that runs until the deadline, as long as nothing was handed to any.
struct Tries<'a> {
    slot: &'a QuorumSlot,
    replicas: watch::Receiver<Option<Replica>>,
    until: Instant,
    /// What has to be left until the deadline for another try.
    least: Duration,
    last: Option<String>,
}

impl Tries<'_> {
    /// The present one could not be used.
    fn failed(&mut self, words: String) {
        self.last = Some(words);
    }

    /// The one to try now. After one that failed that is a moment later, or once there is another.
    async fn replica(&mut self) -> Result<Replica, QuorumError> {
        let mut waits = self.last.is_some();
        loop {
            self.slot.check_open()?;
            let replica = self.replicas.borrow_and_update().clone();
            if let Some(replica) = replica.filter(|_| !waits) {
                return Ok(replica);
            }
            let now = Instant::now();
            let least = if waits { self.least } else { Duration::ZERO };
            if now + least >= self.until {
                return Err(self.last.take().map_or_else(|| self.slot.no_replica(), QuorumError::NoQuorum));
            }
            let again = if waits { self.until.min(now + AGAIN) } else { self.until };
            tokio::select! {
                biased;
                () = self.slot.closed.cancelled() => {}
                changed = self.replicas.changed() => if changed.is_err() { return Err(QuorumError::Closed) },
                () = sleep_until(again) => {}
            }
            waits = false;
        }
    }
}

/// Hands a command to the group of a replica; what it answered, and how many voters a majority has.
async fn propose(replica: &Replica, bytes: Vec<u8>, until: Instant) -> Result<(Answer, u32), NotDone> {
    let Some(group) = replica.group() else { return Err(NotDone::NotHanded(ENDED.into())) };
    let unknown = |words: &str| NotDone::End(QuorumError::Unknown(words.into()));
    let applied = match timeout_at(until, group.propose(bytes)).await {
        Ok(applied) => applied?,
        Err(_) => return Err(unknown(LATE)),
    };
    let answer = Answer::decode(&applied.answer).map_err(|_| unknown("a newer version gave an answer"))?;
    let majority = group.standing().borrow().configuration.voters.iter().map(|set| set.len() / 2 + 1).max();
    Ok((answer, majority.and_then(|majority| u32::try_from(majority).ok()).unwrap_or(1)))
}
