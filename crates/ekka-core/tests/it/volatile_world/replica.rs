//! A replica of the volatile group in small. Steps over several replicas are the world's.

use std::collections::BTreeSet;

use ekka_core::consensus::LogPlace;
use ekka_core::id::Incarnation;
use ekka_core::volatile::LogKey;

pub(crate) type Sets = Vec<BTreeSet<Incarnation>>;

#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Entry {
    Blank,
    Voters(Sets),
    Write(u64),
    /// Locks may be granted in this generation.
    Open,
    /// The lock goes to a client, with a token.
    Grant {
        client: usize,
        token: u64,
    },
    /// The session with this token has expired by the clock of the leader.
    Free(u64),
}

#[derive(Clone, Debug)]
pub(crate) struct Replica {
    pub(crate) generation: u64,
    pub(crate) term: u64,
    pub(crate) leads: bool,
    /// It has what its generation began with.
    pub(crate) has_base: bool,
    pub(crate) base: Vec<Entry>,
    pub(crate) log: Vec<(u64, Entry)>,
    pub(crate) committed: usize,
    /// When it last heard of its leader, or a majority of it.
    pub(crate) heard_at: Option<u64>,
}

impl Replica {
    pub(crate) fn learner(generation: u64) -> Self {
        Self {
            generation,
            term: 0,
            leads: false,
            has_base: false,
            base: Vec::new(),
            log: Vec::new(),
            committed: 0,
            heard_at: None,
        }
    }

    pub(crate) fn founder(generation: u64, base: Vec<Entry>, founders: BTreeSet<Incarnation>) -> Self {
        let log = vec![(0, Entry::Voters(vec![founders]))];
        Self { has_base: true, base, log, ..Self::learner(generation) }
    }

    pub(crate) fn last(&self) -> LogPlace {
        let index = self.log.len() as u64;
        LogPlace { term: self.log.last().map_or(0, |entry| entry.0), index }
    }

    pub(crate) fn key(&self) -> Option<LogKey> {
        self.has_base.then(|| LogKey { generation: self.generation, place: self.last() })
    }

    /// Everything that it holds, for a generation that begins with it.
    pub(crate) fn content(&self) -> Vec<Entry> {
        let log = self.log.iter().map(|(_, entry)| entry);
        self.base
            .iter()
            .chain(log)
            .filter(|entry| !matches!(entry, Entry::Voters(_) | Entry::Blank | Entry::Open))
            .cloned()
            .collect()
    }

    /// The sets of voters in force, and whether that entry is committed.
    pub(crate) fn voters(&self) -> Option<(&Sets, bool)> {
        self.log.iter().enumerate().rev().find_map(|(at, (_, entry))| match entry {
            Entry::Voters(sets) => Some((sets, at < self.committed)),
            _ => None,
        })
    }

    pub(crate) fn is_majority(&self, yes: &BTreeSet<Incarnation>) -> bool {
        self.voters().is_some_and(|(sets, _)| sets.iter().all(|set| set.intersection(yes).count() * 2 > set.len()))
    }

    /// Leads, and has committed an entry of its term.
    pub(crate) fn ready(&self) -> bool {
        self.leads && self.log[..self.committed].iter().any(|(term, _)| *term == self.term)
    }

    /// It is committed that locks may be granted.
    pub(crate) fn open(&self) -> bool {
        self.log[..self.committed].iter().any(|(_, entry)| *entry == Entry::Open)
    }

    /// The newest grant, and whether it is freed.
    pub(crate) fn lock(&self) -> (u64, bool) {
        let log = self.log.iter().map(|(_, entry)| entry);
        let mut state = (0, true);
        for entry in self.base.iter().chain(log) {
            match entry {
                Entry::Grant { token, .. } => state = (*token, false),
                Entry::Free(token) if *token == state.0 => state.1 = true,
                _ => {}
            }
        }
        state
    }
}

/// The numbers that were written.
pub(crate) fn writes(content: &[Entry]) -> BTreeSet<u64> {
    let writes = content.iter().filter_map(|entry| match entry {
        Entry::Write(number) => Some(*number),
        _ => None,
    });
    writes.collect()
}
