//! Callers that have been answered together come with their next requests together.
//!
//! One who writes again and again is a moment on his way: on another thread, or behind others on this one. A batch that
//! went at once would leave him to the one after it, and writers would be groups that take turns, each in batches of a
//! part of the size. So the next batch waits for as many as there were, for a short while, as long as that mostly works.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::time::Instant;

/// How long it is waited, about. There is no timer for so short a time; others have the thread meanwhile.
const WHILE: Duration = Duration::from_micros(100);
/// The same where time stands still.
const TURNS: u32 = 64;
/// After so many batches for which waiting was in vain more often than not, each wait is a probe.
const TRUST_MAX: u32 = 8;
/// One of so many batches waits although that was in vain lately.
const PROBE: u32 = 32;

/// The callers that there are: those that wait for their batch, and those whose batch is not answered.
#[derive(Clone, Default)]
pub(crate) struct Company(Arc<Counts>);

#[derive(Default)]
struct Counts {
    here: AtomicUsize,
    /// At most, when some were answered lately; nothing once that was waited for.
    were: AtomicUsize,
}

/// One of them, until it is answered.
pub(crate) struct Caller(Company);

impl Company {
    pub(crate) fn one_more(&self) -> Caller {
        self.0.here.fetch_add(1, Ordering::Relaxed);
        Caller(self.clone())
    }

    /// Some are to be answered.
    pub(crate) fn note(&self) {
        self.0.were.fetch_max(self.here(), Ordering::Relaxed);
    }

    /// Whether others than one who comes now may be on their way: more were here when some were answered last.
    pub(crate) fn is_expected(&self) -> bool {
        self.0.were.load(Ordering::Relaxed) > self.here() + 1
    }

    fn here(&self) -> usize {
        self.0.here.load(Ordering::Relaxed)
    }
}

impl Drop for Caller {
    fn drop(&mut self) {
        self.0.0.here.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Waits for callers to come back.
pub(crate) struct Meeting {
    company: Company,
    trust: u32,
    skipped: u32,
}

impl Meeting {
    pub(crate) fn new(company: Company) -> Self {
        Self { company, trust: TRUST_MAX, skipped: 0 }
    }

    /// Waits until as many callers are here as there were, or a moment.
    pub(crate) async fn wait(&mut self) {
        let were = self.company.0.were.swap(0, Ordering::Relaxed);
        let here = self.company.here();
        if here >= were || !self.is_worth_it() {
            return;
        }
        let began = Instant::now();
        for _ in 0..TURNS {
            tokio::task::yield_now().await;
            if self.company.here() >= were || began.elapsed() >= WHILE {
                break;
            }
        }
        // Most of those that were missing have come.
        if 2 * self.company.here() >= here + were {
            self.trust = TRUST_MAX.min(self.trust + 1);
        } else {
            self.trust = self.trust.saturating_sub(1);
        }
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
        let all = Company::default();
        let mut meeting = Meeting::new(all.clone());
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
            all.note();
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
        let all = Company::default();
        let mut meeting = Meeting::new(all.clone());
        let mut waited = 0;
        for _ in 0..100 {
            let one = all.one_more();
            let gone = [all.one_more(), all.one_more(), all.one_more()];
            all.note();
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
