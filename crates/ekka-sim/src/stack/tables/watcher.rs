//! Watchers of a table: what they were told adds up to what is there, nothing came twice, and nothing was left out of what
//! is known: what their own node wrote, in this order, and which version it replaced there.

use std::collections::{BTreeMap, VecDeque};

use ekka::table::{Change, Watch};

use super::{SharedTables, Which};
use crate::stack::world::ONE_THREAD;

/// What one watcher knows.
#[derive(Debug, Default)]
pub(super) struct Follower {
    pub(super) rows: BTreeMap<u64, u64>,
    /// Its snapshot is complete.
    follows: bool,
    /// What its node wrote since, and it was not told of.
    owed: VecDeque<Own>,
}

/// A write as it happened in the table of its node.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Own {
    pub(super) key: u64,
    /// What the key has since; none where it was deleted.
    pub(super) value: Option<u64>,
    /// What it had until then.
    pub(super) saw: Option<u64>,
}

impl Follower {
    pub(super) fn is_following(&self) -> bool {
        self.follows
    }

    /// Whether it was told of all that its node wrote.
    pub(super) fn is_even(&self) -> bool {
        self.owed.is_empty()
    }

    /// Its node wrote this. Before its snapshot is complete that has it.
    pub(super) fn is_owed(&mut self, own: Own) {
        if self.follows {
            self.owed.push_back(own);
        }
    }

    /// Of what its node wrote a change is the next one, or none: others write as well.
    fn settle(&mut self, key: u64, value: Option<u64>) -> Result<(), String> {
        let Some(at) = self.owed.iter().position(|own| (own.key, own.value) == (key, value)) else { return Ok(()) };
        match self.owed.front().copied() {
            Some(own) if at == 0 => {
                self.owed.pop_front();
                let held = self.rows.get(&key).copied();
                // Of two deletions of a key which one this is cannot be told.
                if value.is_some() && held != own.saw {
                    return Err(format!("{own:?} was told after {held:?}: what came in between was left out"));
                }
                Ok(())
            }
            // A deletion by another node, as far as can be told.
            Some(_) if value.is_none() => Ok(()),
            first => Err(format!("key {key} is {value:?} before {first:?}, which this node wrote first")),
        }
    }

    /// Takes a change.
    ///
    /// # Errors
    /// It cannot be the next one.
    fn take(&mut self, change: Change<u64, u64>) -> Result<(), String> {
        match &change {
            Change::Put(key, value) => self.settle(*key, Some(*value))?,
            Change::Delete(key) => self.settle(*key, None)?,
            _ => {}
        }
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

#[cfg(test)]
mod tests {
    use super::*;

    /// One that was told of this, while its node wrote that.
    fn told(owed: &[Own], changes: &[Change<u64, u64>]) -> Result<bool, String> {
        let mut follower = Follower::default();
        follower.take(Change::Snapshot(1, 10))?;
        follower.take(Change::SnapshotEnd { revision: 1 })?;
        for own in owed {
            follower.is_owed(*own);
        }
        changes.iter().try_for_each(|change| follower.take(change.clone()))?;
        Ok(follower.is_even())
    }

    fn own(key: u64, value: Option<u64>, saw: Option<u64>) -> Own {
        Own { key, value, saw }
    }

    #[test]
    fn a_follower_sees_what_was_left_out() {
        let two = [own(1, Some(11), Some(10)), own(1, Some(12), Some(11))];
        assert_eq!(told(&two, &[Change::Put(1, 11), Change::Put(1, 12)]), Ok(true));
        assert_eq!(told(&two, &[Change::Put(1, 11)]), Ok(false), "the last one is owed still");
        assert!(told(&two, &[Change::Put(1, 12)]).is_err(), "what this node wrote first was left out");
        let over_another = [own(1, Some(12), Some(90))];
        assert_eq!(told(&over_another, &[Change::Put(1, 90), Change::Put(1, 12)]), Ok(true));
        assert!(told(&over_another, &[Change::Put(1, 12)]).is_err(), "what another node wrote was left out");
    }

    #[test]
    fn a_follower_takes_what_others_write_and_delete_in_between() {
        let owed = [own(2, Some(11), None), own(1, None, Some(90)), own(1, Some(12), None)];
        let changes = [
            Change::Delete(1),
            Change::Put(2, 11),
            Change::Put(1, 90),
            Change::Delete(1),
            Change::Put(1, 12),
            Change::Put(3, 91),
        ];
        assert_eq!(told(&owed, &changes), Ok(true));
    }
}
