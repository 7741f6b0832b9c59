//! The record of the cluster: what the log of the durable group adds up to. No clock, no chance: equal logs, equal records.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use serde::{Deserialize, Serialize};

use super::Faults;
use super::absorb::{Chains, MergeRecord};
use super::command::{Entry, NO_GUID};
use super::outcome::{Change, Outcome};
use super::schemas::TableEntry;
use crate::consensus::{Configuration, LogPlace, StateMachine, VoterId};
use crate::id::{ClusterId, Guid, Incarnation, NodeId, NodeName};
use crate::lease::Agreed;
use crate::limits::FORGOTTEN_MAX;
use crate::membership::{RemovalCause, Seat};
use crate::view::Role;
use crate::volatile::{Decided, Generation};

/// The form of snapshots that this code writes.
const FORM: u16 = 3;
/// The one before there were tables: the same without them at its end.
const WITHOUT_TABLES: u16 = 2;

/// A member, as committed.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Member {
    /// Its present start.
    pub guid: Guid,
    /// Its name at that start.
    pub name: NodeName,
    /// Its role.
    pub role: Role,
    /// Its Raft store, where it has one.
    pub store: Option<u128>,
    /// The place of the entry that made the node a member: it keeps it over restarts. Voters are chosen by this.
    pub since: u64,
    /// The place of the entry that admitted its present start: leader and coordinator go by this.
    pub seniority: u64,
    /// The node that proposed that entry.
    pub by: NodeId,
}

/// A node that was a member.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Forgotten {
    /// Its last start here.
    pub guid: Guid,
    /// Its name then.
    pub name: NodeName,
    /// Its last place.
    pub seniority: u64,
    /// The place of its removal.
    pub number: u64,
    /// Why it was removed.
    pub cause: RemovalCause,
    /// Who asked for it.
    pub by: NodeId,
}

/// The record.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Record {
    pub(super) cluster: Option<ClusterId>,
    pub(super) applied: LogPlace,
    /// Added to the index of an entry: founders have a place each and one entry, and where a recovered cluster begins a
    /// new log places grow on.
    pub(super) base: u64,
    pub(super) members: BTreeMap<NodeId, Member>,
    pub(super) forgotten: BTreeMap<NodeId, Forgotten>,
    /// The highest removal that is not remembered any more.
    pub(super) forgotten_up_to: u64,
    /// The latest start of each member and each forgotten node that is over. One guid a node is enough: starts of one
    /// directory follow each other under its lock and their guids grow, so with one of them all before it are over.
    pub(super) over: BTreeMap<NodeId, Guid>,
    pub(super) floor: u64,
    pub(super) ceiling: u64,
    pub(super) merging: Option<MergeRecord>,
    pub(super) merged: Chains,
    pub(super) quorum_rows: bool,
    pub(super) volatile: Decided,
    pub(super) generation: u64,
    pub(super) configuration: Configuration,
    /// How long leases last; `None` until a leader has had it committed.
    pub(super) leases: Option<Agreed>,
    /// Beside the rest in snapshots: those of the form before have none.
    #[serde(skip)]
    pub(super) tables: BTreeMap<String, TableEntry>,
    #[serde(skip)]
    pub(super) faults: Faults,
}

impl Record {
    /// A record before its first entry, with faults put in on purpose.
    #[must_use]
    pub fn with_faults(faults: Faults) -> Self {
        Self { faults, ..Self::default() }
    }

    /// The cluster, once its first entry is committed.
    #[must_use]
    pub fn cluster(&self) -> Option<ClusterId> {
        self.cluster
    }

    /// The last entry that it holds.
    #[must_use]
    pub fn applied(&self) -> LogPlace {
        self.applied
    }

    /// The place of the last entry in the order of the cluster, which no recovery breaks.
    #[must_use]
    pub fn number(&self) -> u64 {
        self.base + self.applied.index
    }

    /// All members.
    #[must_use]
    pub fn members(&self) -> &BTreeMap<NodeId, Member> {
        &self.members
    }

    /// The member with this id.
    #[must_use]
    pub fn member(&self, node_id: NodeId) -> Option<&Member> {
        self.members.get(&node_id)
    }

    /// The name of a member, or else its id, for words.
    #[must_use]
    pub fn name_of(&self, node_id: NodeId) -> String {
        self.member(node_id).map_or_else(|| alloc::format!("node_id {node_id}"), |member| member.name.to_string())
    }

