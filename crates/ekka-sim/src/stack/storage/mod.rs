//! The store of a simulated data directory: in memory, without threads, on a disc that forgets what was not synced.
//!
//! What was given lies in a journal of bytes. A crash cuts it at a random byte behind what was synced, and may spoil
//! the bytes before the cut; the next opening reads as far as the frames are whole, and asks the mark whether that is
//! enough. Syncs are made by those who wait for them, one at a time, in virtual time.

mod handle;
mod journal;
mod state;

pub use handle::SimStorage;

use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use ekka::storage::Found;
use ekka_core::rng::Rng;

use self::state::State;

/// What one sync takes, at the median.
const SYNC: Duration = Duration::from_micros(500);

/// Bytes of history that a journal may have beside what it is worth.
const HISTORY: usize = 1 << 20;

/// How the disc of a store behaves.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct StoreFaults {
    /// Appends and checkpoints find no room.
    pub full: bool,
    /// Syncs fail, and the store with them.
    pub broken: bool,
    /// Syncs say that they are done, and are not: a crash takes what they promised.
    pub lies: bool,
    /// What one sync takes, at the median; the longest takes twice that.
    pub sync: Duration,
}

impl Default for StoreFaults {
    fn default() -> Self {
        Self { full: false, broken: false, lies: false, sync: SYNC }
    }
}

/// The disc below a store; outlives its handles. Clones are the same disc.
#[derive(Clone, Debug)]
pub struct StoreDisc {
    inner: Arc<Mutex<Volume>>,
}

#[derive(Clone, Debug)]
pub(super) struct Volume {
    journal: Vec<u8>,
    /// Bytes of the journal that no crash takes.
    safe: usize,
    /// The number of the last change that a sync promised. Like a file of its own: a crash leaves it.
    mark: Option<u64>,
    faults: StoreFaults,
    rng: Rng,
    /// Only a process ended: what it wrote is there, as far as it came.
    powered: bool,
    /// Counts openings: a handle of an earlier one is of a process that is dead.
    opening: u64,
}

impl Default for StoreDisc {
    fn default() -> Self {
        Self::new(0)
    }
}

impl StoreDisc {
    /// An empty disc; the seed decides what crashes take.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        let volume = Volume {
            journal: Vec::new(),
            safe: 0,
            mark: None,
            faults: StoreFaults::default(),
            rng: Rng::new(seed),
            powered: false,
            opening: 0,
        };
        Self { inner: Arc::new(Mutex::new(volume)) }
    }

    /// Another disc with the same content.
    #[must_use]
    pub fn copy(&self) -> Self {
        Self { inner: Arc::new(Mutex::new(self.lock().clone())) }
    }

    /// Changes how it behaves from now on.
    pub fn set_faults(&self, change: impl FnOnce(&mut StoreFaults)) {
        change(&mut self.lock().faults);
    }

    /// Another disc in its place, empty: the mark is gone too.
    pub fn wipe(&self) {
        self.lose_store();
        self.lock().mark = None;
    }

    /// The process that had it open has ended, and the machine runs on: the next opening finds what was written, which
    /// is a part of what was not synced. Without this word the machine's power was gone too.
    pub fn process_ended(&self) {
        self.lock().powered = true;
    }

    /// A byte of what was synced goes bad; whether there was one.
    #[must_use]
    pub fn spoil(&self) -> bool {
        let mut volume = self.lock();
        let safe = volume.safe as u64;
        if safe == 0 {
            return false;
        }
        let at = usize::try_from(volume.rng.below(safe)).expect("at most the journal's length");
        volume.journal[at] ^= 0x55;
        true
    }

    /// The store is gone, and the mark is not.
    pub fn lose_store(&self) {
        let mut volume = self.lock();
        volume.journal.clear();
        volume.safe = 0;
        volume.opening += 1;
    }

    /// Opens the store, or makes it with this id. What the last process had not synced goes through a crash first.
    #[must_use]
    pub fn open(&self, fresh_id: u128) -> SimStorage {
        let mut volume = self.lock();
        volume.opening += 1;
        volume.crash();
        let state = State::replay(&volume.journal);
        let (state, found) = match volume.judge(&state) {
            None => {
                let found = Found { store_id: state.store_id, created: false, damage: Vec::new() };
                (state, found)
            }
            Some(damage) => {
                let found = Found { store_id: fresh_id, created: true, damage };
                (State::new(fresh_id), found)
            }
        };
        volume.restart(&state);
        SimStorage::new(self.clone(), volume.opening, state, found)
    }

    fn lock(&self) -> MutexGuard<'_, Volume> {
        self.inner.lock().expect("one thread runs the simulation")
    }
}

impl Volume {
    /// Cuts what was not synced somewhere; where the power went, spoils what is before the cut in one of two cases.
    fn crash(&mut self) {
        let powered = std::mem::take(&mut self.powered);
        let unsafe_bytes = (self.journal.len() - self.safe) as u64;
        if unsafe_bytes == 0 {
            return;
        }
        let kept = usize::try_from(self.rng.below(unsafe_bytes + 1)).expect("at most the journal's length");
        self.journal.truncate(self.safe + kept);
        if kept > 0 && !powered && self.rng.below(2) == 0 {
            let from_end = self.rng.below(kept.min(16) as u64);
            let at = self.journal.len() - 1 - usize::try_from(from_end).expect("below 16");
            self.journal[at] ^= 0x55;
        }
    }

    /// What is wrong with a store that reads like this; `Some` without words where there simply is none yet.
    fn judge(&self, state: &State) -> Option<Vec<String>> {
        match (self.mark, state.exists) {
            (None, false) => Some(Vec::new()),
            (None, true) => Some(vec!["store: its mark is gone".into()]),
            (Some(mark), false) => Some(vec![format!("store: it is gone; {mark} changes were synced, says the mark")]),
            (Some(mark), true) if mark > state.ordinal => {
                let ends = state.ordinal;
                Some(vec![format!("store: it ends at change {ends}, and {mark} were synced, says the mark")])
            }
            (Some(_), true) => None,
        }
    }

    /// Writes the journal anew: the state and nothing else, synced.
    fn restart(&mut self, state: &State) {
        self.journal = state.snapshot();
        self.safe = self.journal.len();
        self.mark = Some(state.ordinal);
    }

    /// Whether the journal is mostly history.
    fn is_wasteful(&self, state: &State) -> bool {
        self.safe == self.journal.len() && self.journal.len() > 2 * state.bytes() + HISTORY
    }
}
