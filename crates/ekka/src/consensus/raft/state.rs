//! The state machine behind the engine, and its snapshots on disc.
//!
//! The state is in memory; what survives a restart is the last snapshot and the log after it. A snapshot is written in
//! pieces under names of its own, and is there once its head is: a crash in between leaves the one before.

use std::sync::{Arc, Mutex, PoisonError};

use ekka_core::consensus::{Configuration, GroupEvent, LogPlace, StateMachine, VoterId};
use openraft::storage::RaftStateMachine;
use openraft::{AnyError, EntryPayload, OptionalSend, RaftSnapshotBuilder, Snapshot, StorageIOError};
use tokio::sync::{mpsc, watch};

use super::shared::lock;
use super::snapshots::Snapshots;
use super::types::{Answers, Blob, Entry, Id, Membership, Meta, Storing, Types, configuration, place, place_or_start};

/// Everything that follows the log: the state, whoever keeps a copy of it, and whoever waits for an entry.
pub(super) struct Applier {
    /// Never locked: the engine wants what it holds to be `Sync`.
    pub(super) machine: Mutex<Box<dyn StateMachine>>,
    pub(super) events: Option<mpsc::Sender<GroupEvent>>,
    pub(super) applied: watch::Sender<LogPlace>,
    /// The last entry that was told to `events`; said before `applied` is.
    pub(super) told: Arc<Mutex<LogPlace>>,
    pub(super) snapshots: Arc<Snapshots>,
    /// A planted fault: each command is applied twice.
    pub(super) applies_twice: bool,
    pub(super) last: Option<Id>,
    pub(super) membership: Membership,
}

fn state_failed(why: impl Into<String>) -> openraft::StorageError<VoterId> {
    StorageIOError::write_state_machine(AnyError::error(why.into())).into()
}

impl Applier {
    fn machine(&mut self) -> &mut dyn StateMachine {
        &mut **self.machine.get_mut().unwrap_or_else(PoisonError::into_inner)
    }

    /// The whole state as bytes.
    pub(super) fn state(&mut self) -> Vec<u8> {
        self.machine().snapshot()
    }

    /// Takes the newest snapshot on disc, if there is one.
    pub(super) async fn recover(&mut self) -> Storing<()> {
        if let Some((meta, bytes)) = self.snapshots.read().await? {
            self.take(&meta, bytes).await?;
        }
        Ok(())
    }

    async fn take(&mut self, meta: &Meta, bytes: Vec<u8>) -> Storing<()> {
        self.machine().restore(&bytes).map_err(state_failed)?;
        self.last = meta.last_log_id;
        self.membership = meta.last_membership.clone();
        let at = place_or_start(meta.last_log_id.as_ref());
        let snapshot = if self.events.is_some() { self.machine().told_part(&bytes).to_vec() } else { Vec::new() };
        self.tell(at, GroupEvent::Restored { snapshot, at }).await;
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
        Builder { meta, bytes: self.machine().snapshot(), snapshots: self.snapshots.clone() }
    }

    async fn begin_receiving_snapshot(&mut self) -> Storing<Box<Vec<u8>>> {
        Ok(Box::default())
    }

    async fn install_snapshot(&mut self, meta: &Meta, snapshot: Box<Vec<u8>>) -> Storing<()> {
        self.snapshots.write(meta, &snapshot).await?;
        self.take(meta, *snapshot).await
    }

    async fn get_current_snapshot(&mut self) -> Storing<Option<Snapshot<Types>>> {
        let found = self.snapshots.read().await?;
        Ok(found.map(|(meta, bytes)| Snapshot { meta, snapshot: Box::new(bytes) }))
    }
}

/// The state of one moment, on its way to disc.
pub(super) struct Builder {
    meta: Meta,
    bytes: Vec<u8>,
    snapshots: Arc<Snapshots>,
}

impl RaftSnapshotBuilder<Types> for Builder {
    async fn build_snapshot(&mut self) -> Storing<Snapshot<Types>> {
        self.snapshots.write(&self.meta, &self.bytes).await?;
        Ok(Snapshot { meta: self.meta.clone(), snapshot: Box::new(std::mem::take(&mut self.bytes)) })
    }
}
