//! Clients of registers, over whatever keeps them.

use std::future::Future;
use std::sync::Arc;

use ekka::consensus::{Group, GroupError};

use super::{Answer, Op, Outcome, RegisterReader, Value, decode_answer, encode_command};

/// Somebody who can be asked for registers.
pub trait RegisterClient: Send {
    /// Does one operation.
    fn apply(&mut self, key: &str, op: Op) -> impl Future<Output = Outcome> + Send;

    /// Reads a register.
    fn read(&mut self, key: &str) -> impl Future<Output = Outcome> + Send {
        self.apply(key, Op::Read)
    }

    /// Writes a register.
    fn write(&mut self, key: &str, value: u32) -> impl Future<Output = Outcome> + Send {
        self.apply(key, Op::Write(value))
    }

    /// Compares and sets a register.
    fn cas(&mut self, key: &str, from: Value, to: u32) -> impl Future<Output = Outcome> + Send {
        self.apply(key, Op::Cas { from, to })
    }

    /// Appends to a register.
    fn append(&mut self, key: &str, value: u32) -> impl Future<Output = Outcome> + Send {
        self.apply(key, Op::Append(value))
    }
}

/// A client of a consensus group whose state machine is a [`RegisterMachine`](super::RegisterMachine).
pub struct GroupClient<G: ?Sized> {
    group: Arc<G>,
    reader: Option<RegisterReader>,
}

impl<G: Group + ?Sized> GroupClient<G> {
    /// Reads go through the log like everything else.
    #[must_use]
    pub fn through_the_log(group: Arc<G>) -> Self {
        Self { group, reader: None }
    }

    /// Reads wait for a barrier, and then take what the replica of that reader has applied.
    #[must_use]
    pub fn with_barrier(group: Arc<G>, reader: RegisterReader) -> Self {
        Self { group, reader: Some(reader) }
    }
}

/// What an error means for who asked. Only where the group says that nothing was given to any log, nothing was done.
pub(super) fn outcome(error: &GroupError) -> Outcome {
    match error {
        GroupError::NoQuorum(_) | GroupError::TooLarge { .. } | GroupError::Refused(_) => Outcome::Fail,
        // A replica may end with the command on its way.
        _ => Outcome::Unknown,
    }
}

impl<G: Group + ?Sized> RegisterClient for GroupClient<G> {
    async fn apply(&mut self, key: &str, op: Op) -> Outcome {
        if let (Op::Read, Some(reader)) = (&op, &self.reader) {
            return match self.group.barrier().await {
                Ok(_) => Outcome::Ok(Answer::Value(reader.read(key))),
                Err(error) => outcome(&error),
            };
        }
        match self.group.propose(encode_command(key, &op)).await {
            // Not understood means not done, alike on every replica.
            Ok(applied) => decode_answer(&applied.answer).map_or(Outcome::Fail, Outcome::Ok),
            Err(error) => outcome(&error),
        }
    }
}
