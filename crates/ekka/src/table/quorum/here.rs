//! The replicas of groups that this node runs, or follows elsewhere, as its tables use them.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use ekka_core::id::ClusterId;
use ekka_core::schema::Storage;
use ekka_core::table::quorum::View;
use tokio::sync::watch;

use super::rows::Rows;
use crate::consensus::Group;

/// A replica with the quorum tables in it. It is not kept running by this.
#[derive(Clone)]
pub(crate) struct Replica {
    pub(super) cluster: ClusterId,
    /// Where two have the same, revisions of one mean the same in the other.
    pub(super) history: Arc<str>,
    group: Weak<dyn Group>,
    pub(super) rows: Arc<Rows>,
}

impl Replica {
    pub(crate) fn new(cluster: ClusterId, history: String, group: Weak<dyn Group>, rows: Arc<Rows>) -> Self {
        Self { cluster, history: history.into(), group, rows }
    }

    /// The way to its group, while it runs.
    pub(super) fn group(&self) -> Option<Arc<dyn Group>> {
        self.group.upgrade()
    }

    /// Whether both are one replica.
    pub(super) fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.rows, &other.rows)
    }
}

/// The replica of each group that this node uses now.
#[derive(Default)]
pub(crate) struct Here {
    disc: Place,
    ram: Place,
    /// What the replica of each storage held that ended last, and of which cluster it was.
    ended: Mutex<BTreeMap<Storage, (ClusterId, View)>>,
    /// The group of the tables in ram is wanted for locks too.
    locks: watch::Sender<bool>,
}

/// That of one storage.
#[derive(Default)]
struct Place {
    known: Mutex<Known>,
    used: watch::Sender<Option<Replica>>,
}

#[derive(Default)]
struct Known {
    /// The one that runs here.
    own: Option<Replica>,
    /// What is followed elsewhere, as long as that is better.
    followed: Option<Replica>,
}

impl Here {
    /// This replica of the group of a storage runs from now on, or none.
    pub(crate) fn runs(&self, storage: Storage, replica: Option<Replica>) {
        let (before, next) = (self.own(storage), replica.as_ref().map(|replica| replica.cluster));
        self.of(storage).change(|known| known.own = replica);
        let mut ended = self.ended.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(Replica { cluster, rows, .. }) = before {
            ended.insert(storage, (cluster, rows.view()));
        }
        // The next replica of the same cluster has them itself.
        if next.is_some() && ended.get(&storage).is_some_and(|(cluster, _)| Some(*cluster) == next) {
            ended.remove(&storage);
        }
    }

    /// The rows of a cluster as the replica has them that runs, or as the last one had that has ended.
    pub(in crate::table) fn last(&self, storage: Storage, cluster: ClusterId) -> Option<View> {
        if let Some(replica) = self.own(storage).filter(|replica| replica.cluster == cluster) {
            return Some(replica.rows.view());
        }
        let ended = self.ended.lock().unwrap_or_else(PoisonError::into_inner);
        ended.get(&storage).filter(|(of, _)| *of == cluster).map(|(_, view)| view.clone())
    }

    /// This is used from now on in place of the one that runs, or nothing is.
    pub(super) fn follows(&self, storage: Storage, replica: Option<Replica>) {
        self.of(storage).change(|known| known.followed = replica);
    }

    /// The one that runs here.
    pub(super) fn own(&self, storage: Storage) -> Option<Replica> {
        self.of(storage).known().own.clone()
    }

    /// The one to use, now and whenever that changes.
    pub(super) fn replica(&self, storage: Storage) -> watch::Receiver<Option<Replica>> {
        self.of(storage).used.subscribe()
    }

    /// The group of the tables in ram is wanted from now on for locks too, whether there are tables or not.
    pub(crate) fn wants_locks(&self) {
        self.locks.send_if_modified(|wanted| !std::mem::replace(wanted, true));
    }

    /// Whether it is, and whenever that changes.
    pub(super) fn locks_wanted(&self) -> watch::Receiver<bool> {
        self.locks.subscribe()
    }

    /// The way to the group of a storage, by the replica to use now.
    pub(crate) fn group(&self, storage: Storage) -> Option<Arc<dyn Group>> {
        self.of(storage).used.borrow().as_ref().and_then(Replica::group)
    }

    fn of(&self, storage: Storage) -> &Place {
        match storage {
            Storage::Disc => &self.disc,
            Storage::Ram => &self.ram,
        }
    }
}

impl Place {
    fn known(&self) -> MutexGuard<'_, Known> {
        // Nothing that holds this lock can leave it half-changed.
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change(&self, change: impl FnOnce(&mut Known)) {
        let mut known = self.known();
        change(&mut known);
        let best = known.followed.as_ref().or(known.own.as_ref());
        self.used.send_if_modified(|used| {
            let same = match (used.as_ref(), best) {
                (Some(used), Some(best)) => used.is(best),
                (None, None) => true,
                _ => false,
            };
            if !same {
                *used = best.cloned();
            }
            !same
        });
    }
}
