//! The judgement, once all is at rest.

use std::collections::{BTreeMap, BTreeSet};

use super::{Handles, Ledger, TableCounts, Which, Written};

/// Whether all have heard all of each other, and have the same rows. What is in their journals may differ: where a
/// version came before or after another one decides which of a chain of versions it is that lost.
pub(super) fn at_rest(seats: &BTreeMap<usize, Handles>) -> bool {
    let Some(first) = seats.values().next() else { return false };
    [Which::Ram, Which::Disc].into_iter().all(|which| {
        let rows = first.rows(which);
        seats.values().all(|seat| seat.rows(which) == rows) && seats.values().all(|seat| has_told(seat, seats, which))
    })
}

/// Whether all others hold what this one wrote.
fn has_told(seat: &Handles, seats: &BTreeMap<usize, Handles>, which: Which) -> bool {
    let Some(info) = seat.door.info(&seat.available(which).schema().name) else { return false };
    let is_linked = |other: &Handles| other.me == seat.me || info.peers.iter().any(|(_, node)| *node == other.me);
    info.loaded && seats.values().all(is_linked) && info.lag.iter().all(|(_, lag)| *lag == 0)
}

/// What each has, in words.
pub(super) fn words(seats: &BTreeMap<usize, Handles>) -> String {
    let one = |(host, seat): (&usize, &Handles)| {
        let tables = [Which::Ram, Which::Disc].map(|which| {
            let info = seat.door.info(&seat.available(which).schema().name);
            let info = info.map(|info| (info.loaded, info.lag));
            format!("{which:?} {:?} lost {:?} {info:?}", seat.rows(which), seat.losses(which))
        });
        format!("host {host}: {}", tables.join(", "))
    };
    seats.iter().map(one).collect::<Vec<_>>().join("\n")
}

/// Who wrote what over what.
struct Family<'a> {
    writes: &'a BTreeMap<u64, Written>,
    children: BTreeMap<u64, Vec<u64>>,
}

impl<'a> Family<'a> {
    fn new(writes: &'a BTreeMap<u64, Written>) -> Self {
        let mut children: BTreeMap<u64, Vec<u64>> = BTreeMap::new();
        for (id, written) in writes {
            if let Some(saw) = written.saw {
                children.entry(saw).or_default().push(*id);
            }
        }
        Self { writes, children }
    }

    /// Whether `old` is `new`, or was seen by who wrote it, or by who wrote what was seen, and so on.
    fn descends(&self, new: u64, old: u64) -> bool {
        let mut at = Some(new);
        while let Some(id) = at {
            if id == old {
                return true;
            }
            at = self.writes.get(&id).and_then(|written| written.saw);
        }
        false
    }

    /// Whether a write is a row, or lost and is in the journal, or was overwritten by one who had seen it, and that is
    /// accounted for.
    fn accounts(&self, id: u64, rows: &BTreeMap<u64, u64>, losses: &BTreeSet<u64>) -> bool {
        let Some(written) = self.writes.get(&id) else { return false };
        let row = rows.get(&written.key).copied();
        // Of a deletion nothing is to be seen but that what it deleted is not there.
        let is_there = if written.delete {
            row.is_none_or(|row| written.saw.is_none_or(|saw| !self.descends(saw, row)))
        } else {
            row == Some(id)
        };
        is_there
            || losses.contains(&id)
            || self.children.get(&id).is_some_and(|all| all.iter().any(|child| self.accounts(*child, rows, losses)))
    }
}

impl Ledger {
    /// The writes in memory that each who runs accounts for.
    pub(super) fn held_by_all(&self) -> BTreeSet<u64> {
        let family = Family::new(&self.writes);
        let seen = |seat: &Handles| Some((seat.rows(Which::Ram).ok()?, seat.losses(Which::Ram)));
        let Some(seen) = self.seats.values().map(seen).collect::<Option<Vec<_>>>() else { return BTreeSet::new() };
        let wanted = self.writes.iter().filter(|(_, written)| written.which == Which::Ram && written.promised);
        let held = |id: &u64| seen.iter().all(|(rows, losses)| family.accounts(*id, rows, losses));
        wanted.map(|(id, _)| *id).filter(held).collect()
    }

