//! How far the committer has come, and what it could not write: what callers wait for.

use tokio::sync::watch;

use crate::storage::{StorageError, Ticket};

/// Stretches of failed tickets that are told apart; beyond that the oldest two become one, with what lies between.
const FAILURES_MAX: usize = 64;

#[derive(Clone, Debug, Default)]
struct State {
    /// Every ticket up to this one is decided.
    decided: u64,
    /// Tickets that were not written, both ends included.
    failed: Vec<(u64, u64, StorageError)>,
    /// Nothing more will be decided.
    ended: Option<StorageError>,
    /// The engine's folder is free.
    closed: bool,
}

/// The watermark.
#[derive(Debug)]
pub(super) struct Progress {
    state: watch::Sender<State>,
}

impl Progress {
    pub(super) fn new() -> Self {
        Self { state: watch::Sender::new(State::default()) }
    }

    /// Everything up to this ticket is on disc, save what was said to have failed.
    pub(super) fn written(&self, up_to: u64) {
        self.state.send_modify(|state| state.decided = up_to);
    }

    /// Everything after the watermark, up to this ticket, was not written.
    pub(super) fn failed(&self, up_to: u64, error: &StorageError) {
        self.state.send_modify(|state| {
            if up_to > state.decided {
                state.failed.push((state.decided + 1, up_to, error.clone()));
                state.decided = up_to;
            }
            if state.failed.len() > FAILURES_MAX {
                let (from, ..) = state.failed.remove(0);
                state.failed[0].0 = from;
            }
        });
    }

    /// Nothing more will be decided. The first reason stays.
    pub(super) fn ended(&self, error: StorageError) {
        self.state.send_modify(|state| {
            state.ended.get_or_insert(error);
        });
    }

    /// Waits until a ticket is decided.
    pub(super) async fn wait(&self, ticket: Ticket) -> Result<(), StorageError> {
        let mut updates = self.state.subscribe();
        let state = updates.wait_for(|state| state.decided >= ticket.0 || state.ended.is_some()).await;
        let state = state.expect("the sender is in `self`");
        if state.decided < ticket.0 {
            return Err(state.ended.clone().unwrap_or(StorageError::Closed));
        }
        let failed = state.failed.iter().find(|(from, to, _)| (*from..=*to).contains(&ticket.0));
        failed.map_or(Ok(()), |(.., error)| Err(error.clone()))
    }

    /// The engine's folder is free.
    pub(super) fn closed(&self) {
        self.state.send_modify(|state| state.closed = true);
    }

    /// Waits until the engine's folder is free.
    pub(super) async fn wait_closed(&self) {
        drop(self.state.subscribe().wait_for(|state| state.closed).await);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn ask(progress: &Progress, ticket: u64) -> Result<(), String> {
        progress.wait(Ticket(ticket)).await.map_err(|error| error.to_string())
    }

    #[tokio::test]
    async fn a_failed_stretch_is_told_for_ever_and_what_follows_is_not_in_it() {
        let progress = Progress::new();
        progress.written(3);
        progress.failed(5, &StorageError::Full("x".into()));
        progress.written(6);
        for (ticket, good) in [(0, true), (3, true), (4, false), (5, false), (6, true)] {
            assert_eq!(ask(&progress, ticket).await.is_ok(), good, "{ticket}");
        }
        for n in 4..200 {
            progress.failed(2 * n, &StorageError::Full("x".into()));
            progress.written(2 * n + 1);
        }
        assert!(ask(&progress, 4).await.is_err() && ask(&progress, 398).await.is_err());
        assert!(ask(&progress, 399).await.is_ok());
        progress.ended(StorageError::Closed);
        assert!(ask(&progress, 399).await.is_ok() && ask(&progress, 400).await.is_err());
    }
}
