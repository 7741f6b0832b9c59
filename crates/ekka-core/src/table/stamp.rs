//! Hybrid logical clocks: stamps that follow the wall clock, never fall, and lie above everything that was seen.
//!
//! Kulkarni, Demirbas, Madappa, Avva, Leone, *Logical Physical Clocks* (2014). A stamp that is given or accepted lies
//! below a *bound* which is on disc, so that the next start of this node, also one that forgot its rows, begins above
//! all that this one saw (schedule M5).

use core::fmt;

use serde::{Deserialize, Serialize};

use crate::id::Incarnation;
use crate::limits::{CLOCK_REFUSE, STAMP_BOUND_CLOCKS, STAMP_BOUND_LEAD, STAMP_BOUND_SHARES, STAMP_BOUND_STEP};
use crate::time::Wall;

const COUNTER_BITS: u32 = 16;

fn millis(duration: core::time::Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// A time of a hybrid logical clock: milliseconds in the upper 48 bits, a counter in the lower 16.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Hlc(u64);

impl Hlc {
    /// Below every stamp that is ever given.
    pub const ZERO: Self = Self(0);

    /// The first stamp of a millisecond.
    #[must_use]
    pub const fn at(wall: Wall) -> Self {
        Self(wall.as_millis() << COUNTER_BITS)
    }

    /// The stamp that these bits say.
    #[must_use]
    pub const fn from_bits(bits: u64) -> Self {
        Self(bits)
    }

    /// The bits.
    #[must_use]
    pub const fn bits(self) -> u64 {
        self.0
    }

    /// The wall clock in it.
    #[must_use]
    pub const fn wall(self) -> Wall {
        Wall::from_millis(self.0 >> COUNTER_BITS)
    }

    const fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }
}

impl fmt::Debug for Hlc {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.0 >> COUNTER_BITS, self.0 & ((1 << COUNTER_BITS) - 1))
    }
}

/// When a version was written, and by whom: all versions of a key are ordered by this.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default, Serialize, Deserialize)]
pub struct Stamp {
    /// When.
    pub hlc: Hlc,
    /// Who, which breaks ties; `None` is below everybody.
    pub origin: Option<Incarnation>,
}

/// Why no stamp could be given, or one was not accepted.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StampError {
    /// The bound on disc is reached; it is being raised.
    #[error("the bound of stamps on disc is reached; try again when it is raised")]
    BoundReached,
    /// The stamp, or this node's clock, is too far ahead of the median of the peers' clocks.
    #[error("a stamp is {ahead_ms} ms ahead of the clock of the peers; at most 60 s are taken")]
    TooFarAhead {
        /// How far.
        ahead_ms: u64,
    },
}

/// This node's wall clock among those of its peers.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct PeerClocks {
    /// How far it is ahead of their median, in milliseconds.
    pub ahead_ms: i64,
    /// How far the one that is furthest ahead is ahead of it.
    pub furthest_ms: u64,
    /// Whether it was compared with any.
    pub compared: bool,
}

/// The clock of one table.
#[derive(Clone, Debug)]
pub struct HybridClock {
    last: Hlc,
    /// All stamps given or accepted lie below it.
    bound: Hlc,
    /// The highest foreign stamp that only the bound kept from being accepted.
    waiting: Hlc,
    peers: PeerClocks,
}

impl HybridClock {
    /// A clock of a new start; `bound` is what the start before it left on disc, or zero.
    #[must_use]
    pub fn new(bound: Hlc) -> Self {
        Self { last: bound, bound, waiting: Hlc::ZERO, peers: PeerClocks::default() }
    }

    /// The shell has this bound on disc.
    pub fn bound_is(&mut self, bound: Hlc) {
        self.bound = self.bound.max(bound);
    }

    /// What the clocks of the peers say.
    pub fn peers_are(&mut self, peers: PeerClocks) {
        self.peers = peers;
    }

    /// The bound that is to be brought to disc now; `None` while there is room up to the present one.
    ///
    /// The next start begins at it, and the others follow that start. So it lies far ahead of the wall clock, which comes
    /// after, but only a little ahead of a stamp that is itself ahead of the clock: otherwise each of many starts in a row
    /// would go further ahead than the one before, until no stamp is taken any more. Where a *clock* is ahead, and not only
    /// stamps, it lies ahead of that one, or each tenth of a second that is stamped there would take a sync. It follows no
    /// clock to where nothing may be stamped, and none further away from the own one than a start can begin: what the peers
    /// say may be of before a jump, or wrong.
    #[must_use]
    pub fn wanted_bound(&self, wall: Wall) -> Option<Hlc> {
        let top = self.last.max(self.waiting).wall().as_millis();
        let (median, most) = (self.median(wall), self.refused_above(wall));
        let wall = wall.as_millis();
        let furthest = wall.saturating_add(self.peers.furthest_ms.min(millis(STAMP_BOUND_CLOCKS)));
        let furthest = furthest.min(median.saturating_add(millis(STAMP_BOUND_CLOCKS)));
        let clock = wall.max(furthest).min(most);
        let at = |share| {
            let ahead = |step| millis(step) / STAMP_BOUND_SHARES * share;
            let by_wall = clock.saturating_add(ahead(STAMP_BOUND_STEP));
            by_wall.max(top.saturating_add(ahead(STAMP_BOUND_LEAD)))
        };
        let low = self.bound.wall().as_millis() < at(STAMP_BOUND_SHARES - 1);
        low.then(|| Hlc::at(Wall::from_millis(at(STAMP_BOUND_SHARES))))
    }

