//! Wall-clock time as the contract writes it.

use ekka_core::time::Wall;

use crate::codec::time;

/// A moment as RFC 3339 in UTC with milliseconds: `2026-11-23T02:13:07.120Z`. Later than the year 9999 is cut to it.
#[must_use]
pub fn rfc3339(wall: Wall) -> String {
    time::rfc3339(wall)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_utc_with_milliseconds_and_never_panic() {
        assert_eq!(rfc3339(Wall::from_millis(0)), "1970-01-01T00:00:00.000Z");
        assert_eq!(rfc3339(Wall::from_millis(1_795_399_987_120)), "2026-11-23T02:13:07.120Z");
        assert_eq!(rfc3339(Wall::from_millis(u64::MAX)), "9999-12-31T23:59:59.999Z");
    }
}
