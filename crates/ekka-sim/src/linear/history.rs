//! What clients asked and heard, in the order in which it was seen.

use std::sync::{Arc, Mutex};

use tokio::sync::Notify;

use super::{Op, Outcome};

/// One operation of one client.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Entry {
    /// Which client.
    pub client: u32,
    /// Which register.
    pub key: String,
    /// What it asked.
    pub op: Op,
    /// When, as a place in the order of all calls and ends.
    pub called: u64,
    /// When and how it ended; `None` while it is open, which counts as unknown.
    pub ended: Option<(u64, Outcome)>,
}

/// A history of operations.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct History {
    entries: Vec<Entry>,
    places: u64,
}

/// An open operation of a [`History`].
#[derive(Debug)]
#[must_use = "an operation that is never ended counts as unknown"]
pub struct Call(usize);

impl History {
    /// An operation begins. Called before anything of it is sent.
    pub fn call(&mut self, client: u32, key: &str, op: Op) -> Call {
        self.places += 1;
        self.entries.push(Entry { client, key: key.to_owned(), op, called: self.places, ended: None });
        Call(self.entries.len() - 1)
    }

    /// An operation ended. Called after its answer was received.
    #[expect(clippy::needless_pass_by_value, reason = "a call ends once")]
    pub fn end(&mut self, call: Call, outcome: Outcome) {
        self.places += 1;
        self.entries[call.0].ended = Some((self.places, outcome));
    }

    /// All operations, in the order of their calls.
    #[must_use]
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// How many were answered.
    #[must_use]
    pub fn answered(&self) -> usize {
        self.entries.iter().filter(|entry| matches!(entry.ended, Some((_, Outcome::Ok(_))))).count()
    }
}

/// A history that many clients write into.
#[derive(Clone, Default)]
pub struct Recorder {
    history: Arc<Mutex<History>>,
    ended: Arc<Notify>,
}

impl Recorder {
    /// An operation begins.
    pub fn call(&self, client: u32, key: &str, op: Op) -> Call {
        self.history.lock().expect("no holder of this lock panics").call(client, key, op)
    }

    /// An operation ended.
    pub fn end(&self, call: Call, outcome: Outcome) {
        self.history.lock().expect("no holder of this lock panics").end(call, outcome);
        self.ended.notify_waiters();
    }

    /// Waits until so many operations were answered.
    pub async fn until_answered(&self, count: usize) {
        loop {
            let ended = self.ended.notified();
            let answered = self.history.lock().expect("no holder of this lock panics").answered();
            if answered >= count {
                return;
            }
            ended.await;
        }
    }

    /// What was recorded up to now.
    #[must_use]
    pub fn history(&self) -> History {
        self.history.lock().expect("no holder of this lock panics").clone()
    }
}
