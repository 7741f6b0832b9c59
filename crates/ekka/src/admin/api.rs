//! What the admin interface needs of a node: the part of [`Node`] that it calls.

use std::fs::File;
use std::future::IntoFuture;
use std::io;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use ekka_core::control::{Command, CommandError, Reply};
use ekka_core::decision::DecisionId;
use ekka_core::id::NodeId;
use ekka_core::schema::Schema;
use ekka_core::time::Now;
use ekka_core::view::View;
use serde_json::Value;
use tokio::sync::{broadcast, mpsc};

use super::dto::{HoldRequest, LockMode};
use crate::consensus::GroupError;
use crate::env::BoxFuture;
use crate::lock::{Guard, LockError, LockRow};
use crate::node::{CommitFigures, CommitPlan, Counted, Counters, Node, Signer, StampedEvent};
use crate::rpc::{BenchFigures, BenchPlan, CallError, PING};
use crate::table::{
    Backup, BackupError, OpenError, RestoreError, RestoreMode, Restored, TableDoor, TableRestored, TableVerdict,
};

/// A node, as the admin interface sees it. Every [`Node`] is one; a test gives views of its own.
pub trait NodeApi: Send + Sync + 'static {
    /// What the node believes now.
    fn view(&self) -> Arc<View>;

    /// Events from now on.
    fn events(&self) -> broadcast::Receiver<Arc<StampedEvent>>;

    /// The latest events, oldest first.
    fn recent_events(&self, last: usize) -> Vec<Arc<StampedEvent>>;

    /// Both clocks of the node.
    fn now(&self) -> Now;

    /// Gives a command and waits for its end. Dropping the future does not undo it.
    fn command(&self, command: Command) -> BoxFuture<'_, Result<Reply, CommandError>>;

    /// How long ago the control thread made its last step.
    fn last_step(&self) -> Duration;

    /// Figures that the shell counts.
    fn counters(&self) -> Counters;

    /// Fingerprints of the cookies, first the one that signs.
    fn cookie_ids(&self) -> Vec<String>;

    /// Which cookie each other member signs with.
    fn signers(&self) -> BoxFuture<'_, Vec<Signer>>;

    /// The way to a node and back, by a call.
    fn ping(&self, node: NodeId, deadline: Duration) -> BoxFuture<'_, Result<(), CallError>>;

    /// Measures calls to a node.
    fn bench(&self, plan: BenchPlan) -> BoxFuture<'_, Result<BenchFigures, CallError>>;

    /// Measures commits of a group.
    fn bench_commits(&self, plan: CommitPlan) -> BoxFuture<'_, Result<CommitFigures, CommandError>>;

    /// Takes fencing tokens.
    fn take_tokens(&self, count: u64) -> BoxFuture<'_, Result<Range<u64>, CommandError>>;

    /// The token ceiling, linearizable.
    fn token_ceiling(&self) -> BoxFuture<'_, Result<u64, CommandError>>;

    /// The token ceiling as far as this node has followed the group.
    ///
    /// # Errors
    /// This node has no replica of it.
    fn applied_token_ceiling(&self) -> Result<u64, CommandError>;

    /// The tables by their names; none where the node serves none.
    fn tables(&self) -> Option<TableDoor>;

    /// Begins a backup of all tables that are kept on disc.
    fn back_up(&self) -> BoxFuture<'_, Result<Backup, BackupError>>;

    /// Puts a backup back, or says what would become of it.
    fn restore(
        &self,
        file: File,
        how: (RestoreMode, bool),
        progress: mpsc::Sender<TableRestored>,
    ) -> BoxFuture<'_, Result<Restored, RestoreError>>;

    /// A file without a name for what comes over the network.
    ///
    /// # Errors
    /// There is none.
    fn scratch(&self) -> io::Result<File>;

    /// Whether the disc has room for more.
    fn has_room(&self) -> bool;

    /// Compares a table, or all, with each node that is up. `None`: there is no such table.
    fn verify_tables(&self, table: Option<String>) -> BoxFuture<'_, Option<Vec<TableVerdict>>>;

    /// Has a table made where there is none of this name.
    fn ensure_table(&self, schema: Schema) -> BoxFuture<'_, Result<(u64, Option<DecisionId>), OpenError>>;

    /// Has a table dropped.
    fn drop_table(&self, name: String) -> BoxFuture<'_, Result<Option<DecisionId>, CommandError>>;

    /// Takes numbers of the counter of the volatile group.
    fn count(&self, n: u64) -> BoxFuture<'_, Result<Counted, GroupError>>;

    /// The locks that somebody holds or waits for.
    fn lock_list(&self) -> BoxFuture<'_, Result<Vec<LockRow>, LockError>>;

    /// Takes locks. Dropping the future gives them up.
    fn lock_hold(&self, request: HoldRequest) -> BoxFuture<'_, Result<Guard, LockError>>;

    /// Takes a lock from all who hold it.
    fn lock_force_release(&self, name: String, by: String) -> BoxFuture<'_, Result<u64, LockError>>;

    /// A call of a method that is known by its name only.
    fn call_json(
        &self,
        node: NodeId,
        method: String,
        request: Value,
        deadline: Duration,
    ) -> BoxFuture<'_, Result<Value, CallError>>;
}

