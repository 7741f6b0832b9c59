//! The records behind `ekka why`: what was decided, by which rule, on which evidence.
//!
//! Owns: the bounded list of decisions of this process. Invariants: ids grow; never more than
//! [`DECISIONS_KEPT`] records and [`EVIDENCE_MAX`] lines each.

use alloc::collections::VecDeque;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;
use core::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::limits::{DECISIONS_KEPT, EVIDENCE_MAX};
use crate::time::Wall;

/// The number of a decision of one incarnation, written `d-1f`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct DecisionId(pub u64);

impl DecisionId {
    /// No decision: of what is done all the time no record is kept.
    pub const NONE: Self = Self(0);
}

impl fmt::Display for DecisionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "d-{:06x}", self.0)
    }
}

impl FromStr for DecisionId {
    type Err = core::num::ParseIntError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        u64::from_str_radix(text.strip_prefix("d-").unwrap_or(text), 16).map(Self)
    }
}

impl Serialize for DecisionId {
    fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for DecisionId {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        String::deserialize(from)?.parse().map_err(serde::de::Error::custom)
    }
}

/// One decision with its evidence.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Decision {
    /// Its id.
    pub id: DecisionId,
    /// When, by this node's wall clock.
    pub time: Wall,
    /// What kind: `form`, `join`, `admit`, `refuse`, `down`, `up`, `remove`, `merge`, `leave`, `stop`, `heal`, `command`.
    pub kind: String,
    /// What was decided, in one sentence.
    pub what: String,
    /// The rule applied, with the section of the design that states it.
    pub rule: String,
    /// Who saw what, and when.
    pub evidence: Vec<String>,
    /// What it was decided from, where the same code comes to the same decision again from it: whole, in hex digits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub inputs: Option<String>,
}

/// Inputs of so many records are kept.
const INPUTS_KEPT: usize = 16;

/// The list of decisions.
#[derive(Clone, Debug, Default)]
pub struct Decisions {
    last: u64,
    kept: VecDeque<Decision>,
}

impl Decisions {
    /// Adds a record and gives its id. Evidence above the limit is cut, and the cut is said.
    pub fn record(
        &mut self,
        time: Wall,
        kind: &str,
        what: String,
        rule: &str,
        mut evidence: Vec<String>,
    ) -> DecisionId {
        if evidence.len() > EVIDENCE_MAX {
            let left_out = evidence.len() - EVIDENCE_MAX + 1;
            evidence.truncate(EVIDENCE_MAX - 1);
            evidence.push(alloc::format!("and {left_out} more"));
        }
        self.last += 1;
        let id = DecisionId(self.last);
        if self.kept.len() == DECISIONS_KEPT {
            self.kept.pop_front();
        }
        self.kept.push_back(Decision { id, time, kind: kind.into(), what, rule: rule.into(), evidence, inputs: None });
        id
    }

    /// Adds what a record was decided from.
    pub fn keep_inputs(&mut self, id: DecisionId, inputs: &[u8]) {
        // They are large: the latest few are what is asked for.
        for old in self.kept.iter_mut().rev().filter(|record| record.inputs.is_some()).skip(INPUTS_KEPT - 1) {
            old.inputs = None;
        }
        if let Some(record) = self.kept.iter_mut().find(|record| record.id == id) {
            record.inputs = Some(inputs.iter().map(|byte| alloc::format!("{byte:02x}")).collect());
        }
    }

    /// The record with this id, while it is kept.
    #[must_use]
    pub fn get(&self, id: DecisionId) -> Option<&Decision> {
        self.kept.iter().find(|d| d.id == id)
    }

    /// All records that are kept, oldest first.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = &Decision> {
        self.kept.iter()
    }
}
