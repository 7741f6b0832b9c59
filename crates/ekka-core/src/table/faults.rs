//! Faults put in on purpose, so that a test can show that the harness sees them.

/// All off in production.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Faults {
    /// An operation counts although an earlier one of its origin is not held (S1-11).
    pub gap_counts: bool,
    /// An operation is applied although the version that it replaced is not held (S2-11).
    pub replaced_unseen: bool,
    /// What loses is not put in the journal (S2-11).
    pub no_journal: bool,
    /// A tombstone is dropped as soon as every member has it, whatever else they report (M1).
    pub drops_early: bool,
    /// A tombstone is dropped when all members that are connected have it (S1-10).
    pub drops_without_the_down: bool,
    /// The verdict on what a cleaned member gives is not passed on (M2).
    pub verdict_local: bool,
    /// What was dropped is not remembered (S1-10).
    pub no_floor: bool,
    /// A member that came back gives only what it wrote itself (S1-10).
    pub gives_own_only: bool,
    /// A full copy does not carry the journal (M4a).
    pub copy_without_journal: bool,
    /// A full copy is merged row by row, without the vectors (M4b).
    pub copy_by_rows: bool,
    /// A full copy replaces what was there (M4c).
    pub copy_replaces: bool,
    /// What a full copy covers counts from its beginning.
    pub copy_counts_early: bool,
    /// The bound of stamps on disc is not looked at (M5).
    pub bound_forgotten: bool,
    /// An origin that is over is folded by what was last known (M6a).
    pub folds_by_last_known: bool,
    /// Nothing of an origin that is folded is taken from a member that came back (M6b).
    pub fold_is_closed: bool,
    /// `disc`: what is not synced counts as stored.
    pub unsynced_counts: bool,
    /// A peer that is up counts as a copy before it has said that it has one.
    pub unheard_counts: bool,
    /// `quorum`: a read does not ask a majority first.
    pub reads_stale: bool,
    /// No fault, but what is rare made frequent: the log keeps few operations, so that there are full copies.
    pub short_log: bool,
    /// An expired row is dropped at once, as if no older version could be on its way.
    pub expired_dropped: bool,
    /// An operation of another node counts, and is not in the rows: what digests are for.
    pub counts_unmerged: bool,
    /// A counter's part belongs to a node, not to one start of it.
    pub part_per_node: bool,
    /// A bag's element is named by its value, not by the operation that added it.
    pub element_by_value: bool,
}
