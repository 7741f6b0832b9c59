//! The engine's types, named once for both groups: whatever is generic in it is compiled for these and no others.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use ekka_core::consensus::{Configuration, LogPlace, VoterId};
use openraft::{EmptyNode, LogId, StoredMembership, TokioRuntime};
use serde::de::{Deserializer, Error, Visitor};
use serde::ser::Serializer;
use serde::{Deserialize, Serialize};

use super::image::Image;

/// The engine's names for our types.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Types;

impl openraft::RaftTypeConfig for Types {
    type D = Batch;
    type R = Answers;
    type NodeId = VoterId;
    type Node = EmptyNode;
    type Entry = openraft::Entry<Self>;
    type SnapshotData = Image;
    type AsyncRuntime = TokioRuntime;
    type Responder = openraft::impls::OneshotResponder<Self>;
}

pub(super) type Raft = openraft::Raft<Types>;
pub(super) type Entry = openraft::Entry<Types>;
pub(super) type Vote = openraft::Vote<VoterId>;
pub(super) type Id = LogId<VoterId>;
pub(super) type Membership = StoredMembership<VoterId, EmptyNode>;
pub(super) type Meta = openraft::SnapshotMeta<VoterId, EmptyNode>;
pub(super) type Metrics = openraft::RaftMetrics<VoterId, EmptyNode>;
pub(super) type Storing<T> = Result<T, openraft::StorageError<VoterId>>;

/// Bytes that are shared instead of copied, and written as one piece.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Blob(pub(super) Arc<[u8]>);

impl From<Vec<u8>> for Blob {
    fn from(bytes: Vec<u8>) -> Self {
        Self(bytes.into())
    }
}

impl fmt::Debug for Blob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes", self.0.len())
    }
}

impl Serialize for Blob {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(&self.0)
    }
}

struct BlobVisitor;

impl Visitor<'_> for BlobVisitor {
    type Value = Blob;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("bytes")
    }

    fn visit_bytes<E: Error>(self, bytes: &[u8]) -> Result<Blob, E> {
        Ok(Blob(bytes.into()))
    }
}

impl<'de> Deserialize<'de> for Blob {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_bytes(BlobVisitor)
    }
}

/// The commands of one entry.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Batch {
    pub(super) commands: Vec<Blob>,
    /// Set once the entry was handed to a log: from then on nobody can say that it will not be committed.
    #[serde(skip)]
    handed: Arc<AtomicBool>,
}

impl Batch {
    pub(super) fn new(commands: Vec<Blob>) -> Self {
        Self { commands, handed: Arc::default() }
    }

    pub(super) fn mark_handed(&self) {
        self.handed.store(true, Ordering::Release);
    }

    /// Whether it was handed to a log, as long as the flag is kept.
    pub(super) fn handed(&self) -> Arc<AtomicBool> {
        self.handed.clone()
    }
}

/// What the state machine answered to the commands of one entry; nothing for an entry without commands.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) struct Answers(pub(super) Vec<Vec<u8>>);

/// Our place of an entry. The engine counts from 0, we from 1.
pub(super) fn place(id: &Id) -> LogPlace {
    LogPlace { term: id.leader_id.term, index: id.index + 1 }
}

/// The same, where there may be none.
pub(super) fn place_or_start(id: Option<&Id>) -> LogPlace {
    id.map_or(LogPlace::default(), place)
}

/// The engine's id of a place that is not the start.
#[cfg(test)]
pub(super) fn id(place: LogPlace) -> Option<Id> {
    let index = place.index.checked_sub(1)?;
    Some(LogId::new(openraft::CommittedLeaderId::new(place.term, VoterId::default()), index))
}

/// Our form of a configuration.
pub(super) fn configuration(membership: &Membership, committed_up_to: LogPlace) -> Configuration {
    let at = place_or_start(membership.log_id().as_ref());
    let voters = membership.membership().get_joint_config();
    Configuration {
        voters: voters.iter().map(|set| set.iter().copied().collect()).collect(),
        learners: membership.membership().learner_ids().collect(),
        at,
        committed: at.index <= committed_up_to.index,
    }
}
