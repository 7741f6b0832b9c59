//! What is refused for its stamp stays missing, and is not asked for again without a pause.
//!
//! Until the clock of this node has caught up, or its bound is raised, whoever gave it would give the same again, over and
//! over, and in the end full copies of it. So an origin of which an operation was refused is no reason to pull for a while
//! that grows, nor is one whose next operation replaced what was refused; and no copy is asked of who gave one in vain.

use alloc::collections::BTreeMap;
use core::time::Duration;

use super::vector::OriginIndex;
use crate::id::Incarnation;
use crate::limits::{TABLE_REFUSED_PAUSE, TABLE_REFUSED_PAUSE_MAX};
use crate::time::Instant;

/// How long something is left alone.
#[derive(Clone, Copy, Debug)]
struct Pause {
    length: Duration,
    until: Instant,
}

impl Pause {
    /// The next one after another that is over; `None` where it is not.
    fn after(before: Option<Self>, now: Instant) -> Option<Self> {
        let length = match before {
            None => TABLE_REFUSED_PAUSE,
            Some(before) if now < before.until => return None,
            Some(before) => (before.length * 2).min(TABLE_REFUSED_PAUSE_MAX),
        };
        Some(Self { length, until: now + length })
    }
}

/// An origin that is left alone.
#[derive(Clone, Copy, Debug)]
struct Refused {
    pause: Pause,
    /// The origin whose operation was refused: itself, or that of what its own replaced.
    root: OriginIndex,
    /// Who sent it.
    from: Incarnation,
    /// Only the bound of stamps is in the way.
    by_bound: bool,
}

/// All that is left alone for a while.
#[derive(Clone, Debug, Default)]
pub(super) struct PutOff {
    origins: BTreeMap<OriginIndex, Refused>,
    givers: BTreeMap<Incarnation, Pause>,
}

impl PutOff {
    /// An operation was refused; whether that is news.
    pub(super) fn refused(&mut self, root: OriginIndex, from: Incarnation, by_bound: bool, now: Instant) -> bool {
        let before = self.origins.get(&root).filter(|refused| refused.root == root);
        let next = Pause::after(before.map(|refused| refused.pause), now);
        // Within a pause another thing may come in the way, or the same by another peer.
        if let Some(pause) = next.or(before.map(|refused| refused.pause)) {
            self.origins.insert(root, Refused { pause, root, from, by_bound });
        }
        next.is_some()
    }

    /// Whether an operation that came too early did so since one was refused that has to come before it: of its own
    /// origin, or of that of the version which it replaced.
    pub(super) fn waits(&mut self, origin: OriginIndex, replaced: Option<OriginIndex>, now: Instant) -> bool {
        if self.is_put_off(origin, now) {
            return true;
        }
        let Some(cause) = replaced.and_then(|replaced| self.origins.get(&replaced)) else { return false };
        if now >= cause.pause.until {
            return false;
        }
        self.origins.insert(origin, *cause);
        true
    }

    /// Whether an origin is left alone.
    pub(super) fn is_put_off(&self, origin: OriginIndex, now: Instant) -> bool {
        self.origins.get(&origin).is_some_and(|refused| now < refused.pause.until)
    }

    /// An operation was applied: what waited for more of its origin waits no longer.
    pub(super) fn applied(&mut self, origin: OriginIndex) {
        if !self.origins.is_empty() {
            self.origins.retain(|waits, refused| *waits != origin && refused.root != origin);
        }
    }

    /// The bound was raised: who sent what it kept out.
    pub(super) fn bound_raised(&mut self) -> impl Iterator<Item = Incarnation> {
        let bounded = self.origins.extract_if(.., |_, refused| refused.by_bound);
        bounded.map(|(_, refused)| refused.from).collect::<alloc::collections::BTreeSet<_>>().into_iter()
    }

    /// A copy was refused.
    pub(super) fn copy_refused(&mut self, giver: Incarnation, now: Instant) {
        let pause = Pause::after(self.givers.get(&giver).copied(), now);
        self.givers.extend(pause.map(|pause| (giver, pause)));
    }

