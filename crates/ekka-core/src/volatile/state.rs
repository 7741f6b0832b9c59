//! What the log of the volatile group adds up to: the state machine of its replicas.
//!
//! It keeps the locks ([`crate::lock`]), the mark that locks may be granted in a generation, and a counter that tests and
//! benchmarks draw numbers from. A command that a version does not know changes nothing and is answered as such, alike on
//! every node.
//!
//! **Locks of an earlier generation are none of this one.** What it began with may lack the last grants and releases of that,
//! and with them tokens. So nothing is done to locks before [`Command::Open`], which comes once every session of earlier
//! generations is over by its own clock: then there are no sessions and no locks, and tokens are those that the durable group
//! gives from then on.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use serde::{Deserialize, Serialize};

use crate::consensus::{Configuration, LogPlace, StateMachine};
use crate::lock;

/// The form of commands and answers that this code writes.
const FORM: u16 = 1;
/// That of snapshots.
const SNAPSHOT: u16 = 2;

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
    /// Something about locks.
    Lock(lock::Command),
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
    /// What became of a command about locks.
    Lock(lock::Answer),
}

/// The state.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct State {
    /// The latest generation in which locks may be granted.
    opened: u64,
    /// The next number of the counter.
    count: u64,
    locks: lock::State,
    /// Which generation this replica serves.
    #[serde(skip)]
    generation: u64,
    /// What was done to locks since somebody took this.
    #[serde(skip)]
    events: Vec<lock::Event>,
}

impl State {
    /// That of a replica of this generation, empty.
    #[must_use]
    pub fn of(generation: u64) -> Self {
        Self { generation, ..Self::default() }
    }

    /// Whether locks may be granted in the generation that this replica serves.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.opened >= self.generation
    }

    /// The locks.
    #[must_use]
    pub fn locks(&self) -> &lock::State {
        &self.locks
    }

    /// What was done to locks since the last call.
    #[must_use]
    pub fn take_events(&mut self) -> Vec<lock::Event> {
        core::mem::take(&mut self.events)
    }

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
        if form != SNAPSHOT {
            return Err(format!("a volatile state of form {form}, this version reads form {SNAPSHOT}"));
        }
        postcard::from_bytes(rest).map_err(|error| format!("no state of a volatile group: {error}"))
    }

    fn carry_out(&mut self, term: u64, command: Command) -> Answer {
        match command {
            Command::Open { generation } => {
                if self.opened < generation {
                    self.opened = generation;
                    self.locks.begin_anew(&mut self.events);
                }
                Answer::Done
            }
            Command::Noop { .. } => Answer::Done,
            Command::Count { n } => {
                let from = self.count;
                self.count = from.saturating_add(n);
                Answer::Range { from, to: self.count }
            }
            Command::Lock(_) if !self.is_open() => Answer::Lock(lock::Answer::Refused(lock::Refusal::NotReady)),
            Command::Lock(command) => Answer::Lock(self.locks.apply(term, command, &mut self.events)),
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
    fn apply(&mut self, at: LogPlace, command: &[u8]) -> Vec<u8> {
        let answer = match Command::decode(command) {
            Some(command) => self.carry_out(at.term, command),
            None => Answer::Unknown(String::from("a member runs an older version, which does not know this command")),
        };
        answer.encode()
    }

    fn reconfigured(&mut self, _: &Configuration) {}

    fn snapshot(&self) -> Vec<u8> {
        postcard::to_allocvec(&(SNAPSHOT, self)).expect("a state consists of what postcard can hold")
    }

    fn restore(&mut self, snapshot: &[u8]) -> Result<(), String> {
        *self = Self { generation: self.generation, ..Self::from_snapshot(snapshot)? };
        Ok(())
    }

    /// Copies go by the marks alone.
    fn is_told(&self, command: &[u8]) -> bool {
        matches!(Command::decode(command), Some(Command::Open { .. }))
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
        assert!(state.restore(&postcard::to_allocvec(&(3u16, 0u64, 0u64)).unwrap()).is_err());
    }

    #[test]
    fn numbers_of_commands_are_fixed() {
        let number = |command: Command| command.encode()[1];
        assert_eq!(number(Command::Open { generation: 1 }), 0);
        assert_eq!(number(Command::Noop { bytes: Vec::new() }), 1);
        assert_eq!(number(Command::Count { n: 1 }), 2);
        assert_eq!(number(Command::Lock(lock::Command::Tokens { from: 1, to: 2 })), 3);
    }

    fn locks(state: &mut State, command: lock::Command) -> lock::Answer {
        match apply(state, &Command::Lock(command)) {
            Answer::Lock(answer) => answer,
            other => panic!("{other:?}"),
        }
    }

    /// S2-8, M10: what a generation began with may lack the last tokens that were issued in the one before.
    #[test]
    fn s2_8_a_generation_issues_no_token_of_the_one_before() {
        let session = lock::SessionId {
            node_id: crate::id::NodeId::from_u128(1),
            guid: crate::id::Guid::from_u128(1),
            number: 1,
        };
        let acquire = |request: u64| lock::Command::Acquire {
            session,
            request,
            wants: alloc::vec![lock::Want { name: "a".parse().unwrap(), mode: lock::Mode::Shared }],
            owner: request,
            again: false,
            wait: true,
            floor: 0,
        };
        let token = |answer: lock::Answer| match answer {
            lock::Answer::Granted(held) => held[0].token,
            other => panic!("{other:?}"),
        };
        let mut first = State::of(1);
        apply(&mut first, &Command::Open { generation: 1 });
        locks(&mut first, lock::Command::Open { session, ttl_ms: 1_000, own: true, label: String::new() });
        locks(&mut first, lock::Command::Tokens { from: 1, to: 100 });
        assert_eq!(token(locks(&mut first, acquire(1))), 1);
        let handed_in = first.snapshot();
        assert_eq!(token(locks(&mut first, acquire(2))), 2, "the log that is handed in does not have this");
        let mut second = State::of(2);
        second.restore(&handed_in).unwrap();
        let not_ready = lock::Answer::Refused(lock::Refusal::NotReady);
        assert_eq!(locks(&mut second, acquire(3)), not_ready);
        assert_eq!(locks(&mut second, lock::Command::Tokens { from: 100, to: 200 }), not_ready);
        apply(&mut second, &Command::Open { generation: 2 });
        let over = lock::Event::Over { session, cause: lock::Cause::Expired };
        assert!(second.take_events().contains(&over), "the session of before is over");
        let again = locks(&mut second, lock::Command::Open { session, ttl_ms: 1_000, own: true, label: String::new() });
        assert_eq!(again, lock::Answer::Refused(lock::Refusal::Over));
        let session = lock::SessionId { number: 2, ..session };
        locks(&mut second, lock::Command::Open { session, ttl_ms: 1_000, own: true, label: String::new() });
        let acquire = |request: u64| match acquire(request) {
            lock::Command::Acquire { request, wants, owner, again, wait, floor, .. } => {
                lock::Command::Acquire { session, request, wants, owner, again, wait, floor }
            }
            other => other,
        };
        locks(&mut second, lock::Command::Tokens { from: 200, to: 300 });
        assert_eq!(token(locks(&mut second, acquire(3))), 200);
        // Whoever learns in the middle of it has the same tokens.
        let mut third = State::of(2);
        third.restore(&second.snapshot()).unwrap();
        assert_eq!(token(locks(&mut third, acquire(4))), 201);
        assert_eq!(token(locks(&mut second, acquire(4))), 201);
    }
}
