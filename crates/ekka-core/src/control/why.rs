//! `ekka why`: the record of a decision, and what comes of deciding once more from what it was made from.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use super::commands::Answer;
use super::{CommandError, Control, Reply};
use crate::autoclean::Grounds;
use crate::autoheal::{Gathered, Plan, decide};
use crate::decision::{Decision, DecisionId};

impl Control {
    pub(super) fn why(&self, id: DecisionId) -> Answer {
        match self.decisions.get(id) {
            Some(decision) => Ok(Reply::Decision(replayed(decision))),
            None => Err(CommandError::NotFound(format!("no record {id} is kept on {}", self.setup.name))),
        }
    }
}

/// The record, with what comes of deciding it once more.
fn replayed(record: &Decision) -> Decision {
    let mut record = record.clone();
    let Some(inputs) = &record.inputs else { return record };
    let word = match agrees(&record.kind, inputs) {
        Some(true) => "the same decision",
        Some(false) => "ANOTHER decision; please report this",
        None => "nothing: its inputs cannot be read by this version",
    };
    record.evidence.push(format!("decided once more from the inputs of this record: {word}"));
    record
}

/// Whether the code of now decides the same. `None`: the inputs cannot be read.
fn agrees(kind: &str, inputs: &str) -> Option<bool> {
    let digits: Vec<char> = inputs.chars().collect();
    let byte = |pair: &[char]| u8::from_str_radix(&pair.iter().collect::<String>(), 16).ok();
    let bytes: Vec<u8> = digits.chunks(2).map(byte).collect::<Option<_>>()?;
    match kind {
        "heal" => {
            let (gathered, plan): (Gathered, Plan) = postcard::from_bytes(&bytes).ok()?;
            Some(decide(&gathered).as_ref() == Some(&plan))
        }
        "remove" => {
            let grounds: Grounds = postcard::from_bytes(&bytes).ok()?;
            Some(grounds.case().is_some())
        }
        _ => None,
    }
}
