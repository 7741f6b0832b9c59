//! How far this node's tables are with what its peers held as it started: it is not up before they have that.

use std::time::Duration;

use ekka_core::control::Loading;
use ekka_core::schema::Kind;
use ekka_core::view::Sync;
use tokio::sync::watch;
use tokio::time::Instant;

use super::super::committed::Committed;
use super::Tables;

/// How often it is said how many bytes have come, while nothing else changes.
const AGAIN: Duration = Duration::from_millis(500);
/// So many tables are named.
const NAMED: usize = 3;

impl Tables {
    /// How far the tables are, now and whenever that changes.
    pub(crate) fn loading(&self) -> watch::Receiver<Loading> {
        self.loading.subscribe()
    }

    /// Says how far the tables of a record are that is followed; `said` is when it was last said.
    pub(super) fn say_loading(&self, followed: &Committed, said: &mut Option<Instant>) {
        let present = self.loading_of(followed);
        let now = Instant::now();
        let again = said.is_none_or(|said| now.duration_since(said) >= AGAIN);
        let changed = self.loading.send_if_modified(|told| {
            let counts = |of: &Loading| (of.cluster, of.followed, of.sync.tables, of.sync.of);
            let news = counts(told) != counts(&present) || again && *told != present;
            if news {
                *told = present;
            }
            news
        });
        if changed {
            *said = Some(now);
        }
    }

    fn loading_of(&self, followed: &Committed) -> Loading {
        let (mut sync, mut waits) = (Sync::default(), Vec::new());
        for entry in followed.tables.values().filter(|entry| entry.schema.kind != Kind::Quorum) {
            sync.of += 1;
            let (slot, name) = (self.slot(entry.id), &entry.schema.name);
            match slot.as_ref().map(|slot| (slot, slot.waits())) {
                Some((_, None)) => sync.tables += 1,
                Some((slot, Some(whom))) => {
                    sync.bytes += u64::try_from(slot.bytes_here()).unwrap_or(u64::MAX);
                    waits.push(format!("{name} waits for {whom}"));
                }
                None => waits.push(format!("{name} is read from disc")),
            }
        }
        let more = waits.len().saturating_sub(NAMED);
        waits.truncate(NAMED);
        if more > 0 {
            waits.push(format!("and {more} more"));
        }
        Loading { cluster: followed.cluster, followed: followed.number, sync, waits: waits.join("; ") }
    }
}
