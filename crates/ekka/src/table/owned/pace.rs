//! Many rows in one call go no faster than they are followed.
//!
//! The log of a table goes back so far; who falls behind it has to begin anew, with all rows. So the call waits for those
//! that follow operation by operation, each as long as it comes along.

use std::collections::BTreeSet;
use std::time::Duration;

use ekka_core::id::Incarnation;
use ekka_core::limits::TABLE_LOG_BYTES_MAX;
use tokio::time::{Instant, timeout_at};

use super::OwnedSlot;

/// So many bytes a peer may lack.
pub(super) const BEHIND: u64 = TABLE_LOG_BYTES_MAX as u64 / 4;
/// Who is further behind for so long is not waited for any more.
pub(super) const PATIENCE: Duration = Duration::from_secs(2);

/// The pace of one call.
pub(super) struct Pace {
    /// It waits no more after this.
    until: Instant,
    given_up: BTreeSet<Incarnation>,
}

impl Pace {
    /// All waiting together takes so long at most.
    pub(super) fn new(deadline: Duration) -> Self {
        Self { until: Instant::now() + deadline, given_up: BTreeSet::new() }
    }

    /// Waits until nobody who follows is too far behind.
    pub(super) async fn wait(&mut self, slot: &OwnedSlot) {
        let patience = self.until.min(Instant::now() + PATIENCE);
        loop {
            let mut heard = std::pin::pin!(slot.followed_by.notified());
            heard.as_mut().enable();
            let behind = self.behind(slot);
            if behind.is_empty() || slot.closed.is_cancelled() {
                return;
            }
            if Instant::now() >= patience || timeout_at(patience, heard).await.is_err() {
                self.given_up.extend(self.behind(slot));
                return;
            }
        }
    }

    fn behind(&self, slot: &OwnedSlot) -> Vec<Incarnation> {
        let table = slot.read();
        let behind = table.lags().filter(|(peer, bytes)| *bytes > BEHIND && !self.given_up.contains(peer));
        behind.map(|(peer, _)| peer).collect()
    }
}