    /// Judges all that was done, with everything at rest.
    ///
    /// # Errors
    /// Something acknowledged is not accounted for, or something is there that must not be.
    pub(super) fn verdict(&self) -> Result<TableCounts, String> {
        if let Some(wrong) = &self.wrong {
            return Err(wrong.clone());
        }
        let mut counts = self.counts;
        for (host, seat) in &self.seats {
            for which in [Which::Ram, Which::Disc] {
                let (rows, losses) = (seat.rows(which)?, seat.losses(which));
                self.is_all_there(which, &rows, &losses)
                    .map_err(|what| format!("host {host}: {what}\n{}", self.words()))?;
                counts.lost = counts.lost.max(losses.len());
                self.was_told((*host, which), &rows)?;
            }
        }
        self.owners_agree()?;
        self.stock_adds_up()?;
        counts.promised = self.writes.values().filter(|written| written.promised).count();
        Ok(counts)
    }

    fn is_all_there(&self, which: Which, rows: &BTreeMap<u64, u64>, losses: &BTreeSet<u64>) -> Result<(), String> {
        let family = Family::new(&self.writes);
        let of_table = || self.writes.iter().filter(|(_, written)| written.which == which);
        for (id, written) in of_table().filter(|(_, written)| written.promised) {
            if !family.accounts(*id, rows, losses) {
                return Err(format!("write {id} was acknowledged and is lost: {written:?}"));
            }
            let back = rows.get(&written.key).filter(|row| written.saw.is_some_and(|saw| family.descends(saw, **row)));
            if let Some(row) = back {
                return Err(format!("{row} is back, which {id} had deleted or overwritten: {written:?}"));
            }
        }
        for (key, row) in rows {
            if !of_table().any(|(id, written)| id == row && written.key == *key && !written.delete) {
                return Err(format!("{which:?} has {row} at key {key}, which nobody wrote there"));
            }
        }
        Ok(())
    }

    fn was_told(&self, watched: (usize, Which), rows: &BTreeMap<u64, u64>) -> Result<(), String> {
        match self.followers.get(&watched) {
            Some(follower) if follower.rows == *rows && follower.is_even() => Ok(()),
            follower => Err(format!("a watcher of {watched:?} has {follower:?}, and the table {rows:?}")),
        }
    }

    /// Everybody has the rows of those that run, as they have them themselves, and of nobody else.
    fn owners_agree(&self) -> Result<(), String> {
        let mut wanted = BTreeSet::new();
        for (host, own) in &self.own {
            let Some(seat) = self.seats.get(host) else { continue };
            wanted.extend(own.rows.iter().map(|(key, value)| (seat.me, *key, *value)));
        }
        for (host, seat) in &self.seats {
            let rows: Result<BTreeSet<_>, _> = seat.owned.prefix(&[]).collect();
            let rows = rows.map_err(|error| error.to_string())?;
            if rows != wanted {
                return Err(format!("host {host} has these owned rows: {rows:?}; their owners have {wanted:?}"));
            }
        }
        Ok(())
    }

    /// All replicas have the same counters, in which all raises are that somebody was told of.
    fn stock_adds_up(&self) -> Result<(), String> {
        for (host, seat) in &self.seats {
            let rows = seat.stock.scan_stale().map_err(|error| error.to_string())?;
            let rows: BTreeMap<u64, u64> = rows.collect::<Result<_, _>>().map_err(|error| error.to_string())?;
            for (key, counter) in &self.stock {
                let value = rows.get(key).copied().unwrap_or(0);
                if value < counter.floor || value > counter.tried {
                    return Err(format!("counter {key} is {value} on host {host}: {counter:?}"));
                }
            }
        }
        Ok(())
    }
}
