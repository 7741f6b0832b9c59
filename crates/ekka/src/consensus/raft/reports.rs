//! The engine's reports: several for each entry, most of them only of its progress.

use std::time::Duration;

use openraft::ServerState;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

use super::types::{Id, Metrics};

/// Between two looks at reports of progress.
const APART: Duration = Duration::from_millis(1);

/// What reports have come, and which of them are left for later.
pub(super) struct Reports {
    metrics: watch::Receiver<Metrics>,
    /// Until then those of progress are.
    not_before: Instant,
    /// As it was looked at last.
    role: Option<Role>,
    /// One has come since.
    came: bool,
}

/// What nobody has to wait for: who leads, who votes, whether the engine runs.
#[derive(PartialEq, Eq)]
struct Role {
    state: ServerState,
    term: u64,
    /// Of the last entry that was applied: a leader leads once it has applied one of its own.
    applied: Option<u64>,
    voters: Option<Id>,
    runs: bool,
}

impl Role {
    fn of(metrics: &Metrics) -> Self {
        Self {
            state: metrics.state,
            term: metrics.current_term,
            applied: metrics.last_applied.map(|id| id.leader_id.term),
            voters: *metrics.membership_config.log_id(),
            runs: metrics.running_state.is_ok(),
        }
    }
}

impl Reports {
    pub(super) fn new(metrics: watch::Receiver<Metrics>) -> Self {
        Self { metrics, not_before: Instant::now(), role: None, came: false }
    }

    /// Waits until there is one to look at; false where the engine has ended. Nothing is lost where this is broken off.
    pub(super) async fn next(&mut self) -> bool {
        loop {
            tokio::select! {
                biased;
                changed = self.metrics.changed() => {
                    if changed.is_err() {
                        return false;
                    }
                    self.came = true;
                    let role = Role::of(&self.metrics.borrow());
                    if self.role.as_ref() != Some(&role) || Instant::now() >= self.not_before {
                        return true;
                    }
                }
                () = sleep_until(self.not_before), if self.came => return true,
            }
        }
    }

    /// The newest, and whether it was not looked at before: the engine counts the time since the majority's answer when it
    /// reports, so an old report says nothing of it.
    pub(super) fn look(&mut self) -> (Metrics, bool) {
        let is_new = self.metrics.has_changed().unwrap_or(false) || self.came;
        let metrics = self.metrics.borrow_and_update().clone();
        self.role = Some(Role::of(&metrics));
        self.came = false;
        self.not_before = Instant::now() + APART;
        (metrics, is_new)
    }

    /// The newest, which is not looked at by this.
    pub(super) fn newest(&self) -> watch::Ref<'_, Metrics> {
        self.metrics.borrow()
    }
}
