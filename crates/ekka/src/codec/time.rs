//! Wall-clock time as text.

use std::time::{Duration, UNIX_EPOCH};

use ekka_core::time::Wall;

/// The last millisecond of the year 9999: what RFC 3339 can write.
const LAST: u64 = 253_402_300_799_999;

/// A moment as RFC 3339 in UTC with milliseconds; later than the year 9999 is cut to it.
pub(crate) fn rfc3339(wall: Wall) -> String {
    let since_epoch = Duration::from_millis(wall.as_millis().min(LAST));
    humantime::format_rfc3339_millis(UNIX_EPOCH + since_epoch).to_string()
}
