//! What a run may do.

use ekka_core::rng::Rng;
use ekka_core::table::{Ack, Faults, Storage};

/// What becomes of what several nodes write for one key.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Rule {
    /// The last writer has it.
    Last,
    /// Each has added an element to a bag.
    Union,
    /// Each has added to a counter.
    Sum,
    /// Each has raised a value.
    Max,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Plan {
    pub(crate) seed: u64,
    pub(crate) rule: Rule,
    pub(crate) nodes: usize,
    /// The last node is no member at first.
    pub(crate) newcomer: bool,
    pub(crate) storage: Storage,
    pub(crate) ack: Ack,
    pub(crate) keys: u64,
    pub(crate) steps: u64,
    pub(crate) deletes: bool,
    pub(crate) expiry: bool,
    pub(crate) cuts: bool,
    pub(crate) kills: bool,
    pub(crate) cleans: bool,
    /// Logs are cut short, so that there are full copies.
    pub(crate) short_logs: bool,
    /// Clocks are off by up to so many milliseconds.
    pub(crate) skew_ms: u64,
    pub(crate) faults: Faults,
}

impl Plan {
    pub(crate) fn from_seed(seed: u64, faults: Faults) -> Self {
        let mut rng = Rng::new(seed ^ 0x7ab1e);
        let mut often = |of: u64| rng.below(of) != 0;
        let (deletes, expiry, cuts) = (often(4), !often(4), often(4));
        let (kills, cleans, short_logs) = (often(3), often(3), often(2));
        let disc = often(3);
        let disc = !disc;
        let (newcomer, two) = (!often(4), often(3));
        Self {
            seed,
            rule: Rule::Last,
            nodes: 3 + rng.index(2),
            newcomer,
            storage: if disc { Storage::Disc } else { Storage::Ram },
            ack: if two { Ack::Two } else { Ack::All },
            keys: 1 + rng.below(3),
            steps: 150 + rng.below(450),
            deletes,
            expiry,
            cuts,
            kills,
            cleans: cleans && cuts,
            short_logs,
            skew_ms: [0, 200, 20_000][rng.index(3)],
            faults,
        }
    }

    /// The same for a table of which several rows make what a key has.
    pub(crate) fn of_parts(seed: u64, rule: Rule, faults: Faults) -> Self {
        let plan = Self::from_seed(seed ^ 0x009a_7275, faults);
        // Fewer steps: each of them makes more rows.
        Self { rule, steps: plan.steps / 2, ..plan }
    }
}
