//! Tables on disc: which ones are kept, how they are opened, and that what is dropped is deleted.
//!
//! **The way of a table.** It is entered in the index and synced there; what the store has of it is read back, off the
//! tables' thread (`recover`); the hub takes it into use; a keeper (`keeper`) appends what is new in its op log and
//! writes checkpoints (`checkpoint`). One that is dropped is marked in the index, its keeper ends, what it has in the store is
//! deleted, and it leaves the index: whatever a crash interrupts goes on at the next start.
//!
//! A table of a cluster from which this node was taken out, or that went into another one, begins anew under the names of
//! the next turn; what it was before is an *estate* (`estates`), and is deleted once others have it.
//!
//! **Invariants**: a table is read back once at a time and has one keeper; its names are deleted only when no keeper
//! writes; nothing that cannot be read is deleted, unless its table is dropped.
//!
//! How it looks on disc is in `form`, under which names in `names`.

mod checkpoint;
mod estates;
mod form;
mod fuzz;
mod keeper;
mod names;
mod recover;
mod side;
mod slot;
#[cfg(test)]
mod tests;

pub(super) use self::estates::OnDisc;
pub use self::fuzz::{disc_forms, fuzz_disc};
pub(super) use self::keeper::Sizes;
pub(super) use self::names::Key;
pub(super) use self::side::IsFull;
pub(super) use self::side::Side;

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use ekka_core::id::ClusterId;
use ekka_core::schema::Schema;
use ekka_core::table::{Settings, Table};
use tokio::runtime::Handle;
use tokio::sync::Notify;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tracing::{debug, error, info, warn};

use self::form::{Head, Index, Listed};
use self::keeper::{Keeper, Means};
use self::names::{INDEX, Names};
use self::recover::{ReadBack, Unread};
use super::available::AvailableSlot;
use super::hub::World;
use crate::env::Env;
use crate::storage::{Storage, StorageError};

/// Before what did not succeed is tried again.
const AGAIN: Duration = Duration::from_secs(1);

/// The tables that this node keeps on disc.
pub(super) struct Discs {
    means: Means,
    stop: CancellationToken,
    is_full: IsFull,
    inner: Mutex<Inner>,
    /// One was read back, or has gone.
    changed: Notify,
}

#[derive(Default)]
struct Inner {
    index: Index,
    stages: BTreeMap<Key, Stage>,
    /// The cluster that this node is in, and the place of the entry that made it a member.
    member: Option<(ClusterId, u64)>,
}

/// What is being done with a table.
enum Stage {
    /// It is read back.
    Opening,
    /// It can be taken into use.
    Ready(Box<Ready>),
    /// It has a keeper, which ends with this.
    Open(Arc<Side>),
    /// It is deleted.
    Ending,
}

/// A table that was read back.
struct Ready {
    names: Names,
    table: Table,
    log_bytes: u64,
    head: Option<Head>,
}

impl Discs {
    /// Those of a store.
    ///
    /// # Errors
    /// What is on disc says in a way that this version cannot read which tables there are.
    pub(super) fn new(
        (env, storage, home): (Env, Arc<dyn Storage>, Handle),
        sizes: Sizes,
        stop: CancellationToken,
        is_full: IsFull,
    ) -> Result<Arc<Self>, String> {
        let bytes = storage.read_checkpoint(INDEX).map_err(|error| error.to_string())?;
        let index = bytes.map(|bytes| form::read_index(&bytes)).transpose();
        let index = index.map_err(|why| format!("the checkpoint {INDEX}: {why}"))?.unwrap_or_default();
        let inner = Mutex::new(Inner { index, ..Inner::default() });
        let means = Means { env, storage, home, sizes };
        Ok(Arc::new(Self { means, stop, is_full, inner, changed: Notify::new() }))
    }

    fn locked(&self) -> MutexGuard<'_, Inner> {
        // Nothing that holds this lock can leave it half-changed.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the disc is so full that tables take no more.
    pub(super) fn is_full(&self) -> IsFull {
        self.is_full.clone()
    }

    /// Resolves when a table can be opened that could not be before. *Cancel safe.*
    pub(super) async fn changed(&self) {
        self.changed.notified().await;
    }

