//! What others held of a table when a heal began.

use std::collections::{BTreeMap, BTreeSet};

use ekka_core::id::{Incarnation, NodeId};
use ekka_core::table::{Vector, behind};

use super::super::available::AvailableSlot;
use super::super::digest::{Ask, Told};
use super::super::slot::Slot;
use super::count::{Count, count};
use super::{Heal, Wait};

/// What was held of one table.
#[derive(Default)]
pub(super) struct Collected {
    /// By this node, when it began.
    start: Vector,
    /// Versions in the journal then.
    overridden: u64,
    /// By each of the others, as far as they have said so.
    others: BTreeMap<Incarnation, Vector>,
}

impl Collected {
    pub(super) fn new(slot: &Slot) -> Self {
        let Slot::Available(available) = slot else { return Self::default() };
        let start = available.read().all_held();
        Self { start, overridden: slot.overridden(), others: BTreeMap::new() }
    }

    #[cfg(test)]
    pub(super) fn of(start: Vector, others: impl IntoIterator<Item = (Incarnation, Vector)>) -> Self {
        Self { start, overridden: 0, others: others.into_iter().collect() }
    }

    /// All that is to be held here in the end, and by who it is compared with.
    pub(super) fn wanted(&self) -> Vector {
        let mut wanted = self.start.clone();
        for (origin, number) in self.others.values().flat_map(Vector::iter) {
            wanted.raise(origin, number);
        }
        wanted
    }

    /// How many operations this node lacks.
    pub(super) fn lacking(&self, held: &Vector) -> u64 {
        behind(&self.wanted(), held)
    }

    /// What came, and went, since these nodes were met again.
    pub(super) fn count(&self, slot: &AvailableSlot, side: &BTreeSet<NodeId>) -> Count {
        let (me, overridden) = {
            let table = slot.read();
            (table.me().node_id, table.journal_size().2)
        };
        let sights = slot.sights.of(side);
        count((&self.start, self.overridden), (&self.wanted(), overridden), me, &sights)
    }
}

impl Heal<'_> {
    /// Asks those who have not said yet what they hold, each once in a heal.
    pub(super) async fn collect(
        &self,
        slot: &AvailableSlot,
        collected: &mut Collected,
        silent: &mut BTreeSet<Incarnation>,
    ) -> Result<(), Wait> {
        let table = &slot.schema.name;
        let mut missing = Vec::new();
        for node in &self.collected {
            if collected.others.contains_key(node) {
                continue;
            }
            let name = || self.tables.world.name_of(node.node_id);
            if silent.contains(node) {
                missing.push(name());
                continue;
            }
            match self.held_by(slot.id, *node).await {
                Ok(held) => drop(collected.others.insert(*node, held)),
                Err(why) => {
                    silent.insert(*node);
                    missing.push(format!("{} ({why})", name()));
                }
            }
        }
        if missing.is_empty() {
            return Ok(());
        }
        Err(Wait::Node(format!("table {table}: not known yet what is held by {}", missing.join(", "))))
    }

    /// What a node holds of a table. What it has not opened it has nothing of.
    pub(super) async fn held_by(&self, table: u64, node: Incarnation) -> Result<Vector, String> {
        held(self.reach.ask(node, Ask::Held { table }).await?)
    }

    /// How many operations of what is wanted a node lacks.
    pub(super) async fn lacks(
        &self,
        slot: &AvailableSlot,
        collected: &Collected,
        node: Incarnation,
    ) -> Result<u64, String> {
        self.held_by(slot.id, node).await.map(|held| collected.lacking(&held))
    }
}

fn held(told: Told) -> Result<Vector, String> {
    match told {
        Told::Held(held, _) => Ok(held),
        Told::NotOpen => Ok(Vector::default()),
        Told::Not(why) => Err(why),
        _ => Err("it gave an answer of another kind".into()),
    }
}
