//! Looks after the id's key: a formed cluster writes it again where it is gone, and in place of one that it supersedes.
//! Once all founders are in, the key names them no more: a founder whose disc is set back would found the cluster anew.

use std::time::Duration;

use ekka_core::autocluster::Registration;
use ekka_core::id::ClusterId;
use tokio::time::Instant;
use tracing::{info, warn};

use super::pace::Trouble;
use super::words::Failure;
use super::{Etcd, record};

/// Others may write in between.
const TRIES: u32 = 3;

/// What was seen of the key before.
pub(super) struct Standing {
    interval: Duration,
    checked: Option<(Registration, Instant)>,
    /// The id that this node replaced last: where it comes back, its cluster lives.
    replaced: Option<ClusterId>,
    conflict: Trouble,
}

impl Standing {
    pub(super) fn new(interval: Duration) -> Self {
        Self { interval, checked: None, replaced: None, conflict: Trouble::default() }
    }

    /// What was seen may be no more.
    pub(super) fn happened(&mut self) {
        self.checked = None;
    }

    /// Checks where the registration changed, where something happened, and every so often.
    pub(super) async fn check(&mut self, etcd: &Etcd, wanted: &Registration) -> Result<(), Failure> {
        let Some(cluster_id) = wanted.cluster_id else { return Ok(()) };
        let lately =
            |(registration, at): &(Registration, Instant)| registration == wanted && at.elapsed() < self.interval;
        if self.checked.as_ref().is_some_and(lately) {
            return Ok(());
        }
        for _ in 0..TRIES {
            if self.settle(etcd, wanted, cluster_id).await? {
                break;
            }
        }
        self.checked = Some((wanted.clone(), Instant::now()));
        Ok(())
    }

    /// One look; whether nothing more is to be done.
    async fn settle(&mut self, etcd: &Etcd, wanted: &Registration, cluster_id: ClusterId) -> Result<bool, Failure> {
        let (api, key) = (&etcd.api, etcd.api.layout.id());
        let own = record::encode(&record::of_formed(cluster_id));
        let Some(stored) = api.read(&key).await? else {
            let created = api.create(&key, &own).await?.is_none();
            if created {
                info!(strategy = "etcd", key, id = %cluster_id, "the cluster's id was gone from etcd and is written again");
            }
            return Ok(created);
        };
        let other = match record::decode(&key, &stored.value) {
            Ok(proposal) if proposal.cluster_id == cluster_id => {
                self.conflict.over();
                let done = proposal.founders.is_empty() || !wanted.settled;
                return if done { Ok(true) } else { api.swap(&key, &own, stored.revision).await };
            }
            Ok(proposal) => proposal.cluster_id,
            Err(err) => {
                if let Some(count) = self.conflict.failed(&err, Instant::now()) {
                    warn!(strategy = "etcd", err, count, "the cluster's id in etcd is not read");
                }
                return Ok(true);
            }
        };
        if wanted.supersedes.includes(other) && self.replaced != Some(other) {
            let swapped = api.swap(&key, &own, stored.revision).await?;
            if swapped {
                self.replaced = Some(other);
                info!(strategy = "etcd", key, id = %cluster_id, %other, "the cluster's id in etcd takes the place of another");
            }
            return Ok(swapped);
        }
        if let Some(count) = self.conflict.failed(&other.to_string(), Instant::now()) {
            warn!(
                strategy = "etcd",
                key,
                id = %cluster_id,
                %other,
                count,
                "etcd holds the id of another cluster of this name: two clusters are formed"
            );
        }
        Ok(true)
    }
}
