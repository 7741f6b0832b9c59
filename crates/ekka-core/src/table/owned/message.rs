//! The messages of owned tables. New variants are appended.

use alloc::sync::Arc;
use alloc::vec::Vec;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::super::sound::believed;
use super::super::version::Malformed;
use super::Sequence;
use super::row::OwnedRow;

/// One operation of an owner. In a deletion the values are empty.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(super) enum Operation {
    Put(Vec<OwnedRow>),
    Delete(Vec<OwnedRow>),
}

impl Operation {
    pub(super) fn rows(&self) -> &[OwnedRow] {
        match self {
            Self::Put(rows) | Self::Delete(rows) => rows,
        }
    }

    pub(super) fn size(&self) -> usize {
        self.rows().iter().map(OwnedRow::size).sum()
    }
}

/// Operations as the log shares them with what is on its way.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Operations(pub(super) Vec<Arc<Operation>>);

impl Serialize for Operations {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.0.iter().map(|operation| &**operation))
    }
}

impl<'de> Deserialize<'de> for Operations {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Vec::<Operation>::deserialize(deserializer).map(|all| Self(all.into_iter().map(Arc::new).collect()))
    }
}

/// A message about the rows of its sender, or about those of its receiver.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum OwnedMessage {
    /// The sender holds the receiver's operations up to this one, and takes those that follow.
    Held {
        /// The last; 0 where it holds nothing.
        sequence: Sequence,
    },
    /// The sender's operations after this one.
    Operations {
        /// The one before the first.
        after: Sequence,
        /// In order.
        operations: Operations,
    },
    /// All rows of the sender follow, as they are after this operation.
    State {
        /// The operation.
        sequence: Sequence,
    },
    /// Rows of the sender.
    Rows(Vec<OwnedRow>),
    /// These were all.
    StateEnd {
        /// How many.
        rows: u64,
    },
    /// The sender's latest operation, as the receiver got in touch: with it the receiver has what there was.
    Last {
        /// The operation.
        sequence: Sequence,
    },
}

impl OwnedMessage {
    /// Whether it says nothing that cannot be.
    pub(super) fn check(&self) -> Result<(), Malformed> {
        match self {
            Self::Operations { after: sequence, .. } | Self::State { sequence } | Self::Last { sequence } => {
                believed(*sequence)
            }
            // Taken for no more than there is, or only compared.
            Self::Held { .. } | Self::Rows(_) | Self::StateEnd { .. } => Ok(()),
        }
    }
}
