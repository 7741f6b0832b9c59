//! The first words of a connection, after both sides were verified.
//!
//! A Hello is a list of tagged fields, each `postcard` on its own; unknown tags are skipped, so every version can
//! read the Hello of every other, find the version that both speak, or refuse in words.

use alloc::string::{String, ToString};
use alloc::vec::Vec;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::{PROTOCOL_VERSION, PROTOCOL_VERSION_MIN};
use crate::id::{ClusterId, Guid, Incarnation, NodeId, NodeName};
use crate::limits::{HELLO_FRAME_MAX, REASON_LEN_MAX};
use crate::time::Wall;
use crate::view::{Role, Status};

/// The protocol versions that a node speaks.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct VersionRange {
    /// The oldest.
    pub min: u16,
    /// The newest.
    pub max: u16,
}

impl VersionRange {
    /// What this code speaks.
    pub const OURS: Self = Self { min: PROTOCOL_VERSION_MIN, max: PROTOCOL_VERSION };

    /// The newest version that both speak.
    #[must_use]
    pub fn common(self, other: Self) -> Option<u16> {
        let newest = self.max.min(other.max);
        (newest >= self.min && newest >= other.min).then_some(newest)
    }
}

/// Which queue a connection carries.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
pub enum Lane {
    /// Gossip, heartbeats, votes: never behind bulk.
    Control,
    /// Table streams and snapshots.
    Bulk,
    /// Calls and streams of RPC, both ways: never behind a table's copy.
    Calls,
    /// Operations of tables as they are written, both ways; their full copies go over the bulk lane.
    Tables,
}

/// What a connection is for.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Purpose {
    /// A link of the cluster.
    Peer(Lane),
    /// A look that changes nothing at the peer: it says Hello, gets the answer, and closes.
    Observer,
}

/// Who a node is and what it speaks.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Hello {
    /// Protocol versions.
    pub versions: VersionRange,
    /// Bits of optional features; unknown ones are ignored.
    pub features: u64,
    /// Version of the software, for people and for `cluster_version`.
    pub software: String,
    /// What the connection is for.
    pub purpose: Purpose,
    /// The claimed name.
    pub name: NodeName,
    /// Who it is.
    pub node_id: NodeId,
    /// Which start.
    pub guid: Guid,
    /// The start before this one on the same disc.
    pub previous_guid: Option<Guid>,
    /// How often this data directory was started; falls only where an old copy was restored.
    pub start_counter: u64,
    /// The name of its cluster.
    pub cluster_name: String,
    /// The id of its cluster, once it has one.
    pub cluster_id: Option<ClusterId>,
    /// Its wall clock as it wrote this.
    pub wall: Wall,
    /// Its role.
    pub role: Role,
    /// What it says of itself.
    pub status: Status,
    /// The port that it listens on, where its name does not tell.
    pub listen_port: u16,
    /// It is up, and reaches a majority of its cluster's voters.
    pub holds: bool,
    /// The generation of its cluster: a later one with each recovery.
    pub generation: u64,
}

/// Why bytes are no Hello. The peer's fault.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HelloError {
    /// The first bytes are not those of ekka.
    #[error("the peer does not speak ekka's protocol")]
    NotEkka,
    /// A field is missing, twice there, or cannot be read.
    #[error("field {0} of the hello is missing or broken")]
    Field(u16),
    /// The list of fields cannot be read.
    #[error("the hello cannot be decoded")]
    Broken,
}

const MAGIC: &[u8; 4] = b"ekka";

mod tag {
    pub(super) const VERSIONS: u16 = 1;
    pub(super) const FEATURES: u16 = 2;
    pub(super) const SOFTWARE: u16 = 3;
    pub(super) const PURPOSE: u16 = 4;
    pub(super) const NAME: u16 = 5;
    pub(super) const NODE_ID: u16 = 6;
    pub(super) const GUID: u16 = 7;
    pub(super) const PREVIOUS_GUID: u16 = 8;
    pub(super) const START_COUNTER: u16 = 9;
    pub(super) const CLUSTER_NAME: u16 = 10;
    pub(super) const CLUSTER_ID: u16 = 11;
    pub(super) const WALL: u16 = 12;
    pub(super) const ROLE: u16 = 13;
    pub(super) const STATUS: u16 = 14;
    pub(super) const LISTEN_PORT: u16 = 15;
    pub(super) const REASON: u16 = 16;
    pub(super) const TEXT: u16 = 17;
    pub(super) const HOLDS: u16 = 18;
    pub(super) const GENERATION: u16 = 19;
}

type Fields = Vec<(u16, Vec<u8>)>;

fn put<T: Serialize>(fields: &mut Fields, tag: u16, value: &T) {
    // Serialising to memory fails only for types that postcard cannot hold (unsized sequences); none is here.
    fields.push((tag, postcard::to_allocvec(value).unwrap_or_default()));
}

