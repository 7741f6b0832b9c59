//! The state machine behind the engine, and its snapshots on disc.
//!
//! The state is in memory; what survives a restart is the last snapshot and the log after it. A snapshot is written in
//! pieces under names of its own, and is there once its head is: a crash in between leaves the one before.
//!
//! Whoever applies only freezes the state, and adopts one that was put together elsewhere. The latest snapshot stays
//! frozen in memory, where it shares all with the state that has not changed since, and is sent from there.

use std::sync::{Arc, Mutex, PoisonError};

use ekka_core::consensus::{Configuration, Frozen, GroupEvent, LogPlace, Restored, StateMachine, VoterId};
use openraft::storage::RaftStateMachine;
use openraft::{AnyError, EntryPayload, OptionalSend, RaftSnapshotBuilder, Snapshot, StorageIOError};
use tokio::sync::{mpsc, watch};

use super::image::Image;
use super::shared::lock;
use super::snapshots::Snapshots;
use super::types::{Answers, Blob, Entry, Id, Membership, Meta, Storing, Types, configuration, place, place_or_start};

/// A snapshot that is on disc, as it was in memory.
type Latest = Arc<Mutex<Option<(Meta, Arc<dyn Frozen>)>>>;

/// This one is on disc now; an earlier one that was written beside it does not take its place.
fn is_latest(latest: &Latest, meta: &Meta, state: Arc<dyn Frozen>) {
    let mut latest = lock(latest);
    if latest.as_ref().is_none_or(|(known, _)| known.last_log_id <= meta.last_log_id) {
        *latest = Some((meta.clone(), state));
    }
}

/// Everything that follows the log: the state, whoever keeps a copy of it, and whoever waits for an entry.
pub(super) struct Applier {
    /// Never locked: the engine wants what it holds to be `Sync`.
    pub(super) machine: Mutex<Box<dyn StateMachine>>,
    pub(super) events: Option<mpsc::Sender<GroupEvent>>,
    pub(super) applied: watch::Sender<LogPlace>,
    /// The last entry that was told to `events`; said before `applied` is.
    pub(super) told: Arc<Mutex<LogPlace>>,
    pub(super) snapshots: Arc<Snapshots>,
    /// The one on disc.
    pub(super) latest: Latest,
    /// A planted fault: each command is applied twice.
    pub(super) applies_twice: bool,
    pub(super) last: Option<Id>,
    pub(super) membership: Membership,
}

fn state_failed(why: impl Into<String>) -> openraft::StorageError<VoterId> {
    StorageIOError::write_state_machine(AnyError::error(why.into())).into()
}

impl Applier {
    /// An empty machine that has applied nothing, and tells nobody.
    pub(super) fn new(machine: Box<dyn StateMachine>, snapshots: Arc<Snapshots>) -> Self {
        Self {
            machine: Mutex::new(machine),
            events: None,
            applied: watch::channel(LogPlace::default()).0,
            told: Arc::default(),
            snapshots,
            latest: Arc::default(),
            applies_twice: false,
            last: None,
            membership: Membership::default(),
        }
    }

    fn machine(&mut self) -> &mut dyn StateMachine {
        &mut **self.machine.get_mut().unwrap_or_else(PoisonError::into_inner)
    }

    /// The whole state as bytes.
    pub(super) fn state(&mut self) -> Vec<u8> {
        self.machine().snapshot()
    }

    /// Takes the newest snapshot on disc, if there is one.
    pub(super) async fn recover(&mut self) -> Storing<()> {
        let restorer = self.machine().restorer();
        if let Some((meta, state)) = self.snapshots.restored(restorer).await? {
            let told = self.machine().adopt(state).map_err(state_failed)?;
            let state = self.machine().freeze();
            is_latest(&self.latest, &meta, state);
            self.take(&meta, told).await?;
        }
        Ok(())
    }

    /// The machine is as a snapshot has it: so is everything else.
    async fn take(&mut self, meta: &Meta, told: Vec<u8>) -> Storing<()> {
        self.last = meta.last_log_id;
        self.membership = meta.last_membership.clone();
        let at = place_or_start(meta.last_log_id.as_ref());
        self.tell(at, GroupEvent::Restored { snapshot: told, at }).await;
        self.reconfigure(at).await;
        self.applied.send_replace(at);
        Ok(())
    }

