//! The one place where a test waits.

use std::thread;
use std::time::{Duration, Instant};

/// How often a condition is looked at. Short against the second that the strictest promise allows, long against the
/// few milliseconds of CPU that asking every node costs on a small machine.
const INTERVAL: Duration = Duration::from_millis(25);

/// Looks until the condition gives a value, and how long that took; or what it said last when the limit is over.
///
/// # Errors
/// The limit is over; the text is that of the last look.
pub(crate) fn until<T>(
    limit: Duration,
    mut condition: impl FnMut() -> Result<T, String>,
) -> Result<(T, Duration), String> {
    let start = Instant::now();
    loop {
        match condition() {
            Ok(value) => return Ok((value, start.elapsed())),
            Err(seen) if start.elapsed() >= limit => return Err(format!("{seen} (after {:.1?})", start.elapsed())),
            Err(_) => thread::sleep(INTERVAL),
        }
    }
}

/// Looks for the whole time, and stops at the first look that finds the rule broken.
///
/// # Errors
/// What was found.
pub(crate) fn throughout(time: Duration, mut rule: impl FnMut() -> Result<(), String>) -> Result<(), String> {
    let start = Instant::now();
    while start.elapsed() < time {
        rule().map_err(|seen| format!("{seen} (after {:.1?})", start.elapsed()))?;
        thread::sleep(INTERVAL);
    }
    Ok(())
}

/// Leaves the machine to others between two steps of a load. It is no way to wait for something.
pub(crate) fn pace(time: Duration) {
    thread::sleep(time);
}
