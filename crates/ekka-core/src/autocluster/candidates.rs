//! Whom discovery named, and when each is dialled.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::string::String;
use alloc::vec::Vec;
use core::time::Duration;

use super::{Answer, Candidate, Expect};
use crate::id::{Endpoint, NodeId, NodeName};
use crate::limits::{CANDIDATE_KEPT, CANDIDATES_MAX, REDISCOVER_INTERVAL, REDISCOVER_SLOW_INTERVAL};
use crate::membership::Record;
use crate::time::Instant;

/// First wait between two dials of one candidate; doubles up to [`REDISCOVER_INTERVAL`].
const BACKOFF_MIN: Duration = Duration::from_millis(300);
/// So many answers must have left somebody out before it is forgotten, however much time has passed.
const ANSWERS_MISSED: u32 = 5;

#[derive(Clone, Debug)]
struct Entry {
    name: NodeName,
    /// When it was last named.
    named: Instant,
    /// Answers since then.
    missed: u32,
    next_dial: Instant,
    backoff: Duration,
    why: Option<String>,
    /// Who answered there last. A node may be listed under several names and addresses.
    node_id: Option<NodeId>,
}

/// What one strategy said last.
#[derive(Clone, Debug, Default)]
struct Said {
    expect: Option<u32>,
    /// Since when its answers have listed this node.
    lists_me: Option<Instant>,
    /// Its last round failed.
    fails: bool,
    number: Number,
}

/// Whether a strategy has said how many nodes there are to be, or that it does not know.
#[derive(Clone, Debug, Default)]
enum Number {
    #[default]
    Unheard,
    /// It answered, and could not be asked for the number, with why.
    NotRead(String),
    Heard,
}

/// All candidates that were named, up to a bound. An answer adds, and never removes; who is named no more is forgotten
/// after a long while and several answers, never while a source is silent, or where there is no room.
#[derive(Clone, Debug)]
pub(super) struct Candidates {
    own_endpoint: Endpoint,
    own_name: NodeName,
    own_id: NodeId,
    entries: BTreeMap<Endpoint, Entry>,
    said: BTreeMap<String, Said>,
    /// Since when some strategy fails, whichever it is.
    silent_since: Option<Instant>,
}

impl Candidates {
    pub(super) fn new(own: &Record) -> Self {
        Self {
            own_endpoint: own.endpoint.clone(),
            own_name: own.name.clone(),
            own_id: own.id.node_id,
            entries: BTreeMap::new(),
            said: BTreeMap::new(),
            silent_since: None,
        }
    }

    /// A strategy answered.
    pub(super) fn answered_by(&mut self, strategy: &str, answer: &Answer, now: Instant) {
        self.said.entry(strategy.into()).or_default().fails = false;
        self.note_silence(now);
        for entry in self.entries.values_mut() {
            entry.missed = entry.missed.saturating_add(1);
        }
        self.listed(&answer.candidates, now);
        self.forget_unlisted(now);
        let lists_me = answer.candidates.iter().any(|candidate| self.is_me(candidate));
        let said = self.said.entry(strategy.into()).or_default();
        said.lists_me = lists_me.then(|| said.lists_me.unwrap_or(now));
        match (&answer.expect, &said.number) {
            (Expect::Nodes(nodes), _) => (said.expect, said.number) = (Some(*nodes), Number::Heard),
            // What a backend knew once is not forgotten because it does not say so now.
            (Expect::Unknown, _) => said.number = Number::Heard,
            (Expect::NotHeard(_), Number::Heard) => {}
            (Expect::NotHeard(why), _) => said.number = Number::NotRead(why.clone()),
        }
    }

    /// A strategy failed: what it said before is no sign that nobody else is there.
    pub(super) fn failed_by(&mut self, strategy: &str, now: Instant) {
        let said = self.said.entry(strategy.into()).or_default();
        said.lists_me = None;
        said.fails = true;
        self.note_silence(now);
    }

    /// Time in which a source did not answer says nothing of whom it names: at the end of a silence all are as if it had
    /// not been. It does not begin their time anew, or a source that fails now and then would keep them for ever.
    fn note_silence(&mut self, now: Instant) {
        let silent = self.said.values().any(|said| said.fails);
        match self.silent_since {
            None if silent => self.silent_since = Some(now),
            Some(since) if !silent => {
                self.silent_since = None;
                for entry in self.entries.values_mut() {
                    entry.named = (entry.named + now.since(since)).min(now);
                }
            }
            _ => {}
        }
    }

    /// These were named.
    pub(super) fn listed(&mut self, found: &[Candidate], now: Instant) {
        for candidate in found {
            if candidate.endpoint == self.own_endpoint {
                continue;
            }
            if let Some(entry) = self.entries.get_mut(&candidate.endpoint) {
                entry.named = now;
                entry.missed = 0;
                continue;
            }
            if self.entries.len() >= CANDIDATES_MAX && !self.make_room(now) {
                break;
            }
            let name = candidate.name.clone();
            let entry =
                Entry { name, named: now, missed: 0, next_dial: now, backoff: BACKOFF_MIN, why: None, node_id: None };
            self.entries.insert(candidate.endpoint.clone(), entry);
        }
    }

