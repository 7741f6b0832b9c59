//! Digests: whether two nodes have the same rows, by a sum for each of [`RANGES`] ranges of keys.
//!
//! Two nodes are hardly ever at the same point, so they are compared at a *cut*: what both hold. A key counts where the
//! row on either side was carried by an operation that the other side holds too. Each holds then all that the other has
//! of that key, and both must have the newest of it. Tombstones do not count, since one side may have dropped them
//! already, nor does what has expired. The range of a key is a part of its hash, and what a range sums to does not
//! depend on any order.
//!
//! The one who asks says first which keys the other one lacks (by the vector that it gave a moment ago), and the other
//! one which of its own are new to the first: [`Cut::above`]. Both leave out all of them: [`Cut::digest`].

use alloc::collections::BTreeSet;
use alloc::sync::Arc;
use alloc::vec::Vec;

use serde::{Deserialize, Serialize};

use super::available::Table;
use super::map::Map;
use super::quorum::hash::{chain, hash};
use super::vector::{OpNumber, Vector};
use super::version::Version;
use crate::id::Incarnation;
use crate::time::Wall;

/// Into how many ranges the keys of a table are cut.
pub const RANGES: usize = 256;

/// The hash of a key.
pub type KeyHash = u64;

/// What the rows of a table sum to, range by range.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Digest {
    rows: u64,
    sums: Vec<u64>,
}

impl Default for Digest {
    fn default() -> Self {
        Self { rows: 0, sums: alloc::vec![0; RANGES] }
    }
}

impl Digest {
    /// How many rows it is of.
    #[must_use]
    pub fn rows(&self) -> u64 {
        self.rows
    }

    /// The ranges in which two tables differ, in order.
    #[must_use]
    pub fn differing(&self, other: &Self) -> Vec<usize> {
        let sum = |digest: &Self, range: usize| digest.sums.get(range).copied();
        (0..RANGES).filter(|range| sum(self, *range) != sum(other, *range)).collect()
    }

    /// All of it in one number.
    #[must_use]
    pub fn whole(&self) -> u64 {
        self.sums.iter().fold(self.rows, |whole, sum| chain(whole, *sum))
    }

    /// Counts a row.
    pub(super) fn add(&mut self, key: KeyHash, row: u64) {
        self.rows += 1;
        if let Some(sum) = self.sums.get_mut(range_of(key)) {
            *sum = sum.wrapping_add(chain(key, row));
        }
    }
}

/// The hash of a key, the same on all nodes.
#[must_use]
pub fn key_hash(key: &[u8]) -> KeyHash {
    hash(key)
}

/// The range of a key.
#[must_use]
pub fn range_of(key: KeyHash) -> usize {
    (key >> 56) as usize
}

/// A table at one moment: its rows, and what is held of each origin. It costs nothing and stays as it is.
#[derive(Clone, Debug)]
pub struct Cut {
    rows: Map<Version>,
    origins: Arc<[Incarnation]>,
    held: Vector,
    dropped: u64,
}

impl Table {
    /// The table as it is now.
    #[must_use]
    pub fn cut(&self) -> Cut {
        let (rows, origins) = (self.rows.clone(), self.origins.list().into());
        Cut { rows, origins, held: self.all_held(), dropped: self.dropped }
    }
}

impl Cut {
    /// What is held, origins that are folded included.
    #[must_use]
    pub fn held(&self) -> &Vector {
        &self.held
    }

    /// How many tombstones this table has dropped since it was opened. Where that grew between two cuts, a row of the
    /// earlier one may be gone from the later one without a trace.
    #[must_use]
    pub fn dropped(&self) -> u64 {
        self.dropped
    }

    /// The rows, tombstones included.
    #[must_use]
    pub fn rows(&self) -> &Map<Version> {
        &self.rows
    }

    /// Who may have written rows of it.
    #[must_use]
    pub fn origins(&self) -> &[Incarnation] {
        &self.origins
    }

    /// The place of who wrote a version among those.
    #[must_use]
    pub fn origin_of(&self, version: &Version) -> u32 {
        version.id().origin.0
    }

    /// The operation that wrote a version of these rows.
    #[must_use]
    pub fn id_of(&self, version: &Version) -> super::OpId {
        let id = version.id();
        super::OpId { origin: self.origins[id.origin.place()], number: id.number }
    }

    /// The keys whose rows the other side does not hold; `None` where they are more than so many.
    #[must_use]
    pub fn above(&self, theirs: &Vector, most: usize) -> Option<BTreeSet<KeyHash>> {
        let theirs: Vec<OpNumber> = self.origins.iter().map(|origin| theirs.get(*origin)).collect();
        let mut above = BTreeSet::new();
        for row in &self.rows {
            let carrier = row.carrier();
            if carrier.number > theirs[carrier.origin.place()] {
                above.insert(key_hash(row.key()));
                if above.len() > most {
                    return None;
                }
            }
        }
        Some(above)
    }

    /// What the rows sum to that can be read at this time, without these keys.
    #[must_use]
    pub fn digest(&self, without: &BTreeSet<KeyHash>, wall: Wall) -> Digest {
        let (mut digest, mut head) = (Digest::default(), Vec::new());
        for row in self.rows.iter().filter(|row| row.is_live(wall)) {
            let key = key_hash(row.key());
            if !without.contains(&key) {
                digest.add(key, self.hash_of(row, &mut head));
            }
        }
        digest
    }

    /// The hash of what a row is on every node. Which operation carried it here is not part of that.
    fn hash_of(&self, row: &Version, head: &mut Vec<u8>) -> u64 {
        let id = self.id_of(row);
        head.clear();
        head.extend_from_slice(&row.hlc().bits().to_le_bytes());
        head.extend_from_slice(&id.origin.node_id.as_u128().to_le_bytes());
        head.extend_from_slice(&id.origin.guid.as_u128().to_le_bytes());
        head.extend_from_slice(&id.number.to_le_bytes());
        head.extend_from_slice(&row.expires_at().map_or(0, Wall::as_millis).to_le_bytes());
        chain(hash(head), hash(row.value()))
    }
}

/// By how many operations the second is behind the first.
#[must_use]
pub fn behind(ahead: &Vector, behind: &Vector) -> u64 {
    let lacking = |(origin, number): (Incarnation, OpNumber)| number.saturating_sub(behind.get(origin));
    ahead.iter().map(lacking).fold(0, u64::saturating_add)
}
