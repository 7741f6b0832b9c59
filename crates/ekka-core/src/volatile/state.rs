//! What the log of the volatile group adds up to: the state machine of its replicas.
//!
//! Today it keeps the mark that locks may be granted in a generation, and a counter that tests and benchmarks draw
//! numbers from. Locks and `ram` quorum tables come as further commands, appended: one that a version does not know
//! changes nothing and is answered as such, alike on every node.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use serde::{Deserialize, Serialize};

use crate::consensus::{Configuration, LogPlace, StateMachine};

/// The form of commands, answers and snapshots that this code writes.
const FORM: u16 = 1;

/// A command of the log. New ones are appended, never inserted.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Command {
    /// Locks may be granted in this generation: no session of an earlier one is valid any more.
    Open {
        /// Which.
        generation: u64,
    },
    /// Nothing, of some length: what a commit costs.
    Noop {
        /// The length.
        bytes: Vec<u8>,
    },
    /// Takes the next numbers of the counter: whoever is answered owns them alone.
    Count {
        /// How many.
        n: u64,
    },
}

/// What a command is answered with.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Answer {
    /// Done.
    Done,
    /// These numbers were taken.
    Range {
        /// The first of them.
        from: u64,
        /// One more than the last.
        to: u64,
    },
    /// A newer version added this command; nothing was done.
    Unknown(String),
}

/// The state.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct State {
    /// The latest generation in which locks may be granted.
    opened: u64,
    /// The next number of the counter.
    count: u64,
}

impl State {
    /// The latest generation in which locks may be granted; 0 before the first.
    #[must_use]
    pub fn opened(&self) -> u64 {
        self.opened
    }

    /// The next number of the counter.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.count
    }

    /// Reads a state.
    ///
    /// # Errors
    /// The bytes are no snapshot, or one of a newer form, in words.
    pub fn from_snapshot(bytes: &[u8]) -> Result<Self, String> {
        let (form, rest) = postcard::take_from_bytes::<u16>(bytes).map_err(|error| format!("{error}"))?;
        if form != FORM {
            return Err(format!("a volatile state of form {form}, this version reads form {FORM}"));
        }
        postcard::from_bytes(rest).map_err(|error| format!("no state of a volatile group: {error}"))
    }

    fn carry_out(&mut self, command: &Command) -> Answer {
        match command {
            Command::Open { generation } => {
                self.opened = self.opened.max(*generation);
                Answer::Done
            }
            Command::Noop { .. } => Answer::Done,
            Command::Count { n } => {
                let from = self.count;
                self.count = from.saturating_add(*n);
                Answer::Range { from, to: self.count }
            }
        }
    }
}

impl Command {
    /// The bytes that go into the log.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        postcard::to_allocvec(&(FORM, self)).expect("a command consists of what postcard can hold")
    }

    /// Reads a command of the log; `None` where a newer version wrote it.
    #[must_use]
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let (form, rest) = postcard::take_from_bytes::<u16>(bytes).ok()?;
        if form == FORM { postcard::from_bytes(rest).ok() } else { None }
    }
}

impl Answer {
    /// The answer as bytes.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        postcard::to_allocvec(self).expect("an answer consists of what postcard can hold")
    }

    /// Reads an answer.
    ///
    /// # Errors
    /// A newer version gave it.
    pub fn decode(bytes: &[u8]) -> Result<Self, postcard::Error> {
        postcard::from_bytes(bytes)
    }
}

impl StateMachine for State {
    fn apply(&mut self, _: LogPlace, command: &[u8]) -> Vec<u8> {
        let answer = match Command::decode(command) {
            Some(command) => self.carry_out(&command),
            None => Answer::Unknown(String::from("a member runs an older version, which does not know this command")),
        };
        answer.encode()
    }

    fn reconfigured(&mut self, _: &Configuration) {}

    fn snapshot(&self) -> Vec<u8> {
        postcard::to_allocvec(&(FORM, self)).expect("a state consists of what postcard can hold")
    }

    fn restore(&mut self, snapshot: &[u8]) -> Result<(), String> {
        *self = Self::from_snapshot(snapshot)?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn apply(state: &mut State, command: &Command) -> Answer {
        Answer::decode(&state.apply(LogPlace::default(), &command.encode())).unwrap()
    }

    #[test]
    fn numbers_of_the_counter_are_given_once_over_a_snapshot_too() {
        let mut state = State::default();
        assert_eq!(apply(&mut state, &Command::Count { n: 3 }), Answer::Range { from: 0, to: 3 });
        assert_eq!(apply(&mut state, &Command::Open { generation: 2 }), Answer::Done);
        let mut later = State::default();
        later.restore(&state.snapshot()).unwrap();
        assert_eq!(apply(&mut later, &Command::Count { n: 1 }), Answer::Range { from: 3, to: 4 });
        assert_eq!((later.opened(), later.count()), (2, 4));
    }

    #[test]
    fn what_a_newer_version_wrote_changes_nothing() {
        let mut state = State::default();
        let unknown = postcard::to_allocvec(&(FORM, 200u32)).unwrap();
        for bytes in [&unknown[..], &[9, 9], &[]] {
            let answer = Answer::decode(&state.apply(LogPlace::default(), bytes)).unwrap();
            assert!(matches!(answer, Answer::Unknown(_)), "{answer:?}");
        }
        assert_eq!(state, State::default());
        assert!(state.restore(&[7]).is_err());
        assert!(state.restore(&postcard::to_allocvec(&(2u16, 0u64, 0u64)).unwrap()).is_err());
    }

    #[test]
    fn numbers_of_commands_are_fixed() {
        let number = |command: Command| command.encode()[1];
        assert_eq!(number(Command::Open { generation: 1 }), 0);
        assert_eq!(number(Command::Noop { bytes: Vec::new() }), 1);
        assert_eq!(number(Command::Count { n: 1 }), 2);
    }
}
