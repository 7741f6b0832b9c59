//! The clock of the tables: the wall clock of the node, held back where it jumps.
//!
//! A clock that was wrong from the start has nothing that it could be compared with here, only the peers. What a time far
//! ahead does to quorum tables is not undone, so no command that this node hands in has one that the peers would refuse.

use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use ekka_core::limits::{CLOCK_REFUSE, WALL_JUMP};
use ekka_core::table::{GuardedWall, Jump, Offset, PeerClocks};
use ekka_core::time::{Now, Wall};
use ekka_core::view::View;
use tracing::{info, warn};

use crate::env::Clock;

/// The clock of the tables. Rows expire, and stamps are given, by what it says.
pub(in crate::table) struct TableClock {
    clock: Arc<dyn Clock>,
    guard: Mutex<GuardedWall>,
    /// What it believes, for those who read the clock: that takes no lock.
    offset_ms: AtomicI64,
    /// The latest time that the peers do not refuse, as such an offset.
    latest_ms: AtomicI64,
}

impl TableClock {
    pub(in crate::table) fn new(clock: Arc<dyn Clock>) -> Self {
        let guard = GuardedWall::new(clock.now());
        let offset_ms = AtomicI64::new(guard.offset().as_millis());
        Self { clock, guard: Mutex::new(guard), offset_ms, latest_ms: AtomicI64::new(i64::MAX) }
    }

    /// Looks whether the wall clock jumped, as every tick does; how the guarded one stands among those of the peers.
    pub(in crate::table) fn look(&self, view: &View) -> PeerClocks {
        self.look_beside(view.clock_offset_ms, view.peer_clock_offset_ms.values().copied().max())
    }

    /// The same, where the wall clock is so far ahead of the median of the peers, and one of them so far ahead of it.
    pub(in crate::table) fn look_beside(&self, ahead_ms: Option<i64>, furthest_ms: Option<i64>) -> PeerClocks {
        let now = self.clock.now();
        let mut guard = self.guard.lock().unwrap_or_else(PoisonError::into_inner);
        match guard.look(now, ahead_ms) {
            Some(Jump::Held { by_ms }) => warn!(by_ms, "the wall clock jumped: tables follow it once it stays there"),
            Some(Jump::Followed) => info!("tables follow the wall clock to where it jumped"),
            Some(Jump::Undone) => info!("the wall clock is back where it was before it jumped"),
            None => {}
        }
        self.offset_ms.store(guard.offset().as_millis(), Ordering::Relaxed);
        // What the peers say is compared with the clock as it is.
        let held_back_ms = guard.held_back_ms(now);
        // After a jump that may be of before it.
        if u128::from(held_back_ms.unsigned_abs()) <= WALL_JUMP.as_millis() {
            let refuse_ms = i64::try_from(CLOCK_REFUSE.as_millis()).unwrap_or(i64::MAX);
            let latest = |ahead: i64| Offset::of(now).as_millis().saturating_sub(ahead).saturating_add(refuse_ms);
            self.latest_ms.store(ahead_ms.map_or(i64::MAX, latest), Ordering::Relaxed);
        }
        let furthest = furthest_ms.map(|ms| ms.saturating_add(held_back_ms));
        PeerClocks {
            ahead_ms: ahead_ms.map_or(0, |ms| ms.saturating_sub(held_back_ms)),
            furthest_ms: furthest.and_then(|ms| u64::try_from(ms).ok()).unwrap_or(0),
        }
    }

    /// Reads both clocks.
    pub(in crate::table) fn now(&self) -> Now {
        let now = self.clock.now();
        Now { wall: Offset::from_millis(self.offset_ms.load(Ordering::Relaxed)).guarded(now), ..now }
    }

    /// The time that a command to a group may say that it is.
    pub(in crate::table) fn for_command(&self) -> Wall {
        let Now { mono, wall } = self.now();
        let latest = Offset::from_millis(self.latest_ms.load(Ordering::Relaxed));
        wall.min(latest.at(mono))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::testing::RuntimeClock;

    const HOUR: i64 = 3_600_000;

    /// A clock that can be set, one of the same start that is right, and what tables see.
    fn clocks() -> (Arc<RuntimeClock>, RuntimeClock, TableClock) {
        let clock = Arc::new(RuntimeClock::default());
        (clock.clone(), RuntimeClock::default(), TableClock::new(clock))
    }

    #[tokio::test(start_paused = true)]
    async fn tables_do_not_see_that_the_clock_was_an_hour_ahead() {
        let (wall, right, tables) = clocks();
        wall.set_off_ms(HOUR);
        assert_eq!(tables.now(), right.now(), "also before the next look");
        // What was measured before, and what is after that.
        let stale = tables.look_beside(Some(0), Some(0));
        let fresh = tables.look_beside(Some(HOUR), Some(-HOUR + 20_000));
        assert_eq!(stale, PeerClocks { ahead_ms: -HOUR, furthest_ms: 3_600_000 });
        assert_eq!(fresh, PeerClocks { ahead_ms: 0, furthest_ms: 20_000 });
        tokio::time::advance(Duration::from_secs(100)).await;
        tables.look_beside(Some(HOUR), None);
        assert_eq!((tables.now(), tables.for_command()), (right.now(), right.now().wall));
        wall.set_off_ms(0);
        assert_eq!(tables.look_beside(Some(0), None), PeerClocks::default());
        assert_eq!(tables.now(), wall.now());
    }

    #[tokio::test(start_paused = true)]
    async fn a_clock_that_was_set_right_is_followed() {
        let (wall, _, tables) = clocks();
        wall.set_off_ms(HOUR);
        for _ in 0..60 {
            tables.look_beside(Some(0), Some(0));
            tokio::time::advance(Duration::from_millis(100)).await;
        }
        assert_eq!(tables.now(), wall.now());
    }

    #[tokio::test(start_paused = true)]
    async fn no_command_has_a_time_that_the_peers_refuse() {
        let (wall, _, tables) = clocks();
        let now = wall.now().wall.as_millis();
        assert_eq!(tables.for_command().as_millis(), now, "nobody is there to say so");
        tables.look_beside(Some(HOUR), None);
        assert_eq!(tables.for_command().as_millis(), now - 3_600_000 + 60_000);
        tables.look_beside(Some(30_000), None);
        assert_eq!(tables.for_command().as_millis(), now);
    }
}