    /// The removed nodes that are still remembered: the latest
    /// [`FORGOTTEN_MAX`](crate::limits::FORGOTTEN_MAX) removals.
    #[must_use]
    pub fn forgotten(&self) -> &BTreeMap<NodeId, Forgotten> {
        &self.forgotten
    }

    /// Whether this start is over by a committed entry: gone, or before one that is, or before the present one.
    #[must_use]
    pub fn is_over(&self, id: Incarnation) -> bool {
        self.over.get(&id.node_id).is_some_and(|over| id.guid <= *over)
    }

    /// Whether this start is the present one of a member and not over.
    #[must_use]
    pub fn is_present(&self, id: Incarnation) -> bool {
        self.members.get(&id.node_id).is_some_and(|member| member.guid == id.guid) && !self.is_over(id)
    }

    /// Tokens below this are not issued any more: some belong to an absorbed cluster. An authority looks at it before
    /// each token, also within the range that it owns; and it serves a node only when its own record is as far
    /// ([`number`](Self::number)) as that node's, or a node that knows of an absorption gets a token from before it.
    #[must_use]
    pub fn token_floor(&self) -> u64 {
        self.floor
    }

    /// No token at or above this was ever issued.
    #[must_use]
    pub fn token_ceiling(&self) -> u64 {
        self.ceiling
    }

    /// Where this cluster goes, once it has committed that.
    #[must_use]
    pub fn merging(&self) -> Option<MergeRecord> {
        self.merging
    }

    /// The clusters that have gone into this one.
    #[must_use]
    pub fn merged(&self) -> &Chains {
        &self.merged
    }

    /// Whether quorum tables hold, or ever held, a row.
    #[must_use]
    pub fn quorum_rows(&self) -> bool {
        self.quorum_rows
    }

    /// The present volatile group; before the first one its number is 0 and nobody votes in it.
    #[must_use]
    pub fn volatile(&self) -> &Generation {
        self.volatile.generation()
    }

    /// The generation of the cluster: 0, and a later one with each recovery ([`next`](super::generation::next)).
    #[must_use]
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// The latest committed configuration of the group.
    #[must_use]
    pub fn configuration(&self) -> &Configuration {
        &self.configuration
    }

    /// Everybody who votes: in both sets while a joint change is under way.
    #[must_use]
    pub fn voters(&self) -> BTreeSet<VoterId> {
        self.configuration.all_voters().into_iter().collect()
    }

    /// Whether a store of this node votes.
    #[must_use]
    pub fn votes(&self, node_id: NodeId) -> bool {
        self.configuration.voters.iter().flatten().any(|voter| voter.node_id == node_id)
    }

    /// Whether the group gives this node its log: it votes or learns. Such a node is not removed, or a change of the
    /// voters that was decided on before would let it vote as no member.
    #[must_use]
    pub fn follows(&self, node_id: NodeId) -> bool {
        self.votes(node_id) || self.configuration.learners.iter().any(|learner| learner.node_id == node_id)
    }

    /// Members by the seniority of their present start, the oldest first.
    #[must_use]
    pub fn by_seniority(&self) -> Vec<NodeId> {
        let mut order: Vec<_> = self.members.iter().map(|(id, member)| (member.seniority, *id)).collect();
        order.sort_unstable();
        order.into_iter().map(|(_, id)| id).collect()
    }

    /// The seats that gossip carries: numbers are places in the log, so the larger one is the later one everywhere.
    #[must_use]
    pub fn seats(&self) -> BTreeMap<NodeId, Seat> {
        let members = self
            .members
            .iter()
            .map(|(id, member)| (*id, Seat { number: member.seniority, by: member.by, removed: None }));
        let forgotten = self
            .forgotten
            .iter()
            .map(|(id, out)| (*id, Seat { number: out.number, by: out.by, removed: Some(out.cause) }));
        members.chain(forgotten).collect()
    }

    /// The latest start of this node that is known to be over.
    #[must_use]
    pub fn over(&self, node_id: NodeId) -> Guid {
        self.over.get(&node_id).copied().unwrap_or(NO_GUID)
    }

    /// How long leases of incarnations last, once a leader has had that committed.
    #[must_use]
    pub fn leases(&self) -> Option<Agreed> {
        self.leases
    }

