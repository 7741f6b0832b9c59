//! The state machine of the volatile group as a replica runs it: what each command did to locks goes to the desk of its node.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use ekka_core::consensus::{Configuration, LogPlace, StateMachine};
use ekka_core::lock::{Event, SessionId};
use ekka_core::volatile::state::State;

use super::Locks;
use super::way::Ask;

/// What a replica says of its locks.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct News {
    pub(super) generation: u64,
    pub(super) what: What,
    /// Locks may be granted in this generation.
    pub(super) open: bool,
    /// Tokens that may be issued still.
    pub(super) tokens: u64,
}

impl News {
    /// All that a replica has.
    pub(super) fn of(generation: u64, book: &Book) -> Self {
        let state = book.read();
        let (open, tokens) = (state.is_open(), state.locks().tokens_left());
        Self { generation, what: What::Anew(state.locks().lifetimes().collect()), open, tokens }
    }
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum What {
    /// These happened, in this order.
    Events(Vec<Event>),
    /// The state was replaced: these sessions are open, with their time-to-live in milliseconds.
    Anew(Vec<(SessionId, u64)>),
}

/// Where a replica tells what happened.
#[derive(Clone, Default)]
pub(crate) struct Ledger(Weak<Locks>);

impl Ledger {
    pub(crate) fn of(locks: &Arc<Locks>) -> Self {
        Self(Arc::downgrade(locks))
    }
}

/// The state of a replica, as its node reads it beside.
#[derive(Clone)]
pub(crate) struct Book(Arc<Mutex<State>>);

impl Book {
    pub(crate) fn new(generation: u64) -> Self {
        Self(Arc::new(Mutex::new(State::of(generation))))
    }

    pub(super) fn read(&self) -> MutexGuard<'_, State> {
        // Nothing that holds this lock can leave it half-changed.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The state, and whom it tells.
pub(crate) struct Kept {
    generation: u64,
    book: Book,
    ledger: Ledger,
}

impl Kept {
    pub(crate) fn new(generation: u64, book: Book, ledger: Ledger) -> Self {
        Self { generation, book, ledger }
    }

    fn tell(&self, what: What, open: bool, tokens: u64) {
        let Some(locks) = self.ledger.0.upgrade() else { return };
        let generation = self.generation;
        // A node that is stopping listens no more.
        let _ = locks.tell(Ask::Ledger(News { generation, what, open, tokens }));
    }
}

impl StateMachine for Kept {
    fn apply(&mut self, at: LogPlace, command: &[u8]) -> Vec<u8> {
        let (answer, events, news) = {
            let mut state = self.book.read();
            let before = (state.is_open(), state.locks().tokens_left());
            let answer = state.apply(at, command);
            let (open, tokens) = (state.is_open(), state.locks().tokens_left());
            let more = open != before.0 || tokens > before.1;
            (answer, state.take_events(), (open, tokens, more))
        };
        let (open, tokens, more) = news;
        if !events.is_empty() || more {
            self.tell(What::Events(events), open, tokens);
        }
        answer
    }

    fn reconfigured(&mut self, configuration: &Configuration) {
        self.book.read().reconfigured(configuration);
    }

    fn snapshot(&self) -> Vec<u8> {
        self.book.read().snapshot()
    }

    fn restore(&mut self, snapshot: &[u8]) -> Result<(), String> {
        let (sessions, open, tokens) = {
            let mut state = self.book.read();
            state.restore(snapshot)?;
            (state.locks().lifetimes().collect(), state.is_open(), state.locks().tokens_left())
        };
        self.tell(What::Anew(sessions), open, tokens);
        Ok(())
    }

    fn is_told(&self, command: &[u8]) -> bool {
        self.book.read().is_told(command)
    }
}
