//! The one thread that writes: it gathers what waits into one batch, syncs it, and tells all who wait.

use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use super::database::{Database, EngineError};
use super::disc::{Disc, Written};
use super::marker::{End, Marker};
use super::queue::{Change, Queue, Stop};
use super::shared::Shared;
use super::verify::read_all;
use crate::storage::StorageError;

/// Before what found no room is tried again where nothing new is to be written: keys of dropped records, to open the engine.
const AGAIN: Duration = Duration::from_secs(10);

pub(super) struct Committer {
    shared: Arc<Shared>,
    disc: Disc,
    marker: Marker,
    /// Until when only changes are worth a try: the disc was full.
    rests: Option<Instant>,
}

impl Committer {
    pub(super) fn new(shared: Arc<Shared>, disc: Disc, marker: Marker) -> Self {
        Self { shared, disc, marker, rests: None }
    }

    pub(super) fn run(mut self) {
        let _end = EndGuard(self.shared.clone());
        let ended = loop {
            let (changes, stop) = self.next();
            match stop {
                Some(Stop::Crash) => break StorageError::Closed,
                Some(Stop::Close) if changes.is_empty() => break StorageError::Closed,
                Some(Stop::Close) | None => {}
            }
            let began = Instant::now();
            match self.write(&changes) {
                Ok(written) => {
                    self.shared.count_sync(began.elapsed());
                    self.rests = None;
                    self.written(&changes, written);
                }
                Err(EngineError::Full(why)) => {
                    self.rests = Some(Instant::now() + AGAIN);
                    self.give_up_what_waits(&StorageError::Full(why));
                }
                Err(other) => {
                    tracing::error!(error = %other, "the store takes no more changes");
                    let failure = StorageError::from(other);
                    self.shared.queue().failure = Some(failure.clone());
                    self.give_up_what_waits(&failure);
                    self.wait_for_stop();
                    break failure;
                }
            }
        };
        self.end(ended);
    }

    /// Waits for something to do.
    fn next(&self) -> (Vec<(u64, Change)>, Option<Stop>) {
        let idle = |queue: &mut Queue| queue.is_idle() && queue.stop.is_none();
        // Who reads finds nothing while it is closed.
        let has_more = self.disc.has_garbage() || !self.is_open();
        let (queue, wake) = (self.shared.queue(), &self.shared.wake);
        let mut queue = match (has_more, self.rests) {
            (false, _) => wake.wait_while(queue, idle).unwrap_or_else(PoisonError::into_inner),
            (true, None) => queue,
            // That alone gets no room by being tried at once: each try reads the whole store.
            (true, Some(until)) => {
                let left = until.saturating_duration_since(Instant::now());
                wake.wait_timeout_while(queue, left, idle).unwrap_or_else(PoisonError::into_inner).0
            }
        };
        (queue.gather(), queue.stop)
    }

    /// Reads go on in a store that failed; only its end is still to come.
    fn wait_for_stop(&self) {
        self.shared.progress.ended(self.shared.queue().failure.clone().unwrap_or(StorageError::Closed));
        let queue = self.shared.queue();
        drop(self.shared.wake.wait_while(queue, |queue| queue.stop.is_none()));
    }

    /// Writes a batch. Where the disc is full it is tried once more without the ballast.
    fn write(&self, changes: &[(u64, Change)]) -> Result<Written, EngineError> {
        self.open_again()?;
        let first = match self.shared.with_database(|database| self.disc.write(database, changes)) {
            Err(error @ (EngineError::Full(_) | EngineError::Poisoned)) => error,
            other => return other,
        };
        let ballast = self.shared.space.drop_ballast();
        tracing::warn!(error = %first, ballast, "the disc is full");
        self.reopen(first)?;
        let again = self.shared.with_database(|database| self.disc.write(database, changes));
        if let Err(error @ (EngineError::Full(_) | EngineError::Poisoned)) = again {
            self.reopen(error)?;
            return Err(EngineError::Full("the batch did not fit, without the ballast either".into()));
        }
        again
    }

    /// Opens the engine anew: after an error it takes no more writes. The store goes on only where it is exactly what
    /// it was before the batch that failed.
    fn reopen(&self, because: EngineError) -> Result<(), EngineError> {
        let mut slot = self.shared.database.write().unwrap_or_else(PoisonError::into_inner);
        *slot = None;
        let database = Database::open(&self.shared.folder, self.shared.cache)?;
        let on_disc = read_all(&database)?;
        *slot = Some(database);
        if on_disc.head == self.disc.head() { Ok(()) } else { Err(because.fatal()) }
    }

    /// Opens the engine that found no room to be opened anew the last time.
    fn open_again(&self) -> Result<(), EngineError> {
        if self.is_open() { Ok(()) } else { self.reopen(EngineError::Gone) }
    }

    fn is_open(&self) -> bool {
        self.shared.database.read().unwrap_or_else(PoisonError::into_inner).is_some()
    }

    fn written(&mut self, changes: &[(u64, Change)], written: Written) {
        let counts = !changes.is_empty();
        let ends: Vec<_> = written.ends().collect();
        self.disc.advance(written);
        self.shared.queue().written(changes);
        if let Some((up_to, _)) = changes.last() {
            self.shared.progress.written(*up_to);
        }
        if counts {
            self.marker.note(self.disc.head().ordinal, ends.into_iter());
        }
        self.shared.space.look();
        self.shared.space.keep_ballast();
    }

    fn give_up_what_waits(&self, error: &StorageError) {
        let mut queue = self.shared.queue();
        let up_to = queue.roll_back(&self.disc);
        self.shared.progress.failed(up_to, error);
    }

    fn end(self, ended: StorageError) {
        let crash = self.shared.queue().stop == Some(Stop::Crash);
        self.marker.finish(if crash { End::Crash } else { End::Exact });
        *self.shared.database.write().unwrap_or_else(PoisonError::into_inner) = None;
        self.shared.progress.ended(ended);
    }
}

/// Whatever ends the thread, nobody waits for it any more.
struct EndGuard(Arc<Shared>);

impl Drop for EndGuard {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let failure = StorageError::Failed("the committer gave up: a fault of this program".into());
            self.0.queue().failure = Some(failure.clone());
            self.0.progress.ended(failure);
        }
        self.0.progress.closed();
    }
}
