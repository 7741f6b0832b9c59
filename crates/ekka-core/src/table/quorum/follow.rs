//! Following the tables of a group without its log: what changed after a mark, taken from any of its replicas.
//!
//! Revisions are the same on all replicas of one history, so who has everything up to a mark may go on at another of
//! them. The clock is a part of the mark: rows are hidden by it, and it may go on without a revision.

use alloc::vec::Vec;

use serde::{Deserialize, Serialize};

use super::super::changes::{Resync, Revision};
use super::super::scan::PageLimits;
use super::command::TableId;
use super::octets::Octets;
use super::row::Row;
use super::state::QuorumTables;
use super::view::View;
use super::watch::{Change, Changed, Cursor, Log};
use crate::time::Wall;

/// How far tables are. Neither part ever goes back.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Mark {
    /// The revision.
    pub revision: Revision,
    /// The clock.
    pub clock: Wall,
}

impl Mark {
    /// Whether all that is at the other mark is here too.
    #[must_use]
    pub fn reaches(&self, other: &Self) -> bool {
        self.revision >= other.revision && self.clock >= other.clock
    }
}

/// What changed from one revision to a mark.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Delta {
    after: Revision,
    to: Mark,
    /// All that there are then, and whether they were made since.
    tables: Vec<(TableId, bool)>,
    /// In the order of revisions for each table.
    items: Vec<Item>,
}

#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
struct Item {
    table: TableId,
    revision: Revision,
    what: What,
}

#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
enum What {
    /// This row, packed, is there now.
    Put(Octets),
    /// The row of this key is gone.
    Gone(Octets),
}

impl Delta {
    /// Whoever takes it in is here then.
    #[must_use]
    pub fn to(&self) -> Mark {
        self.to
    }
}

impl View {
    /// How far it is.
    #[must_use]
    pub fn mark(&self) -> Mark {
        Mark { revision: self.revision(), clock: self.clock() }
    }
}

impl QuorumTables {
    /// What changed after a mark: whole revisions, at least one where there is one.
    ///
    /// # Errors
    /// It is not kept any more, or has not come here yet: take all of it.
    pub fn delta(&self, after: Mark, limits: PageLimits) -> Result<Delta, Resync> {
        let now = self.view.mark();
        if after.revision > now.revision {
            return Err(Resync);
        }
        let (mut changes, mut upto) = (Vec::new(), now.revision);
        for (table, log) in &self.logs {
            let start = log.start_after(after.revision).ok_or(Resync)?;
            let cursor = Cursor { table: *table, revision: start, restores: 0 };
            let news = log.after(cursor, now.revision, limits)?;
            upto = upto.min(news.next.revision);
            changes.extend(news.changes.into_iter().map(|changed| (*table, changed)));
        }
        // Each table has its own in order already, and keeps that.
        changes.sort_by_key(|(_, changed)| changed.revision);
        let (mut bytes, mut kept) = (0, 0);
        for (place, (_, changed)) in changes.iter().enumerate() {
            let begins = place.checked_sub(1).is_none_or(|before| changes[before].1.revision != changed.revision);
            if changed.revision > upto || (begins && place > 0 && bytes > limits.bytes) {
                upto = upto.min(changed.revision - 1);
                break;
            }
            bytes += changed.change.row().size();
            kept = place + 1;
        }
        changes.truncate(kept);
        // Between two revisions the clock of the later one is not of the earlier one.
        let clock = if upto == now.revision { now.clock } else { after.clock };
        Ok(Delta {
            after: after.revision,
            to: Mark { revision: upto, clock },
            tables: self.logs.iter().map(|(table, log)| (*table, log.is_younger_than(after.revision))).collect(),
            items: changes.into_iter().map(|(table, changed)| item(table, changed)).collect(),
        })
    }

    /// Takes in what changed elsewhere after the revision that is here. Watchers here see each of these changes.
    ///
    /// # Errors
    /// It does not begin here, or is none; nothing is changed, or all of it is to be replaced.
    pub fn follow(&mut self, delta: &Delta) -> Result<(), Resync> {
        if delta.after != self.view.revision || delta.to.revision < delta.after {
            return Err(Resync);
        }
        // One that was made since is another one, whatever had its number before.
        let gone = self.view.tables().filter(|table| !delta.tables.contains(&(*table, false)));
        let gone: Vec<TableId> = gone.collect();
        for table in gone {
            self.drop_table(table);
        }
        let tables = alloc::sync::Arc::make_mut(&mut self.view.tables);
        for (table, _) in &delta.tables {
            tables.entry(*table).or_default();
            self.logs.entry(*table).or_insert_with(|| Log::from(delta.after));
        }
        for Item { table, revision, what } in &delta.items {
            // Of a table that is gone by then.
            let (Some(contents), Some(log)) = (tables.get_mut(table), self.logs.get_mut(table)) else { continue };
            let change = match what {
                What::Put(row) => {
                    let row = Row::read(row).map_err(|_| Resync)?;
                    contents.put(&row);
                    Change::Put(row)
                }
                What::Gone(key) => match contents.remove(key) {
                    Some(row) => Change::Deleted(row),
                    None => continue,
                },
            };
            log.push(*revision, change);
        }
        self.view.revision = delta.to.revision;
        self.view.clock = self.view.clock.max(delta.to.clock);
        Ok(())
    }
}

