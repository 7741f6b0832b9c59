//! Sessions of clients: what holds and waits together, and ends together.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::string::String;
use core::fmt;

use serde::{Deserialize, Serialize};

use super::Want;
use crate::id::{Guid, Incarnation, NodeId};

/// Which session: the start of the node that opened it, and a number that this start gives out once.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub struct SessionId {
    /// The node.
    pub node_id: NodeId,
    /// Its start.
    pub guid: Guid,
    /// The number.
    pub number: u64,
}

impl SessionId {
    /// The start of the node that opened it.
    #[must_use]
    pub fn incarnation(&self) -> Incarnation {
        Incarnation { node_id: self.node_id, guid: self.guid }
    }
}

impl fmt::Display for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}", self.node_id, self.guid, self.number)
    }
}

/// A request that is not ended: it holds all that it wants, or waits for the next of it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(super) struct Request {
    pub(super) wants: alloc::vec::Vec<Want>,
    /// Whoever holds under the same number in the same session may come in once more.
    pub(super) owner: u64,
    pub(super) again: bool,
    /// How many of the wants it holds, from the first on.
    pub(super) has: usize,
}

impl Request {
    pub(super) fn is_granted(&self) -> bool {
        self.has == self.wants.len()
    }
}

/// A session that is open.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(super) struct Session {
    pub(super) ttl_ms: u64,
    /// It is of the process that the node is part of: it ends with that start of the node.
    pub(super) own: bool,
    /// What people read of its owner.
    pub(super) label: String,
    pub(super) requests: BTreeMap<u64, Request>,
    /// Requests with smaller numbers were answered, and are not made again: those that are not in `requests` have ended.
    floor: u64,
    /// Requests from the floor on that have ended.
    ended: BTreeSet<u64>,
}

impl Session {
    pub(super) fn new(ttl_ms: u64, own: bool, label: String) -> Self {
        Self { ttl_ms, own, label, requests: BTreeMap::new(), floor: 0, ended: BTreeSet::new() }
    }

    pub(super) fn has_ended(&self, request: u64) -> bool {
        !self.requests.contains_key(&request) && (request < self.floor || self.ended.contains(&request))
    }

    pub(super) fn end(&mut self, request: u64) -> Option<Request> {
        if request >= self.floor {
            self.ended.insert(request);
        }
        self.requests.remove(&request)
    }

    /// The client has an answer to each request below this number, and repeats none of them.
    pub(super) fn raise_floor(&mut self, floor: u64) {
        if floor > self.floor {
            self.floor = floor;
            self.ended = self.ended.split_off(&floor);
        }
    }

    pub(super) fn ended_kept(&self) -> usize {
        self.ended.len()
    }
}
