//! What really happened: what every start of a node wrote and deleted, in order.

use std::collections::BTreeMap;

use ekka_core::id::Incarnation;
use ekka_core::table::Sequence;

/// Rows of an owner: each value is a number that is there once.
pub(crate) type Rows = BTreeMap<Vec<u8>, u64>;

/// What one row of an operation changed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Effect {
    pub(crate) sequence: Sequence,
    pub(crate) key: Vec<u8>,
    /// The value that it has now, or the one that was deleted.
    pub(crate) put: Result<u64, u64>,
}

/// All of one start of a node.
#[derive(Default)]
pub(crate) struct Story {
    pub(crate) effects: Vec<Effect>,
    pub(crate) rows: Rows,
    pub(crate) sequence: Sequence,
}

impl Story {
    /// Those which nobody has who holds so much.
    pub(crate) fn first_after(&self, sequence: Sequence) -> usize {
        self.effects.partition_point(|effect| effect.sequence <= sequence)
    }

    /// The rows as they were after an operation.
    pub(crate) fn rows_at(&self, sequence: Sequence) -> Rows {
        let mut rows = Rows::new();
        for effect in &self.effects[..self.first_after(sequence)] {
            match effect.put {
                Ok(value) => rows.insert(effect.key.clone(), value),
                Err(_) => rows.remove(&effect.key),
            };
        }
        rows
    }

    pub(crate) fn put(&mut self, rows: &[(Vec<u8>, u64)]) {
        self.sequence += 1;
        for (key, value) in rows {
            self.rows.insert(key.clone(), *value);
            self.effects.push(Effect { sequence: self.sequence, key: key.clone(), put: Ok(*value) });
        }
    }

    pub(crate) fn delete(&mut self, keys: &[Vec<u8>]) {
        self.sequence += 1;
        for key in keys {
            if let Some(old) = self.rows.remove(key) {
                self.effects.push(Effect { sequence: self.sequence, key: key.clone(), put: Err(old) });
            }
        }
    }
}

#[derive(Default)]
pub(crate) struct Truth {
    stories: BTreeMap<Incarnation, Story>,
    /// Which start wrote a value first.
    wrote: BTreeMap<u64, Incarnation>,
    values: u64,
}

impl Truth {
    pub(crate) fn new_value(&mut self, by: Incarnation) -> u64 {
        self.values += 1;
        self.wrote.insert(self.values, by);
        self.values
    }

    /// A start of a node, with the rows that the start before it left.
    pub(crate) fn begin(&mut self, id: Incarnation, rows: &Rows) {
        let mut story = Story::default();
        if !rows.is_empty() {
            story.put(&rows.iter().map(|(key, value)| (key.clone(), *value)).collect::<Vec<_>>());
        }
        self.stories.insert(id, story);
    }

    pub(crate) fn story(&self, id: Incarnation) -> &Story {
        &self.stories[&id]
    }

    pub(crate) fn story_mut(&mut self, id: Incarnation) -> &mut Story {
        self.stories.get_mut(&id).expect("a start has a story")
    }

    pub(crate) fn who_wrote(&self, value: u64) -> Option<Incarnation> {
        self.wrote.get(&value).copied()
    }
}
