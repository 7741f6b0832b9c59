//! Keeps the mark: a thread that writes it soon after a sync, off the way of those who wait for the sync.

use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use super::mark::{Mark, MarkFiles};
use crate::storage::{LogName, Seq};

/// How long after a sync the mark is written at the latest, its own write apart. Syncs in between share one writing.
/// (docs/decisions/0008)
const LAG: Duration = Duration::from_millis(10);

struct State {
    mark: Mark,
    dirty: bool,
    end: Option<End>,
}

/// How the thread is to end.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    /// After writing the mark exactly.
    Exact,
    /// At once, as a killed process does.
    Crash,
}

/// The thread.
pub(super) struct Marker {
    shared: Arc<(Mutex<State>, Condvar)>,
    thread: JoinHandle<()>,
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Marker {
    /// Starts it; `mark` is on disc.
    ///
    /// # Errors
    /// The system gives no thread.
    pub(super) fn start(files: MarkFiles, mark: Mark) -> io::Result<Self> {
        let shared = Arc::new((Mutex::new(State { mark, dirty: false, end: None }), Condvar::new()));
        let thread = std::thread::Builder::new().name("ekka-mark".into()).spawn({
            let shared = shared.clone();
            move || run(&shared, files)
        })?;
        Ok(Self { shared, thread })
    }

    /// A batch is on disc: the mark follows.
    pub(super) fn note(&self, ordinal: u64, ends: impl Iterator<Item = (LogName, Seq)>) {
        let mut state = lock(&self.shared.0);
        state.mark.note(ordinal, ends);
        state.mark.damage.clear();
        state.dirty = true;
        drop(state);
        self.shared.1.notify_one();
    }

    /// Ends it, and waits for that.
    pub(super) fn finish(self, end: End) {
        lock(&self.shared.0).end = Some(end);
        self.shared.1.notify_one();
        drop(self.thread.join());
    }
}

fn run(shared: &(Mutex<State>, Condvar), mut files: MarkFiles) {
    loop {
        let state = lock(&shared.0);
        let state = shared.1.wait_while(state, |state| !state.dirty && state.end.is_none());
        let state = state.unwrap_or_else(PoisonError::into_inner);
        let waited = shared.1.wait_timeout_while(state, LAG, |state| state.end.is_none());
        let (mut state, _) = waited.unwrap_or_else(PoisonError::into_inner);
        state.dirty = false;
        let (mark, end) = (state.mark.clone(), state.end);
        drop(state);
        let written = match end {
            None => files.write(&mark),
            Some(End::Exact) => files.write_both(&mark),
            Some(End::Crash) => return,
        };
        if let Err(error) = written {
            // The mark before it still holds, and the next batch brings another.
            tracing::warn!(%error, "the mark of the store could not be written");
        }
        if end.is_some() {
            return;
        }
    }
}
