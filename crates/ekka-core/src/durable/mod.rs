//! The durable group's record and who drives it.

pub mod absorb;
mod cluster;
pub mod command;
mod members;
pub mod outcome;
mod state;
pub mod voters;

pub use command::{Admission, Command, Entry, Founder, Generation, Proof, Recovery, Removal, Why};
pub use outcome::{Change, Gave, Outcome, Refusal};
pub use state::{Forgotten, Member, Record};

/// Faults put in on purpose, so that a test can show that it sees them. All off in production.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Faults {
    /// Generations are taken without compare-and-set.
    pub generations_unchecked: bool,
    /// Admissions from an absorbed cluster do not raise the token ceiling.
    pub chain_ceilings_ignored: bool,
    /// Only the first record of a chain is followed.
    pub merging_not_followed: bool,
}