fn take<T: DeserializeOwned>(fields: &Fields, tag: u16) -> Result<T, HelloError> {
    let mut found = fields.iter().filter(|(t, _)| *t == tag);
    match (found.next(), found.next()) {
        (Some((_, bytes)), None) => postcard::from_bytes(bytes).map_err(|_| HelloError::Field(tag)),
        _ => Err(HelloError::Field(tag)),
    }
}

fn seal(fields: &Fields) -> Vec<u8> {
    let mut bytes = MAGIC.to_vec();
    bytes.extend(postcard::to_allocvec(fields).unwrap_or_default());
    debug_assert!(bytes.len() < HELLO_FRAME_MAX);
    bytes
}

fn open(bytes: &[u8]) -> Result<Fields, HelloError> {
    let body = bytes.strip_prefix(MAGIC).ok_or(HelloError::NotEkka)?;
    postcard::from_bytes(body).map_err(|_| HelloError::Broken)
}

impl Hello {
    /// Which start of which node speaks.
    #[must_use]
    pub fn incarnation(&self) -> Incarnation {
        Incarnation { node_id: self.node_id, guid: self.guid }
    }

    fn fields(&self) -> Fields {
        let mut fields = Fields::new();
        put(&mut fields, tag::VERSIONS, &self.versions);
        put(&mut fields, tag::FEATURES, &self.features);
        put(&mut fields, tag::SOFTWARE, &self.software);
        put(&mut fields, tag::PURPOSE, &self.purpose);
        put(&mut fields, tag::NAME, &self.name);
        put(&mut fields, tag::NODE_ID, &self.node_id);
        put(&mut fields, tag::GUID, &self.guid);
        put(&mut fields, tag::PREVIOUS_GUID, &self.previous_guid);
        put(&mut fields, tag::START_COUNTER, &self.start_counter);
        put(&mut fields, tag::CLUSTER_NAME, &self.cluster_name);
        put(&mut fields, tag::CLUSTER_ID, &self.cluster_id);
        put(&mut fields, tag::WALL, &self.wall);
        put(&mut fields, tag::ROLE, &self.role);
        put(&mut fields, tag::STATUS, &self.status);
        put(&mut fields, tag::LISTEN_PORT, &self.listen_port);
        put(&mut fields, tag::HOLDS, &self.holds);
        put(&mut fields, tag::GENERATION, &self.generation);
        fields
    }

    fn from_fields(fields: &Fields) -> Result<Self, HelloError> {
        Ok(Self {
            versions: take(fields, tag::VERSIONS)?,
            features: take(fields, tag::FEATURES)?,
            software: take(fields, tag::SOFTWARE)?,
            purpose: take(fields, tag::PURPOSE)?,
            name: take(fields, tag::NAME)?,
            node_id: take(fields, tag::NODE_ID)?,
            guid: take(fields, tag::GUID)?,
            previous_guid: take(fields, tag::PREVIOUS_GUID)?,
            start_counter: take(fields, tag::START_COUNTER)?,
            cluster_name: take(fields, tag::CLUSTER_NAME)?,
            cluster_id: take(fields, tag::CLUSTER_ID)?,
            wall: take(fields, tag::WALL)?,
            role: take(fields, tag::ROLE)?,
            status: take(fields, tag::STATUS)?,
            listen_port: take(fields, tag::LISTEN_PORT)?,
            holds: take(fields, tag::HOLDS)?,
            generation: take(fields, tag::GENERATION)?,
        })
    }

    /// The body of a Hello frame.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        seal(&self.fields())
    }

    /// Reads the body of a Hello frame.
    ///
    /// # Errors
    /// The bytes are not a Hello; nothing was changed, and the connection must be closed.
    pub fn decode(bytes: &[u8]) -> Result<Self, HelloError> {
        Self::from_fields(&open(bytes)?)
    }

    /// The versions that a Hello names, even where the rest of it cannot be read (a later format).
    ///
    /// # Errors
    /// The bytes are not a Hello of any version.
    pub fn decode_versions(bytes: &[u8]) -> Result<VersionRange, HelloError> {
        take(&open(bytes)?, tag::VERSIONS)
    }
}

/// Why a connection is refused. The text of a refusal says more; this is for programs and metrics.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
#[non_exhaustive]
pub enum RefusalReason {
    /// Cookie, cluster name or TLS mode differ (TLS cannot tell which).
    Credentials,
    /// The certified name is not the claimed one, or the cluster name differs.
    Name,
    /// No common protocol version.
    Version,
    /// No Hello within the deadline.
    Timeout,
    /// What came is not the protocol.
    Garbage,
    /// A frame above the limit.
    TooLarge,
    /// The clock is too far off.
    Clock,
    /// Too many connections that are not yet verified.
    HalfOpenLimit,
    /// Another node with the same identity runs: a copied data directory.
    DuplicateIdentity,
    /// A node with the same name runs.
    NameConflict,
    /// A newer start of the same node is known.
    Superseded,
    /// The data directory was restored from an old copy.
    Restored,
    /// The node was removed from the cluster, or left it.
    Removed,
    /// It is this node itself.
    OurSelf,
    /// A name on loopback and one that is not.
    Loopback,
    /// The node is stopping.
    Stopping,
}

