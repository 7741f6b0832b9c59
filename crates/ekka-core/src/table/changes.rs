//! What watchers see: the latest changes of the rows, each once, in the order in which they came about here.
//!
//! A watcher takes a snapshot (a clone of the rows) and the revision at which it was taken, and from then on asks for
//! what came after its revision. Where that is no longer kept it is told to take a new snapshot: never a silent gap. A
//! revision means nothing on another node, nor after a restart.

use alloc::collections::VecDeque;

use super::version::Version;
use crate::limits::{TABLE_CHANGES_BYTES_MAX, TABLE_CHANGES_MAX};

/// The number of a change on this node.
pub type Revision = u64;

/// A change of what can be read.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Change {
    /// A row has this version now.
    Put(Version),
    /// A row was deleted; this was what it had.
    Delete(Version),
    /// A row has expired; this was its last version.
    Expired(Version),
}

impl Change {
    /// The version that it is about.
    #[must_use]
    pub fn version(&self) -> &Version {
        match self {
            Self::Put(version) | Self::Delete(version) | Self::Expired(version) => version,
        }
    }
}

/// The watcher is too far behind, or something was changed as a whole: it needs a new snapshot.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("the changes after this revision are not kept: take a new snapshot")]
pub struct Resync;

/// The latest changes.
#[derive(Clone, Debug)]
pub(crate) struct Changes<C> {
    kept: VecDeque<(C, usize)>,
    bytes: usize,
    /// The revision of the latest change.
    revision: Revision,
}

impl<C> Default for Changes<C> {
    fn default() -> Self {
        Self { kept: VecDeque::new(), bytes: 0, revision: 0 }
    }
}

impl<C> Changes<C> {
    /// A change that keeps so many bytes alive.
    pub(crate) fn push(&mut self, change: C, bytes: usize) {
        self.revision += 1;
        self.bytes += bytes;
        self.kept.push_back((change, bytes));
        while self.kept.len() > TABLE_CHANGES_MAX || self.bytes > TABLE_CHANGES_BYTES_MAX {
            let Some((_, bytes)) = self.kept.pop_front() else { break };
            self.bytes -= bytes;
        }
    }

    /// Everybody has to take a new snapshot.
    pub(crate) fn cut(&mut self) {
        self.kept.clear();
        self.bytes = 0;
        self.revision += 1;
    }

    pub(crate) fn revision(&self) -> Revision {
        self.revision
    }

    /// The changes after a revision.
    pub(crate) fn after(&self, revision: Revision) -> Result<impl Iterator<Item = &C>, Resync> {
        let missed = self.revision.checked_sub(revision).ok_or(Resync)?;
        let missed = usize::try_from(missed).map_err(|_| Resync)?;
        let skip = self.kept.len().checked_sub(missed).ok_or(Resync)?;
        Ok(self.kept.iter().skip(skip).map(|(change, _)| change))
    }
}
