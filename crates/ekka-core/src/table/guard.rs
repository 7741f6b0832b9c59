//! A wall clock that is not believed as soon as it jumps.
//!
//! What one reading of tomorrow does to tables is not undone when the clock is set back: rows have expired and are dropped,
//! the clock of quorum tables and the bound of stamps on disc lie ahead for good. So the wall clock is compared with the
//! monotonic one, and goes on with that where it jumped. A step that is right (a machine was suspended, its clock was set
//! for the first time) stays, and is followed: soon where the peers say the same, later where nobody does. It is not where
//! they say that the clock was right before and is of no use now, nor where they said that it was right, are not in reach,
//! and would refuse it if nothing is wrong with theirs.

use core::time::Duration;

use crate::limits::{WALL_JUMP, WALL_JUMP_AGREED, WALL_JUMP_STAYS};
use crate::time::{Instant, Now, Wall, is_clock_refused};

fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

/// How far a wall clock is ahead of the monotonic clock of its node.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Offset(i64);

impl Offset {
    /// As it is now.
    #[must_use]
    pub fn of(now: Now) -> Self {
        Self(now.wall.offset_from(Wall::from_millis(now.mono.as_nanos() / 1_000_000)))
    }

    /// In milliseconds.
    #[must_use]
    pub const fn as_millis(self) -> i64 {
        self.0
    }

    /// What [`Offset::as_millis`] gave.
    #[must_use]
    pub const fn from_millis(millis: i64) -> Self {
        Self(millis)
    }

    /// The wall clock that is to be used, where it was so far ahead when that was last looked at.
    #[must_use]
    pub fn guarded(self, now: Now) -> Wall {
        if Self::of(now).is_near(self) { now.wall } else { self.at(now.mono) }
    }

    /// What a wall clock says that is so far ahead.
    #[must_use]
    pub fn at(self, mono: Instant) -> Wall {
        Wall::from_millis((mono.as_nanos() / 1_000_000).saturating_add_signed(self.0))
    }

    fn is_near(self, other: Self) -> bool {
        self.0.abs_diff(other.0) <= millis(WALL_JUMP).unsigned_abs()
    }
}

/// What became of a wall clock.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Jump {
    /// It jumped by so many milliseconds, and is not followed yet.
    Held {
        /// Forward, or back where it is negative.
        by_ms: i64,
    },
    /// It is followed from now on.
    Followed,
    /// It is back where it was.
    Undone,
}

/// The guard of one wall clock. Between two looks its [`GuardedWall::offset`] says what to use.
#[derive(Clone, Copy, Debug)]
pub struct GuardedWall {
    offset: Offset,
    /// Where it jumped to, and when that was seen.
    jumped: Option<(Offset, Instant)>,
    /// The peers, as far as there are any, did not refuse what is believed when they were heard last.
    agreed: bool,
}

impl GuardedWall {
    /// A clock that is believed as it is: there is nothing to compare it with.
    #[must_use]
    pub fn new(now: Now) -> Self {
        Self { offset: Offset::of(now), jumped: None, agreed: false }
    }

    /// What is believed.
    #[must_use]
    pub fn offset(&self) -> Offset {
        self.offset
    }

    /// How far the wall clock is ahead of what is used in its place, in milliseconds.
    #[must_use]
    pub fn held_back_ms(&self, now: Now) -> i64 {
        now.wall.offset_from(self.offset.guarded(now))
    }

    /// There are no peers any more that would have to agree.
    pub fn is_alone(&mut self) {
        self.agreed = false;
    }

    /// Looks at the clock, as is to be done every now and then; `ahead_ms` is how far the wall clock is ahead of the median
    /// of the peers, where there are any to compare it with.
    pub fn look(&mut self, now: Now, ahead_ms: Option<i64>) -> Option<Jump> {
        let offset = Offset::of(now);
        if offset.is_near(self.offset) {
            self.offset = offset;
            self.agreed = ahead_ms.map_or(self.agreed, |ms| !is_clock_refused(ms));
            return self.jumped.take().map(|_| Jump::Undone);
        }
        let by_ms = offset.0.saturating_sub(self.offset.0);
        let since = match self.jumped {
            Some((to, since)) if to.is_near(offset) => since,
            _ => {
                self.jumped = Some((offset, now.mono));
                return Some(Jump::Held { by_ms });
            }
        };
        self.jumped = Some((offset, since));
        let stayed = now.mono.since(since);
        let untold = ahead_ms.is_none() && self.agreed && is_clock_refused(by_ms);
        if untold || patience(by_ms, ahead_ms).is_none_or(|patience| stayed < patience) {
            return None;
        }
        *self = Self::new(now);
        Some(Jump::Followed)
    }
}