    /// The latest start of each node that is over; those before it are too.
    pub fn ended(&self) -> impl Iterator<Item = Incarnation> + '_ {
        self.over.iter().map(|(node_id, guid)| Incarnation { node_id: *node_id, guid: *guid })
    }

    /// The latest start of each member, be it over.
    pub fn starts(&self) -> impl Iterator<Item = Incarnation> + '_ {
        self.members.iter().map(|(node_id, member)| Incarnation { node_id: *node_id, guid: member.guid })
    }

    /// The present start of each member, save those that are over.
    pub fn present(&self) -> impl Iterator<Item = Incarnation> + '_ {
        self.starts().filter(|id| !self.is_over(*id))
    }

    /// The last start of each member that left or was taken out, and may live: over once its lease has run out.
    pub fn removed(&self) -> impl Iterator<Item = Incarnation> + '_ {
        let starts = self.forgotten.iter().map(|(node_id, out)| Incarnation { node_id: *node_id, guid: out.guid });
        starts.filter(|id| !self.is_over(*id))
    }

    /// Commands that were gathered into one entry share its place in the log, and have one each in the order of the
    /// cluster.
    fn advance(&mut self, at: LogPlace) {
        if at == self.applied {
            self.base += 1;
        }
        self.applied = at;
    }

    /// Applies one committed entry. The outcome is for its proposer, the changes are for everybody.
    pub fn commit(&mut self, at: LogPlace, entry: &Entry) -> (Outcome, Vec<Change>) {
        self.advance(at);
        let mut changes = Vec::new();
        let outcome = self.carry_out(&entry.why, &entry.command, &mut changes);
        (outcome, changes)
    }

    /// Applies the bytes of a committed entry; `None` of the entry where they cannot be read.
    pub fn commit_bytes(&mut self, at: LogPlace, bytes: &[u8]) -> (Outcome, Vec<Change>, Option<Entry>) {
        match Entry::decode(bytes) {
            Ok(entry) => {
                let (outcome, changes) = self.commit(at, &entry);
                (outcome, changes, Some(entry))
            }
            Err(error) => {
                self.advance(at);
                (Outcome::Unknown { words: alloc::format!("{error}") }, Vec::new(), None)
            }
        }
    }

    /// Remembers a removal, and forgets the oldest where there are too many.
    pub(super) fn remember(&mut self, node_id: NodeId, out: Forgotten) {
        self.forgotten.insert(node_id, out);
        while self.forgotten.len() > FORGOTTEN_MAX {
            let oldest = self.forgotten.iter().min_by_key(|(_, out)| out.number).map(|(id, out)| (*id, out.number));
            let Some((oldest, number)) = oldest else { return };
            self.forgotten.remove(&oldest);
            self.over.remove(&oldest);
            self.forgotten_up_to = self.forgotten_up_to.max(number);
        }
    }

    /// The record as bytes.
    #[must_use]
    pub fn to_snapshot(&self) -> Vec<u8> {
        postcard::to_allocvec(&(FORM, self, &self.tables)).expect("a record consists of what postcard can hold")
    }

    /// Reads a record.
    ///
    /// # Errors
    /// The bytes are no snapshot, or one of a newer form, in words.
    pub fn from_snapshot(bytes: &[u8]) -> Result<Self, String> {
        let (form, rest) = postcard::take_from_bytes::<u16>(bytes).map_err(|error| alloc::format!("{error}"))?;
        if form != FORM && form != WITHOUT_TABLES {
            return Err(alloc::format!("a snapshot of form {form}, this version reads form {FORM}"));
        }
        let wrong = |error| alloc::format!("no snapshot of a roster: {error}");
        let (mut record, rest) = postcard::take_from_bytes::<Self>(rest).map_err(wrong)?;
        if form == FORM {
            record.tables = postcard::from_bytes(rest).map_err(wrong)?;
        }
        Ok(record)
    }
}

impl StateMachine for Record {
    fn apply(&mut self, at: LogPlace, command: &[u8]) -> Vec<u8> {
        self.commit_bytes(at, command).0.encode()
    }

    fn reconfigured(&mut self, configuration: &Configuration) {
        self.configuration = configuration.clone();
        self.applied = self.applied.max(configuration.at);
    }

    fn snapshot(&self) -> Vec<u8> {
        self.to_snapshot()
    }

    fn restore(&mut self, snapshot: &[u8]) -> Result<(), String> {
        let faults = self.faults;
        *self = Self::from_snapshot(snapshot)?;
        self.faults = faults;
        Ok(())
    }
}
