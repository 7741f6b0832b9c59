//! What those learn who wait for a table on this node.

use std::time::Duration;

use tokio::sync::watch;

/// A node that hears of no peer for so long after the table was opened begins with what it has.
pub(super) const ALONE: Duration = Duration::from_secs(5);

/// The revision of a table and whether it has what its peers held, for those who wait for either.
pub(super) struct Signals {
    /// The revision of the latest change.
    changed: watch::Sender<u64>,
    loaded: watch::Sender<bool>,
}

impl Signals {
    pub(super) fn new() -> Self {
        Self { changed: watch::Sender::new(0), loaded: watch::Sender::new(false) }
    }

    /// The table is at this revision.
    pub(super) fn tell(&self, revision: u64) {
        if self.changed.receiver_count() == 0 {
            return;
        }
        self.changed.send_if_modified(|told| std::mem::replace(told, revision) != revision);
    }

    /// The revision of the latest change, whenever there is one.
    pub(super) fn changes(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }

    pub(super) fn is_loaded(&self) -> bool {
        *self.loaded.borrow()
    }

    pub(super) fn loaded_is(&self, loaded: bool) {
        self.loaded.send_if_modified(|told| std::mem::replace(told, loaded) != loaded);
    }

    /// Whether the table has what its peers held, whenever that changes.
    pub(super) fn loaded(&self) -> watch::Receiver<bool> {
        self.loaded.subscribe()
    }
}
