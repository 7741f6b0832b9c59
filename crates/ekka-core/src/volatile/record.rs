//! The record of the present generation, as the durable group keeps it.

use alloc::collections::BTreeSet;
use alloc::vec::Vec;

use serde::{Deserialize, Serialize};

use crate::consensus::LogPlace;
use crate::id::Incarnation;

/// Which record: the generation, and how often its voters were changed.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default, Serialize, Deserialize)]
pub struct Version {
    /// The generation; 0 before the first.
    pub number: u64,
    /// Changes of its voters.
    pub revision: u64,
}

/// How far a log reaches. A log of a later generation contains what that generation began with.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default, Serialize, Deserialize)]
pub struct LogKey {
    /// The generation in which it was written.
    pub generation: u64,
    /// Its last entry.
    pub place: LogPlace,
}

/// What a voter that serves no more has of its generation.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Held {
    /// It never had anything: nothing was ever acknowledged with its help.
    Nothing,
    /// It had a log and has dropped it: it left the cluster, and came back in the same process. It stopped for good, and
    /// what it acknowledged it cannot give.
    Dropped,
    /// This log.
    Log(LogKey),
}

impl Held {
    /// How far its log reaches, where it has one.
    #[must_use]
    pub fn log(self) -> Option<LogKey> {
        match self {
            Self::Log(log) => Some(log),
            Self::Nothing | Self::Dropped => None,
        }
    }
}

/// A log that was handed in, and by whom.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Source {
    /// Who has it.
    pub voter: Incarnation,
    /// How far it reaches.
    pub log: LogKey,
}

/// One generation of the volatile group.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Generation {
    /// Which.
    pub version: Version,
    /// Who began it.
    pub founders: BTreeSet<Incarnation>,
    /// Every set of voters in which the group may count a majority: one, and more while a change is under way.
    pub sets: Vec<BTreeSet<Incarnation>>,
    /// What it began with; `None`: with nothing.
    pub from: Option<Source>,
    /// Writes that were acknowledged before it may be missing.
    pub lost: bool,
}

impl Generation {
    /// Its number.
    #[must_use]
    pub fn number(&self) -> u64 {
        self.version.number
    }

    /// Everybody who may have a vote.
    #[must_use]
    pub fn voters(&self) -> BTreeSet<Incarnation> {
        self.sets.iter().flatten().copied().collect()
    }
}

/// A proposal to the durable group: make this the record, if the record is still that one.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Proposal {
    /// The record that the proposer looked at.
    pub expected: Version,
    /// The record that it wants.
    pub next: Generation,
}

/// The record in the state of the durable group.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Decided {
    generation: Generation,
}

impl Decided {
    /// The present generation.
    #[must_use]
    pub fn generation(&self) -> &Generation {
        &self.generation
    }

    /// Applies a committed proposal; whether it is the record now.
    pub fn apply(&mut self, proposal: &Proposal) -> bool {
        let (now, next) = (self.generation.version, proposal.next.version);
        let follows = next == Version { number: now.number + 1, revision: 0 }
            || next == Version { number: now.number, revision: now.revision + 1 };
        if proposal.expected != now || !follows || proposal.next.sets.is_empty() {
            return false;
        }
        self.replace(proposal.next.clone());
        true
    }

    /// Makes this the record whatever it was: for `recover`, which raises the generation, and for planted faults.
    pub fn replace(&mut self, generation: Generation) {
        self.generation = generation;
    }
}
