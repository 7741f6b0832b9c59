//! The side that gives: one clone for each peer, read while this table goes on.

use alloc::sync::Arc;
use alloc::vec::Vec;
use core::ops::Bound;

use super::super::available::Table;
use super::super::batch::{Batch, BatchBuilder};
use super::super::journal::Loser;
use super::super::map::{Entry, Map};
use super::super::message::{CopyHead, CopyPlace, Message};
use super::super::over::mixed;
use super::super::vector::OpId;
use super::super::version::Version;
use crate::id::Incarnation;
use crate::limits::TABLE_COPY_BYTES;
use crate::time::{Instant, Now};

#[derive(Clone, Debug)]
enum Stage {
    Head,
    /// It is gone on with.
    Again(CopyPlace),
    Rows {
        after: Option<Vec<u8>>,
        sent: u64,
    },
    Journal {
        after: Option<Vec<u8>>,
        rows: u64,
        sent: u64,
    },
    Done,
}

/// A clone of a table on its way to a peer, or to disc.
#[derive(Clone, Debug)]
pub struct Giving {
    head: CopyHead,
    /// The number of this try, which its parts have.
    turn: u64,
    rows: Map<Version>,
    journal: Map<Loser>,
    origins: Arc<[Incarnation]>,
    stage: Stage,
    /// When something of it was last asked for.
    pub(super) last: Instant,
    /// The position of the log that the clone was taken at.
    position: u64,
}

/// Clones that nobody needs any more. To drop one can take as long as it has rows, so that is done behind the lock.
#[derive(Clone, Debug, Default)]
pub struct Waste {
    pub(super) given: Vec<Giving>,
    pub(super) taken: Vec<Map<Version>>,
}

impl Waste {
    /// Whether there is nothing to drop.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.given.is_empty() && self.taken.is_empty()
    }
}

impl Giving {
    /// The next message of it; `None` when all were given.
    pub fn next_message(&mut self) -> Option<Message> {
        let copy = self.turn;
        match &mut self.stage {
            Stage::Head => {
                self.stage = Stage::Rows { after: None, sent: 0 };
                Some(Message::CopyHead(self.head.clone()))
            }
            Stage::Again(CopyPlace { copy: of, rows, after }) => {
                let (of, rows, after) = (*of, *rows, after.take());
                self.stage = Stage::Rows { after, sent: rows };
                Some(Message::CopyAgain { of, copy })
            }
            Stage::Rows { after, sent } => {
                let batch = part(&self.rows, &self.origins, after, |row| row);
                if batch.is_empty() {
                    self.stage = Stage::Journal { after: None, rows: *sent, sent: 0 };
                    return self.next_message();
                }
                *sent += batch.len() as u64;
                Some(Message::CopyRows { copy, rows: batch })
            }
            Stage::Journal { after, rows, sent } => {
                let entries = part(&self.journal, &self.origins, after, |loser| &loser.version);
                if entries.is_empty() {
                    let (rows, entries) = (*rows, *sent);
                    self.stage = Stage::Done;
                    return Some(Message::CopyEnd { copy, rows, entries });
                }
                *sent += entries.len() as u64;
                Some(Message::CopyJournal { copy, entries })
            }
            Stage::Done => None,
        }
    }

    /// The position of the log at which the clone was taken: for [`Table::checkpointed`].
    #[must_use]
    pub fn position(&self) -> u64 {
        self.position
    }
}

/// The next part of a map, as a batch.
fn part<E: Entry>(
    map: &Map<E>,
    origins: &[Incarnation],
    after: &mut Option<Vec<u8>>,
    version: impl Fn(&E) -> &Version,
) -> Batch {
    let mut batch = BatchBuilder::new(origins);
    let start = after.as_deref().map_or(Bound::Unbounded, Bound::Excluded);
    let mut last = None;
    for entry in map.from(start) {
        if batch.size() >= TABLE_COPY_BYTES {
            break;
        }
        batch.push(version(entry));
        last = Some(entry.key());
    }
    if let Some(last) = last {
        *after = Some(last.to_vec());
    }
    batch.finish()
}

/// The number below the first that a start of a node gives to a copy: those of two starts are not alike.
pub(in super::super) fn before_first_copy(me: Incarnation) -> u64 {
    mixed(OpId { origin: me, number: 0 }) >> 1
}

impl Table {
    /// A clone of this table, to be written to disc or given to a peer while this one goes on. Never while one is merged
    /// into it ([`Table::is_merging`]): what is in the rows already is not counted yet.
    pub fn clone_to_give(&mut self, now: Now) -> Giving {
        let copy = self.next_copy();
        let head = CopyHead {
            copy,
            giver: self.me,
            held: self.held(),
            folded: self.folded(),
            gc_floor: self.gc_floor,
            clock: self.clock(),
        };
        Giving {
            head,
            turn: copy,
            rows: self.rows.clone(),
            journal: if self.faults.copy_without_journal { Map::default() } else { self.journal.map().clone() },
            origins: self.origins.list().into(),
            stage: Stage::Head,
            last: now.mono,
            position: self.log.end(),
        }
    }

    fn next_copy(&mut self) -> u64 {
        self.copies_given += 1;
        self.copies_given
    }

    /// The next message of a full copy for a peer; for the lane of bulk data.
    pub fn poll_copy(&mut self, id: Incarnation, now: Now) -> Option<Message> {
        if !self.peers.map.contains_key(&id) {
            return None;
        }
        let giving = self.giving.get_mut(&id)?;
        let message = giving.next_message();
        if message.is_some() {
            giving.last = now.mono;
        }
        message
    }

    pub(in super::super) fn on_copy_ask(&mut self, id: Incarnation, resume: Option<&CopyPlace>, now: Now) {
        // Who gave its estate keeps nothing else: what it gets must not be in the middle of a change.
        let busy = self.taking.is_some() && self.judged.contains_key(&id);
        let is_of = |giving: &Giving, place: &CopyPlace| {
            giving.head.copy == place.copy && place.rows <= giving.rows.len() as u64
        };
        let known = |giving: &Giving| resume.is_some_and(|place| is_of(giving, place));
        let goes_on = self.giving.get(&id).is_some_and(known);
        if busy || self.is_merging() && !goes_on {
            self.tell(id, Message::NotNow);
            return;
        }
        let turn = self.next_copy();
        if let Some(place) = resume
            && let Some(giving) = self.giving.get_mut(&id).filter(|_| goes_on)
        {
            (giving.turn, giving.stage, giving.last) = (turn, Stage::Again(place.clone()), now.mono);
            return;
        }
        let giving = self.clone_to_give(now);
        let replaced = self.giving.insert(id, giving);
        self.waste.given.extend(replaced);
    }

    /// Clones that are to be dropped where no writer waits for it.
    pub fn take_waste(&mut self) -> Waste {
        core::mem::take(&mut self.waste)
    }
}
