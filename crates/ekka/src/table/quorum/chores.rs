//! What the node does whose replica leads a group, now and then: takes out what has expired, and tables of the volatile
//! group that are dropped.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use ekka_core::schema::{Kind, Storage};
use ekka_core::table::quorum::Command;
use ekka_core::time::Wall;
use tracing::debug;

use super::super::committed::Committed;
use super::beside::logged;
use super::here::{Here, Replica};

/// The chores of this node.
pub(in crate::table) struct Chores {
    here: Arc<Here>,
    disc: Arc<AtomicBool>,
    ram: Arc<AtomicBool>,
}

impl Chores {
    pub(in crate::table) fn new(here: Arc<Here>) -> Self {
        Self { here, disc: Arc::default(), ram: Arc::default() }
    }

    /// Does what is due, beside whoever calls, and one thing at a time.
    pub(in crate::table) fn tick(&self, now: Wall, committed: &Committed, home: &tokio::runtime::Handle) {
        for (storage, busy) in [(Storage::Disc, &self.disc), (Storage::Ram, &self.ram)] {
            let Some(replica) = self.here.replica(storage).borrow().clone() else { continue };
            let commands = due(storage, &replica, now, committed);
            if commands.is_empty() || busy.swap(true, Ordering::Relaxed) {
                continue;
            }
            let busy = busy.clone();
            home.spawn(async move {
                carry_out(&replica, commands).await;
                busy.store(false, Ordering::Relaxed);
            });
        }
    }
}

async fn carry_out(replica: &Replica, commands: Vec<Command>) {
    for command in commands {
        let Some(group) = replica.group() else { return };
        if let Err(err) = group.propose(logged(&command)).await {
            debug!(%err, "a chore of quorum tables is tried again");
            return;
        }
    }
}

fn due(storage: Storage, replica: &Replica, now: Wall, committed: &Committed) -> Vec<Command> {
    if !replica.group().is_some_and(|group| group.standing().borrow().leads) {
        return Vec::new();
    }
    let view = replica.rows.view();
    let mut commands = Vec::new();
    // The durable group goes by the schemas itself. A table with a higher number may have been made since.
    if storage == Storage::Ram && committed.cluster == Some(replica.cluster) {
        let is_one =
            |id: u64| committed.tables.values().any(|entry| entry.id == id && entry.schema.kind == Kind::Quorum);
        let gone = view.tables().filter(|id| *id <= committed.number && !is_one(*id));
        commands.extend(gone.map(|table| Command::Drop { table }));
    }
    if view.first_expiry().is_some_and(|at| at <= now) {
        commands.push(Command::Tick { now });
    }
    commands
}
