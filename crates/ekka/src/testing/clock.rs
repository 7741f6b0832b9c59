//! A clock that goes with the time of the runtime, paused or not.

use std::sync::atomic::{AtomicI64, Ordering};

use ekka_core::time::{Instant, Now, Wall};

use crate::env::Clock;

/// Wall-clock time at which it begins, in milliseconds since 1970.
const EPOCH_MS: u64 = 1_800_000_000_000;

/// The clock; it begins when it is made.
#[derive(Debug)]
pub struct RuntimeClock {
    began: tokio::time::Instant,
    off_ms: AtomicI64,
}

impl RuntimeClock {
    /// The wall clock is off by so many milliseconds from now on.
    pub fn set_off_ms(&self, off_ms: i64) {
        self.off_ms.store(off_ms, Ordering::Relaxed);
    }
}

impl Default for RuntimeClock {
    fn default() -> Self {
        Self { began: tokio::time::Instant::now(), off_ms: AtomicI64::new(0) }
    }
}

impl Clock for RuntimeClock {
    fn now(&self) -> Now {
        let elapsed = self.began.elapsed();
        let nanos = u64::try_from(elapsed.as_nanos()).unwrap_or(u64::MAX);
        let millis = u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX);
        let off_ms = self.off_ms.load(Ordering::Relaxed);
        // A machine has run for a while before its first process.
        Now {
            mono: Instant::from_nanos(1_000_000_000 + nanos),
            wall: Wall::from_millis(EPOCH_MS.saturating_add(millis).saturating_add_signed(off_ms)),
        }
    }
}
