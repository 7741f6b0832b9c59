//! Callers that the answers of an entry have woken go into the next one together.
//!
//! One who writes again and again is a moment on his way: on another thread, or behind others on this one. An entry that
//! began at once would leave him to the one after it, and writers would be two groups that take turns, each in entries
//! of half the size. So the next entry waits for as many as there were, for a short while, as long as that mostly works.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::time::Instant;

/// How long it is waited. There is no timer for so short a time; others have the thread meanwhile.
const WHILE: Duration = Duration::from_micros(100);
/// The same where time stands still.
const TURNS: u32 = 64;
/// After so many entries for which waiting was in vain more often than not, each wait is a probe.
const TRUST_MAX: u32 = 8;
/// One of so many entries waits although that was in vain lately.
const PROBE: u32 = 32;

/// How many callers there are: those that wait for an entry, and those whose entry is not answered.
#[derive(Clone, Default)]
pub(super) struct Callers(Arc<AtomicUsize>);

/// One of them, until it is answered.
pub(super) struct Caller(Callers);

impl Callers {
    pub(super) fn one_more(&self) -> Caller {
        self.0.fetch_add(1, Ordering::Relaxed);
        Caller(self.clone())
    }

    fn count(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }
}

impl Drop for Caller {
    fn drop(&mut self) {
        self.0.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// How many callers there were when an entry was answered last.
#[derive(Clone)]
pub(super) struct Last {
    callers: Callers,
    were: Arc<AtomicUsize>,
}

/// Waits for callers to come back.
pub(super) struct Meeting {
    last: Last,
    trust: u32,
    skipped: u32,
}

impl Last {
    /// An entry is to be answered.
    pub(super) fn note(&self) {
        self.were.store(self.callers.count(), Ordering::Relaxed);
    }
}

impl Meeting {
    pub(super) fn new(callers: Callers) -> Self {
        Self { last: Last { callers, were: Arc::default() }, trust: TRUST_MAX, skipped: 0 }
    }

    /// Where it is noted how many there were.
    pub(super) fn last(&self) -> Last {
        self.last.clone()
    }

    /// Waits until as many callers are here as there were, or a moment.
    pub(super) async fn wait(&mut self) {
        let were = self.last.were.swap(0, Ordering::Relaxed);
        let here = self.here();
        if here >= were || !self.is_worth_it() {
            return;
        }
        let began = Instant::now();
        for _ in 0..TURNS {
            tokio::task::yield_now().await;
            if self.here() >= were || began.elapsed() >= WHILE {
                break;
            }
        }
        // Most of those that were missing have come.
        if 2 * self.here() >= here + were {
            self.trust = TRUST_MAX.min(self.trust + 1);
        } else {
            self.trust = self.trust.saturating_sub(1);
        }
    }

    fn here(&self) -> usize {
        self.last.callers.count()
    }

    fn is_worth_it(&mut self) -> bool {
        self.skipped = if self.trust > 0 || self.skipped >= PROBE { 0 } else { self.skipped + 1 };
        self.skipped == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Callers that come back after so many turns each time; the sizes of the entries that they get.
    async fn entries(callers: usize, turns_away: u32, entries: usize) -> Vec<usize> {
        let all = Callers::default();
        let mut meeting = Meeting::new(all.clone());
        let last = meeting.last();
        let (came, mut queue) = tokio::sync::mpsc::unbounded_channel();
        (0..callers).for_each(|_| came.send(all.one_more()).unwrap());
        let mut sizes = Vec::new();
        for _ in 0..entries {
            let first = queue.recv().await.unwrap();
            meeting.wait().await;
            let mut group = vec![first];
            while let Ok(next) = queue.try_recv() {
                group.push(next);
            }
            sizes.push(group.len());
            last.note();
            for caller in group.drain(..) {
                drop(caller);
                let (all, came) = (all.clone(), came.clone());
                tokio::spawn(async move {
                    for _ in 0..turns_away {
                        tokio::task::yield_now().await;
                    }
                    let _ = came.send(all.one_more());
                });
            }
        }
        sizes
    }

    #[tokio::test(start_paused = true)]
    async fn those_who_come_back_are_waited_for() {
        let sizes = entries(16, 20, 10).await;
        assert_eq!(sizes, vec![16; 10]);
    }

    #[tokio::test(start_paused = true)]
    async fn those_who_stay_away_are_not() {
        let all = Callers::default();
        let mut meeting = Meeting::new(all.clone());
        let mut waited = 0;
        for _ in 0..100 {
            let one = all.one_more();
            let gone = [all.one_more(), all.one_more(), all.one_more()];
            meeting.last().note();
            drop(gone);
            let mut turns = 0;
            let wait = meeting.wait();
            tokio::pin!(wait);
            std::future::poll_fn(|cx| {
                turns += 1;
                wait.as_mut().poll(cx)
            })
            .await;
            waited += u32::from(turns > 1);
            drop(one);
        }
        assert!((TRUST_MAX..TRUST_MAX + 6).contains(&waited), "{waited} of 100 entries waited");
    }
}
