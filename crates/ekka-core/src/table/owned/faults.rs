//! Faults put in on purpose, so that a test can show that it sees them.

/// All off in production.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct OwnedFaults {
    /// Rows are taken from whoever sends them, whatever the roster says (M9).
    pub takes_of_the_gone: bool,
    /// The rows of an incarnation stay until a later one brings its own.
    pub keeps_of_the_gone: bool,
    /// Rows that come as a whole are put over those held: what was deleted meanwhile stays.
    pub state_merges: bool,
    /// What comes as a whole counts from its beginning.
    pub state_counts_early: bool,
    /// Watchers are not told that rows came as a whole.
    pub state_untold: bool,
    /// What was sent counts as held.
    pub sent_counts: bool,
    /// Of a node that leaves while it is hidden watchers do not hear that it is hidden no more.
    pub leaves_hidden: bool,
    /// Rows of an owner that is down are shown again as soon as it writes.
    pub writing_shows: bool,
}
