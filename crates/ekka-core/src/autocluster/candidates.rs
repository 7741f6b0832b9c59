//! Whom discovery named, and when each is dialled.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::string::String;
use alloc::vec::Vec;
use core::time::Duration;

use super::{Answer, Candidate};
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
    /// It answered at least once.
    answered: bool,
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
}

impl Candidates {
    pub(super) fn new(own: &Record) -> Self {
        Self {
            own_endpoint: own.endpoint.clone(),
            own_name: own.name.clone(),
            own_id: own.id.node_id,
            entries: BTreeMap::new(),
            said: BTreeMap::new(),
        }
    }

    /// A strategy answered.
    pub(super) fn answered_by(&mut self, strategy: &str, answer: &Answer, now: Instant) {
        let silent = self.said.values().any(|said| said.fails);
        self.said.entry(strategy.into()).or_default().fails = false;
        for entry in self.entries.values_mut() {
            // Time in which a source did not answer says nothing of whom it names.
            entry.named = if silent { now } else { entry.named };
            entry.missed = if silent { 0 } else { entry.missed.saturating_add(1) };
        }
        self.listed(&answer.candidates, now);
        self.forget_unlisted(now);
        let lists_me = answer.candidates.iter().any(|candidate| self.is_me(candidate));
        let said = self.said.entry(strategy.into()).or_default();
        // What a backend knew once is not forgotten because it does not say so now.
        said.expect = answer.expect.or(said.expect);
        said.lists_me = lists_me.then(|| said.lists_me.unwrap_or(now));
        said.answered = true;
    }

    /// A strategy failed: what it said before is no sign that nobody else is there.
    pub(super) fn failed_by(&mut self, strategy: &str) {
        let said = self.said.entry(strategy.into()).or_default();
        said.lists_me = None;
        said.fails = true;
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
        if self.said.values().any(|said| said.fails) {
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

    /// Whether that strategy has answered yet.
    pub(super) fn has_answered(&self, strategy: &str) -> bool {
        self.said.get(strategy).is_some_and(|said| said.answered)
    }

    /// Only these strategies are asked from now on: what others said is forgotten.
    pub(super) fn ask_only(&mut self, strategies: &[String]) {
        self.said.retain(|strategy, _| strategies.contains(strategy));
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