    /// A copy is taken.
    pub(super) fn copy_taken(&mut self, giver: Incarnation) {
        self.givers.remove(&giver);
    }

    /// Whether nothing is asked of a peer, since it would end in a copy that is refused.
    pub(super) fn spares(&self, giver: Incarnation, now: Instant) -> bool {
        self.givers.get(&giver).is_some_and(|pause| now < pause.until)
    }

    /// A start that is over gives nothing any more.
    pub(super) fn forget(&mut self, giver: Incarnation) {
        self.givers.retain(|id, _| id.node_id != giver.node_id || id.guid > giver.guid);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::{Guid, NodeId};

    const A: OriginIndex = OriginIndex(0);
    const B: OriginIndex = OriginIndex(1);
    const C: OriginIndex = OriginIndex(2);

    fn at(ms: u64) -> Instant {
        Instant::from_nanos(ms * 1_000_000)
    }

    fn peer() -> Incarnation {
        Incarnation { node_id: NodeId::from_u128(1), guid: Guid::from_u128(1) }
    }

    #[test]
    fn pauses_double_up_to_half_a_minute_and_begin_anew_when_something_is_applied() {
        let mut put_off = PutOff::default();
        let said: alloc::vec::Vec<u64> =
            (0..130).filter(|s| put_off.refused(A, peer(), false, at(s * 1_000))).collect();
        assert_eq!(said, [0, 1, 3, 7, 15, 31, 61, 91, 121]);
        assert!(put_off.is_put_off(A, at(150_999)) && !put_off.is_put_off(A, at(151_000)));
        put_off.applied(A);
        assert!(put_off.refused(A, peer(), false, at(140_000)));
        assert!(!put_off.is_put_off(A, at(141_000)));
    }

    #[test]
    fn what_waits_for_what_was_refused_waits_as_long() {
        let mut put_off = PutOff::default();
        assert!(!put_off.waits(B, Some(A), at(0)), "nothing was refused");
        put_off.refused(A, peer(), false, at(0));
        assert!(
            put_off.waits(A, None, at(10)) && put_off.waits(B, Some(A), at(10)) && put_off.waits(C, Some(B), at(20))
        );
        assert!(!put_off.waits(B, Some(A), at(1_000)), "it is time to ask");
        put_off.refused(A, peer(), false, at(1_000));
        assert!(put_off.waits(C, Some(A), at(2_000)));
        put_off.applied(A);
        assert!(![A, B, C].iter().any(|origin| put_off.is_put_off(*origin, at(2_000))));
    }

    #[test]
    fn a_raised_bound_ends_what_it_caused() {
        let mut put_off = PutOff::default();
        put_off.refused(A, peer(), true, at(0));
        put_off.refused(B, peer(), false, at(0));
        assert_eq!(put_off.bound_raised().collect::<alloc::vec::Vec<_>>(), [peer()]);
        assert!(!put_off.is_put_off(A, at(1)) && put_off.is_put_off(B, at(1)));
    }

    #[test]
    fn what_is_in_the_way_may_change_within_a_pause() {
        let mut put_off = PutOff::default();
        assert!(put_off.refused(A, peer(), false, at(0)) && !put_off.refused(A, peer(), true, at(500)));
        assert_eq!(put_off.bound_raised().collect::<alloc::vec::Vec<_>>(), [peer()]);
        assert!(!put_off.is_put_off(A, at(501)));
    }

    #[test]
    fn who_gave_a_copy_in_vain_is_spared() {
        let mut put_off = PutOff::default();
        put_off.copy_refused(peer(), at(0));
        put_off.copy_refused(peer(), at(1_500));
        assert!(put_off.spares(peer(), at(3_499)) && !put_off.spares(peer(), at(3_500)));
        put_off.copy_taken(peer());
        assert!(!put_off.spares(peer(), at(1_600)));
    }
}
