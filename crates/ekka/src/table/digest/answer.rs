//! What a node answers who compares with it.

use std::collections::BTreeSet;
use std::sync::{Arc, OnceLock, Weak};
use std::time::Duration;

use ekka_core::id::Incarnation;
use ekka_core::table::{Cut, KeyHash, Revision, Vector};
use ekka_core::time::Wall;
use tokio::time::timeout;

use super::super::hub::Tables;
use super::super::quorum::QuorumSlot;
use super::super::slot::Slot;
use super::{ABOVE_MAX, Ask, DIGEST, Told, ask};
use crate::rpc::{Caller, Handlers, Hub};

/// So long a node has to say what it holds to one that asks for a third.
const ASK_ON: Duration = Duration::from_secs(1);
/// So long a replica may take to apply what another has applied.
const CATCH_UP: Duration = Duration::from_secs(2);

const NOT_LOADED: &str = "it has not got from its peers what they hold";
const OTHER_KIND: &str = "its table is of another kind";

/// Adds the answers to the methods of a node.
pub(crate) fn serve(handlers: Handlers, answering: &Answering) -> Handlers {
    let answering = answering.clone();
    handlers.serve_as_task(&DIGEST, move |_: Caller, ask| {
        let answering = answering.clone();
        async move { Ok(told(&answering, ask).await) }
    })
}

/// The tables that answer, once they are there: calls are made ready before them.
#[derive(Clone, Default)]
pub(crate) struct Answering(Arc<OnceLock<(Weak<Tables>, Weak<Hub>)>>);

impl Answering {
    /// From now on these tables answer, and ask others by this hub.
    pub(crate) fn by(&self, tables: &Arc<Tables>, hub: &Arc<Hub>) {
        // They are made once for each node.
        let _ = self.0.set((Arc::downgrade(tables), Arc::downgrade(hub)));
    }

    fn tables(&self) -> Option<(Arc<Tables>, Arc<Hub>)> {
        let (tables, hub) = self.0.get()?;
        Some((tables.upgrade()?, hub.upgrade()?))
    }
}

async fn told(answering: &Answering, question: Ask) -> Told {
    let Some((tables, hub)) = answering.tables() else {
        return Told::Not("the node is starting or stopping".into());
    };
    match question {
        Ask::HeldBy { table, node } if node == tables.view().me => held(&tables, table),
        Ask::HeldBy { node, .. } if node.node_id == tables.view().me.node_id => {
            Told::Not("another start of it runs".into())
        }
        Ask::HeldBy { table, node } => asked_on(&hub, table, node).await,
        Ask::Open => Told::Open(tables.slots().iter().map(Slot::id).collect()),
        question => told_of(&tables, question).await,
    }
}

/// What this node holds of a table, for one that asks for this very node.
fn held(tables: &Tables, table: u64) -> Told {
    match tables.slot(table) {
        None => Told::NotOpen,
        Some(Slot::Available(slot)) if slot.signals.is_loaded() => {
            let cut = slot.read().cut();
            Told::Held(cut.held().clone(), cut.dropped())
        }
        Some(Slot::Available(_)) => Told::Not(NOT_LOADED.into()),
        Some(_) => Told::Not(OTHER_KIND.into()),
    }
}

/// What another node says that it holds. One that is asked for itself asks nobody else, so it goes no further than this.
async fn asked_on(hub: &Arc<Hub>, table: u64, node: Incarnation) -> Told {
    match ask(hub, node.node_id, &Ask::HeldBy { table, node }, ASK_ON).await {
        Ok(told) => told,
        Err(error) => Told::Not(error.to_string()),
    }
}

async fn told_of(tables: &Arc<Tables>, ask: Ask) -> Told {
    let Some(table) = ask.table() else { return Told::Not("it is asked about no table".into()) };
    match (tables.slot(table), ask) {
        (None, _) => Told::Not("it has not opened the table".into()),
        (Some(Slot::Available(slot)), _) if !*slot.signals.loaded().borrow() => Told::Not(NOT_LOADED.into()),
        (Some(Slot::Available(slot)), Ask::Held { .. }) => {
            let cut = slot.read().cut();
            Told::Held(cut.held().clone(), cut.dropped())
        }
        (Some(Slot::Available(slot)), Ask::Available { held, above, wall, .. }) => {
            let cut = slot.read().cut();
            tables.blocking(move || available(&cut, &held, above, wall)).await
        }
        (Some(Slot::Quorum(slot)), Ask::Quorum { history, revision, .. }) => {
            quorum(tables, slot, history, revision).await
        }
        (Some(_), _) => Told::Not(OTHER_KIND.into()),
    }
}

fn available(cut: &Cut, theirs: &Vector, mut without: BTreeSet<KeyHash>, wall: Wall) -> Told {
    let above = cut.above(theirs, ABOVE_MAX);
    without.extend(above.iter().flatten());
    Told::Available { held: cut.held().clone(), digest: cut.digest(&without, wall), above, dropped: cut.dropped() }
}

async fn quorum(tables: &Arc<Tables>, slot: Arc<QuorumSlot>, asked: String, revision: Revision) -> Told {
    let Some((rows, history)) = slot.rows_here(tables.view().generation) else {
        return Told::NoReplica;
    };
    if history != asked {
        return Told::Not(format!("its replica is of another history: {history}, and {asked} was asked for"));
    }
    let mut changes = rows.changes();
    // Where it does not come so far, it is behind.
    let _ = timeout(CATCH_UP, changes.wait_for(|applied| applied.revision >= revision)).await;
    let table = slot.id;
    tables
        .blocking(move || {
            let (view, changed) = {
                let here = rows.read();
                let view = here.view().clone();
                let changed =
                    if view.revision() > revision { here.changed_after(table, revision) } else { Ok(BTreeSet::new()) };
                (view, changed)
            };
            let Ok(changed) = changed else {
                return Told::Not("what it has applied since is more than it keeps".into());
            };
            let digest = view.digest(table, &changed);
            Told::Quorum { revision: view.revision(), changed, digest }
        })
        .await
}
