//! A state machine that is two: what a group keeps besides, and the quorum tables of its storage.
//!
//! A command for tables has a byte in front that no other begins with, and so has a snapshot with tables. Without
//! tables a snapshot is that of the other part alone, as it was before there were any. Whoever keeps a copy of the
//! other part (`Control`) is told nothing of tables: rows do not queue behind decisions.

use std::sync::Arc;

use ekka_core::consensus::{Configuration, Frozen, LogPlace, Restored, Restorer, Restoring, StateMachine};
use ekka_core::durable::Record;
use ekka_core::schema::{Kind, Storage};
use ekka_core::table::quorum::{Answer, Command, TableId, View};
use ekka_core::volatile::state::State;

use self::parts::{Both, Two};
use super::rows::Rows;

/// The others begin with their form, which is never 0.
const TAG: u8 = 0;
/// Bytes of the length of the other part, the lowest first.
const LENGTH: usize = 8;

/// What a group keeps besides.
pub(crate) trait First: StateMachine {
    /// The tables that there are to be, in order; `None` where commands say so.
    fn wanted(&self) -> Option<Vec<TableId>> {
        None
    }
}

impl First for State {}

impl First for crate::lock::Kept {}

impl First for Record {
    fn wanted(&self) -> Option<Vec<TableId>> {
        // Before its first entry it says nothing: the log of a recovered cluster begins with rows, and the entry that
        // brings their schemas comes after.
        self.cluster()?;
        let mine = self.tables().values().filter(|entry| entry.schema.kind == Kind::Quorum);
        let mut ids: Vec<_> =
            mine.filter(|entry| entry.schema.storage == Storage::Disc).map(|entry| entry.id).collect();
        ids.sort_unstable();
        Some(ids)
    }
}

/// Both.
#[derive(Debug)]
pub(crate) struct Beside<M> {
    first: M,
    rows: Arc<Rows>,
}

impl<M> Beside<M> {
    /// These tables beside what a group keeps.
    pub(crate) fn new(first: M, rows: Arc<Rows>) -> Self {
        Self { first, rows }
    }
}

/// The bytes of a command for tables, as they go into the log.
pub(crate) fn logged(command: &Command) -> Vec<u8> {
    let command = command.encode();
    let mut bytes = Vec::with_capacity(1 + command.len());
    bytes.push(TAG);
    bytes.extend(command);
    bytes
}

/// What a leader without room on its disc answers to a command that puts rows; nothing for those that it takes: what
/// makes room, and what the group keeps besides.
pub(crate) fn no_room_for(command: &[u8]) -> Option<Vec<u8>> {
    let (&TAG, command) = command.split_first()? else { return None };
    Command::decode(command)?.puts().then(|| Answer::DiscFull.encode())
}

/// A snapshot of both.
pub(crate) fn join(first: &[u8], rows: &[u8]) -> Vec<u8> {
    [&before_rows(first), rows].concat()
}

/// What a snapshot of both begins with: all but the rows.
fn before_rows(first: &[u8]) -> Vec<u8> {
    [&[TAG], &(first.len() as u64).to_le_bytes()[..], first].concat()
}

/// The parts of a snapshot: the other one, and that of tables where it has one.
///
/// # Errors
/// It is none, in words.
pub(crate) fn split(snapshot: &[u8]) -> Result<(&[u8], Option<&[u8]>), String> {
    let Some((&TAG, rest)) = snapshot.split_first() else { return Ok((snapshot, None)) };
    let short = || "a snapshot with tables that is too short".to_owned();
    let (length, rest) = rest.split_first_chunk::<LENGTH>().ok_or_else(short)?;
    let length = usize::try_from(u64::from_le_bytes(*length)).map_err(|_| short())?;
    let (first, rows) = rest.split_at_checked(length).ok_or_else(short)?;
    Ok((first, Some(rows)))
}

impl<M: First> Beside<M> {
    /// Makes and drops tables as the other part has them now.
    fn settle(&self) {
        if let Some(wanted) = self.first.wanted() {
            self.rows.settle(&wanted);
        }
    }
}

impl<M: First> StateMachine for Beside<M> {
    fn apply(&mut self, at: LogPlace, command: &[u8]) -> Vec<u8> {
        if let Some((&TAG, command)) = command.split_first() {
            return self.rows.apply(command).encode();
        }
        let answer = self.first.apply(at, command);
        self.settle();
        answer
    }

    fn reconfigured(&mut self, configuration: &Configuration) {
        self.first.reconfigured(configuration);
    }

    fn snapshot(&self) -> Vec<u8> {
        self.freeze().pieces().collect::<Vec<_>>().concat()
    }

    fn restore(&mut self, snapshot: &[u8]) -> Result<(), String> {
        let mut both = Both::default();
        both.take(snapshot)?;
        self.adopt(Box::new(both).finish()?).map(|_| ())
    }

    fn is_told(&self, command: &[u8]) -> bool {
        command.first() != Some(&TAG) && self.first.is_told(command)
    }

    fn told_part<'a>(&self, snapshot: &'a [u8]) -> &'a [u8] {
        split(snapshot).map_or(snapshot, |(first, _)| first)
    }

    fn freeze(&self) -> Arc<dyn Frozen> {
        let (first, view) = (self.first.snapshot(), self.rows.view());
        if view.revision() == 0 && view.clock() == ekka_core::time::Wall::default() {
            return Arc::new(first);
        }
        Arc::new(Two { first, view })
    }

    fn restorer(&self) -> Restorer {
        || Box::new(Both::default())
    }

    fn adopt(&mut self, restored: Restored) -> Result<Vec<u8>, String> {
        let (first, view): (Vec<u8>, View) = restored.into_state().ok_or(Restored::OTHER)?;
        self.first.restore(&first)?;
        self.rows.adopt(view);
        self.settle();
        Ok(first)
    }
}

mod parts;
#[cfg(test)]
mod tests;
