//! The clocks and the randomness of one simulated host.

use std::sync::Mutex;
use std::sync::atomic::{AtomicI64, Ordering};

use ekka::env::{Clock, Entropy};
use ekka_core::rng::Rng;
use ekka_core::time::{Instant, Now, Wall};

/// Wall-clock time at which every simulation begins, in milliseconds since 1970.
const EPOCH_MS: i64 = 1_800_000_000_000;
/// What the monotonic clock shows then: machines have run for a while before their first process.
const BOOT_NANOS: u64 = 1_000_000_000;

/// `turmoil`'s time, and a wall clock that may be off.
#[derive(Debug, Default)]
pub struct SimClock {
    offset_ms: AtomicI64,
}

impl SimClock {
    /// A clock that is off by so many milliseconds.
    #[must_use]
    pub fn new(offset_ms: i64) -> Self {
        Self { offset_ms: AtomicI64::new(offset_ms) }
    }

    /// Moves the wall clock, as an operator or NTP does.
    pub fn set_offset_ms(&self, offset_ms: i64) {
        self.offset_ms.store(offset_ms, Ordering::Relaxed);
    }
}

impl Clock for SimClock {
    fn now(&self) -> Now {
        let elapsed = turmoil::sim_elapsed().unwrap_or_default();
        let nanos = u64::try_from(elapsed.as_nanos()).unwrap_or(u64::MAX);
        let millis = i64::try_from(elapsed.as_millis()).unwrap_or(i64::MAX);
        let wall = EPOCH_MS.saturating_add(millis).saturating_add(self.offset_ms.load(Ordering::Relaxed));
        Now {
            mono: Instant::from_nanos(BOOT_NANOS.saturating_add(nanos)),
            wall: Wall::from_millis(u64::try_from(wall).unwrap_or(0)),
        }
    }
}

/// Seeded randomness of one host; it goes on over restarts.
#[derive(Debug)]
pub struct SimEntropy {
    rng: Mutex<Rng>,
}

impl SimEntropy {
    /// Randomness from a seed.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self { rng: Mutex::new(Rng::new(seed)) }
    }
}

impl Entropy for SimEntropy {
    fn bits(&self) -> u128 {
        self.rng.lock().expect("one thread runs the simulation").next_u128()
    }
}
