//! Whom discovery named, and when each is dialled.

use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::vec::Vec;
use core::time::Duration;

use super::Candidate;
use crate::id::{Endpoint, NodeName};
use crate::limits::{CANDIDATES_MAX, REDISCOVER_INTERVAL, REDISCOVER_SLOW_INTERVAL};
use crate::time::Instant;

/// First wait between two dials of one candidate; doubles up to [`REDISCOVER_INTERVAL`].
const BACKOFF_MIN: Duration = Duration::from_millis(300);

#[derive(Clone, Debug)]
struct Entry {
    name: NodeName,
    next_dial: Instant,
    backoff: Duration,
    why: Option<String>,
}

/// All candidates that were ever named, up to a bound. An answer adds, and never removes.
#[derive(Clone, Debug)]
pub(super) struct Candidates {
    own: Endpoint,
    entries: BTreeMap<Endpoint, Entry>,
}

impl Candidates {
    pub(super) fn new(own: Endpoint) -> Self {
        Self { own, entries: BTreeMap::new() }
    }

    /// A strategy named these.
    pub(super) fn listed(&mut self, found: Vec<Candidate>, now: Instant) {
        for candidate in found {
            if candidate.endpoint == self.own || self.entries.contains_key(&candidate.endpoint) {
                continue;
            }
            if self.entries.len() >= CANDIDATES_MAX {
                break;
            }
            let entry = Entry { name: candidate.name, next_dial: now, backoff: BACKOFF_MIN, why: None };
            self.entries.insert(candidate.endpoint, entry);
        }
    }

    /// A dial failed.
    pub(super) fn failed(&mut self, endpoint: &Endpoint, why: String) {
        if let Some(entry) = self.entries.get_mut(endpoint) {
            entry.why = Some(why);
        }
    }

    /// A node at this endpoint is connected.
    pub(super) fn answered(&mut self, endpoint: &Endpoint) {
        if let Some(entry) = self.entries.get_mut(endpoint) {
            entry.why = None;
            entry.backoff = BACKOFF_MIN;
        }
    }

    /// Whether anybody but this node was ever named.
    pub(super) fn any(&self) -> bool {
        !self.entries.is_empty()
    }

    /// How many were named, this node not counted.
    pub(super) fn count(&self) -> usize {
        self.entries.len()
    }

    /// Name and last failure of a candidate.
    pub(super) fn by_name(&self, name: &NodeName) -> Option<&Option<String>> {
        self.entries.values().find(|entry| entry.name == *name).map(|entry| &entry.why)
    }

    /// All names with their last failure.
    pub(super) fn all(&self) -> impl Iterator<Item = (&NodeName, Option<&String>)> {
        self.entries.values().map(|entry| (&entry.name, entry.why.as_ref()))
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
            let wait = if searching { entry.backoff } else { REDISCOVER_SLOW_INTERVAL / 3 };
            entry.backoff = (entry.backoff * 2).min(REDISCOVER_INTERVAL / 2);
            entry.next_dial = now + wait;
            due.push(endpoint.clone());
        }
        due
    }
}
