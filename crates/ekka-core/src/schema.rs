//! What a table is: its kind, where it is kept, how its values merge. The same on all nodes, by an entry of the durable
//! group.

use alloc::string::String;
use core::fmt;

use serde::{Deserialize, Serialize};

use crate::limits::TABLE_NAME_MAX;

/// What holds of a table in a partition.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
pub enum Kind {
    /// Every side reads and writes; what was written on several sides is merged.
    Available,
    /// Each node writes its own rows, so there is nothing to merge.
    Owned,
    /// Only the side of the majority writes.
    Quorum,
}

/// Where the rows are when the power goes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
pub enum Storage {
    /// Gone, on that node.
    Ram,
    /// There again: acknowledged means synced.
    Disc,
}

/// What a key has.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
pub enum Shape {
    /// One value.
    Set,
    /// One value, and the order of keys is promised.
    OrderedSet,
    /// Any number of values; each is added and removed by itself.
    Bag,
}

/// What becomes of values that were written concurrently.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
pub enum MergeRule {
    /// The later one stays, the other goes to the journal.
    LastWriter,
    /// All stay: what bags do.
    Union,
    /// Each origin has a part; the largest is the value.
    Max,
    /// Each origin has a part; their sum is the value.
    Sum,
}

/// Which members hold the rows. Others than `All` are reserved.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Copies {
    /// Every core node.
    All,
    /// So many. Not built.
    Some(u16),
}

impl Kind {
    /// The word for it, in commands and JSON.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Available => "available",
            Self::Owned => "owned",
            Self::Quorum => "quorum",
        }
    }
}

impl Storage {
    /// The word for it, in commands and JSON.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ram => "ram",
            Self::Disc => "disc",
        }
    }
}

impl Shape {
    /// The word for it, in commands and JSON.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Set => "set",
            Self::OrderedSet => "ordered_set",
            Self::Bag => "bag",
        }
    }
}

impl MergeRule {
    /// The word for it, in commands and JSON.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::LastWriter => "last-writer",
            Self::Union => "union",
            Self::Max => "max",
            Self::Sum => "sum",
        }
    }
}

/// The schema of a table.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Schema {
    /// Its name.
    pub name: String,
    /// What holds of it in a partition.
    pub kind: Kind,
    /// Where its rows are kept.
    pub storage: Storage,
    /// What a key has.
    pub shape: Shape,
    /// How it merges.
    pub merge: MergeRule,
    /// How values are written, for those who read them without the types: `messagepack`, `json`, `postcard`, `raw`.
    pub codec: String,
    /// Which members hold the rows.
    pub copies: Copies,
    /// Into how many parts the rows are cut. Others than 1 are reserved.
    pub shards: u16,
    /// The group of a quorum table. Others than `default` are reserved.
    pub group: String,
}

/// Why a schema is none.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SchemaError {
    /// The name has other letters than it may have, or too many.
    #[error("the table name {name:?} must have 1 to 128 of a-z, 0-9, '.', '_' and '-'")]
    Name {
        /// The name.
        name: String,
    },
    /// Names with `ekka.` are the system's.
    #[error("table names that begin with 'ekka.' are reserved")]
    Reserved,
    /// The codec is not known.
    #[error("the codec {codec:?} is none of messagepack, json, postcard, raw")]
    Codec {
        /// The codec.
        codec: String,
    },
    /// These do not go together.
    #[error("{0}")]
    Conflict(&'static str),
    /// Reserved for later.
    #[error("{0} is not supported yet")]
    NotYet(&'static str),
}

const CODECS: [&str; 4] = ["messagepack", "json", "postcard", "raw"];

impl Schema {
    /// A schema with the defaults of its kind.
    #[must_use]
    pub fn new(name: impl Into<String>, kind: Kind) -> Self {
        Self {
            name: name.into(),
            kind,
            storage: Storage::Ram,
            shape: Shape::Set,
            merge: MergeRule::LastWriter,
            codec: "messagepack".into(),
            copies: Copies::All,
            shards: 1,
            group: "default".into(),
        }
    }

    /// All but its name, in words.
    #[must_use]
    pub fn options(&self) -> String {
        let (kind, storage, shape) = (self.kind.as_str(), self.storage.as_str(), self.shape.as_str());
        let mut words = alloc::format!("{kind}, {storage}, {shape}, {}", self.codec);
        if self.kind == Kind::Available && self.shape != Shape::Bag && self.merge != MergeRule::LastWriter {
            words.push_str(", merged by ");
            words.push_str(self.merge.as_str());
        }
        words
    }

    /// Whether a table can be made from it.
    ///
    /// # Errors
    /// Says what is wrong with it, or not supported yet.
    pub fn check(&self) -> Result<(), SchemaError> {
        let letter = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b"._-".contains(&b);
        if self.name.is_empty() || self.name.len() > TABLE_NAME_MAX || !self.name.bytes().all(letter) {
            return Err(SchemaError::Name { name: self.name.chars().take(TABLE_NAME_MAX).collect() });
        }
        if self.name.starts_with("ekka.") {
            return Err(SchemaError::Reserved);
        }
        if !CODECS.contains(&self.codec.as_str()) {
            return Err(SchemaError::Codec { codec: self.codec.chars().take(TABLE_NAME_MAX).collect() });
        }
        self.check_kind()?;
        match (self.copies, self.shards, self.group.as_str()) {
            (Copies::Some(_), _, _) => Err(SchemaError::NotYet("a number of copies")),
            (_, 1, "default") => Ok(()),
            (_, 1, _) => Err(SchemaError::NotYet("another group than 'default'")),
            _ => Err(SchemaError::NotYet("a number of shards")),
        }
    }

    fn check_kind(&self) -> Result<(), SchemaError> {
        let bag = self.shape == Shape::Bag;
        let text = match self.kind {
            Kind::Available if bag && self.merge != MergeRule::Union => "a bag merges by union",
            Kind::Available if !bag && self.merge == MergeRule::Union => "only a bag merges by union",
            Kind::Owned if self.storage == Storage::Disc => "an owned table is in ram only",
            Kind::Owned | Kind::Quorum if bag => "only an available table is a bag",
            Kind::Owned | Kind::Quorum if self.merge != MergeRule::LastWriter => {
                "only an available table has a merge rule"
            }
            Kind::Available | Kind::Owned | Kind::Quorum => return Ok(()),
        };
        Err(SchemaError::Conflict(text))
    }
}

impl fmt::Display for Schema {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.name, self.options())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_schema_says_what_is_wrong_with_it() {
        let good = Schema::new("mqtt.retained", Kind::Available);
        assert_eq!(good.check(), Ok(()));
        assert_eq!(Schema::new("ekka.roster", Kind::Quorum).check(), Err(SchemaError::Reserved));
        assert!(matches!(Schema::new("Users", Kind::Quorum).check(), Err(SchemaError::Name { .. })));
        let bag = Schema { shape: Shape::Bag, ..good.clone() };
        assert_eq!(bag.check(), Err(SchemaError::Conflict("a bag merges by union")));
        assert_eq!(Schema { merge: MergeRule::Union, ..bag }.check(), Ok(()));
        let owned = Schema { kind: Kind::Owned, storage: Storage::Disc, ..good.clone() };
        assert_eq!(owned.check(), Err(SchemaError::Conflict("an owned table is in ram only")));
        assert_eq!(
            Schema { copies: Copies::Some(2), ..good.clone() }.check(),
            Err(SchemaError::NotYet("a number of copies"))
        );
        assert_eq!(Schema { shards: 4, ..good }.check(), Err(SchemaError::NotYet("a number of shards")));
    }
}
