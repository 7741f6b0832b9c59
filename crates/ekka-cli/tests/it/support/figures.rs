//! How often a claim is tried, and the figures that come of it.
//!
//! CI tries a few rounds; `EKKA_SOAK` (set by `cargo xtask soak`) the number of the claim; `EKKA_ROUNDS` any number.

use std::time::Duration;

/// CI shares its machine with others: there a figure may be this many times its target. With `EKKA_SOAK` it may not.
const CI_SLACK: u32 = 3;

/// Whether the full numbers are wanted.
pub(crate) fn soak() -> bool {
    std::env::var_os("EKKA_SOAK").is_some_and(|value| !value.is_empty())
}

/// Rounds of one claim.
pub(crate) fn rounds(ci: u32, full: u32) -> u32 {
    match std::env::var("EKKA_ROUNDS") {
        Ok(text) => text.parse().unwrap_or_else(|_| panic!("EKKA_ROUNDS: `{text}` is no whole number")),
        Err(_) if soak() => full,
        Err(_) => ci,
    }
}

/// How long one claim is watched.
pub(crate) fn duration(ci: Duration, full: Duration) -> Duration {
    if soak() { full } else { ci }
}

/// Times of one kind, to be printed and held against their target.
pub(crate) struct Figures {
    what: String,
    target: Duration,
    times: Vec<Duration>,
}

impl Figures {
    /// Nothing measured yet.
    pub(crate) fn new(what: impl Into<String>, target: Duration) -> Self {
        Self { what: what.into(), target, times: Vec::new() }
    }

    /// How long a single round may take at all before it counts as stuck.
    pub(crate) fn limit(&self) -> Duration {
        self.target * 10
    }

    /// One more.
    pub(crate) fn add(&mut self, time: Duration) {
        self.times.push(time);
    }

    /// Prints the figures and asserts that the median keeps the target.
    pub(crate) fn assert_median(mut self) {
        let median = self.print();
        self.assert("median", median);
    }

    /// Prints the figures and asserts that every single one keeps the target.
    pub(crate) fn assert_each(mut self) {
        self.print();
        let worst = *self.times.last().expect("print has seen at least one");
        self.assert("longest", worst);
    }

    /// Prints the figures; the limit of each round is all that is asked of them.
    pub(crate) fn print_only(mut self) {
        self.print();
    }

    fn print(&mut self) -> Duration {
        assert!(!self.times.is_empty(), "{}: nothing was measured", self.what);
        self.times.sort();
        let count = self.times.len();
        let median = self.times[count / 2];
        println!(
            "FIGURE {}: {count} rounds, shortest {:.2?}, median {median:.2?}, longest {:.2?}, target {:.2?}",
            self.what,
            self.times[0],
            self.times[count - 1],
            self.target
        );
        median
    }

    fn assert(&self, which: &str, time: Duration) {
        let allowed = if soak() { self.target } else { self.target * CI_SLACK };
        assert!(time <= allowed, "{}: {which} {time:.2?} is above {allowed:.2?}", self.what);
    }
}
