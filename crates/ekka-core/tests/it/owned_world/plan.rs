//! What a run may do.

use ekka_core::rng::Rng;
use ekka_core::table::OwnedFaults;

#[derive(Clone, Copy, Debug)]
pub(crate) struct Plan {
    pub(crate) seed: u64,
    pub(crate) nodes: usize,
    /// The last node is no member at first.
    pub(crate) newcomer: bool,
    pub(crate) keys: u64,
    pub(crate) steps: u64,
    pub(crate) deletes: bool,
    /// Operations of many rows, and deletions of all that an owner has.
    pub(crate) bulk: bool,
    /// Rows so long that all rows of an owner are several messages.
    pub(crate) long: bool,
    pub(crate) cuts: bool,
    pub(crate) kills: bool,
    /// Starts are declared over while they run, and nodes are removed.
    pub(crate) ends: bool,
    /// Logs are cut short, so that rows come as a whole.
    pub(crate) short_logs: bool,
    /// Nodes are seen as down which are not.
    pub(crate) suspicions: bool,
    pub(crate) faults: OwnedFaults,
}

impl Plan {
    pub(crate) fn from_seed(seed: u64, faults: OwnedFaults) -> Self {
        let mut rng = Rng::new(seed ^ 0x000a_11ed);
        let mut often = |of: u64| rng.below(of) != 0;
        let (newcomer, deletes, bulk, long) = (!often(4), often(4), often(2), !often(16));
        let (cuts, kills, ends) = (often(4), often(3), often(3));
        let (short_logs, suspicions) = (often(2), often(2));
        Self {
            seed,
            nodes: 2 + rng.index(3),
            newcomer,
            keys: 1 + rng.below(6),
            steps: 150 + rng.below(350),
            deletes,
            bulk,
            long,
            cuts,
            kills,
            ends,
            short_logs,
            suspicions,
            faults,
        }
    }
}