impl NodeApi for Node {
    fn view(&self) -> Arc<View> {
        Node::view(self)
    }

    fn events(&self) -> broadcast::Receiver<Arc<StampedEvent>> {
        Node::events(self)
    }

    fn recent_events(&self, last: usize) -> Vec<Arc<StampedEvent>> {
        Node::recent_events(self, last)
    }

    fn now(&self) -> Now {
        Node::now(self)
    }

    fn command(&self, command: Command) -> BoxFuture<'_, Result<Reply, CommandError>> {
        Box::pin(Node::command(self, command))
    }

    fn last_step(&self) -> Duration {
        Node::last_step(self)
    }

    fn counters(&self) -> Counters {
        Node::counters(self)
    }

    fn cookie_ids(&self) -> Vec<String> {
        Node::cookie_ids(self)
    }

    fn signers(&self) -> BoxFuture<'_, Vec<Signer>> {
        Box::pin(Node::signers(self))
    }

    fn ping(&self, node: NodeId, deadline: Duration) -> BoxFuture<'_, Result<(), CallError>> {
        self.call(node, &PING, &()).deadline(deadline).into_future()
    }

    fn bench(&self, plan: BenchPlan) -> BoxFuture<'_, Result<BenchFigures, CallError>> {
        Box::pin(crate::rpc::bench(self, plan))
    }

    fn bench_commits(&self, plan: CommitPlan) -> BoxFuture<'_, Result<CommitFigures, CommandError>> {
        Box::pin(Node::bench_commits(self, plan))
    }

    fn take_tokens(&self, count: u64) -> BoxFuture<'_, Result<Range<u64>, CommandError>> {
        Box::pin(Node::take_tokens(self, count))
    }

    fn token_ceiling(&self) -> BoxFuture<'_, Result<u64, CommandError>> {
        Box::pin(Node::token_ceiling(self))
    }

    fn applied_token_ceiling(&self) -> Result<u64, CommandError> {
        Node::applied_token_ceiling(self)
    }

    fn tables(&self) -> Option<TableDoor> {
        Some(Node::tables(self))
    }

    fn back_up(&self) -> BoxFuture<'_, Result<Backup, BackupError>> {
        Box::pin(Node::back_up(self))
    }

    fn restore(
        &self,
        file: File,
        how: (RestoreMode, bool),
        progress: mpsc::Sender<TableRestored>,
    ) -> BoxFuture<'_, Result<Restored, RestoreError>> {
        Box::pin(Node::restore(self, file, how, progress))
    }

    fn scratch(&self) -> io::Result<File> {
        Node::scratch(self)
    }

    fn has_room(&self) -> bool {
        Node::has_room(self)
    }

    fn verify_tables(&self, table: Option<String>) -> BoxFuture<'_, Option<Vec<TableVerdict>>> {
        Box::pin(async move { Node::verify_tables(self, table.as_deref()).await })
    }

    fn ensure_table(&self, schema: Schema) -> BoxFuture<'_, Result<(u64, Option<DecisionId>), OpenError>> {
        Box::pin(async move { Node::ensure_table(self, &schema).await })
    }

    fn drop_table(&self, name: String) -> BoxFuture<'_, Result<Option<DecisionId>, CommandError>> {
        Box::pin(async move { Node::drop_table(self, &name).await })
    }

    fn count(&self, n: u64) -> BoxFuture<'_, Result<Counted, GroupError>> {
        Box::pin(Node::count(self, n))
    }

    fn lock_list(&self) -> BoxFuture<'_, Result<Vec<LockRow>, LockError>> {
        Box::pin(Node::lock_list(self))
    }

    fn lock_hold(&self, request: HoldRequest) -> BoxFuture<'_, Result<Guard, LockError>> {
        Box::pin(async move {
            let mut lock = self.locks(request.names.iter().map(String::as_str))?;
            if let Some(ttl) = request.ttl_ms {
                lock = lock.ttl(Duration::from_millis(ttl));
            }
            lock = match (request.mode, request.permits) {
                (LockMode::Exclusive, None) => lock,
                (LockMode::Shared, None) => lock.shared(),
                (LockMode::Permit, Some(of)) => lock.permits(of),
                (LockMode::Permit, None) => {
                    return Err(LockError::Bad("`permits` is missing: how many there are in all".into()));
                }
                (_, Some(_)) => return Err(LockError::Bad("`permits` goes with the mode `permit` only".into())),
            };
            match request.wait_ms {
                Some(0) => lock.try_acquire().await,
                Some(wait) => lock.acquire().wait(Duration::from_millis(wait)).await,
                None => lock.acquire().await,
            }
        })
    }

    fn lock_force_release(&self, name: String, by: String) -> BoxFuture<'_, Result<u64, LockError>> {
        Box::pin(async move { Node::lock_force_release(self, &name, &by).await })
    }

    fn call_json(
        &self,
        node: NodeId,
        method: String,
        request: Value,
        deadline: Duration,
    ) -> BoxFuture<'_, Result<Value, CallError>> {
        Box::pin(async move { Node::call_json(self, node, &method, &request, deadline).await })
    }
}
