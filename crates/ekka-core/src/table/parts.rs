//! Tables whose keys have several values: bags, and counters with a part per origin.
//!
//! Each value is a row of its own, whose key is the key of the application and who wrote it. So nothing is ever written
//! by two, and all that holds of rows holds of these. A bag's element is named by the operation that added it, and a
//! removal names the elements that it saw (an *observed-remove* set, Shapiro and others, 2011): one that was added
//! concurrently stays. A counter's part belongs to one incarnation; the value is the sum of the parts, or the largest.
//! A counter that is deleted while somebody who does not know it adds: that one's part is there again as it was.

use alloc::vec::Vec;
use core::ops::Bound;

use super::available::Table;
use super::index::fenced;
use super::terms::{Receipt, WriteError};
use super::vector::OpNumber;
use super::version::Version;
use crate::id::{Guid, Incarnation, NodeId};
use crate::time::Wall;

/// Where the rows of a key begin: all of them, and no others, begin with this.
fn head(key: &[u8]) -> Vec<u8> {
    let mut head = Vec::with_capacity(key.len() + 42);
    fenced(key, &mut head);
    head
}

fn part_key(key: &[u8], origin: Incarnation, number: Option<OpNumber>) -> Vec<u8> {
    let mut part = head(key);
    part.extend_from_slice(&origin.node_id.as_u128().to_be_bytes());
    part.extend_from_slice(&origin.guid.as_u128().to_be_bytes());
    part.extend_from_slice(number.map(OpNumber::to_be_bytes).as_ref().map_or(&[][..], |bytes| bytes));
    part
}

/// The key of the application in the key of a row of such a table; `None` where it is none.
#[must_use]
pub fn part_of(row_key: &[u8]) -> Option<Vec<u8>> {
    split(row_key).map(|(key, _)| key)
}

/// The key of a row of such a table whose writer has another name; `None` where it is none.
pub(super) fn part_renamed(row_key: &[u8], name: impl Fn(Incarnation) -> Incarnation) -> Option<Vec<u8>> {
    let (key, rest) = split(row_key)?;
    let (node_id, rest) = rest.split_first_chunk()?;
    let (guid, rest) = rest.split_first_chunk()?;
    let origin = Incarnation {
        node_id: NodeId::from_u128(u128::from_be_bytes(*node_id)),
        guid: Guid::from_u128(u128::from_be_bytes(*guid)),
    };
    let mut renamed = part_key(&key, name(origin), None);
    renamed.extend_from_slice(rest);
    Some(renamed)
}

/// The key of the application, and what follows it: who wrote the part.
fn split(row_key: &[u8]) -> Option<(Vec<u8>, &[u8])> {
    let (mut key, mut at) = (Vec::new(), 0);
    loop {
        match (*row_key.get(at)?, row_key.get(at + 1)) {
            (0, Some(0)) => return Some((key, &row_key[at + 2..])),
            (0, Some(255)) => {
                key.push(0);
                at += 2;
            }
            (0, _) => return None,
            (byte, _) => {
                key.push(byte);
                at += 1;
            }
        }
    }
}

/// The number in the row of a part of a counter.
#[must_use]
pub fn part_number(version: &Version) -> i64 {
    version.value().try_into().map_or(0, i64::from_le_bytes)
}

impl Table {
    /// The rows of a key with several values.
    fn parts(&self, key: &[u8], wall: Wall) -> Vec<Version> {
        let head = head(key);
        let rows = self.rows.from(Bound::Included(&head)).take_while(|row| row.key().starts_with(&head));
        rows.filter(|row| row.is_live(wall)).cloned().collect()
    }

    fn delete_parts(&mut self, parts: &[Version], wall: Wall) -> Result<Option<Receipt>, WriteError> {
        let mut last = None;
        for part in parts {
            last = Some(self.delete(part.key(), wall)?);
        }
        Ok(last)
    }

    /// Adds a value to a bag.
    ///
    /// # Errors
    /// See [`WriteError`]: nothing has changed, and a retry is safe.
    pub fn bag_add(
        &mut self,
        key: &[u8],
        value: &[u8],
        expires_at: Option<Wall>,
        wall: Wall,
    ) -> Result<Receipt, WriteError> {
        let number = self.held.get(self.here) + 1;
        let mut part = part_key(key, self.me, Some(number));
        if self.faults.element_by_value {
            part = head(key);
            part.extend_from_slice(value);
        }
        self.put(&part, value, expires_at, wall)
    }

