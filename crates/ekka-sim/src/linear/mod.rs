//! Is what clients saw linearizable? Histories of registers, recorded as they are made and judged key by key.
//!
//! **Owns** the words of a register ([`Op`], [`Answer`], [`Outcome`]), the state machine that answers them
//! ([`RegisterMachine`]; [`TablesMachine`] keeps them in quorum tables), the clients over any consensus group
//! ([`GroupClient`], [`TablesClient`]), the record of what each client asked and heard ([`Recorder`]), and the judgement
//! ([`check`]).
//!
//! **What counts.** An operation that was answered took effect once between its call and its answer. One that failed
//! never did. One whose outcome is unknown did so at some time after its call, or never. A judgement that did not end
//! within its limits is no pass ([`Verdict::Undecided`]).
//!
//! **Sources**: Herlihy and Wing, *Linearizability* (1990); Wing and Gong (1993) and Lowe (2017) for the search, which is
//! the crate `porcupine-rs`.

mod check;
mod client;
mod history;
mod machine;
mod model;
mod plan;
mod replicas;
mod report;
mod tables;
mod workload;

pub use check::{Limits, Verdict, check};
pub use client::{GroupClient, RegisterClient};
pub use history::{Call, Entry, History, Recorder};
pub use machine::{RegisterMachine, RegisterReader, decode_answer, encode_command};
pub use plan::{Kept, LinearPlan, LinearReport};
pub use tables::{TORN, TablesClient, TablesMachine, TablesReader};
pub use workload::{Workload, drive};

use serde::{Deserialize, Serialize};

/// What a register holds: a list of numbers, empty at first. A write makes it one number long.
pub type Value = Vec<u32>;

/// What a client asks of one register.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Op {
    /// What does it hold?
    Read,
    /// Hold this alone.
    Write(u32),
    /// Hold this alone, if it holds exactly `from`.
    Cas {
        /// What it must hold.
        from: Value,
        /// What it holds then.
        to: u32,
    },
    /// Hold this too, at the end: done twice, it shows.
    Append(u32),
}

impl Op {
    /// Whether it can change anything.
    #[must_use]
    pub fn changes(&self) -> bool {
        !matches!(self, Self::Read)
    }

    /// What the register holds after it, and the answer.
    #[must_use]
    pub fn apply(&self, value: &Value) -> (Value, Answer) {
        match self {
            Self::Read => (value.clone(), Answer::Value(value.clone())),
            Self::Write(new) => (vec![*new], Answer::Done),
            Self::Cas { from, to } if from == value => (vec![*to], Answer::Swapped(true)),
            Self::Cas { .. } => (value.clone(), Answer::Swapped(false)),
            Self::Append(new) => {
                let mut value = value.clone();
                value.push(*new);
                (value, Answer::Done)
            }
        }
    }
}

/// What a register answers.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Answer {
    /// To a read.
    Value(Value),
    /// To a write or an append.
    Done,
    /// To a compare-and-set: whether it held `from`.
    Swapped(bool),
}

/// How an operation ended for its client.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Outcome {
    /// It was done, with this answer.
    Ok(Answer),
    /// It was not done and never will be.
    Fail,
    /// It may have been done, now or later or never.
    Unknown,
}
