//! The clock of the tables: the wall clock of the node, held back where it jumps.
//!
//! A clock that was wrong from the start has nothing that it could be compared with here, only the peers. What a time far
//! ahead does to quorum tables is not undone, so no command that this node hands in has one that the peers would refuse.

use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use ekka_core::limits::{CLOCK_REFUSE, HEARTBEAT_INTERVAL, WALL_JUMP};
use ekka_core::table::{GuardedWall, Jump, Offset, PeerClocks};
use ekka_core::time::{Instant, Now, Wall, is_clock_refused};
use ekka_core::view::{Status, View};
use tracing::{info, warn};

use crate::env::Clock;

/// What the peers say comes with heartbeats: after a jump this is how long it may still be of before.
const STALE: Duration = HEARTBEAT_INTERVAL.saturating_mul(4);

/// What was found out at the last look.
struct Looked {
    guard: GuardedWall,
    /// How the guarded clock stands among those of the peers. While the wall clock has jumped this is what was known before:
    /// what they say is measured with that clock, and nobody knows whether it is of before.
    clocks: PeerClocks,
    /// Until when it is of before.
    stale_until: Instant,
}

/// The clock of the tables. Rows expire, and stamps are given, by what it says.
pub(in crate::table) struct TableClock {
    clock: Arc<dyn Clock>,
    looked: Mutex<Looked>,
    /// What it believes, for those who read the clock: that takes no lock.
    offset_ms: AtomicI64,
    /// The latest time that the peers do not refuse, as such an offset.
    latest_ms: AtomicI64,
}

impl TableClock {
    pub(in crate::table) fn new(clock: Arc<dyn Clock>) -> Self {
        let guard = GuardedWall::new(clock.now());
        let offset_ms = AtomicI64::new(guard.offset().as_millis());
        let looked = Looked { guard, clocks: PeerClocks::default(), stale_until: Instant::ZERO };
        Self { clock, looked: Mutex::new(looked), offset_ms, latest_ms: AtomicI64::new(i64::MAX) }
    }

    /// Looks whether the wall clock jumped, as every tick does; how the guarded one stands among those of the peers.
    pub(in crate::table) fn look(&self, view: &View) -> PeerClocks {
        // One that has just begun names nobody, not even this node.
        if view.members.len() == 1 {
            self.looked.lock().unwrap_or_else(PoisonError::into_inner).guard.is_alone();
        }
        let ahead_ms = view.clock_offset_ms.filter(|ms| is_told(*ms, view.clock_peers, view.status));
        self.look_beside(ahead_ms, view.peer_clock_offset_ms.values().copied().max().filter(|_| ahead_ms.is_some()))
    }

    /// The same, where the wall clock is so far ahead of the median of the peers, and one of them so far ahead of it.
    pub(in crate::table) fn look_beside(&self, ahead_ms: Option<i64>, furthest_ms: Option<i64>) -> PeerClocks {
        let now = self.clock.now();
        let mut looked = self.looked.lock().unwrap_or_else(PoisonError::into_inner);
        let jump = looked.guard.look(now, ahead_ms);
        match jump {
            Some(Jump::Held { by_ms }) => warn!(by_ms, "the wall clock jumped: tables follow it once it stays there"),
            Some(Jump::Followed) => info!("tables follow the wall clock to where it jumped"),
            Some(Jump::Undone) => info!("the wall clock is back where it was before it jumped"),
            None => {}
        }
        if jump.is_some() {
            looked.stale_until = now.mono + STALE;
        }
        self.offset_ms.store(looked.guard.offset().as_millis(), Ordering::Relaxed);
        let held_back_ms = looked.guard.held_back_ms(now);
        if u128::from(held_back_ms.unsigned_abs()) <= WALL_JUMP.as_millis() && now.mono >= looked.stale_until {
            let refuse_ms = i64::try_from(CLOCK_REFUSE.as_millis()).unwrap_or(i64::MAX);
            let latest = |ahead: i64| Offset::of(now).as_millis().saturating_sub(ahead).saturating_add(refuse_ms);
            self.latest_ms.store(ahead_ms.map_or(i64::MAX, latest), Ordering::Relaxed);
            looked.clocks = PeerClocks {
                ahead_ms: ahead_ms.map_or(0, |ms| ms.saturating_sub(held_back_ms)),
                furthest_ms: furthest_ms
                    .and_then(|ms| u64::try_from(ms.saturating_add(held_back_ms)).ok())
                    .unwrap_or(0),
                compared: ahead_ms.is_some(),
            };
        }
        looked.clocks
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

/// Whether so many peers can tell that this node's clock is so far ahead. Of two nodes each would be told by the other one,
/// and the one that is right would write no more; which of both jumped the guard of each one knows.
fn is_told(ahead_ms: i64, peers: usize, status: Status) -> bool {
    !is_clock_refused(ahead_ms) || peers != 1 || !status.takes_part()
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
        let known = PeerClocks { ahead_ms: 300, furthest_ms: 20_000, compared: true };
        assert_eq!(tables.look_beside(Some(300), Some(20_000)), known);
        wall.set_off_ms(HOUR);
        assert_eq!(tables.now(), right.now(), "also before the next look");
        // What was measured before, and what is after that, say nothing of the clock that is used.
        assert_eq!(tables.look_beside(Some(0), Some(0)), known);
        assert_eq!(tables.look_beside(Some(HOUR), Some(-HOUR + 20_000)), known);
        tokio::time::advance(Duration::from_secs(100)).await;
        tables.look_beside(Some(HOUR), None);
        assert_eq!((tables.now(), tables.for_command()), (right.now(), right.now().wall));
        wall.set_off_ms(0);
        assert_eq!(tables.look_beside(Some(HOUR), Some(0)), known, "what the peers say is of before");
        assert_eq!(tables.now(), wall.now());
        tokio::time::advance(STALE).await;
        let alike = PeerClocks { compared: true, ..PeerClocks::default() };
        assert_eq!(tables.look_beside(Some(0), None), alike);
    }

    #[test]
    fn one_peer_that_says_something_else_does_not_stop_a_node_that_is_up() {
        assert!(!is_told(HOUR, 1, Status::Up) && !is_told(-HOUR, 1, Status::Healing));
        assert!(is_told(HOUR, 1, Status::Joining), "the one that is not up yields");
        assert!(is_told(HOUR, 2, Status::Up) && is_told(300, 1, Status::Up));
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
