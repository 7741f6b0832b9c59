//! What the log of a group says to quorum tables.

use alloc::vec::Vec;

use serde::{Deserialize, Serialize};

use super::super::changes::Revision;
use super::super::scan::KeyRange;
use super::limit::{TooLarge, check_item, check_transaction};
use super::octets::Octets;
use crate::time::Wall;

/// A quorum table: the number of the entry of the durable group that made its schema.
pub type TableId = u64;

/// The form of commands that this code writes.
const FORM: u16 = 1;

/// A command. New ones are appended, never inserted; one that a version does not know changes nothing.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Command {
    /// Writes all or nothing, and only where everything that was read is still so.
    Transaction(Transaction),
    /// There is a table from here on. Where it is there already nothing changes.
    Create {
        /// Which.
        table: TableId,
    },
    /// The table is gone with its rows. Where it is not there nothing changes.
    Drop {
        /// Which.
        table: TableId,
    },
    /// Time has passed: what has expired is taken out.
    Tick {
        /// The time at whoever sent it.
        now: Wall,
    },
}

/// What a transaction has read, and what it writes.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Transaction {
    /// Rows that it has read.
    pub reads: Vec<Read>,
    /// Ranges that it has read whole.
    pub ranges: Vec<RangeRead>,
    /// What it writes, in this order.
    pub writes: Vec<Write>,
    /// The time at whoever sent it; the clock of the tables is the latest of these.
    pub now: Wall,
}

/// A row that was read.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Read {
    /// The table.
    pub table: TableId,
    /// The key.
    pub key: Octets,
    /// The version that was there; `None` where there was no row.
    pub version: Option<Revision>,
}

/// A range that was read: its newest version and how many rows it had. Versions only grow, so while no version is newer
/// nothing was put into it, and while it has as many rows nothing was taken out.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct RangeRead {
    /// The table.
    pub table: TableId,
    /// The keys.
    pub range: KeyRange,
    /// The newest version among the rows; 0 where there were none.
    pub newest: Revision,
    /// How many rows there were.
    pub count: u64,
}

/// A write of a transaction.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Write {
    /// A row has this value from here on.
    Put {
        /// The table.
        table: TableId,
        /// The key.
        key: Octets,
        /// The value.
        value: Octets,
        /// When the row expires, if it does.
        expires_at: Option<Wall>,
    },
    /// There is no row with this key from here on.
    Delete {
        /// The table.
        table: TableId,
        /// The key.
        key: Octets,
    },
}

impl Write {
    /// The table that it is about.
    #[must_use]
    pub fn table(&self) -> TableId {
        match self {
            Self::Put { table, .. } | Self::Delete { table, .. } => *table,
        }
    }

    /// Its key.
    #[must_use]
    pub fn key(&self) -> &[u8] {
        match self {
            Self::Put { key, .. } | Self::Delete { key, .. } => key,
        }
    }

    /// Its value; empty for a deletion.
    #[must_use]
    pub fn value(&self) -> &[u8] {
        match self {
            Self::Put { value, .. } => value,
            Self::Delete { .. } => &[],
        }
    }
}

impl Transaction {
    /// Checks every bound of it.
    ///
    /// # Errors
    /// Says what is too large; a retry has the same result.
    pub fn check(&self) -> Result<(), TooLarge> {
        check_transaction(self)
    }

    /// One write and no read.
    fn of(write: Write, now: Wall) -> Result<Self, TooLarge> {
        check_item(write.key(), write.value())?;
        Ok(Self { writes: alloc::vec![write], now, ..Self::default() })
    }

    /// Puts a row, whatever was there.
    ///
    /// # Errors
    /// Key or value is too long.
    pub fn put(
        table: TableId,
        key: &[u8],
        value: &[u8],
        expires_at: Option<Wall>,
        now: Wall,
    ) -> Result<Self, TooLarge> {
        Self::of(Write::Put { table, key: key.into(), value: value.into(), expires_at }, now)
    }

