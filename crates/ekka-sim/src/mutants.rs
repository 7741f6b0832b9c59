//! Faults put in on purpose: each must be caught by the random schedules, or the harness is blind.

use std::fmt;
use std::time::Duration;

use ekka::testing::PlantedFault;
use ekka_core::autocluster::Faults as FormationFaults;
use ekka_core::control::Faults;

use crate::core_world::{BackendPlan, Plan, Source};
use crate::failure::Failure;
use crate::linear::LinearPlan;
use crate::stack::{TableFault, TablesPlan};

/// After how long members are forgotten where that is what the plan is about: short, so that it comes up.
const CLEANED_AFTER: Duration = Duration::from_secs(5);

/// One planted fault. (That frame lengths are not checked is planted and caught in the tests of the transport.)
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Mutant {
    /// A node forms a cluster by its own decision.
    FormAlone,
    /// A promise of the vote is answered before it is on disc.
    PromiseUnsaved,
    /// A down member is never contacted again.
    NoRecontact,
    /// A stale incarnation wins over a newer one.
    StaleWins,
    /// A node cleans by what it sees itself, without a majority.
    MinorityCleans,
    /// An offer to etcd counts as won where its answer is lost.
    LostClaimWins,
    /// The number of replicas is not cared for.
    IgnoreReplicas,
    /// A fault of a replica of a consensus group.
    Replica(PlantedFault),
    /// A fault of the tables of a whole node.
    Tables(TableFault),
}

impl Mutant {
    /// All of them.
    pub const ALL: [Self; 15] = [
        Self::FormAlone,
        Self::PromiseUnsaved,
        Self::NoRecontact,
        Self::StaleWins,
        Self::MinorityCleans,
        Self::LostClaimWins,
        Self::IgnoreReplicas,
        Self::Replica(PlantedFault::StaleRead),
        Self::Replica(PlantedFault::ForgottenVote),
        Self::Replica(PlantedFault::DoubleApply),
        Self::Tables(TableFault::UnheardCounts),
        Self::Tables(TableFault::ForgetsEarly),
        Self::Tables(TableFault::GapCounts),
        Self::Tables(TableFault::UnsyncedCounts),
        Self::Tables(TableFault::ReadsStale),
    ];

    /// The switches that plant it in a node.
    #[must_use]
    pub fn faults(self) -> (Faults, FormationFaults) {
        let (mut faults, mut formation) = (Faults::default(), FormationFaults::default());
        match self {
            Self::FormAlone => formation.form_alone = true,
            Self::PromiseUnsaved => formation.promise_unsaved = true,
            Self::NoRecontact => faults.no_recontact = true,
            Self::StaleWins => faults.stale_wins = true,
            Self::MinorityCleans => faults.minority_cleans = true,
            Self::LostClaimWins => formation.lost_claim_wins = true,
            Self::IgnoreReplicas => formation.ignore_replicas = true,
            Self::Replica(_) | Self::Tables(_) => {}
        }
        (faults, formation)
    }

    /// Runs the plan of a seed with this fault planted: one that has what its window wants.
    ///
    /// # Errors
    /// The fault was caught.
    pub fn run(self, seed: u64) -> Result<(), Failure> {
        self.run_with(self.faults(), true, seed)
    }

    /// Runs the same plan without the fault.
    ///
    /// # Errors
    /// Something that must hold did not, and it was not the fault.
    pub fn run_without(self, seed: u64) -> Result<(), Failure> {
        self.run_with(Default::default(), false, seed)
    }

    fn run_with(self, (faults, formation): (Faults, FormationFaults), planted: bool, seed: u64) -> Result<(), Failure> {
        match self {
            Self::PromiseUnsaved => Plan::crashes_in_the_vote(seed).with_faults(faults, formation).run().map(drop),
            Self::FormAlone | Self::NoRecontact | Self::StaleWins => {
                Plan::from_seed(seed).with_faults(faults, formation).run().map(drop)
            }
            Self::MinorityCleans => {
                Plan::from_seed(seed).with_autoclean(CLEANED_AFTER).with_faults(faults, formation).run().map(drop)
            }
            Self::LostClaimWins => {
                BackendPlan::start_in_trouble(Source::Etcd, seed).with_faults(formation).run().map(drop)
            }
            Self::IgnoreReplicas => {
                BackendPlan::start_in_trouble(Source::K8s, seed).with_faults(formation).run().map(drop)
            }
            Self::Replica(fault) => {
                LinearPlan { planted: planted.then_some(fault), ..LinearPlan::from_seed(seed) }.run().map(drop)
            }
            Self::Tables(fault) if planted => TablesPlan::planted(fault, seed).run().map(drop),
            Self::Tables(fault) => TablesPlan::room_for(fault, seed).run().map(drop),
        }
    }

    /// Runs up to so many seeds; the first that catches the fault, and how.
    #[must_use]
    pub fn hunt(self, seeds: u64) -> Option<(u64, Failure)> {
        (0..seeds).find_map(|seed| self.run(seed).err().map(|failure| (seed, failure)))
    }

    /// Hunts the fault, and sees that it is the fault that is caught: without it the same seed passes.
    ///
    /// # Errors
    /// No seed catches it, or the one that does fails without it too; in words.
    pub fn prove(self, seeds: u64) -> Result<(u64, Failure), String> {
        let (seed, caught) = self.hunt(seeds).ok_or_else(|| format!("{seeds} seeds do not see that {self}"))?;
        let kind = if matches!(self, Self::Tables(_)) { "tables" } else { "mutants" };
        self.run_without(seed).map_err(|failure| format!("{self}, without the fault: {}", failure.tell(kind, seed)))?;
        Ok((seed, caught))
    }
}

impl fmt::Display for Mutant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::FormAlone => "a node forms by its own decision",
            Self::PromiseUnsaved => "promises of the vote are not on disc",
            Self::NoRecontact => "a down member is never contacted again",
            Self::StaleWins => "a stale incarnation wins",
            Self::MinorityCleans => "a minority cleans",
            Self::LostClaimWins => "an offer whose answer is lost counts as won",
            Self::IgnoreReplicas => "the number of replicas is not cared for",
            Self::Replica(PlantedFault::StaleRead) => "a read waits for nothing",
            Self::Replica(PlantedFault::ForgottenVote) => "a voter forgets its vote when it restarts",
            Self::Replica(PlantedFault::DoubleApply) => "a command is applied twice",
            Self::Tables(fault) => return write!(f, "in tables {fault}"),
        })
    }
}
