//! Who wrote what: origins, numbers, and how much of each a node holds without gaps.
//!
//! The origin of an operation is an *incarnation*, so that a number is never used twice (schedule S1-11). Inside one
//! table of one node an origin is a small number, an [`OriginIndex`]; on the wire each batch brings its own list.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use serde::{Deserialize, Serialize};

use crate::id::Incarnation;

/// The number of an operation among those of its origin; the first is 1, and 0 is before it.
pub type OpNumber = u64;

/// An operation, or the version that it wrote: its origin and its number there.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub struct OpId {
    /// Who wrote it.
    pub origin: Incarnation,
    /// Its number.
    pub number: OpNumber,
}

/// For each origin, up to which number operations are held without gaps, as it goes over the wire.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Vector(BTreeMap<Incarnation, OpNumber>);

impl Vector {
    /// The number of an origin; 0 where nothing is held.
    #[must_use]
    pub fn get(&self, origin: Incarnation) -> OpNumber {
        self.0.get(&origin).copied().unwrap_or(0)
    }

    /// Whether an operation is among those held.
    #[must_use]
    pub fn covers(&self, id: OpId) -> bool {
        id.number <= self.get(id.origin)
    }

    /// Raises the number of an origin.
    pub fn raise(&mut self, origin: Incarnation, number: OpNumber) {
        if number > 0 {
            let held = self.0.entry(origin).or_default();
            *held = (*held).max(number);
        }
    }

    /// Takes an origin out.
    pub fn remove(&mut self, origin: Incarnation) {
        self.0.remove(&origin);
    }

    /// Whether the origin has an entry.
    #[must_use]
    pub fn names(&self, origin: Incarnation) -> bool {
        self.0.contains_key(&origin)
    }

    /// All entries.
    pub fn iter(&self) -> impl Iterator<Item = (Incarnation, OpNumber)> + '_ {
        self.0.iter().map(|(origin, number)| (*origin, *number))
    }

    /// How many origins it names.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether it names nobody.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl FromIterator<(Incarnation, OpNumber)> for Vector {
    fn from_iter<I: IntoIterator<Item = (Incarnation, OpNumber)>>(entries: I) -> Self {
        let mut vector = Self::default();
        for (origin, number) in entries {
            vector.raise(origin, number);
        }
        vector
    }
}

/// The place of an origin in the list of one table on one node, or of one batch.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct OriginIndex(pub(crate) u32);

impl OriginIndex {
    pub(crate) fn place(self) -> usize {
        self.0 as usize
    }
}

/// An operation by the place of its origin.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(crate) struct Dot {
    pub(crate) origin: OriginIndex,
    pub(crate) number: OpNumber,
}

/// The origins that a table has met, each at its place for ever.
#[derive(Clone, Debug, Default)]
pub(crate) struct Origins {
    list: Vec<Incarnation>,
    places: BTreeMap<Incarnation, OriginIndex>,
}

impl Origins {
    /// The place of an origin, a new one where it has none.
    pub(crate) fn place(&mut self, origin: Incarnation) -> OriginIndex {
        if let Some(place) = self.places.get(&origin) {
            return *place;
        }
        let place = OriginIndex(u32::try_from(self.list.len()).expect("fewer incarnations than 2^32"));
        self.list.push(origin);
        self.places.insert(origin, place);
        place
    }

    pub(crate) fn find(&self, origin: Incarnation) -> Option<OriginIndex> {
        self.places.get(&origin).copied()
    }

    pub(crate) fn get(&self, place: OriginIndex) -> Incarnation {
        self.list[place.place()]
    }

    pub(crate) fn id(&self, dot: Dot) -> OpId {
        OpId { origin: self.get(dot.origin), number: dot.number }
    }

    pub(crate) fn list(&self) -> &[Incarnation] {
        &self.list
    }

    /// Gives each origin another name, and keeps its place.
    pub(crate) fn rename(&mut self, name: impl Fn(Incarnation) -> Incarnation) {
        self.list.iter_mut().for_each(|origin| *origin = name(*origin));
        let places = (0u32..).map(OriginIndex);
        self.places = self.list.iter().copied().zip(places).collect();
    }
}

/// A vector by the places of origins.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct Numbers(Vec<OpNumber>);

impl Numbers {
    pub(crate) fn get(&self, origin: OriginIndex) -> OpNumber {
        self.0.get(origin.place()).copied().unwrap_or(0)
    }

    pub(crate) fn covers(&self, dot: Dot) -> bool {
        dot.number <= self.get(dot.origin)
    }

    pub(crate) fn raise(&mut self, origin: OriginIndex, number: OpNumber) {
        if origin.place() >= self.0.len() {
            self.0.resize(origin.place() + 1, 0);
        }
        let held = &mut self.0[origin.place()];
        *held = (*held).max(number);
    }

    /// Raises each number to that of the other.
    pub(crate) fn raise_all(&mut self, other: &Self) {
        for (origin, number) in other.iter() {
            self.raise(origin, number);
        }
    }

    /// Whether everything that the other covers is covered.
    pub(crate) fn covers_all(&self, other: &Self) -> bool {
        other.iter().all(|(origin, number)| number <= self.get(origin))
    }

    /// The origins of which something is held.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (OriginIndex, OpNumber)> + '_ {
        let places = (0u32..).map(OriginIndex);
        places.zip(&self.0).filter(|(_, number)| **number > 0).map(|(origin, number)| (origin, *number))
    }
}