impl RefusalReason {
    /// All reasons, for the metric.
    pub const ALL: [Self; 16] = [
        Self::Credentials,
        Self::Name,
        Self::Version,
        Self::Timeout,
        Self::Garbage,
        Self::TooLarge,
        Self::Clock,
        Self::HalfOpenLimit,
        Self::DuplicateIdentity,
        Self::NameConflict,
        Self::Superseded,
        Self::Restored,
        Self::Removed,
        Self::OurSelf,
        Self::Loopback,
        Self::Stopping,
    ];

    /// The label of the metric and the field of the log.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Credentials => "credentials",
            Self::Name => "name",
            Self::Version => "version",
            Self::Timeout => "timeout",
            Self::Garbage => "garbage",
            Self::TooLarge => "too_large",
            Self::Clock => "clock",
            Self::HalfOpenLimit => "half_open_limit",
            Self::DuplicateIdentity => "duplicate_identity",
            Self::NameConflict => "name_conflict",
            Self::Superseded => "superseded",
            Self::Restored => "restored",
            Self::Removed => "removed",
            Self::OurSelf => "self",
            Self::Loopback => "loopback",
            Self::Stopping => "stopping",
        }
    }
}

/// A refusal in words.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Refusal {
    /// For programs.
    pub reason: RefusalReason,
    /// For people: what differs, and what to do.
    pub text: String,
}

impl Refusal {
    /// A refusal with its text cut to the limit.
    #[must_use]
    pub fn new(reason: RefusalReason, text: impl Into<String>) -> Self {
        let mut text = text.into();
        if text.len() > REASON_LEN_MAX {
            let mut end = REASON_LEN_MAX;
            while !text.is_char_boundary(end) {
                end -= 1;
            }
            text.truncate(end);
        }
        Self { reason, text }
    }
}

/// The answer to a Hello.
#[expect(clippy::large_enum_variant, reason = "one for each handshake, taken apart at once")]
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum HelloReply {
    /// Come in: the Hello of the accepting side.
    Welcome(Hello),
    /// No, and why.
    Refused(Refusal),
}

impl HelloReply {
    /// The body of a `HelloReply` frame.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        match self {
            Self::Welcome(hello) => seal(&hello.fields()),
            Self::Refused(refusal) => {
                let mut fields = Fields::new();
                put(&mut fields, tag::VERSIONS, &VersionRange::OURS);
                put(&mut fields, tag::REASON, &refusal.reason.as_str());
                put(&mut fields, tag::TEXT, &refusal.text);
                seal(&fields)
            }
        }
    }

    /// Reads the body of a `HelloReply` frame.
    ///
    /// # Errors
    /// The bytes are no answer; the connection must be closed.
    pub fn decode(bytes: &[u8]) -> Result<Self, HelloError> {
        let fields = open(bytes)?;
        if fields.iter().any(|(t, _)| *t == tag::REASON) {
            let reason: String = take(&fields, tag::REASON)?;
            let text: String = take(&fields, tag::TEXT)?;
            // A reason that a later version has and this one has not is shown by its text.
            let known = RefusalReason::ALL.into_iter().find(|r| r.as_str() == reason);
            return Ok(Self::Refused(match known {
                Some(known) => Refusal::new(known, text),
                None => Refusal::new(RefusalReason::Version, alloc::format!("{reason}: {text}").to_string()),
            }));
        }
        Hello::from_fields(&fields).map(Self::Welcome)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hello() -> Hello {
        Hello {
            versions: VersionRange::OURS,
            features: 0,
            software: "0.1.0".into(),
            purpose: Purpose::Peer(Lane::Control),
            name: "ekka1@127.0.0.1".parse().unwrap(),
            node_id: NodeId::from_random(7),
            guid: Guid::from_u128(8),
            previous_guid: None,
            start_counter: 3,
            cluster_name: "ekka".into(),
            cluster_id: None,
            wall: Wall::from_millis(5),
            role: Role::Core,
            status: Status::Joining,
            listen_port: 4371,
            holds: false,
            generation: 2,
        }
    }

    #[test]
    fn a_hello_and_its_answers_survive_the_wire() {
        assert_eq!(Hello::decode(&hello().encode()), Ok(hello()));
        for reply in [
            HelloReply::Welcome(hello()),
            HelloReply::Refused(Refusal::new(RefusalReason::Clock, "your clock is 365 d ahead")),
        ] {
            assert_eq!(HelloReply::decode(&reply.encode()), Ok(reply));
        }
    }

    #[test]
    fn a_field_of_a_later_version_is_skipped() {
        let mut fields = hello().fields();
        fields.push((999, alloc::vec![1, 2, 3]));
        assert_eq!(Hello::decode(&seal(&fields)), Ok(hello()));
    }

    #[test]
    fn versions_that_do_not_meet_have_nothing_in_common() {
        let range = |min, max| VersionRange { min, max };
        assert_eq!(range(1, 3).common(range(2, 5)), Some(3));
        assert_eq!(range(1, 2).common(range(3, 4)), None);
    }
}
