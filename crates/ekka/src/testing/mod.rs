//! What tests of this crate and of those that build on it share: conformance suites of the ports, and the worlds that
//! they run in. Behind the feature `testing`, which is off by default.

mod clock;
mod crashing;
mod failing;
pub mod group_net;
pub mod groups;
mod planted;
pub mod suite;

pub use clock::RuntimeClock;
pub use crashing::{CrashingDisc, CrashingStorage};
pub use failing::FailingStorage;
pub use planted::{PlantedFault, open_replica};
