//! A value with what is known of its row; times of rows.

use std::time::{Duration, SystemTime};

use ekka_core::time::Wall;

/// A value, and what is known of its row.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct Stored<V> {
    /// The value.
    pub value: V,
    /// Which version it is, in words that are the same on all nodes.
    pub revision: String,
    /// When it was written, by the clock of the tables; `quorum` tables do not keep that.
    pub written: Option<SystemTime>,
    /// When it expires, if it does.
    pub expires_at: Option<SystemTime>,
}

impl<V> Stored<V> {
    pub(super) fn new(value: V, revision: String, written: Option<Wall>, expires_at: Option<Wall>) -> Self {
        Self { value, revision, written: written.and_then(time_of), expires_at: expires_at.and_then(time_of) }
    }
}

/// When a row expires.
#[derive(Clone, Copy, Debug)]
pub(super) enum Expiry {
    In(Duration),
    At(Wall),
}

impl Expiry {
    /// When that is, if it is written now.
    pub(super) fn from(self, now: Wall) -> Wall {
        match self {
            Self::In(ttl) => after(now, ttl),
            Self::At(wall) => wall,
        }
    }
}

/// The time that a wall clock shows; `None` where that is later than this system can say.
fn time_of(wall: Wall) -> Option<SystemTime> {
    SystemTime::UNIX_EPOCH.checked_add(Duration::from_millis(wall.as_millis()))
}

/// What a wall clock shows at a time.
pub(super) fn wall_of(time: SystemTime) -> Wall {
    let since = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    Wall::from_millis(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}

/// So long after a time.
pub(in crate::table) fn after(wall: Wall, ttl: Duration) -> Wall {
    let ttl = u64::try_from(ttl.as_millis()).unwrap_or(u64::MAX);
    Wall::from_millis(wall.as_millis().saturating_add(ttl))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_those_of_the_wall_clock_whatever_they_are() {
        let time = SystemTime::UNIX_EPOCH + Duration::from_millis(1_234_567);
        assert_eq!(time_of(wall_of(time)), Some(time));
        assert_eq!(wall_of(SystemTime::UNIX_EPOCH - Duration::from_secs(1)), Wall::from_millis(0));
        assert_eq!(after(Wall::from_millis(5), Duration::MAX), Wall::from_millis(u64::MAX));
        assert!(time_of(Wall::from_millis(u64::MAX)).is_none_or(|time| time > SystemTime::UNIX_EPOCH));
    }
}