    /// The values of a key of a bag, in the order of who added them.
    #[must_use]
    pub fn bag_values(&self, key: &[u8], wall: Wall) -> Vec<Version> {
        self.parts(key, wall)
    }

    /// Removes from a bag the elements of a key that are here and have this value, or all of them. What others add
    /// meanwhile stays. The receipt is that of the last removal; there is none where nothing was there.
    ///
    /// # Errors
    /// See [`WriteError`]. Some may be removed then; a retry removes the rest.
    pub fn bag_remove(&mut self, key: &[u8], value: Option<&[u8]>, wall: Wall) -> Result<Option<Receipt>, WriteError> {
        let mut parts = self.parts(key, wall);
        parts.retain(|part| value.is_none_or(|value| part.value() == value));
        self.delete_parts(&parts, wall)
    }

    fn own_key(&self, key: &[u8]) -> Vec<u8> {
        let start = Incarnation { guid: Guid::from_u128(0), ..self.me };
        part_key(key, if self.faults.part_per_node { start } else { self.me }, None)
    }

    fn own_part(&self, key: &[u8], wall: Wall) -> (Vec<u8>, i64) {
        let part = self.own_key(key);
        let held = self.get(&part, wall).map_or(0, part_number);
        (part, held)
    }

    /// Adds to a counter that merges by `sum`.
    ///
    /// # Errors
    /// See [`WriteError`]: nothing has changed, and a retry is safe.
    pub fn sum_add(&mut self, key: &[u8], by: i64, wall: Wall) -> Result<Receipt, WriteError> {
        let (part, held) = self.own_part(key, wall);
        self.put(&part, &held.saturating_add(by).to_le_bytes(), None, wall)
    }

    /// The value of a counter that merges by `sum`; `None` where there is none.
    #[must_use]
    pub fn sum(&self, key: &[u8], wall: Wall) -> Option<i64> {
        self.parts(key, wall).iter().map(part_number).reduce(i64::saturating_add)
    }

    /// Raises a value that merges by `max`; `None` where it is as high already.
    ///
    /// # Errors
    /// See [`WriteError`]: nothing has changed, and a retry is safe.
    pub fn max_raise(&mut self, key: &[u8], to: i64, wall: Wall) -> Result<Option<Receipt>, WriteError> {
        if self.max(key, wall).is_some_and(|held| held >= to) {
            return Ok(None);
        }
        let part = self.own_key(key);
        self.put(&part, &to.to_le_bytes(), None, wall).map(Some)
    }

    /// A value that merges by `max`; `None` where there is none.
    #[must_use]
    pub fn max(&self, key: &[u8], wall: Wall) -> Option<i64> {
        self.parts(key, wall).iter().map(part_number).max()
    }

    /// Deletes the parts of a counter that are here.
    ///
    /// # Errors
    /// See [`WriteError`]. Some may be deleted then; a retry deletes the rest.
    pub fn parts_delete(&mut self, key: &[u8], wall: Wall) -> Result<Option<Receipt>, WriteError> {
        let parts = self.parts(key, wall);
        self.delete_parts(&parts, wall)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_key_of_a_part_gives_the_key_back_and_no_key_is_the_head_of_another() {
        let me = Incarnation { node_id: NodeId::from_u128(1), guid: Guid::from_u128(2) };
        let keys: [&[u8]; 6] = [b"", b"a", b"a\0", b"a\0b", b"\0\0", &[0, 255]];
        for key in keys {
            assert_eq!(part_of(&part_key(key, me, Some(3))).as_deref(), Some(key));
            for other in keys.iter().filter(|other| **other != key) {
                assert!(!part_key(other, me, None).starts_with(&head(key)), "{other:?} is taken for {key:?}");
            }
        }
        assert_eq!(part_of(b"abc"), None);
        let other = Incarnation { guid: Guid::from_u128(9), ..me };
        let renamed = part_renamed(&part_key(b"a\0b", me, Some(3)), |_| other);
        assert_eq!(renamed, Some(part_key(b"a\0b", other, Some(3))));
    }
}
