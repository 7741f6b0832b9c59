//! Registers as the state machine of a consensus group.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};

use ekka_core::consensus::{Configuration, LogPlace, StateMachine};
use serde::{Deserialize, Serialize};

use super::{Answer, Op, Value};

#[derive(Serialize, Deserialize)]
struct Command {
    key: String,
    op: Op,
}

type Registers = BTreeMap<String, Value>;

fn lock(registers: &Mutex<Registers>) -> MutexGuard<'_, Registers> {
    registers.lock().expect("no holder of this lock panics")
}

/// Registers by key. Every operation is a command, reads too.
#[derive(Default)]
pub struct RegisterMachine {
    registers: Arc<Mutex<Registers>>,
}

/// Reads what one replica has applied, without the log: linearizable after a barrier, and stale without.
#[derive(Clone)]
pub struct RegisterReader {
    registers: Arc<Mutex<Registers>>,
}

impl RegisterReader {
    /// What a register holds on this replica.
    #[must_use]
    pub fn read(&self, key: &str) -> Value {
        lock(&self.registers).get(key).cloned().unwrap_or_default()
    }
}

impl RegisterMachine {
    /// Reads what this replica has applied.
    #[must_use]
    pub fn reader(&self) -> RegisterReader {
        RegisterReader { registers: Arc::clone(&self.registers) }
    }
}

/// A command as bytes.
#[must_use]
pub fn encode_command(key: &str, op: &Op) -> Vec<u8> {
    let command = Command { key: key.to_owned(), op: op.clone() };
    serde_json::to_vec(&command).expect("text, numbers and lists of numbers are JSON")
}

/// The answer in the bytes of [`StateMachine::apply`]; `None` where the command was not understood.
#[must_use]
pub fn decode_answer(bytes: &[u8]) -> Option<Answer> {
    serde_json::from_slice(bytes).ok().flatten()
}

impl StateMachine for RegisterMachine {
    fn apply(&mut self, _at: LogPlace, command: &[u8]) -> Vec<u8> {
        let answer = serde_json::from_slice::<Command>(command).ok().map(|Command { key, op }| {
            let mut registers = lock(&self.registers);
            let value = registers.entry(key).or_default();
            let (after, answer) = op.apply(value);
            *value = after;
            answer
        });
        serde_json::to_vec(&answer).expect("an answer is JSON")
    }

    fn reconfigured(&mut self, _configuration: &Configuration) {}

    fn snapshot(&self) -> Vec<u8> {
        serde_json::to_vec(&*lock(&self.registers)).expect("keys are text")
    }

    fn restore(&mut self, snapshot: &[u8]) -> Result<(), String> {
        let registers =
            serde_json::from_slice(snapshot).map_err(|error| format!("no snapshot of registers: {error}"))?;
        *lock(&self.registers) = registers;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn apply(machine: &mut RegisterMachine, op: &Op) -> Option<Answer> {
        decode_answer(&machine.apply(LogPlace::default(), &encode_command("k", op)))
    }

    #[test]
    fn a_register_answers_and_comes_back_from_a_snapshot() {
        let mut machine = RegisterMachine::default();
        assert_eq!(apply(&mut machine, &Op::Write(1)), Some(Answer::Done));
        assert_eq!(apply(&mut machine, &Op::Append(2)), Some(Answer::Done));
        assert_eq!(apply(&mut machine, &Op::Cas { from: vec![1], to: 3 }), Some(Answer::Swapped(false)));
        let mut other = RegisterMachine::default();
        let reader = other.reader();
        other.restore(&machine.snapshot()).unwrap();
        assert_eq!(reader.read("k"), [1, 2]);
        assert_eq!(apply(&mut other, &Op::Cas { from: vec![1, 2], to: 3 }), Some(Answer::Swapped(true)));
        assert_eq!(apply(&mut other, &Op::Read), Some(Answer::Value(vec![3])));
        assert_eq!(reader.read("unknown"), Value::new());
    }

    #[test]
    fn what_cannot_be_read_changes_nothing() {
        let mut machine = RegisterMachine::default();
        apply(&mut machine, &Op::Write(1));
        assert_eq!(decode_answer(&machine.apply(LogPlace::default(), b"{")), None);
        assert!(machine.restore(b"[").is_err());
        assert_eq!(machine.reader().read("k"), [1]);
    }
}
