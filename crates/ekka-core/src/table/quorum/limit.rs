//! The bounds of a transaction, checked where it is made and again where it is applied. There the answer goes by them, so
//! they are part of the form of commands: all versions of one form have the same.

use core::fmt;

use serde::{Deserialize, Serialize};

use super::command::Transaction;
use super::view::bytes_of;
use crate::limits::{
    TABLE_KEY_MAX, TABLE_VALUE_MAX, TRANSACTION_BYTES_MAX, TRANSACTION_ITEM_OVERHEAD, TRANSACTION_RANGE_ROWS_MAX,
};

/// Which bound.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Limit {
    /// Bytes of a key.
    Key,
    /// Bytes of a value.
    Value,
    /// Bytes of a transaction.
    Transaction,
    /// Rows in the ranges that a transaction has read.
    RangeRows,
}

impl Limit {
    /// The bound.
    #[must_use]
    pub fn max(self) -> u64 {
        match self {
            Self::Key => TABLE_KEY_MAX as u64,
            Self::Value => TABLE_VALUE_MAX as u64,
            Self::Transaction => TRANSACTION_BYTES_MAX as u64,
            Self::RangeRows => TRANSACTION_RANGE_ROWS_MAX,
        }
    }

    fn check(self, size: u64) -> Result<(), TooLarge> {
        if size > self.max() { Err(TooLarge { limit: self, size }) } else { Ok(()) }
    }
}

impl fmt::Display for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Key => "bytes of a key",
            Self::Value => "bytes of a value",
            Self::Transaction => "bytes of a transaction",
            Self::RangeRows => "rows in the ranges of a transaction",
        })
    }
}

/// Something of a transaction is larger than it may be.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize, thiserror::Error)]
#[error("{size} {limit} are more than {}", limit.max())]
pub struct TooLarge {
    /// What.
    pub limit: Limit,
    /// How large it is.
    pub size: u64,
}

/// Checks key and value of a write.
pub(super) fn check_item(key: &[u8], value: &[u8]) -> Result<(), TooLarge> {
    Limit::Key.check(key.len() as u64)?;
    Limit::Value.check(value.len() as u64)
}

/// Checks every bound of a transaction.
pub(super) fn check_transaction(transaction: &Transaction) -> Result<(), TooLarge> {
    let mut size = 0u64;
    let mut count = |bytes: usize| size = size.saturating_add((bytes + TRANSACTION_ITEM_OVERHEAD) as u64);
    for read in &transaction.reads {
        check_item(&read.key, &[])?;
        count(read.key.len());
    }
    let mut rows = 0u64;
    for read in &transaction.ranges {
        let [from, to] = [read.range.start(), read.range.end()].map(bytes_of);
        check_item(from, &[])?;
        check_item(to, &[])?;
        count(from.len() + to.len());
        rows = rows.saturating_add(read.count);
    }
    for write in &transaction.writes {
        check_item(write.key(), write.value())?;
        count(write.key().len() + write.value().len());
    }
    Limit::Transaction.check(size)?;
    Limit::RangeRows.check(rows)
}