    fn spawn(&self, work: impl Future<Output = ()> + Send + 'static) {
        self.means.home.spawn(self.stop.clone().run_until_cancelled_owned(work));
    }

    /// Opens a table with what there is of it on disc. `None` until that is read: see [`Discs::changed`].
    pub(super) fn open(
        self: &Arc<Self>,
        key: Key,
        schema: &Schema,
        settings: Settings,
        world: &Arc<World>,
    ) -> Option<Arc<AvailableSlot>> {
        let mut inner = self.locked();
        match inner.stages.remove(&key) {
            None => {
                inner.stages.insert(key, Stage::Opening);
                let (discs, schema) = (self.clone(), schema.clone());
                self.spawn(async move { discs.read_back(key, schema, settings).await });
                None
            }
            Some(Stage::Ready(ready)) => {
                let Ready { names, mut table, log_bytes, head } = *ready;
                if table.me() != settings.me {
                    // The node goes on under another guid since it was read.
                    table.renew(settings.me, self.means.env.clock.now());
                }
                let side = Arc::new(Side::new(self.is_full.clone()));
                let slot = AvailableSlot::of((key.table, schema.clone()), table, world.clone(), Some(side.clone()));
                let slot = Arc::new(slot);
                inner.stages.insert(key, Stage::Open(side.clone()));
                let keeper = Keeper::new(self.means.clone(), names, (slot.clone(), side), (log_bytes, head));
                let discs = self.clone();
                self.spawn(async move {
                    keeper.run().await;
                    discs.after_keeper(key).await;
                });
                Some(slot)
            }
            Some(other) => {
                inner.stages.insert(key, other);
                None
            }
        }
    }

    /// Has those deleted that are not wanted for certain.
    pub(super) fn drop_those(self: &Arc<Self>, is_dropped: impl Fn(Key) -> bool) {
        let mut inner = self.locked();
        let Inner { index, stages, .. } = &mut *inner;
        let mut marked = false;
        for (key, listed) in index.iter_mut().filter(|(key, listed)| listed.gone || is_dropped(**key)) {
            marked |= !std::mem::replace(&mut listed.gone, true);
            match stages.remove(key) {
                // Where that is under way it comes here again once it is ready.
                Some(Stage::Opening) => drop(stages.insert(*key, Stage::Opening)),
                Some(Stage::Open(side)) => {
                    side.end.cancel();
                    stages.insert(*key, Stage::Ending);
                }
                Some(Stage::Ending) => drop(stages.insert(*key, Stage::Ending)),
                Some(Stage::Ready(_)) | None => {
                    stages.insert(*key, Stage::Ending);
                    let (discs, key) = (self.clone(), *key);
                    self.spawn(async move { discs.delete(key).await });
                }
            }
        }
        if marked {
            // Where this does not get to disc, the deletion that follows says so.
            let _ = self.means.storage.checkpoint(INDEX, Some(form::write_index(index)));
        }
    }

    /// This node has left its cluster: nothing of it is kept.
    pub(super) fn leave(self: &Arc<Self>) {
        self.drop_those(|_| true);
    }

    /// Reads a table back, as often as it takes.
    async fn read_back(self: Arc<Self>, key: Key, schema: Schema, settings: Settings) {
        let mut told = false;
        let name = &schema.name;
        loop {
            match self.try_read_back(key, &schema, settings).await {
                Ok(ready) => {
                    let mut inner = self.locked();
                    if inner.index.get(&key).is_some_and(|listed| Names::new(key, listed.turn) != ready.names) {
                        // It has become an estate meanwhile.
                        continue;
                    }
                    inner.stages.insert(key, Stage::Ready(Box::new(ready)));
                    self.changed.notify_one();
                    return;
                }
                Err(StorageError::Closed) => return,
                Err(err) if !std::mem::replace(&mut told, true) => {
                    error!(table = name, %err, "the table is not opened yet: its place on disc cannot be read or made");
                }
                Err(_) => {}
            }
            sleep(AGAIN).await;
        }
    }