    async fn reconfigure(&mut self, at: LogPlace) {
        let configuration: Configuration = configuration(&self.membership, at);
        self.machine().reconfigured(&configuration);
        self.tell(at, GroupEvent::Reconfigured(configuration)).await;
    }

    /// A copy that has ended needs no news.
    async fn tell(&self, at: LogPlace, event: GroupEvent) {
        if let Some(events) = &self.events {
            let _ = events.send(event).await;
        }
        *lock(&self.told) = at;
    }

    async fn command(&mut self, at: LogPlace, command: &Blob) -> Vec<u8> {
        if self.applies_twice {
            self.machine().apply(at, &command.0);
        }
        let answer = self.machine().apply(at, &command.0);
        if self.events.is_some() && self.machine().is_told(&command.0) {
            self.tell(at, GroupEvent::Applied { at, command: command.0.to_vec() }).await;
        }
        answer
    }
}

impl RaftStateMachine<Types> for Applier {
    type SnapshotBuilder = Builder;

    async fn applied_state(&mut self) -> Storing<(Option<Id>, Membership)> {
        Ok((self.last, self.membership.clone()))
    }

    async fn apply<I>(&mut self, entries: I) -> Storing<Vec<Answers>>
    where
        I: IntoIterator<Item = Entry> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let mut answers = Vec::new();
        let entries: Vec<Entry> = entries.into_iter().collect();
        for entry in entries {
            let at = place(&entry.log_id);
            let mut answer = Vec::new();
            match entry.payload {
                EntryPayload::Blank => {}
                EntryPayload::Normal(batch) => {
                    for command in &batch.commands {
                        answer.push(self.command(at, command).await);
                    }
                }
                EntryPayload::Membership(membership) => {
                    self.membership = Membership::new(Some(entry.log_id), membership);
                    self.reconfigure(at).await;
                }
            }
            self.last = Some(entry.log_id);
            answers.push(Answers(answer));
        }
        self.applied.send_replace(place_or_start(self.last.as_ref()));
        Ok(answers)
    }

    async fn get_snapshot_builder(&mut self) -> Builder {
        let at = place_or_start(self.last.as_ref());
        let meta = Meta {
            last_log_id: self.last,
            last_membership: self.membership.clone(),
            snapshot_id: format!("{}-{}", at.term, at.index),
        };
        let state = self.machine().freeze();
        Builder { meta, state, snapshots: self.snapshots.clone(), latest: self.latest.clone() }
    }

    async fn begin_receiving_snapshot(&mut self) -> Storing<Box<Image>> {
        Ok(Box::default())
    }

    async fn install_snapshot(&mut self, meta: &Meta, snapshot: Box<Image>) -> Storing<()> {
        let missing = || state_failed("a snapshot that was not put together");
        let state: Restored = snapshot.into_restored().ok_or_else(missing)?;
        let told = self.machine().adopt(state).map_err(state_failed)?;
        let state = self.machine().freeze();
        // It counts as here once it is on disc.
        self.snapshots.write(meta, &*state).await?;
        is_latest(&self.latest, meta, state);
        self.take(meta, told).await
    }

    async fn get_current_snapshot(&mut self) -> Storing<Option<Snapshot<Types>>> {
        let latest = lock(&self.latest).clone();
        Ok(latest.map(|(meta, state)| Snapshot { meta, snapshot: Box::new(Image::Frozen(state)) }))
    }
}

/// The state of one moment, on its way to disc.
pub(super) struct Builder {
    meta: Meta,
    state: Arc<dyn Frozen>,
    snapshots: Arc<Snapshots>,
    latest: Latest,
}

impl RaftSnapshotBuilder<Types> for Builder {
    async fn build_snapshot(&mut self) -> Storing<Snapshot<Types>> {
        self.snapshots.write(&self.meta, &*self.state).await?;
        is_latest(&self.latest, &self.meta, self.state.clone());
        Ok(Snapshot { meta: self.meta.clone(), snapshot: Box::new(Image::Frozen(self.state.clone())) })
    }
}
