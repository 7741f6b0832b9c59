//! One node of the world: the room, and what `control` and the shell around it know.

use ekka_core::autoheal::{Contact, HealId, Healing, Input};
use ekka_core::id::{Guid, Incarnation, NodeId};
use ekka_core::time::{Instant, Now, Wall};

use crate::heal_world::plan::Us;

/// How a node sees another one.
#[derive(Clone, Debug)]
pub(crate) struct Eye {
    pub(crate) id: Incarnation,
    pub(crate) process: Guid,
    pub(crate) running: bool,
    pub(crate) goodbye: bool,
    pub(crate) heard: Us,
    /// Since when it is heard again.
    pub(crate) again: Option<Us>,
    /// For how long it may be silent.
    pub(crate) limit: Us,
    /// How long it is heard before it is seen as running again.
    pub(crate) back: Us,
    /// When this process of it was declared down while it was seen to run before.
    pub(crate) fell: Option<Us>,
}

/// An exchange of tables under way.
#[derive(Clone, Debug)]
pub(crate) struct Exchange {
    pub(crate) id: HealId,
    pub(crate) side: Vec<Incarnation>,
    /// Who has not said yet what it holds.
    pub(crate) open: Vec<Incarnation>,
    /// All that the others hold.
    pub(crate) target: Vec<u64>,
    pub(crate) waits_told: bool,
}

/// What a node takes in when it can.
#[derive(Clone, Debug)]
pub(crate) struct Due {
    /// For this start only; a message is for the start that its sender knew.
    pub(crate) guid: Guid,
    pub(crate) input: Input,
}

pub(crate) struct Node {
    pub(crate) id: Incarnation,
    pub(crate) process: Guid,
    /// Which of the origins of operations this process is.
    pub(crate) origin: usize,
    /// `None` while it is down.
    pub(crate) room: Option<Healing>,
    pub(crate) paused: bool,
    pub(crate) inbox: Vec<Due>,
    /// The largest heal number on disc.
    pub(crate) disc: u64,
    /// When its process ended.
    pub(crate) died: Us,
    /// It said goodbye at its end.
    pub(crate) goodbye: bool,
    /// From then on it takes part.
    pub(crate) active_at: Us,
    pub(crate) eyes: Vec<Eye>,
    /// What the room was told last.
    pub(crate) given: Option<(Vec<Contact>, bool)>,
    /// Counts what was asked of the shell: an answer to what was replaced is none.
    pub(crate) request: u64,
    pub(crate) exchange: Option<Exchange>,
    /// How many operations of each origin it holds.
    pub(crate) have: Vec<u64>,
    /// Its clock is ahead by so much.
    pub(crate) ahead: Us,
    /// When it is woken.
    pub(crate) wake: Us,
    pub(crate) sent: u64,
}

impl Node {
    pub(crate) fn new(n: usize, ahead: Us) -> Self {
        let node_id = NodeId::from_u128((n as u128 + 1) << 64);
        Self {
            id: Incarnation { node_id, guid: Guid::MIN },
            process: Guid::MIN,
            origin: 0,
            room: None,
            paused: false,
            inbox: Vec::new(),
            disc: 0,
            died: 0,
            goodbye: false,
            active_at: 0,
            eyes: Vec::new(),
            given: None,
            request: 0,
            exchange: None,
            have: Vec::new(),
            ahead,
            wake: Us::MAX,
            sent: 0,
        }
    }

    pub(crate) fn runs(&self) -> bool {
        self.room.is_some()
    }

    /// It runs, and is not stopped by a signal.
    pub(crate) fn acts(&self) -> bool {
        self.room.is_some() && !self.paused
    }

    pub(crate) fn clock(&self, now: Us) -> Now {
        let mono = Instant::from_nanos((now + self.ahead) * 1_000);
        Now { mono, wall: Wall::from_millis(1_800_000_000_000 + now / 1_000) }
    }

    pub(crate) fn count(&self, origin: usize) -> u64 {
        self.have.get(origin).copied().unwrap_or_default()
    }

    pub(crate) fn holds(&self, all: &[u64]) -> bool {
        all.iter().enumerate().all(|(origin, count)| self.count(origin) >= *count)
    }
}

/// Takes in all operations of another one.
pub(crate) fn merge(into: &mut Vec<u64>, from: &[u64]) {
    into.resize(into.len().max(from.len()), 0);
    for (mine, theirs) in into.iter_mut().zip(from) {
        *mine = (*mine).max(*theirs);
    }
}
