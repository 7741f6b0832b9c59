//! Watchers of a table: what they were told adds up to what is there, and nothing came twice.

use std::collections::BTreeMap;

use ekka::table::{Change, Watch};

use super::{SharedTables, Which};
use crate::stack::world::ONE_THREAD;

/// What one watcher knows.
#[derive(Debug, Default)]
pub(super) struct Follower {
    pub(super) rows: BTreeMap<u64, u64>,
    /// Its snapshot is complete.
    follows: bool,
}

impl Follower {
    pub(super) fn is_following(&self) -> bool {
        self.follows
    }

    /// Takes a change.
    ///
    /// # Errors
    /// It cannot be the next one.
    fn take(&mut self, change: Change<u64, u64>) -> Result<(), String> {
        match change {
            Change::Snapshot(key, value) if !self.follows => match self.rows.insert(key, value) {
                None => Ok(()),
                Some(other) => Err(format!("a snapshot has key {key} twice, as {other} and {value}")),
            },
            Change::SnapshotEnd { .. } if !self.follows => {
                self.follows = true;
                Ok(())
            }
            Change::Put(key, value) if self.follows => match self.rows.insert(key, value) {
                Some(other) if other == value => Err(format!("that key {key} is {value} was told twice")),
                Some(_) | None => Ok(()),
            },
            Change::Delete(key) if self.follows => match self.rows.remove(&key) {
                Some(_) => Ok(()),
                None => Err(format!("key {key} is gone, and was not there")),
            },
            Change::Resync => {
                *self = Self::default();
                Ok(())
            }
            other => Err(format!("{other:?} at the wrong time")),
        }
    }
}

/// Follows a table until its node ends.
pub(super) async fn follow((host, which): (usize, Which), mut watch: Watch<u64, u64>, ledger: SharedTables) {
    loop {
        let change = watch.next().await;
        let mut ledger = ledger.lock().expect(ONE_THREAD);
        let taken = match change {
            Ok(Some(change)) => {
                ledger.counts.changes += 1;
                let Some(follower) = ledger.followers.get_mut(&(host, which)) else { return };
                follower.take(change)
            }
            Ok(None) => return,
            Err(error) => Err(error.to_string()),
        };
        if let Err(what) = taken {
            ledger.complain(|| format!("a watcher of {which:?} on host {host}: {what}"));
            return;
        }
    }
}
