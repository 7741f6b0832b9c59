//! The state that the suite keeps: the commands, in their order.

use std::sync::{Arc, Mutex, PoisonError};

use ekka_core::consensus::{Configuration, LogPlace, StateMachine};

type Lines = Vec<(LogPlace, Vec<u8>)>;

/// What a replica has applied. Clones are handles to the same one.
#[derive(Clone, Default, Debug)]
pub struct Ledger {
    lines: Arc<Mutex<Lines>>,
}

impl Ledger {
    fn with<T>(&self, then: impl FnOnce(&mut Lines) -> T) -> T {
        then(&mut self.lines.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// The commands in the order in which they were applied.
    #[must_use]
    pub fn commands(&self) -> Vec<String> {
        self.with(|lines| lines.iter().map(|(_, command)| String::from_utf8_lossy(command).into_owned()).collect())
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.with(|lines| lines.len())
    }

    /// There are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether this one was applied.
    #[must_use]
    pub fn has(&self, command: &str) -> bool {
        self.with(|lines| lines.iter().rev().any(|(_, line)| line == command.as_bytes()))
    }

    /// Forgets everything, as memory does when its process ends.
    pub fn clear(&self) {
        self.with(Vec::clear);
    }
}

/// The state machine over a ledger. It answers with the number of the command, from 0.
pub struct LedgerMachine {
    ledger: Ledger,
}

impl LedgerMachine {
    /// Over this ledger.
    #[must_use]
    pub fn new(ledger: Ledger) -> Self {
        Self { ledger }
    }
}

impl StateMachine for LedgerMachine {
    fn apply(&mut self, at: LogPlace, command: &[u8]) -> Vec<u8> {
        self.ledger.with(|lines| {
            lines.push((at, command.to_vec()));
            (lines.len() as u64 - 1).to_le_bytes().to_vec()
        })
    }

    fn reconfigured(&mut self, _configuration: &Configuration) {}

    fn snapshot(&self) -> Vec<u8> {
        self.ledger.with(|lines| postcard::to_allocvec(lines).expect("lines have nothing that cannot be written"))
    }

    fn restore(&mut self, snapshot: &[u8]) -> Result<(), String> {
        let restored: Lines = postcard::from_bytes(snapshot).map_err(|error| error.to_string())?;
        self.ledger.with(|lines| *lines = restored);
        Ok(())
    }
}
