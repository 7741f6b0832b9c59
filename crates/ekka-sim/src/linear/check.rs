//! The judgement of a history, key by key.

use std::collections::BTreeMap;
use std::time::Duration;

use porcupine_rs::{CheckResult, check_operations_timeout};

use super::model::operations;
use super::report::{Witness, smallest, tell};
use super::{Entry, History, Outcome};

/// How much is judged, and for how long.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Limits {
    /// Operations on one key.
    pub ops_max: usize,
    /// Changes of one key with an unknown outcome: each doubles the work at worst.
    pub open_max: usize,
    /// Time for one key, by the clock of the machine.
    pub timeout: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self { ops_max: 5_000, open_max: 40, timeout: Duration::from_secs(20) }
    }
}

/// What was found.
#[derive(Clone, PartialEq, Eq, Debug)]
#[must_use]
pub enum Verdict {
    /// Every key is linearizable.
    Linearizable,
    /// This key is not, and why, in words.
    Violated {
        /// Which.
        key: String,
        /// The shortest beginning of its history that is wrong, without the reads that do not matter.
        report: String,
    },
    /// The judgement did not end: no pass.
    Undecided {
        /// Which key.
        key: String,
        /// Why.
        why: String,
    },
}

impl Verdict {
    /// Panics with the words of the verdict unless all is well.
    ///
    /// # Panics
    /// The history is not linearizable, or that could not be decided.
    pub fn assert_linearizable(&self) {
        match self {
            Self::Linearizable => {}
            Self::Violated { key, report } => panic!("{key} is not linearizable:\n{report}"),
            Self::Undecided { key, why } => panic!("whether {key} is linearizable was not decided: {why}"),
        }
    }
}

/// Judges a history. A violation of any key is told before what could not be decided.
pub fn check(history: &History, limits: Limits) -> Verdict {
    let mut keys: BTreeMap<&str, Vec<&Entry>> = BTreeMap::new();
    for entry in history.entries() {
        keys.entry(&entry.key).or_default().push(entry);
    }
    let mut undecided = None;
    for (key, entries) in keys {
        let judge = |entries: &[&Entry]| one_key(entries, limits);
        match judge(&entries) {
            Ok(true) => {}
            Ok(false) => {
                let Witness { entries, whole } = smallest(entries, |entries| judge(entries) == Ok(false));
                return Verdict::Violated { key: key.to_owned(), report: tell(&entries, whole) };
            }
            Err(why) => undecided = undecided.or(Some(Verdict::Undecided { key: key.to_owned(), why })),
        }
    }
    undecided.unwrap_or(Verdict::Linearizable)
}

/// Whether the history of one key is linearizable, where that can be decided.
fn one_key(entries: &[&Entry], limits: Limits) -> Result<bool, String> {
    let open = entries.iter().filter(|entry| entry.op.changes());
    let open = open.filter(|entry| matches!(entry.ended, None | Some((_, Outcome::Unknown)))).count();
    if entries.len() > limits.ops_max {
        return Err(format!("{} operations, at most {} are judged", entries.len(), limits.ops_max));
    }
    if open > limits.open_max {
        return Err(format!("{open} changes with an unknown outcome, at most {} are judged", limits.open_max));
    }
    match check_operations_timeout(&operations(entries), limits.timeout) {
        CheckResult::Ok => Ok(true),
        CheckResult::Illegal => Ok(false),
        CheckResult::Unknown => Err(format!("not done within {:?}", limits.timeout)),
    }
}
