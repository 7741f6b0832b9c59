//! What the durable group commits: one command an entry, with why it was proposed.
//!
//! A command says what is to hold, never "the next" or "one more" of something that others may have changed: a proposer
//! that got no answer proposes the same again, and a copy that is committed late must find itself repeated or outdated.
//! So each names what it was decided on: the guid, the store, the place of the member, the number of the generation.

use alloc::string::String;
use alloc::vec::Vec;

use serde::{Deserialize, Serialize};

use super::absorb::MergeRecord;
use super::generation;
use super::schemas::SchemaChange;
use crate::id::{ClusterId, Guid, Incarnation, NodeId, NodeName};
use crate::lease::{Agreed, Cause, GoneEntry};
use crate::limits::{EVIDENCE_MAX, REASON_LEN_MAX};
use crate::membership::RemovalCause;
use crate::view::Role;
use crate::volatile::Proposal;

/// The form of entries that this code writes. Variants of [`Command`] are appended only and need no new form.
const FORM: u16 = 1;

/// One command with the reason for it, as it stands in the log.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Entry {
    /// Who proposed it, and why.
    pub why: Why,
    /// What is to be done.
    pub command: Command,
}

/// Why something was proposed: what `ekka why` prints on every member, whoever proposed it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Why {
    by: NodeId,
    decision: u64,
    evidence: Vec<String>,
}

/// Why an entry cannot be read.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Unreadable {
    /// It has another form.
    #[error("form {0} of an entry, this version reads form {FORM}")]
    Form(u16),
    /// Its bytes are no entry, or hold a command that a newer version added.
    #[error("no entry that this version knows: {0}")]
    Bytes(#[from] postcard::Error),
}

/// How it is known that a start of a node is over.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Proof {
    /// It said goodbye.
    Goodbye,
    /// A later start of the same directory runs.
    NewerStart,
    /// Its lease ran out in the eyes of a majority of the voters.
    Lease,
    /// Its node was given up by `recover`.
    GivenUp,
    /// Its node was taken out, and its lease ran out since.
    Removed,
}

impl Proof {
    /// The same in words.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Goodbye => "it said goodbye",
            Self::NewerStart => "a later start of its directory runs",
            Self::Lease => "its lease ran out",
            Self::GivenUp => "it was given up by recover",
            Self::Removed => "its node was taken out, and its lease ran out",
        }
    }
}

impl From<&Cause> for Proof {
    fn from(cause: &Cause) -> Self {
        match cause {
            Cause::Goodbye => Self::Goodbye,
            Cause::NewerStart => Self::NewerStart,
            Cause::Silent { .. } => Self::Lease,
            Cause::Removed { .. } => Self::Removed,
        }
    }
}

/// A first member.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Founder {
    /// Which start of which node.
    pub id: Incarnation,
    /// Its name.
    pub name: NodeName,
    /// Its role.
    pub role: Role,
    /// The id of its Raft store.
    #[serde(with = "as_uuid")]
    pub store: u128,
}

/// A store id for people: the formats that they read have no numbers of 128 bits.
mod as_uuid {
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    use crate::id::StoreId;

    pub(super) fn serialize<S: Serializer>(store: &u128, to: S) -> Result<S::Ok, S::Error> {
        StoreId::from_u128(*store).serialize(to)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<u128, D::Error> {
        StoreId::deserialize(from).map(StoreId::as_u128)
    }
}

/// Bytes for people as one line of hex digits, for the log as they are.
mod as_hex {
    use alloc::string::String;
    use alloc::vec::Vec;
    use core::fmt::Write as _;

    use serde::de::Error;
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    pub(super) fn serialize<S: Serializer>(bytes: &[u8], to: S) -> Result<S::Ok, S::Error> {
        if !to.is_human_readable() {
            return bytes.serialize(to);
        }
        let mut text = String::with_capacity(bytes.len() * 2);
        for byte in bytes {
            // Writing to memory does not fail.
            let _ = write!(text, "{byte:02x}");
        }
        to.serialize_str(&text)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<u8>, D::Error> {
        if !from.is_human_readable() {
            return Vec::deserialize(from);
        }
        let text = String::deserialize(from)?;
        let pair = |pair: &[u8]| {
            let text = core::str::from_utf8(pair).ok().filter(|pair| pair.len() == 2);
            text.and_then(|pair| u8::from_str_radix(pair, 16).ok()).ok_or_else(|| D::Error::custom("no hex digits"))
        };
        text.as_bytes().chunks(2).map(pair).collect()
    }
}

/// A node that wants to become a member.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Admission {
    /// Which start of which node.
    pub id: Incarnation,
    /// Its name.
    pub name: NodeName,
    /// Its role.
    pub role: Role,
    /// The id of its Raft store, where it has one.
    pub store: Option<u128>,
    /// An operator asked for it: who left or was forced out comes back only so.
    pub asked: bool,
    /// Up to where the admitting node had read the roster. An admission that is older than the removal of its node is
    /// not for the time after it.
    pub basis: u64,
    /// The records that lead from the cluster that it comes from into this one, each with the last token ceiling of its
    /// cluster. Empty where it comes from none.
    pub chain: Vec<MergeRecord>,
}

/// A member to be taken out.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Removal {
    /// Whom.
    pub node_id: NodeId,
    /// Its place as the proposer knew it: who has come back since is not taken out for what it was.
    pub seniority: u64,
    /// Why.
    pub cause: RemovalCause,
    /// Who asked for it.
    pub by: NodeId,
}

