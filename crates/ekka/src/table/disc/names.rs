//! Under which names a table is kept in the store.

use std::fmt;

use ekka_core::id::ClusterId;

use crate::storage::LogName;

/// The checkpoint that says which tables are kept.
pub(super) const INDEX: &str = "tables";

/// Which table of which cluster.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(in crate::table) struct Key {
    pub(in crate::table) cluster: ClusterId,
    pub(in crate::table) table: u64,
}

/// The names of one table: a log, a head, and two sets of pieces that are used by turns.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Names {
    pub(super) log: LogName,
}

impl Names {
    /// Those of a table. What could not be read keeps its names, and the table goes on under those of the next turn.
    pub(super) fn new(key: Key, turn: u32) -> Self {
        let Key { cluster, table } = key;
        let log = format!("table/{:032x}/{table}", cluster.as_u128());
        Self { log: if turn == 0 { log.into() } else { format!("{log}/{turn}").into() } }
    }

    pub(super) fn head(&self) -> String {
        format!("{}/checkpoint", self.log)
    }

    pub(super) fn piece(&self, set: u8, number: u32) -> String {
        format!("{}/checkpoint/{set}/{number}", self.log)
    }
}

impl fmt::Display for Names {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the log {} and the checkpoints {}...", self.log, self.head())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::NAME_MAX;

    #[test]
    fn the_longest_names_are_no_longer_than_the_store_takes() {
        let key = Key { cluster: ClusterId::from_u128(u128::MAX), table: u64::MAX };
        let names = Names::new(key, u32::MAX);
        assert!(names.piece(1, u32::MAX).len() <= NAME_MAX);
        assert_ne!(Names::new(key, 0), Names::new(key, 1));
    }
}
