//! Estates on disc: what a table was when its node was taken out of the cluster, or its cluster went into another one. It
//! stays under its names until others have it, whatever crashes in between.

use std::collections::BTreeSet;
use std::sync::Arc;

use ekka_core::id::{ClusterId, Incarnation};
use ekka_core::schema::Schema;
use ekka_core::table::{Settings, Table};
use tracing::{debug, error, warn};

use super::form::{self, Buried};
use super::names::{INDEX, Names};
use super::recover::{self, ReadBack, Unread};
use super::{Discs, Key, Listed, Stage, checkpoint};
use crate::storage::StorageError;

/// An estate that can be read.
#[derive(Clone, Debug)]
pub(in crate::table) struct OnDisc {
    pub(in crate::table) key: Key,
    pub(in crate::table) turn: u32,
    pub(in crate::table) schema: Schema,
    /// The start under which the table went on, and the place at which that was admitted.
    pub(in crate::table) start: Incarnation,
    pub(in crate::table) since: u64,
}

impl Listed {
    /// What it is now becomes an estate.
    fn bury(&mut self, start: Incarnation, since: u64) {
        self.estates.push(Buried { turn: self.turn, start, since });
        self.turn = self.turn.saturating_add(1);
        self.since = since;
    }
}

impl Discs {
    /// This node is a member of this cluster by the entry at this place. Tables of an earlier membership are estates, and
    /// so are those of other clusters: these have become so just now.
    pub(in crate::table) fn admitted(
        self: &Arc<Self>,
        cluster: ClusterId,
        since: u64,
        me: Incarnation,
    ) -> BTreeSet<Key> {
        let (mut inner, mut buried) = (self.locked(), BTreeSet::new());
        if inner.member.replace((cluster, since)) == Some((cluster, since)) {
            return buried;
        }
        for (key, listed) in inner.index.iter_mut().filter(|(_, listed)| !listed.gone) {
            if key.cluster != cluster && !listed.over {
                listed.bury(me, since);
                listed.over = true;
            } else if key.cluster == cluster && (listed.since == 0 || listed.over) {
                (listed.since, listed.over) = (since, false);
                continue;
            } else if key.cluster == cluster && listed.since < since {
                listed.bury(me, since);
            } else {
                continue;
            }
            buried.insert(*key);
        }
        if buried.is_empty() {
            return buried;
        }
        // What the tables write from now on comes to disc after this.
        if let Err(err) = self.means.storage.checkpoint(INDEX, Some(form::write_index(&inner.index))) {
            warn!(%err, "that tables on disc begin anew cannot be written: after a restart they are as they were");
        }
        for key in &buried {
            match inner.stages.remove(key) {
                Some(Stage::Open(side)) => {
                    side.end.cancel();
                    inner.stages.insert(*key, Stage::Ending);
                }
                Some(stage @ (Stage::Opening | Stage::Ending)) => drop(inner.stages.insert(*key, stage)),
                Some(Stage::Ready(_)) | None => {}
            }
        }
        buried
    }

    /// A keeper has ended: its table was dropped, or begins anew.
    pub(super) async fn after_keeper(self: Arc<Self>, key: Key) {
        if self.locked().index.get(&key).is_none_or(|listed| listed.gone) {
            return self.delete(key).await;
        }
        self.locked().stages.remove(&key);
        self.changed.notify_one();
    }

    /// The estates that there are. One whose table is still being written to comes later.
    pub(in crate::table) fn estates(&self) -> Vec<OnDisc> {
        let inner = self.locked();
        let ends = |key: &Key| matches!(inner.stages.get(key), Some(Stage::Ending));
        let listed = inner.index.iter().filter(|(key, listed)| !listed.gone && !ends(key));
        let of = |(key, listed): (&Key, &Listed)| {
            let (key, schema) = (*key, listed.schema.clone());
            let estates = listed.estates.clone().into_iter();
            estates.filter_map(move |Buried { turn, start, since }| {
                Some(OnDisc { key, turn, schema: schema.clone()?, start, since })
            })
        };
        listed.flat_map(of).collect()
    }

    /// Reads one; `None` where that cannot be done, and it stays where it is.
    pub(in crate::table) async fn read_estate(&self, of: &OnDisc, settings: Settings) -> Option<Table> {
        let names = Names::new(of.key, of.turn);
        let (storage, clock, from) = (self.means.storage.clone(), self.means.env.clock.clone(), names.clone());
        let read = self.means.env.blocking(move || recover::read(&*storage, &from, settings, clock.now())).await;
        match read {
            Ok(ReadBack { table, .. }) => Some(table),
            Err(Unread::Storage(err)) => {
                warn!(table = of.schema.name, %err, kept = %names, "what this node held cannot be read, and is kept");
                None
            }
            Err(Unread::Content { name, why }) => {
                let advice = "a version that knows this form can read what is kept";
                error!(table = of.schema.name, unread = name, why, kept = %names, advice, "what this node held cannot be read");
                None
            }
        }
    }

    /// Others have all of an estate: it is deleted.
    pub(in crate::table) fn discard(self: &Arc<Self>, key: Key, turn: u32) {
        let discs = self.clone();
        self.spawn(async move {
            match discs.try_discard(key, turn).await {
                Ok(()) => debug!(table = key.table, turn, "what others have now is deleted from disc"),
                Err(StorageError::Closed) => {}
                Err(err) => warn!(table = key.table, %err, "what others have cannot be deleted: it is given once more"),
            }
        });
    }

    async fn try_discard(&self, key: Key, turn: u32) -> Result<(), StorageError> {
        let (storage, names) = (self.means.storage.clone(), Names::new(key, turn));
        self.means.env.blocking(move || checkpoint::delete(&*storage, &names)).await?;
        let Some(mut listed) = self.locked().index.get(&key).cloned() else { return Ok(()) };
        listed.estates.retain(|estate| estate.turn != turn);
        let stays = !(listed.over && listed.estates.is_empty());
        self.list(key, stays.then_some(listed)).await
    }
}