/// A cluster that goes on without the majority of its voters.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Recovery {
    /// The generation of the cluster from now on.
    pub generation: u64,
    /// The roster with which it goes on, as a snapshot of the newest log in reach.
    #[serde(with = "as_hex")]
    pub snapshot: Vec<u8>,
    /// Members that are given up.
    pub given_up: Vec<NodeId>,
    /// Who goes on: it votes alone until others are admitted again.
    pub survivor: Founder,
}

/// What is to be done.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Command {
    /// The first entry of a cluster.
    Found {
        /// Its id.
        cluster_id: ClusterId,
        /// Its first members.
        founders: Vec<Founder>,
    },
    /// A node becomes a member.
    Admit(Admission),
    /// A member has started again: every earlier start of it is over.
    Returned {
        /// Its start.
        id: Incarnation,
        /// Its name, which may be another now.
        name: NodeName,
        /// Its role, likewise.
        role: Role,
    },
    /// A member has another Raft store: the old one was wiped, restored or damaged.
    StoreChanged {
        /// Whose.
        node_id: NodeId,
        /// The store that the proposer knew of.
        from: Option<u128>,
        /// The store that it has.
        to: u128,
    },
    /// This start of a node is over, for ever. It counts in the term in which it was proposed and in no other: who leads
    /// must know every one that its log can hold.
    Gone(GoneEntry),
    /// A member is forgotten.
    Remove(Removal),
    /// So many more fencing tokens may be issued. Who gets `Done` owns those between the old ceiling and the new one.
    /// It is no repeat when it is proposed again: whose answer was lost takes others, and the first stay unused.
    RaiseCeiling {
        /// How many.
        by: u64,
    },
    /// This cluster goes into an older one: it admits nobody and lets nobody grant or write any more.
    Merging {
        /// The older one.
        into: ClusterId,
        /// An operator decided it: rows of quorum tables do not stand in its way.
        by_word: bool,
    },
    /// Another cluster has gone into this one, directly or through others.
    Merged {
        /// The records, from that cluster up to this one.
        chain: Vec<MergeRecord>,
    },
    /// The next volatile group, or other voters of the present one, where the record is the one that was looked at.
    Generation(Proposal),
    /// The first entry of a cluster that was recovered.
    Recover(Recovery),
    /// Quorum tables are about to hold their first row: from then on this cluster is absorbed by an operator's word only.
    QuorumRows,
    /// A table is made or dropped: a [`SchemaChange`] as bytes.
    Schema(Vec<u8>),
    /// Kept for duties: the one with this token is done; this version answers it as one that it does not know.
    DutyDone {
        /// The token of the duty.
        token: u64,
    },
    /// How long leases of incarnations last from now on. It counts in the term in which it was proposed alone: that its
    /// leader has waited for leases of an earlier length says that leader.
    Leases {
        /// The term in which it was proposed.
        term: u64,
        /// How long.
        agreed: Agreed,
    },
    /// Tokens are issued from this number on: another cluster, of which a backup is put back, may have issued those
    /// below. It gives none, and is the same when it is proposed again.
    TokensFrom {
        /// The number.
        floor: u64,
    },
}

impl Why {
    /// A reason with its evidence, cut to the limits.
    #[must_use]
    pub fn new(by: NodeId, decision: u64, mut evidence: Vec<String>) -> Self {
        evidence.truncate(EVIDENCE_MAX);
        for line in &mut evidence {
            let mut end = line.len().min(REASON_LEN_MAX);
            while !line.is_char_boundary(end) {
                end -= 1;
            }
            line.truncate(end);
        }
        Self { by, decision, evidence }
    }

    /// Who proposed it.
    #[must_use]
    pub fn by(&self) -> NodeId {
        self.by
    }

    /// The number of the decision on that node.
    #[must_use]
    pub fn decision(&self) -> u64 {
        self.decision
    }

    /// Who saw what.
    #[must_use]
    pub fn evidence(&self) -> &[String] {
        &self.evidence
    }
}

impl Entry {
    /// The bytes that go into the log.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        postcard::to_allocvec(&(FORM, self)).expect("an entry consists of what postcard can hold")
    }

    /// Reads an entry of the log.
    ///
    /// # Errors
    /// A newer version wrote it, or it is none. Nothing may follow from it.
    pub fn decode(bytes: &[u8]) -> Result<Self, Unreadable> {
        let (form, rest): (u16, &[u8]) = postcard::take_from_bytes(bytes)?;
        if form != FORM {
            return Err(Unreadable::Form(form));
        }
        Ok(postcard::from_bytes(rest)?)
    }
}