    /// Gives up the one that was named longest ago, unless it was just now.
    fn make_room(&mut self, now: Instant) -> bool {
        let oldest = self.entries.iter().min_by_key(|(_, entry)| entry.named);
        let Some(endpoint) = oldest.filter(|(_, entry)| entry.named < now).map(|(endpoint, _)| endpoint.clone()) else {
            return false;
        };
        self.entries.remove(&endpoint);
        true
    }

    /// Forgets whom no answer has named for long, unless a source fails now: it may be the one that would.
    fn forget_unlisted(&mut self, now: Instant) {
        if self.silent_since.is_some() {
            return;
        }
        let stays = |entry: &Entry| now.since(entry.named) < CANDIDATE_KEPT || entry.missed < ANSWERS_MISSED;
        self.entries.retain(|_, entry| stays(entry));
    }

    fn is_me(&self, candidate: &Candidate) -> bool {
        candidate.endpoint == self.own_endpoint
            || candidate.name == self.own_name
            || self.entries.get(&candidate.endpoint).is_some_and(|entry| entry.node_id == Some(self.own_id))
    }

    /// A dial failed.
    pub(super) fn failed(&mut self, endpoint: &Endpoint, why: String) {
        if let Some(entry) = self.entries.get_mut(endpoint) {
            entry.why = Some(why);
        }
    }

    /// A node answered at this endpoint.
    pub(super) fn answered(&mut self, endpoint: &Endpoint, node_id: NodeId) {
        if let Some(entry) = self.entries.get_mut(endpoint) {
            entry.why = None;
            entry.backoff = BACKOFF_MIN;
            entry.node_id = Some(node_id);
        }
    }

    /// Those that are not this node itself.
    fn others(&self) -> impl Iterator<Item = (&Endpoint, &Entry)> {
        self.entries.iter().filter(|(_, entry)| entry.node_id != Some(self.own_id) && entry.name != self.own_name)
    }

    /// Whether anybody but this node is named.
    pub(super) fn any(&self) -> bool {
        self.others().next().is_some()
    }

    /// How many are named, this node not counted, and each node once.
    pub(super) fn count(&self) -> usize {
        let known: BTreeSet<NodeId> = self.others().filter_map(|(_, entry)| entry.node_id).collect();
        known.len() + self.others().filter(|(_, entry)| entry.node_id.is_none()).count()
    }

    /// How many distinct nodes must vote by what backends know; the largest number counts.
    pub(super) fn expect(&self) -> Option<u32> {
        self.said.values().filter_map(|said| said.expect).max()
    }

    /// Since when every strategy has answered that this node is there and nobody else.
    pub(super) fn alone_since(&self) -> Option<Instant> {
        if self.any() {
            return None;
        }
        let since: Option<Vec<Instant>> = self.said.values().map(|said| said.lists_me).collect();
        since.and_then(|all| all.into_iter().max())
    }

    /// Since when that strategy's answers have listed this node.
    pub(super) fn listed_by(&self, strategy: &str) -> Option<Instant> {
        self.said.get(strategy).and_then(|said| said.lists_me)
    }

    /// Whether that strategy has said how many nodes there are to be, or that it does not know.
    pub(super) fn has_told_number(&self, strategy: &str) -> bool {
        self.said.get(strategy).is_some_and(|said| matches!(said.number, Number::Heard))
    }

    /// Why it has not, where it answers.
    pub(super) fn why_no_number(&self, strategy: &str) -> Option<&str> {
        match &self.said.get(strategy)?.number {
            Number::NotRead(why) => Some(why),
            Number::Unheard | Number::Heard => None,
        }
    }

    /// All strategies were exchanged for these. What others said is forgotten; of those with a name from before only how
    /// many must vote is kept, until they say it themselves: they may ask elsewhere now.
    pub(super) fn exchanged(&mut self, strategies: &[String], now: Instant) {
        self.said.retain(|strategy, _| strategies.contains(strategy));
        for said in self.said.values_mut() {
            *said = Said { expect: said.expect, ..Said::default() };
        }
        self.note_silence(now);
    }

    /// Name and last failure of a candidate.
    pub(super) fn by_name(&self, name: &NodeName) -> Option<&Option<String>> {
        self.entries.values().find(|entry| entry.name == *name).map(|entry| &entry.why)
    }

    /// All names with their last failure.
    pub(super) fn all(&self) -> impl Iterator<Item = (&NodeName, Option<&String>)> {
        self.others().map(|(_, entry)| (&entry.name, entry.why.as_ref()))
    }

    /// Whom to dial now.
    pub(super) fn due(
        &mut self,
        connected: impl Fn(&Endpoint) -> bool,
        searching: bool,
        now: Instant,
    ) -> Vec<Endpoint> {
        let mut due = Vec::new();
        for (endpoint, entry) in &mut self.entries {
            if entry.next_dial > now || connected(endpoint) {
                continue;
            }
            let wait = match entry.node_id {
                // Addresses change hands, also those of this node.
                Some(id) if id == self.own_id => REDISCOVER_SLOW_INTERVAL * 2,
                _ if searching => entry.backoff,
                _ => REDISCOVER_SLOW_INTERVAL / 3,
            };
            entry.backoff = (entry.backoff * 2).min(REDISCOVER_INTERVAL / 2);
            entry.next_dial = now + wait;
            due.push(endpoint.clone());
        }
        due
    }
}
