//! Small makers of ids, entries and records that the tests of the durable group share.

use ekka_core::consensus::{Configuration, LogPlace, StateMachine, VoterId};
use ekka_core::durable::absorb::MergeRecord;
use ekka_core::durable::{
    Admission, Change, Command, Entry, Faults, Founder, Gave, InReach, Outcome, Record, Refusal, Removal, Why,
};
use ekka_core::id::{ClusterId, Guid, Incarnation, NodeId, NodeName};
use ekka_core::lease::{Cause, GoneEntry};
use ekka_core::membership::RemovalCause;
use ekka_core::view::Role;

pub(crate) fn node(n: u128) -> NodeId {
    NodeId::from_u128(n)
}

pub(crate) fn start(n: u128, guid: u128) -> Incarnation {
    Incarnation { node_id: node(n), guid: Guid::from_u128(guid) }
}

pub(crate) fn cluster(n: u128) -> ClusterId {
    ClusterId::from_u128(n)
}

pub(crate) fn name(n: u128) -> NodeName {
    format!("n{n}@h{n}").parse().expect("a name")
}

pub(crate) fn store(n: u128) -> u128 {
    n * 100
}

pub(crate) fn voter(n: u128) -> VoterId {
    VoterId { node_id: node(n), start: store(n) }
}

pub(crate) fn founder(n: u128) -> Founder {
    Founder { id: start(n, 1), name: name(n), role: Role::Core, store: store(n) }
}

pub(crate) fn found(cluster_id: ClusterId, of: impl IntoIterator<Item = u128>) -> Command {
    Command::Found { cluster_id, founders: of.into_iter().map(founder).collect() }
}

pub(crate) fn admission(n: u128, guid: u128, basis: u64) -> Admission {
    Admission {
        id: start(n, guid),
        name: name(n),
        role: Role::Core,
        store: Some(store(n)),
        asked: false,
        basis,
        chain: Vec::new(),
    }
}

pub(crate) fn returned(n: u128, guid: u128) -> Command {
    Command::Returned { id: start(n, guid), name: name(n), role: Role::Core }
}

pub(crate) fn entry(command: Command) -> Entry {
    Entry { why: Why::new(node(1), 1, vec!["a test says so".into()]), command }
}

/// This start is over, proposed in the term in which the logs here stand.
pub(crate) fn gone(id: Incarnation, cause: Cause) -> Command {
    Command::Gone(GoneEntry { id, term: 1, cause })
}

/// Nobody heard of it.
pub(crate) fn silent() -> Cause {
    Cause::Silent { unheard_ms: 15_000, seen_down_by: Vec::new() }
}

/// One cluster with its log.
#[derive(Clone, Debug)]
pub(crate) struct Log {
    pub(crate) record: Record,
    pub(crate) entries: Vec<(LogPlace, Vec<u8>)>,
}

impl Log {
    pub(crate) fn new(faults: Faults) -> Self {
        Self { record: Record::with_faults(faults), entries: Vec::new() }
    }

    /// A cluster of these founders, who all vote.
    pub(crate) fn founded(id: ClusterId, of: &[u128], faults: Faults) -> Self {
        let mut log = Self::new(faults);
        log.done(found(id, of.iter().copied()));
        log.vote(of);
        log
    }

    /// Commits a command.
    pub(crate) fn commit(&mut self, command: Command) -> (Outcome, Vec<Change>) {
        let at = LogPlace { term: 1, index: self.record.applied().index + 1 };
        let bytes = entry(command).encode();
        self.entries.push((at, bytes.clone()));
        let (outcome, changes, read) = self.record.commit_bytes(at, &bytes);
        assert!(read.is_some(), "what this version writes it reads");
        self.record.check();
        (outcome, changes)
    }

    /// Commits one that is done.
    pub(crate) fn done(&mut self, command: Command) -> Vec<Change> {
        let words = command.words();
        let (outcome, changes) = self.commit(command);
        assert!(matches!(outcome, Outcome::Done { .. }), "{words}: {outcome:?}");
        changes
    }

    /// Commits one that holds already.
    pub(crate) fn already(&mut self, command: Command) {
        let words = command.words();
        let (outcome, changes) = self.commit(command);
        assert!(matches!(outcome, Outcome::Already { .. }), "{words}: {outcome:?}");
        assert!(changes.is_empty(), "{words} changes {changes:?}");
    }

    /// Commits one that is refused so, and changes nothing.
    pub(crate) fn refused(&mut self, code: Refusal, command: Command) -> String {
        let (words, before) = (command.words(), self.record.clone());
        let (outcome, changes) = self.commit(command);
        let Outcome::Refused { code: found, words: said } = outcome else { panic!("{words}: {outcome:?}") };
        assert_eq!(found, code, "{words}: {said}");
        assert!(changes.is_empty(), "{words} changes {changes:?}");
        assert_eq!(self.record.seats(), before.seats(), "{words}");
        assert_eq!(self.record.token_ceiling(), before.token_ceiling(), "{words}");
        said
    }

    pub(crate) fn vote(&mut self, of: &[u128]) {
        let at = LogPlace { term: 1, index: self.record.applied().index + 1 };
        let voters = vec![of.iter().copied().map(voter).collect()];
        self.record.reconfigured(&Configuration { voters, learners: Vec::new(), at, committed: true });
    }

    pub(crate) fn removal(&self, n: u128, cause: RemovalCause) -> Command {
        let seniority = self.record.member(node(n)).map_or(0, |member| member.seniority);
        Command::Remove(Removal { node_id: node(n), seniority, cause, by: node(1) })
    }

    pub(crate) fn gone(&self, n: u128, cause: Cause) -> Command {
        let guid = self.record.member(node(n)).map_or(Guid::MIN, |member| member.guid);
        gone(Incarnation { node_id: node(n), guid }, cause)
    }

    /// A fresh range of tokens.
    pub(crate) fn tokens(&mut self, count: u64) -> (u64, u64) {
        match self.commit(Command::RaiseCeiling { by: count }).0 {
            Outcome::Done { gave: Gave::Tokens { from, to }, .. } => (from, to),
            outcome => panic!("{outcome:?}"),
        }
    }

    /// Goes into that cluster.
    pub(crate) fn merge_into(&mut self, into: ClusterId) -> MergeRecord {
        match self.commit(Command::Merging { into, by_word: false }).0 {
            Outcome::Done { gave: Gave::Merge(record), .. } => record,
            outcome => panic!("{outcome:?}"),
        }
    }
}

/// These nodes are in reach, and nobody knows their stores.
pub(crate) fn nodes(of: impl IntoIterator<Item = u128>) -> InReach {
    InReach::new(of.into_iter().map(|n| (node(n), None)))
}
