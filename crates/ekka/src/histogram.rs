//! Times by bucket, counted without a lock, as Prometheus wants them.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Upper bounds of the buckets, in seconds.
pub const BUCKETS: [f64; 15] =
    [0.000_05, 0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0];

/// The same of what takes long. There are as many.
pub const LONG_BUCKETS: [f64; BUCKETS.len()] =
    [0.1, 0.25, 0.5, 1.0, 2.0, 3.0, 5.0, 7.5, 10.0, 15.0, 20.0, 30.0, 60.0, 120.0, 300.0];

/// Counts times.
#[derive(Debug, Default)]
pub struct Histogram {
    buckets: [AtomicU64; BUCKETS.len() + 1],
    micros: AtomicU64,
}

impl Histogram {
    /// Counts one time.
    pub fn count(&self, took: Duration) {
        self.count_by(&BUCKETS, took);
    }

    /// Counts one by [`LONG_BUCKETS`], as all others of this histogram are.
    pub fn count_long(&self, took: Duration) {
        self.count_by(&LONG_BUCKETS, took);
    }

    fn count_by(&self, bounds: &[f64; BUCKETS.len()], took: Duration) {
        let seconds = took.as_secs_f64();
        let bucket = bounds.iter().position(|bound| seconds <= *bound).unwrap_or(BUCKETS.len());
        self.buckets[bucket].fetch_add(1, Ordering::Relaxed);
        self.micros.fetch_add(u64::try_from(took.as_micros()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    /// What was counted so far.
    #[must_use]
    pub fn times(&self) -> Times {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let mut buckets = [0; BUCKETS.len() + 1];
        buckets.iter_mut().zip(&self.buckets).for_each(|(number, counter)| *number = read(counter));
        Times { buckets, seconds: Duration::from_micros(read(&self.micros)).as_secs_f64() }
    }
}

/// What was counted up to one moment.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
pub struct Times {
    /// For each of [`BUCKETS`], or of [`LONG_BUCKETS`], how many took no longer, and longer than the bound before; one more for the rest.
    pub buckets: [u64; BUCKETS.len() + 1],
    /// The sum of all times, in seconds.
    pub seconds: f64,
}

impl Times {
    /// How many were counted.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.buckets.iter().sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_in_the_first_bucket_that_is_wide_enough() {
        let histogram = Histogram::default();
        for micros in [50, 51, 9_000_000] {
            histogram.count(Duration::from_micros(micros));
        }
        let times = histogram.times();
        assert_eq!((times.buckets[0], times.buckets[1], times.buckets[BUCKETS.len()]), (1, 1, 1));
        assert_eq!(times.total(), 3);
        assert!((times.seconds - 9.000_101).abs() < 1e-9);
    }
}
