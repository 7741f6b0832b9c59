//! What a command is answered with.

use alloc::string::String;
use alloc::vec::Vec;

use serde::{Deserialize, Serialize};

use super::super::changes::Revision;
use super::command::TableId;
use super::limit::TooLarge;
use super::octets::Octets;

/// The answer to a command. New ones are appended, never inserted.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Answer {
    /// Done: everything that was read held, and what was to be written is written.
    Committed {
        /// The revision of the tables with it, which is the version of the rows written.
        revision: Revision,
    },
    /// Something that was read is not so any more; nothing was written. The transaction may be made anew.
    Conflict {
        /// The table.
        table: TableId,
        /// The key that was read, or the one at which the range begins that was read.
        key: Octets,
    },
    /// There is no such table; nothing was written.
    NoTable {
        /// Which.
        table: TableId,
    },
    /// Something is larger than it may be; nothing was written.
    TooLarge(TooLarge),
    /// A newer version added this command; nothing was done.
    Unknown {
        /// That, in words.
        words: String,
    },
    /// The leader has no room on its disc for what was to be put: it was given to no log. The tables themselves never
    /// answer so, since what one node has room for is no part of their state.
    DiscFull,
}

impl Answer {
    /// The answer as bytes.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        postcard::to_allocvec(self).expect("an answer consists of what postcard can hold")
    }

    /// Reads an answer.
    ///
    /// # Errors
    /// A newer version gave it.
    pub fn decode(bytes: &[u8]) -> Result<Self, postcard::Error> {
        postcard::from_bytes(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::super::limit::Limit;
    use super::*;

    #[test]
    fn numbers_of_answers_are_fixed() {
        let all = [
            Answer::Committed { revision: 300 },
            Answer::Conflict { table: 1, key: (&b"k"[..]).into() },
            Answer::NoTable { table: 1 },
            Answer::TooLarge(TooLarge { limit: Limit::RangeRows, size: 7 }),
            Answer::Unknown { words: "no".into() },
            Answer::DiscFull,
        ];
        for (number, answer) in (0u8..).zip(all) {
            let bytes = answer.encode();
            assert_eq!(bytes[0], number);
            assert_eq!(Answer::decode(&bytes), Ok(answer));
            assert!(Answer::decode(&bytes[..bytes.len() - 1]).is_err());
        }
        assert!(Answer::decode(&[9]).is_err());
    }
}