    /// A new stamp, above all that were given or accepted.
    ///
    /// # Errors
    /// See [`StampError`]. A retry is right once the bound is raised, or the clock set.
    pub fn stamp(&mut self, wall: Wall) -> Result<Hlc, StampError> {
        let next = Hlc::at(wall).max(self.last.next());
        self.ahead(next, wall)?;
        if next >= self.bound {
            return Err(StampError::BoundReached);
        }
        self.last = next;
        Ok(next)
    }

    /// Takes note of a foreign stamp, which later ones of this node will be above.
    ///
    /// # Errors
    /// See [`StampError`]. Where only the bound is in the way, the next one that is wanted is above it.
    pub fn accept(&mut self, hlc: Hlc, wall: Wall) -> Result<(), StampError> {
        if hlc <= self.last {
            return Ok(());
        }
        self.ahead(hlc, wall)?;
        if hlc >= self.bound {
            self.waiting = self.waiting.max(hlc);
            return Err(StampError::BoundReached);
        }
        self.last = hlc;
        Ok(())
    }

    /// The wall clock, or the latest time that the peers do not refuse.
    pub(super) fn latest(&self, wall: Wall) -> Wall {
        wall.min(Wall::from_millis(self.refused_above(wall)))
    }

    /// Whether the wall clock was compared with those of peers.
    pub(super) fn is_compared(&self) -> bool {
        self.peers.compared
    }

    /// The highest stamp given or accepted.
    #[must_use]
    pub fn last(&self) -> Hlc {
        self.last
    }

    /// The bound that is known to be on disc.
    #[must_use]
    pub fn bound(&self) -> Hlc {
        self.bound
    }

    /// Of the clocks of the peers.
    fn median(&self, wall: Wall) -> u64 {
        wall.as_millis().saturating_add_signed(self.peers.ahead_ms.saturating_neg())
    }

    /// The last millisecond that the peers do not refuse.
    fn refused_above(&self, wall: Wall) -> u64 {
        self.median(wall).saturating_add(millis(CLOCK_REFUSE))
    }

