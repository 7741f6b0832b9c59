//! What a node answers who compares with it.

use std::collections::BTreeSet;
use std::sync::{Arc, OnceLock, Weak};
use std::time::Duration;

use ekka_core::table::{Cut, KeyHash, Revision, Vector};
use ekka_core::time::Wall;
use tokio::time::timeout;

use super::super::hub::Tables;
use super::super::quorum::QuorumSlot;
use super::super::slot::Slot;
use super::reach::pass_on;
use super::{ABOVE_MAX, Ask, DIGEST, PASSED, Passed, Told};
use crate::rpc::{Caller, Handlers, Hub};

/// So long a replica may take to apply what another has applied.
const CATCH_UP: Duration = Duration::from_secs(2);

const NOT_THERE: &str = "the node is starting or stopping";
const NOT_LOADED: &str = "it has not got from its peers what they hold";
const OTHER_KIND: &str = "its table is of another kind";

/// Adds the answers to the methods of a node.
pub(crate) fn serve(handlers: Handlers, answering: &Answering) -> Handlers {
    let (own, passed) = (answering.clone(), answering.clone());
    let handlers = handlers.serve_as_task(&DIGEST, move |_: Caller, ask| {
        let answering = own.clone();
        async move { Ok(told(&answering, ask).await) }
    });
    handlers.serve_as_task(&PASSED, move |caller: Caller, question| {
        let answering = passed.clone();
        async move { Ok(told_or_passed(&answering, question, caller.time_left()).await) }
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

/// What this node answers, where it is the one that is asked, or what that one does.
async fn told_or_passed(answering: &Answering, question: Passed, left: Duration) -> Told {
    let Some((tables, hub)) = answering.tables() else { return Told::NotReached(NOT_THERE.into()) };
    let me = tables.view().me;
    if question.node == me {
        told_of(&tables, question.ask).await
    } else if question.node.node_id == me.node_id {
        Told::Not("another start of it runs".into())
    } else {
        pass_on(&hub, question, left).await
    }
}

async fn told(answering: &Answering, question: Ask) -> Told {
    let Some((tables, _)) = answering.tables() else { return Told::Not(NOT_THERE.into()) };
    told_of(&tables, question).await
}

async fn told_of(tables: &Arc<Tables>, ask: Ask) -> Told {
    let Some(table) = ask.table() else { return Told::Open(tables.slots().iter().map(Slot::id).collect()) };
    match (tables.slot(table), ask) {
        (None, Ask::Held { .. }) => Told::NotOpen,
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