impl Command {
    /// What it does, in words.
    #[must_use]
    pub fn words(&self) -> String {
        match self {
            Self::Found { cluster_id, founders } => {
                alloc::format!("found {cluster_id} with {} members", founders.len())
            }
            Self::Admit(who) => alloc::format!("admit {} (node_id {}, guid {})", who.name, who.id.node_id, who.id.guid),
            Self::Returned { id, name, .. } => alloc::format!("{name} has started again (guid {})", id.guid),
            Self::StoreChanged { node_id, to, .. } => alloc::format!("node_id {node_id} has the new store {to:032x}"),
            Self::Gone(GoneEntry { id, cause, .. }) => {
                let proof = Proof::from(cause).as_str();
                alloc::format!("guid {} of node_id {} is over: {proof}", id.guid, id.node_id)
            }
            Self::Remove(out) => alloc::format!("take out node_id {} ({})", out.node_id, out.cause.as_str()),
            Self::RaiseCeiling { by } => alloc::format!("{by} more tokens may be issued"),
            Self::Merging { into, .. } => alloc::format!("this cluster goes into {into}"),
            Self::Merged { chain } => match chain.first() {
                Some(first) => alloc::format!("cluster {} has gone into this one", first.from),
                None => String::from("no cluster has gone into this one"),
            },
            Self::Generation(Proposal { next, .. }) => {
                let (number, revision, voters) = (next.version.number, next.version.revision, next.voters().len());
                alloc::format!("generation {number} of the volatile group, revision {revision}, {voters} voters")
            }
            Self::Recover(recovery) => alloc::format!(
                "recover as generation {} of the cluster, {} members given up",
                generation::words(recovery.generation),
                recovery.given_up.len()
            ),
            Self::QuorumRows => String::from("quorum tables hold rows from now on"),
            Self::Schema(bytes) => match SchemaChange::decode(bytes) {
                Ok(change) => change.words(),
                Err(words) => words,
            },
            Self::DutyDone { token } => alloc::format!("duty {token} is done"),
            Self::TokensFrom { floor } => alloc::format!("tokens are issued from {floor} on"),
            Self::Leases { agreed, .. } => alloc::format!("a node unheard for {} ms is gone", agreed.given_ms),
        }
    }
}

/// The earliest guid: nothing started before it.
pub(super) const NO_GUID: Guid = Guid::MIN;

#[cfg(test)]
mod tests {
    use alloc::vec;

    use super::*;

    fn entry() -> Entry {
        let why = Why::new(NodeId::from_u128(1), 7, vec!["seen".into()]);
        Entry { why, command: Command::RaiseCeiling { by: 5 } }
    }

    #[test]
    fn an_entry_is_read_as_it_was_written() {
        assert_eq!(Entry::decode(&entry().encode()), Ok(entry()));
    }

    #[test]
    fn entries_of_newer_versions_are_refused_and_never_guessed() {
        let mut form = entry().encode();
        form[0] = 2;
        assert_eq!(Entry::decode(&form), Err(Unreadable::Form(2)));
        let unknown = postcard::to_allocvec(&(FORM, entry().why, 200u32)).unwrap();
        assert!(matches!(Entry::decode(&unknown), Err(Unreadable::Bytes(_))));
        assert!(matches!(Entry::decode(&[]), Err(Unreadable::Bytes(_))));
    }

    #[test]
    fn numbers_of_commands_are_fixed_for_ever() {
        // The first byte after form and reason is the number of the variant: a change here breaks every log on disc.
        let why = || Why::new(NodeId::from_u128(1), 0, Vec::new());
        let number = |command: Command| {
            let head = postcard::to_allocvec(&(FORM, why())).unwrap().len();
            Entry { why: why(), command }.encode()[head]
        };
        assert_eq!(number(Command::Found { cluster_id: ClusterId::MIN, founders: Vec::new() }), 0);
        assert_eq!(number(Command::RaiseCeiling { by: 1 }), 6);
        assert_eq!(number(Command::Merged { chain: Vec::new() }), 8);
        assert_eq!(number(Command::QuorumRows), 11);
        assert_eq!(number(Command::DutyDone { token: 1 }), 13);
        assert_eq!(number(Command::Leases { term: 1, agreed: Agreed { given_ms: 1, waited_ms: 1 } }), 14);
        assert_eq!(number(Command::TokensFrom { floor: 1 }), 15);
    }

    #[test]
    fn evidence_is_cut_at_a_character() {
        let long = "ä".repeat(REASON_LEN_MAX);
        let why = Why::new(NodeId::MIN, 0, vec![long; EVIDENCE_MAX + 3]);
        assert_eq!(why.evidence().len(), EVIDENCE_MAX);
        assert!(why.evidence().iter().all(|line| line.len() <= REASON_LEN_MAX && line.ends_with('ä')));
    }
}