    fn ahead(&self, hlc: Hlc, wall: Wall) -> Result<(), StampError> {
        let ahead_ms = hlc.wall().as_millis().saturating_sub(self.median(wall));
        if ahead_ms > millis(CLOCK_REFUSE) { Err(StampError::TooFarAhead { ahead_ms }) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wall(ms: u64) -> Wall {
        Wall::from_millis(ms)
    }

    fn clock(at: u64) -> HybridClock {
        let mut clock = HybridClock::new(Hlc::ZERO);
        let bound = clock.wanted_bound(wall(at)).unwrap();
        clock.bound_is(bound);
        clock
    }

    #[test]
    fn stamps_grow_although_the_clock_stands_or_falls() {
        let mut clock = clock(1_000);
        let first = clock.stamp(wall(1_000)).unwrap();
        let second = clock.stamp(wall(1_000)).unwrap();
        let third = clock.stamp(wall(900)).unwrap();
        assert!(first < second && second < third);
        assert_eq!(third.wall(), wall(1_000));
    }

    #[test]
    fn a_stamp_is_above_what_was_accepted() {
        let mut clock = clock(1_000);
        clock.accept(Hlc::at(wall(1_500)), wall(1_000)).unwrap();
        assert!(clock.stamp(wall(1_000)).unwrap() > Hlc::at(wall(1_500)));
    }

    #[test]
    fn m5_a_new_start_begins_above_all_that_the_one_before_it_saw() {
        let mut clock = clock(1_000);
        clock.accept(Hlc::at(wall(8_000)), wall(1_000)).unwrap();
        let mut next = HybridClock::new(clock.bound());
        next.bound_is(next.wanted_bound(wall(2_000)).unwrap());
        assert!(next.stamp(wall(2_000)).unwrap() > Hlc::at(wall(8_000)));
    }

    #[test]
    fn nothing_is_stamped_above_the_bound_or_a_minute_ahead_of_the_peers() {
        let mut clock = clock(1_000);
        assert_eq!(clock.stamp(wall(12_000)), Err(StampError::BoundReached));
        assert_eq!(clock.accept(Hlc::at(wall(62_000)), wall(1_000)), Err(StampError::TooFarAhead { ahead_ms: 61_000 }));
        clock.peers_are(PeerClocks { ahead_ms: 60_500, ..PeerClocks::default() });
        assert_eq!(clock.stamp(wall(1_000_000)), Err(StampError::TooFarAhead { ahead_ms: 60_500 }));
    }

    #[test]
    fn the_bound_is_raised_before_it_is_reached() {
        let clock = clock(100_000);
        assert_eq!(clock.wanted_bound(wall(102_000)), None);
        assert_eq!(clock.wanted_bound(wall(102_001)), Some(Hlc::at(wall(110_001))));
    }

    /// Who begins at its bound is ahead of the clock; the others follow it, and begin at theirs.
    #[test]
    fn starts_in_a_row_do_not_run_ahead_of_the_clock() {
        let mut clocks = [(); 3].map(|()| clock(100_000));
        let (mut now, mut ahead) = (100_000, 0);
        for start in 0..2_000 {
            now += 500;
            let started = start % 3;
            clocks[started] = HybridClock::new(clocks[started].bound());
            for writer in [started, (started + 1) % 3] {
                for clock in &mut clocks {
                    if let Some(bound) = clock.wanted_bound(wall(now)) {
                        clock.bound_is(bound);
                    }
                }
                let given = clocks[writer].stamp(wall(now)).expect("a bound that was just raised");
                for clock in &mut clocks {
                    if clock.accept(given, wall(now)) == Err(StampError::BoundReached) {
                        clock.bound_is(clock.wanted_bound(wall(now)).expect("it waits for it"));
                        clock.accept(given, wall(now)).expect("above it");
                    }
                }
                ahead = ahead.max(given.wall().as_millis() - now);
            }
        }
        assert!((1_000..9_000).contains(&ahead), "{ahead} ms");
    }

    /// Syncs of the bound in ten seconds in which a peer stamps whose clock is so far ahead, and how far ahead it gets.
    fn syncs_beside(clock_ahead_ms: u64, peers: PeerClocks) -> (u32, u64) {
        let mut clock = clock(100_000);
        clock.peers_are(peers);
        let (mut syncs, mut ahead) = (0, 0);
        for now in (100_000..110_000).step_by(20) {
            let _ = clock.accept(Hlc::at(wall(now + clock_ahead_ms)), wall(now));
            if let Some(bound) = clock.wanted_bound(wall(now)) {
                clock.bound_is(bound);
                (syncs, ahead) = (syncs + 1, ahead.max(bound.wall().as_millis() - now));
            }
        }
        (syncs, ahead)
    }

    #[test]
    fn a_clock_that_is_ahead_is_followed_with_a_few_syncs() {
        for furthest_ms in [9_000, 20_000, 50_000] {
            let (syncs, ahead) = syncs_beside(furthest_ms, PeerClocks { furthest_ms, ..PeerClocks::default() });
            assert!(syncs < 10 && ahead <= furthest_ms + 8_000, "{syncs} syncs, {ahead} ms ahead");
        }
        let (_, ahead) = syncs_beside(50_000, PeerClocks { furthest_ms: 3_600_000, ..PeerClocks::default() });
        assert!(ahead <= 58_000, "the start that begins there can write: {ahead} ms ahead");
    }

    #[test]
    fn a_clock_that_is_refused_leaves_no_bound_behind() {
        let mut clock = HybridClock::new(Hlc::ZERO);
        clock.peers_are(PeerClocks { ahead_ms: 3_600_000, ..PeerClocks::default() });
        assert_eq!(clock.wanted_bound(wall(5_000_000)), Some(Hlc::at(wall(1_468_000))));
    }

    /// All clocks jumped and the guard holds the own one back, or a newcomer's is a year ahead.
    #[test]
    fn peers_that_are_far_ahead_leave_no_bound_at_which_the_next_start_cannot_write() {
        let mut clock = HybridClock::new(Hlc::ZERO);
        clock.peers_are(PeerClocks { ahead_ms: -3_600_000, furthest_ms: 3_600_000, compared: true });
        clock.bound_is(clock.wanted_bound(wall(1_000_000)).unwrap());
        let mut next = HybridClock::new(clock.bound());
        next.bound_is(next.wanted_bound(wall(1_001_000)).unwrap());
        assert!(next.stamp(wall(1_001_000)).is_ok(), "{:?}", clock.bound());
    }

    #[test]
    fn a_peer_whose_clock_is_ahead_is_followed_once_the_bound_is_raised() {
        let mut clock = clock(100_000);
        let theirs = Hlc::at(wall(130_000));
        assert_eq!(clock.accept(theirs, wall(100_000)), Err(StampError::BoundReached));
        clock.bound_is(clock.wanted_bound(wall(100_000)).unwrap());
        assert_eq!(clock.accept(theirs, wall(100_000)), Ok(()));
    }
}