    async fn try_read_back(&self, key: Key, schema: &Schema, settings: Settings) -> Result<Ready, StorageError> {
        let name = &schema.name;
        loop {
            let listed = self.listed(key, schema).await?;
            let names = Names::new(key, listed.turn);
            let (storage, clock, of) = (self.means.storage.clone(), self.means.env.clock.clone(), names.clone());
            let now = clock.now();
            let read = self.means.env.blocking(move || recover::read(&*storage, &of, settings, now)).await;
            match read {
                Ok(ReadBack { table, log_bytes, head }) => {
                    let took = self.means.env.clock.now().mono.since(now.mono);
                    let rows = table.size().rows;
                    debug!(table = name, rows, log_bytes, ?took, "read from disc");
                    return Ok(Ready { names, table, log_bytes, head });
                }
                Err(Unread::Storage(error)) => return Err(error),
                Err(Unread::Content { name: unread, why }) => {
                    error!(
                        table = name,
                        unread,
                        why,
                        kept = %names,
                        advice = "its peers give it what they hold; a version that knows this form can read what is kept",
                        "the table cannot be read from disc, and starts empty: what is there is kept aside"
                    );
                    let turn = listed.turn.saturating_add(1);
                    self.list(key, Some(Listed { turn, ..listed.clone() })).await?;
                }
            }
        }
    }

    /// Its place in the index, which is on disc when this returns.
    async fn listed(&self, key: Key, schema: &Schema) -> Result<Listed, StorageError> {
        let (before, member) = {
            let inner = self.locked();
            (inner.index.get(&key).cloned(), inner.member)
        };
        let since = member.filter(|(cluster, _)| *cluster == key.cluster).map_or(0, |(_, since)| since);
        let mut listed = before.clone().unwrap_or_else(|| Listed { since, ..Listed::default() });
        listed.schema.get_or_insert_with(|| schema.clone());
        if before.as_ref() != Some(&listed) {
            self.list(key, Some(listed.clone())).await?;
        }
        Ok(listed)
    }

    /// Enters a table in the index, or takes it out, and waits until that is on disc.
    async fn list(&self, key: Key, listed: Option<Listed>) -> Result<(), StorageError> {
        let (before, given) = {
            let mut inner = self.locked();
            let before = match listed {
                Some(listed) => inner.index.insert(key, listed),
                None => inner.index.remove(&key),
            };
            (before, self.means.storage.checkpoint(INDEX, Some(form::write_index(&inner.index))))
        };
        let synced = match given {
            Ok(ticket) => self.means.storage.synced(ticket).await,
            Err(error) => Err(error),
        };
        if synced.is_err() {
            let mut inner = self.locked();
            match before {
                Some(before) => drop(inner.index.insert(key, before)),
                None => drop(inner.index.remove(&key)),
            }
        }
        synced
    }

    /// Deletes what there is of a table, as often as it takes.
    async fn delete(self: Arc<Self>, key: Key) {
        let mut told = false;
        loop {
            match self.try_delete(key).await {
                Ok(()) => {
                    self.locked().stages.remove(&key);
                    self.changed.notify_one();
                    return;
                }
                Err(StorageError::Closed) => return,
                Err(err) if !std::mem::replace(&mut told, true) => {
                    warn!(table = key.table, %err, "a dropped table cannot be deleted from disc yet: it takes room");
                }
                Err(_) => {}
            }
            sleep(AGAIN).await;
        }
    }

    async fn try_delete(&self, key: Key) -> Result<(), StorageError> {
        let turn = self.locked().index.get(&key).map_or(0, |listed| listed.turn);
        self.delete_names(key, turn).await?;
        self.list(key, None).await?;
        info!(table = key.table, cluster = %key.cluster, "what was on disc of a dropped table is deleted");
        Ok(())
    }

    /// Deletes what a table has in the store, that which was kept aside included.
    async fn delete_names(&self, key: Key, turn: u32) -> Result<(), StorageError> {
        let storage = self.means.storage.clone();
        let all = move || (0..=turn).try_for_each(|turn| checkpoint::delete(&*storage, &Names::new(key, turn)));
        self.means.env.blocking(all).await
    }
}
