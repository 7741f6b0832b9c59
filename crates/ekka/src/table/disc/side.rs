//! What the writers of a table and its keeper tell each other.

use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::super::error::PutError;

/// Whether the disc of the data directory is so full that tables take no more.
pub(in crate::table) type IsFull = Arc<dyn Fn() -> bool + Send + Sync>;

/// Why the keeper cannot write.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Trouble {
    /// There is no room; it is tried again.
    Full,
    /// The store takes nothing any more.
    Failed(String),
}

/// Of one table that is open.
pub(in crate::table) struct Side {
    is_full: IsFull,
    trouble: Mutex<Option<Trouble>>,
    /// There may be something that is not on disc.
    pub(super) wake: Notify,
    /// The table is dropped, or its cluster was left.
    pub(super) end: CancellationToken,
}

impl Side {
    pub(super) fn new(is_full: IsFull) -> Self {
        Self { is_full, trouble: Mutex::default(), wake: Notify::new(), end: CancellationToken::new() }
    }

    fn trouble(&self) -> Option<Trouble> {
        self.trouble.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Takes note of what keeps the keeper from writing; whether that is new.
    pub(super) fn set_trouble(&self, trouble: Option<Trouble>) -> bool {
        let mut present = self.trouble.lock().unwrap_or_else(PoisonError::into_inner);
        let before = std::mem::replace(&mut *present, trouble);
        before != *present
    }

    /// There may be something that is not on disc.
    pub(in crate::table) fn stir(&self) {
        self.wake.notify_one();
    }

    /// Whether a copy here counts: there is room on the disc, and the store works.
    pub(in crate::table) fn has_room(&self) -> bool {
        !(self.is_full)() && self.trouble().is_none()
    }

    /// Why a write is not taken now. What makes room is, for as long as the store works.
    pub(in crate::table) fn refuses(&self, makes_room: bool) -> Option<PutError> {
        match self.trouble() {
            Some(Trouble::Failed(why)) => Some(PutError::DiscFailed { why, written: false }),
            Some(Trouble::Full) if !makes_room => Some(PutError::DiscFull),
            None if !makes_room && (self.is_full)() => Some(PutError::DiscFull),
            Some(Trouble::Full) | None => None,
        }
    }

    /// Why a write that was taken gets no answer, where it is because of the disc.
    pub(in crate::table) fn unanswered(&self) -> Option<PutError> {
        match self.trouble()? {
            Trouble::Failed(why) => Some(PutError::DiscFailed { why, written: true }),
            Trouble::Full => None,
        }
    }
}
