//! What is read of the record of the cluster on this node: from its own replica, behind a barrier or as it stands.
//!
//! The record in the replica is the one that answers proposals, so it is read where it is applied; the copy in `Control`
//! follows a moment later and serves decisions.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};

use ekka_core::consensus::{Configuration, LogPlace, StateMachine};
use ekka_core::control::CommandError;
use ekka_core::durable::{Command, Entry, Record};
use tokio::sync::watch;

use super::Node;
use crate::consensus::Group;
use crate::consensus::raft::RaftGroup;
use crate::table::{Committed, First, TableId};

/// The record of a replica, with what others may read of it beside.
pub(super) struct ReadRecord {
    record: Record,
    ceiling: Arc<AtomicU64>,
    committed: watch::Sender<Arc<Committed>>,
}

impl ReadRecord {
    /// An empty record, which shows what tables go by there.
    pub(super) fn new(committed: watch::Sender<Arc<Committed>>) -> Self {
        Self { record: Record::default(), ceiling: Arc::default(), committed }
    }

    /// The token ceiling as of what was applied last.
    pub(super) fn ceiling(&self) -> Arc<AtomicU64> {
        self.ceiling.clone()
    }

    fn show_ceiling(&self) {
        // Read after the replica has said, through a channel, that it has applied so far.
        self.ceiling.store(self.record.token_ceiling(), Ordering::Release);
    }

    fn show_committed(&self) {
        let committed = Committed::of(&self.record);
        self.committed.send_if_modified(|shown| {
            let news = committed.is_news_after(shown);
            *shown = Arc::new(committed);
            news
        });
    }
}

impl First for ReadRecord {
    fn wanted(&self) -> Option<Vec<TableId>> {
        self.record.wanted()
    }
}

impl StateMachine for ReadRecord {
    fn apply(&mut self, at: LogPlace, command: &[u8]) -> Vec<u8> {
        let (outcome, _, entry) = self.record.commit_bytes(at, command);
        self.show_ceiling();
        // Tokens are taken often, and no table goes by them.
        if !matches!(entry, Some(Entry { command: Command::RaiseCeiling { .. } | Command::TokensFrom { .. }, .. })) {
            self.show_committed();
        }
        outcome.encode()
    }

    fn reconfigured(&mut self, configuration: &Configuration) {
        self.record.reconfigured(configuration);
    }

    fn snapshot(&self) -> Vec<u8> {
        self.record.snapshot()
    }

    fn restore(&mut self, snapshot: &[u8]) -> Result<(), String> {
        self.record.restore(snapshot)?;
        self.show_ceiling();
        self.show_committed();
        Ok(())
    }
}

/// The way of a node's handles to the replica that runs. It does not keep it running.
#[derive(Clone)]
pub(super) struct Reader {
    pub(super) group: Weak<RaftGroup>,
    pub(super) ceiling: Arc<AtomicU64>,
}

impl Node {
    /// The token ceiling of the cluster, linearizable: every range that was taken anywhere before this call is below it.
    /// *Cancel safe.*
    ///
    /// # Errors
    /// `Refused`: this node has no replica of the cluster's group. `Failed`: no majority answers now.
    pub async fn token_ceiling(&self) -> Result<u64, CommandError> {
        let (reader, group) = self.replica()?;
        group.barrier().await.map_err(|error| CommandError::Failed(error.to_string()))?;
        Ok(reader.ceiling.load(Ordering::Acquire))
    }

    /// The token ceiling as far as this node's replica has followed the group: it may be an old one.
    ///
    /// # Errors
    /// `Refused`: this node has no replica of the cluster's group.
    pub fn applied_token_ceiling(&self) -> Result<u64, CommandError> {
        self.replica().map(|(reader, _)| reader.ceiling.load(Ordering::Acquire))
    }

    /// Whether this node's replica leads the cluster's durable group.
    #[must_use]
    pub fn leads_durable_group(&self) -> bool {
        self.replica().is_ok_and(|(_, group)| group.standing().borrow().leads)
    }

    fn replica(&self) -> Result<(Reader, Arc<RaftGroup>), CommandError> {
        let reader = self.inner.shared.reader();
        let found = reader.and_then(|reader| reader.group.upgrade().map(|group| (reader, group)));
        found.ok_or_else(|| CommandError::Refused("this node has no replica of the cluster's group".into()))
    }
}
