//! What a watcher has looked up and not given yet.

use std::collections::VecDeque;

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// Changes that were looked up and not given yet, and what says that there may be more.
pub(super) struct Ahead<T> {
    /// The revision of the table, whenever it is another one.
    changes: watch::Receiver<u64>,
    closed: CancellationToken,
    ready: VecDeque<T>,
}

impl<T> Ahead<T> {
    pub(super) fn new(changes: watch::Receiver<u64>, closed: CancellationToken) -> Self {
        Self { changes, closed, ready: VecDeque::new() }
    }

    /// These come next.
    pub(super) fn give(&mut self, changes: impl IntoIterator<Item = T>) {
        self.ready.extend(changes);
    }

    /// The next change, of those that `look` finds; `None` once the table is closed. *Cancel safe.*
    pub(super) async fn next(&mut self, mut look: impl FnMut(&mut VecDeque<T>)) -> Option<T> {
        loop {
            if let Some(change) = self.ready.pop_front() {
                return Some(change);
            }
            if self.closed.is_cancelled() {
                return None;
            }
            self.changes.mark_unchanged();
            look(&mut self.ready);
            if self.ready.is_empty() {
                tokio::select! {
                    biased;
                    () = self.closed.cancelled() => return None,
                    changed = self.changes.changed() => if changed.is_err() { return None },
                }
            }
        }
    }
}