fn item(table: TableId, Changed { revision, change }: Changed) -> Item {
    let what = match change {
        Change::Put(row) => What::Put(row.as_bytes().into()),
        Change::Deleted(row) | Change::Expired(row) => What::Gone(row.key().into()),
    };
    Item { table, revision, what }
}

#[cfg(test)]
mod tests {
    use super::super::{Command, Transaction, Write};
    use super::*;
    use crate::limits::TABLE_CHANGES_MAX;
    use crate::rng::Rng;

    const LIMITS: PageLimits = PageLimits { rows: 8, bytes: 300 };

    /// A few tables at a voter, changed by chance.
    fn changed(voter: &mut QuorumTables, rng: &mut Rng) {
        let table = 1 + rng.below(3);
        let now = Wall::from_millis(voter.view().clock().as_millis() + rng.below(4));
        let key = [u8::try_from(rng.below(9)).unwrap()];
        let command = match rng.below(12) {
            0 => Command::Create { table },
            1 if rng.below(6) == 0 => Command::Drop { table },
            1 | 2 => Command::Tick { now },
            3 | 4 => Transaction::delete(table, &key, now).unwrap().into(),
            5 => {
                let writes = (0..4u8).map(|n| Write::Put {
                    table: 1 + u64::from(n % 3),
                    key: (&[n][..]).into(),
                    value: (&[7; 50][..]).into(),
                    expires_at: None,
                });
                Transaction { writes: writes.collect(), now, ..Transaction::default() }.into()
            }
            n => {
                let at = (n % 2 == 0).then(|| Wall::from_millis(now.as_millis() + rng.below(20)));
                Transaction::put(table, &key, &rng.next_u64().to_le_bytes(), at, now).unwrap().into()
            }
        };
        voter.apply_command(&command);
    }

    #[test]
    fn who_follows_is_at_each_end_what_the_voter_was() {
        for seed in 0..200 {
            let mut rng = Rng::new(seed);
            let (mut voter, mut other) = (QuorumTables::default(), QuorumTables::default());
            for _ in 0..60 {
                for _ in 0..rng.below(9) {
                    changed(&mut voter, &mut rng);
                }
                let mut steps = 0;
                while other.view().mark() != voter.view().mark() {
                    let delta = voter.delta(other.view().mark(), LIMITS).expect("it is kept");
                    assert!(delta.to() != other.view().mark(), "seed {seed}: it goes on");
                    other.follow(&delta).expect("it begins here");
                    steps += 1;
                    assert!(steps < 100, "seed {seed}: it ends");
                }
                let bytes = |tables: &QuorumTables| tables.view().pieces().collect::<Vec<_>>().concat();
                assert_eq!(bytes(&other), bytes(&voter), "seed {seed}");
            }
        }
    }

    #[test]
    fn a_watcher_of_who_follows_sees_every_change_once_and_may_have_come_from_the_voter() {
        let all = PageLimits { rows: usize::MAX, bytes: usize::MAX };
        let (mut voter, mut other) = (QuorumTables::default(), QuorumTables::default());
        voter.apply_command(&Command::Create { table: 1 });
        other.follow(&voter.delta(Mark::default(), LIMITS).unwrap()).unwrap();
        let (here, there) = (voter.watch(1).unwrap(), other.watch(1).unwrap());
        for n in 0..20u8 {
            voter.apply_command(&Transaction::put(1, &[n % 5], &[n; 40], None, Wall::default()).unwrap().into());
        }
        while other.view().mark() != voter.view().mark() {
            let delta = voter.delta(other.view().mark(), LIMITS).unwrap();
            assert!(delta.items.len() < 20, "in steps");
            other.follow(&delta).unwrap();
        }
        let seen = other.changes(there, all).unwrap().changes;
        assert_eq!((seen.len(), &seen), (20, &voter.changes(here, all).unwrap().changes));
        let resumed = other.resume(1, 11).expect("the same revisions");
        assert_eq!(other.changes(resumed, all).unwrap().changes[..], seen[10..]);
    }

    #[test]
    fn what_is_not_kept_or_not_there_yet_is_no_delta() {
        let mut voter = QuorumTables::default();
        voter.apply_command(&Command::Create { table: 1 });
        let mark = voter.view().mark();
        for n in 0..=TABLE_CHANGES_MAX {
            voter.apply_command(&Transaction::put(1, b"k", &n.to_le_bytes(), None, Wall::default()).unwrap().into());
        }
        assert_eq!(voter.delta(mark, LIMITS), Err(Resync));
        assert_eq!(voter.delta(Mark::default(), LIMITS), Err(Resync), "nor from before the table");
        let ahead = Mark { revision: voter.view().revision() + 1, ..mark };
        assert_eq!(voter.delta(ahead, LIMITS), Err(Resync));
        let mut other = QuorumTables::default();
        let late = voter.delta(voter.view().mark(), LIMITS).unwrap();
        assert_eq!(other.follow(&late), Err(Resync), "it does not begin here");
        // One whose state came whole has nothing from before.
        let mut restored = QuorumTables::default();
        restored.adopt(voter.view().clone());
        assert_eq!(restored.delta(mark, LIMITS), Err(Resync));
        other.adopt(voter.view().clone());
        other.follow(&late).unwrap();
    }
}
