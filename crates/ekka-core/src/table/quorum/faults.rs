//! Faults put in on purpose, so that a test can show that it sees them.

/// All off in production.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Faults {
    /// Versions of rows that were read are not checked.
    pub reads_unchecked: bool,
    /// Ranges that were read are not checked.
    pub ranges_unchecked: bool,
    /// A transaction that conflicts still writes its first row.
    pub half_applied: bool,
}
