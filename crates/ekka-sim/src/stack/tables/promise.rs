//! Which acknowledged writes have to be there still, as far as they are in memory only: that depends on who has died.
//!
//! A write that is acknowledged with two copies survives the death of any one node. Once all that run hold the same, it is
//! as safe as the last of those that went on to run since.

use std::collections::{BTreeMap, BTreeSet};

use super::{Which, Written};

/// Who keeps what.
#[derive(Debug, Default)]
pub(super) struct Promises {
    /// Those that held everything when all held the same last, and have run ever since.
    keepers: BTreeSet<usize>,
    /// Writes that they held.
    kept: BTreeSet<u64>,
    /// Deaths that a write has seen which not all held.
    deaths: BTreeMap<u64, u32>,
}

impl Promises {
    /// All that run hold the same.
    pub(super) fn rest(&mut self, running: impl Iterator<Item = usize>, held: BTreeSet<u64>) {
        self.keepers = running.collect();
        self.deaths.retain(|id, _| !held.contains(id));
        self.kept = held;
    }

    /// A write saw so many deaths before it was acknowledged; whether it survives those.
    pub(super) fn saw(&mut self, id: u64, deaths: usize) -> bool {
        self.deaths.insert(id, u32::try_from(deaths).unwrap_or(u32::MAX));
        deaths < 2
    }

    /// The process of a host is no more, and what was in its memory.
    pub(super) fn died(&mut self, host: usize, writes: &mut BTreeMap<u64, Written>) {
        self.keepers.remove(&host);
        let nobody = self.keepers.is_empty();
        let all: Vec<u64> = promised(writes).collect();
        for id in all {
            let Some(written) = writes.get_mut(&id) else { continue };
            let is_lost = if self.kept.contains(&id) {
                nobody
            } else {
                let deaths = self.deaths.entry(id).or_default();
                *deaths += 1;
                if written.copies < 2 { written.by == host } else { *deaths >= 2 }
            };
            written.promised &= !is_lost;
        }
    }
}

fn promised(writes: &BTreeMap<u64, Written>) -> impl Iterator<Item = u64> {
    writes.iter().filter(|(_, written)| written.which == Which::Ram && written.promised).map(|(id, _)| *id)
}
