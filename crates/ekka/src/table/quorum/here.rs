//! The replicas of groups that this node runs, as its tables use them.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};

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

/// The replica of each group that runs now.
#[derive(Default)]
pub(crate) struct Here {
    disc: watch::Sender<Option<Replica>>,
    ram: watch::Sender<Option<Replica>>,
    /// What the replica of each storage held that ended last, and of which cluster it was.
    ended: Mutex<BTreeMap<Storage, (ClusterId, View)>>,
}

impl Here {
    /// This replica of the group of a storage runs from now on, or none.
    pub(crate) fn runs(&self, storage: Storage, replica: Option<Replica>) {
        let before = self.of(storage).send_replace(replica);
        if let Some(Replica { cluster, rows, .. }) = before {
            let mut ended = self.ended.lock().unwrap_or_else(PoisonError::into_inner);
            ended.insert(storage, (cluster, rows.view()));
        }
    }

    /// The rows of a cluster as the replica has them that runs, or as the last one had that has ended.
    pub(in crate::table) fn last(&self, storage: Storage, cluster: ClusterId) -> Option<View> {
        if let Some(replica) = self.of(storage).borrow().as_ref().filter(|replica| replica.cluster == cluster) {
            return Some(replica.rows.view());
        }
        let ended = self.ended.lock().unwrap_or_else(PoisonError::into_inner);
        ended.get(&storage).filter(|(of, _)| *of == cluster).map(|(_, view)| view.clone())
    }

    /// The one that runs, now and whenever that changes.
    pub(super) fn replica(&self, storage: Storage) -> watch::Receiver<Option<Replica>> {
        self.of(storage).subscribe()
    }

    fn of(&self, storage: Storage) -> &watch::Sender<Option<Replica>> {
        match storage {
            Storage::Disc => &self.disc,
            Storage::Ram => &self.ram,
        }
    }
}
