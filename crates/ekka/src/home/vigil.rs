//! Keeps a thread that carries connections awake while one message follows the other.
//!
//! A thread that sleeps between two messages is woken by the kernel for each of them; a caller that makes its next call
//! when it has the answer waits for four such wake-ups a call. So while messages follow each other closely the thread
//! looks again and again, and gives way to whoever else wants the processor each time. Calls now and then never get it
//! there: some of the gaps between their messages are long.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

/// The longest gap between two messages that is waited for awake.
const GAP_MAX: Duration = Duration::from_micros(100);
/// So many short gaps in a row come first.
const ROW: u32 = 16;

/// Of one thread: told of each message by the drivers that it runs.
pub(crate) struct Vigil {
    epoch: Instant,
    /// When the latest message came or went, in nanoseconds since the epoch.
    latest: AtomicU64,
    /// Short gaps in a row.
    row: AtomicU32,
    begin: Notify,
}

impl Vigil {
    pub(crate) fn new() -> Self {
        Self { epoch: Instant::now(), latest: AtomicU64::new(0), row: AtomicU32::new(0), begin: Notify::new() }
    }

    fn now(&self) -> u64 {
        u64::try_from(self.epoch.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }

    fn is_short(gap: u64) -> bool {
        u128::from(gap) < GAP_MAX.as_nanos()
    }

    /// A message came or went.
    pub(crate) fn stir(&self) {
        let now = self.now();
        let gap = now.saturating_sub(self.latest.swap(now, Ordering::Relaxed));
        if !Self::is_short(gap) {
            self.row.store(0, Ordering::Relaxed);
        } else if self.row.fetch_add(1, Ordering::Relaxed) == ROW {
            self.begin.notify_one();
        }
    }

    /// Keeps the thread awake whenever it is worth it; never ends.
    pub(crate) async fn keep(&self) {
        loop {
            self.begin.notified().await;
            while Self::is_short(self.now().saturating_sub(self.latest.load(Ordering::Relaxed))) {
                std::thread::yield_now();
                tokio::task::yield_now().await;
            }
            self.row.store(0, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;
    use std::sync::Arc;
    use std::task::{Context, Waker};

    use tokio::time::advance;

    use super::*;

    async fn stir(vigil: &Vigil, times: u32, gap: Duration) {
        for _ in 0..times {
            advance(gap).await;
            vigil.stir();
        }
    }

    fn begins(vigil: &Vigil) -> bool {
        pin!(vigil.begin.notified()).poll(&mut Context::from_waker(Waker::noop())).is_ready()
    }

    #[tokio::test(start_paused = true)]
    async fn a_row_of_short_gaps_begins_it_and_a_long_one_ends_the_row() {
        let vigil = Vigil::new();
        stir(&vigil, 1, GAP_MAX).await;
        stir(&vigil, ROW, GAP_MAX / 2).await;
        assert!(!begins(&vigil), "one is missing");
        stir(&vigil, 1, GAP_MAX / 2).await;
        assert!(begins(&vigil));
        for _ in 0..ROW {
            stir(&vigil, 1, GAP_MAX).await;
            stir(&vigil, 3, GAP_MAX / 2).await;
        }
        assert!(!begins(&vigil), "calls now and then");
    }

    #[tokio::test(start_paused = true)]
    async fn it_ends_with_the_first_long_gap() {
        let vigil = Arc::new(Vigil::new());
        let kept = vigil.clone();
        let keeps = tokio::spawn(async move { kept.keep().await });
        stir(&vigil, ROW + 2, GAP_MAX / 2).await;
        assert!(vigil.row.load(Ordering::Relaxed) > ROW);
        advance(GAP_MAX).await;
        while vigil.row.load(Ordering::Relaxed) > 0 {
            tokio::task::yield_now().await;
        }
        keeps.abort();
    }
}
