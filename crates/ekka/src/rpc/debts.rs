//! Places in a window whose users are gone, while what they queued still waits to be written.
//!
//! Were they free at once, a peer that does not read could be sent a new window whenever a deadline passes, and the queue
//! would grow without end.

use std::collections::BTreeMap;

/// What is still owed, by where it begins in all that was queued.
#[derive(Debug, Default)]
pub(super) struct Debts {
    owed: BTreeMap<u64, usize>,
}

impl Debts {
    /// Keeps a cost until the bytes before and at `at` are written.
    pub(super) fn keep(&mut self, at: u64, cost: usize) {
        self.owed.insert(at, cost);
    }

    /// So many bytes of all that was queued are written: what is paid by that.
    pub(super) fn paid(&mut self, handed: u64) -> Vec<usize> {
        if self.owed.first_key_value().is_none_or(|(at, _)| *at >= handed) {
            return Vec::new();
        }
        let rest = self.owed.split_off(&handed);
        std::mem::replace(&mut self.owed, rest).into_values().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_debt_is_paid_once_its_bytes_are_written() {
        let mut debts = Debts::default();
        debts.keep(30, 3);
        debts.keep(10, 1);
        assert!(debts.paid(10).is_empty());
        assert_eq!(debts.paid(11), [1]);
        assert_eq!(debts.paid(100), [3]);
        assert!(debts.paid(100).is_empty());
    }
}