    /// Deletes a row, whatever was there.
    ///
    /// # Errors
    /// The key is too long.
    pub fn delete(table: TableId, key: &[u8], now: Wall) -> Result<Self, TooLarge> {
        Self::of(Write::Delete { table, key: key.into() }, now)
    }

    /// The same, only where the row that its first write is about has this version; `None`: where there is no row. So a
    /// put becomes a compare-and-set.
    #[must_use]
    pub fn only_at(mut self, version: Option<Revision>) -> Self {
        if let Some(write) = self.writes.first() {
            self.reads.push(Read { table: write.table(), key: write.key().into(), version });
        }
        self
    }
}

impl From<Transaction> for Command {
    fn from(transaction: Transaction) -> Self {
        Self::Transaction(transaction)
    }
}

impl Command {
    /// Whether it puts a row: a node without room on its disc takes no such command for tables that are there.
    #[must_use]
    pub fn puts(&self) -> bool {
        let is_put = |write: &Write| matches!(write, Write::Put { .. });
        matches!(self, Self::Transaction(transaction) if transaction.writes.iter().any(is_put))
    }

    /// The bytes that go into the log.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        postcard::to_allocvec(&(FORM, self)).expect("a command consists of what postcard can hold")
    }

    /// Reads a command of the log; `None` where a newer version wrote it.
    #[must_use]
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let (form, rest) = postcard::take_from_bytes::<u16>(bytes).ok()?;
        if form != FORM {
            return None;
        }
        let (command, rest) = postcard::take_from_bytes(rest).ok()?;
        rest.is_empty().then_some(command)
    }
}

#[cfg(test)]
mod tests {
    use alloc::vec;
    use core::ops::Bound;

    use super::*;

    #[test]
    fn numbers_of_commands_are_fixed() {
        let number = |command: Command| command.encode()[1];
        assert_eq!(number(Transaction::default().into()), 0);
        assert_eq!(number(Command::Create { table: 1 }), 1);
        assert_eq!(number(Command::Drop { table: 1 }), 2);
        assert_eq!(number(Command::Tick { now: Wall::default() }), 3);
    }

    #[test]
    fn the_bytes_of_a_transaction_are_fixed() {
        let now = Wall::from_millis(9);
        let range = KeyRange::new(Bound::Included(b"a".to_vec()), Bound::Unbounded);
        let transaction = Transaction {
            reads: vec![Read { table: 1, key: (&b"k"[..]).into(), version: Some(5) }],
            ranges: vec![RangeRead { table: 2, range, newest: 4, count: 3 }],
            writes: vec![
                Write::Put { table: 1, key: (&b"k"[..]).into(), value: (&b"vw"[..]).into(), expires_at: Some(now) },
                Write::Delete { table: 6, key: (&b"d"[..]).into() },
            ],
            now,
        };
        let command = Command::from(transaction);
        #[rustfmt::skip]
        let bytes = [
            1, 0, // form, transaction
            1, 1, 1, b'k', 1, 5, // reads
            1, 2, 1, 1, b'a', 0, 4, 3, // ranges
            2, 0, 1, 1, b'k', 2, b'v', b'w', 1, 9, 1, 6, 1, b'd', // writes
            9,
        ];
        assert_eq!(command.encode(), bytes);
        assert_eq!(Command::decode(&bytes), Some(command));
    }

    #[test]
    fn a_transaction_puts_where_any_of_its_writes_does() {
        let now = Wall::default();
        let put = Transaction::put(1, b"k", b"v", None, now).unwrap();
        let delete = Transaction::delete(1, b"d", now).unwrap();
        let both = Transaction { writes: [delete.writes.clone(), put.writes.clone()].concat(), ..put.clone() };
        for (command, puts) in [(put, true), (both, true), (delete, false)] {
            assert_eq!(Command::from(command).puts(), puts);
        }
        for command in [Command::Create { table: 1 }, Command::Drop { table: 1 }, Command::Tick { now }] {
            assert!(!command.puts());
        }
    }

    #[test]
    fn what_is_longer_than_a_command_is_none() {
        let mut bytes = Command::Create { table: 1 }.encode();
        bytes.push(0);
        assert_eq!(Command::decode(&bytes), None);
    }
}