/// How long a jump has to stay before it is followed; `None`: it is not, as long as the peers say what they say.
fn patience(by_ms: i64, ahead_ms: Option<i64>) -> Option<Duration> {
    let Some(ahead) = ahead_ms else { return Some(WALL_JUMP_STAYS) };
    let (after, before) = (ahead, ahead.saturating_sub(by_ms));
    match (is_clock_refused(after), is_clock_refused(before)) {
        (true, false) => None,
        _ if after.unsigned_abs() < before.unsigned_abs() => Some(WALL_JUMP_AGREED),
        _ => Some(WALL_JUMP_STAYS),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: i64 = 3_600_000;
    const START: u64 = 1_000_000_000;

    /// So many milliseconds after the start, with a wall clock that is off by so many.
    fn at(ms: u64, off: i64) -> Now {
        let wall = Wall::from_millis((START + ms).saturating_add_signed(off));
        Now { mono: Instant::from_nanos(ms * 1_000_000), wall }
    }

    /// When a clock that jumped at 1 s is followed, where peers say this, looked at every 100 ms for two minutes.
    fn followed_after(off: i64, ahead_ms: Option<i64>) -> Option<u64> {
        let mut guard = GuardedWall::new(at(0, 0));
        assert_eq!(guard.look(at(1_000, off), ahead_ms), Some(Jump::Held { by_ms: off }));
        for ms in (1_100..=121_000).step_by(100) {
            match guard.look(at(ms, off), ahead_ms) {
                None => assert_eq!(guard.offset().guarded(at(ms, off)), at(ms, 0).wall),
                Some(jump) => {
                    assert_eq!((jump, guard.offset().guarded(at(ms, off))), (Jump::Followed, at(ms, off).wall));
                    return Some(ms - 1_000);
                }
            }
        }
        None
    }

    #[test]
    fn a_jump_that_does_not_stay_is_never_seen() {
        let mut guard = GuardedWall::new(at(0, 0));
        // Also by a read before the next look.
        assert_eq!(guard.offset().guarded(at(950, HOUR)), at(950, 0).wall);
        assert_eq!(guard.look(at(1_000, HOUR), None), Some(Jump::Held { by_ms: HOUR }));
        assert_eq!(guard.held_back_ms(at(1_000, HOUR)), HOUR);
        assert_eq!(guard.offset().guarded(at(2_000, HOUR)), at(2_000, 0).wall, "it goes on meanwhile");
        assert_eq!(guard.look(at(3_000, 10), None), Some(Jump::Undone));
        assert_eq!((guard.offset().guarded(at(3_100, 10)), guard.held_back_ms(at(3_100, 10))), (at(3_100, 10).wall, 0));
        assert_eq!(guard.look(at(40_000, 10), None), None);
    }

    #[test]
    fn a_correction_is_followed_once_it_has_stayed() {
        for off in [HOUR, -HOUR, 4_000] {
            assert_eq!(followed_after(off, None), Some(30_000));
            assert_eq!(followed_after(off, Some(0)), Some(5_000), "the peers say the same");
        }
        assert_eq!(followed_after(4_000, Some(4_000)), Some(30_000), "a little away from them is no fault");
        assert_eq!(followed_after(HOUR, Some(2 * HOUR)), Some(30_000), "it was of no use before either");
    }

    #[test]
    fn what_the_peers_refuse_is_not_followed_while_they_do() {
        assert_eq!(followed_after(HOUR, Some(HOUR)), None);
        assert_eq!(followed_after(-HOUR, Some(-HOUR)), None);
    }

    /// As in a start that has just begun, and after a cut that lasts.
    #[test]
    fn what_the_peers_would_refuse_is_not_followed_while_none_is_in_reach() {
        let held = |off: i64, last: Option<i64>, alone: bool| {
            let mut guard = GuardedWall::new(at(0, 0));
            guard.look(at(500, 0), last);
            if alone {
                guard.is_alone();
            }
            let looks = (1_000..=121_000).step_by(1_000).map(|ms| guard.look(at(ms, off), None));
            !looks.collect::<alloc::vec::Vec<_>>().contains(&Some(Jump::Followed))
        };
        assert!(held(HOUR, Some(300), false) && held(-HOUR, Some(300), false));
        assert!(!held(10_000, Some(300), false), "they would not refuse it");
        assert!(!held(HOUR, Some(-HOUR), false), "it was of no use before");
        assert!(!held(HOUR, None, false) && !held(HOUR, Some(300), true), "there are none");
    }

    #[test]
    fn a_clock_that_jumps_again_has_to_stay_anew() {
        let mut guard = GuardedWall::new(at(0, 0));
        assert_eq!(guard.look(at(1_000, HOUR), None), Some(Jump::Held { by_ms: HOUR }));
        assert_eq!(guard.look(at(30_900, 2 * HOUR), None), Some(Jump::Held { by_ms: 2 * HOUR }));
        assert_eq!(guard.look(at(31_100, 2 * HOUR), None), None);
        assert_eq!(guard.look(at(60_900, 2 * HOUR), None), Some(Jump::Followed));
    }

    #[test]
    fn a_clock_that_is_slewed_or_slept_is_followed_at_once() {
        let mut guard = GuardedWall::new(at(0, 0));
        for second in 1..1_000u64 {
            let now = at(second * 1_000, i64::try_from(second).unwrap() * 5);
            assert_eq!((guard.look(now, None), guard.offset().guarded(now)), (None, now.wall));
        }
        // Both clocks went on while the machine was suspended.
        let now = at(90_000_000, 5_000);
        assert_eq!((guard.offset().guarded(now), guard.look(now, None)), (now.wall, None));
    }
}
