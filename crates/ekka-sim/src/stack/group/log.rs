//! The log of one cluster, put together from what its replicas have applied.

use std::collections::{BTreeMap, BTreeSet};

use ekka_core::consensus::{Configuration, GroupEvent, LogPlace, StateMachine};
use ekka_core::durable::{Gave, Outcome, Record};

/// What stands at one place of a log.
#[derive(Clone, PartialEq, Eq, Debug)]
enum Item {
    Command(Vec<u8>),
    Configuration(Configuration),
}

/// All that anybody has applied: by the index of the entry, and the place in it.
#[derive(Debug, Default)]
pub(super) struct Log {
    items: BTreeMap<(u64, usize), (u64, Item)>,
    /// A replica began with a snapshot of what nobody was seen to apply.
    has_gap: bool,
}

/// How far one replica has read.
#[derive(Debug, Default)]
pub(super) struct Reader {
    at: LogPlace,
    next: usize,
    /// What a snapshot says of the configuration stands at the place of the snapshot, not at its own.
    restored: bool,
}

/// What a whole log adds up to.
pub(super) struct Replayed {
    pub(super) record: Record,
    pub(super) ranges: BTreeSet<(u64, u64)>,
    pub(super) commands: usize,
}

impl Log {
    /// A replica has applied something.
    ///
    /// # Errors
    /// Another replica has applied something else there.
    pub(super) fn read(&mut self, reader: &mut Reader, event: &GroupEvent) -> Result<(), String> {
        match event {
            GroupEvent::Applied { at, command } => self.put(reader, *at, Item::Command(command.clone())),
            GroupEvent::Reconfigured(_) if std::mem::take(&mut reader.restored) => Ok(()),
            GroupEvent::Reconfigured(configuration) => {
                let item = Configuration { committed: true, ..configuration.clone() };
                self.put(reader, configuration.at, Item::Configuration(item))
            }
            GroupEvent::Restored { at, .. } => {
                let last = self.items.last_key_value().map_or(0, |((index, _), _)| *index);
                self.has_gap |= at.index > last;
                *reader = Reader { at: *at, next: 0, restored: true };
                Ok(())
            }
        }
    }

    fn put(&mut self, reader: &mut Reader, at: LogPlace, item: Item) -> Result<(), String> {
        if at.index > reader.at.index {
            if self.items.contains_key(&(reader.at.index, reader.next)) && reader.next > 0 {
                return Err(format!("entry {} was applied without its last command", reader.at.index));
            }
            if at.term < reader.at.term {
                return Err(format!("term {} at {} follows term {}", at.term, at.index, reader.at.term));
            }
            reader.next = 0;
        } else if at.index < reader.at.index || matches!(item, Item::Configuration(_)) {
            // A replica that was opened again in the same process reads its log from the start: from a configuration,
            // which is an entry of its own, and may be all that it had read.
            reader.next = 0;
        }
        let place = (at.index, reader.next);
        (reader.at, reader.next) = (at, reader.next + 1);
        match self.items.get(&place) {
            Some((term, other)) if (*term, other) == (at.term, &item) => Ok(()),
            Some((term, other)) => Err(format!(
                "at {place:?} term {} has {item:?}, and another replica has {other:?} of term {term}",
                at.term
            )),
            None => {
                self.items.insert(place, (at.term, item));
                Ok(())
            }
        }
    }

    /// The latest committed configuration.
    pub(super) fn configuration(&self) -> Option<&Configuration> {
        self.items.values().rev().find_map(|(_, item)| match item {
            Item::Configuration(configuration) => Some(configuration),
            Item::Command(_) => None,
        })
    }

    /// What the log adds up to; `None` where a part of it was not seen.
    ///
    /// # Errors
    /// Something that only grows went back.
    pub(super) fn replay(&self) -> Result<Option<Replayed>, String> {
        if self.has_gap {
            return Ok(None);
        }
        let mut all = Replayed { record: Record::default(), ranges: BTreeSet::new(), commands: 0 };
        for ((index, _), (term, item)) in &self.items {
            let before = (all.record.number(), all.record.token_ceiling());
            match item {
                Item::Configuration(configuration) => all.record.reconfigured(configuration),
                Item::Command(command) => {
                    all.commands += 1;
                    let answer = all.record.apply(LogPlace { term: *term, index: *index }, command);
                    if let Ok(Outcome::Done { gave: Gave::Tokens { from, to }, .. }) = Outcome::decode(&answer) {
                        all.ranges.insert((from, to));
                    }
                }
            }
            let after = (all.record.number(), all.record.token_ceiling());
            if after.0 < before.0 || after.1 < before.1 {
                return Err(format!("number and ceiling went from {before:?} to {after:?} at entry {index}"));
            }
        }
        Ok(Some(all))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn applied(term: u64, index: u64, command: &[u8]) -> GroupEvent {
        GroupEvent::Applied { at: LogPlace { term, index }, command: command.to_vec() }
    }

    #[test]
    fn a_replica_that_had_read_its_first_configuration_alone_may_read_it_again() {
        let mut log = Log::default();
        let mut one = Reader::default();
        let first = Configuration { at: LogPlace { term: 0, index: 1 }, committed: true, ..Configuration::default() };
        for event in [GroupEvent::Reconfigured(first.clone()), GroupEvent::Reconfigured(first), applied(1, 2, b"a")] {
            log.read(&mut one, &event).unwrap();
        }
        assert_eq!(log.items.len(), 2);
    }

    #[test]
    fn two_replicas_that_differ_are_seen() {
        let mut log = Log::default();
        let (mut one, mut two) = (Reader::default(), Reader::default());
        for event in [applied(1, 2, b"a"), applied(1, 2, b"b"), applied(2, 4, b"c")] {
            log.read(&mut one, &event).unwrap();
        }
        log.read(&mut two, &applied(1, 2, b"a")).unwrap();
        assert!(log.read(&mut two, &applied(2, 4, b"c")).unwrap_err().contains("without its last command"));
        let mut three = Reader::default();
        assert!(log.read(&mut three, &applied(1, 2, b"x")).unwrap_err().contains("another replica"));
        let mut four = Reader::default();
        log.read(&mut four, &applied(1, 2, b"a")).unwrap();
        log.read(&mut four, &applied(1, 2, b"b")).unwrap();
        assert!(
            log.read(&mut four, &applied(3, 4, b"c")).unwrap_err().contains("term"),
            "another term is another entry"
        );
    }

    #[test]
    fn a_start_reads_the_same_log_again() {
        let mut log = Log::default();
        let mut reader = Reader::default();
        for _ in 0..2 {
            log.read(&mut reader, &applied(1, 2, b"a")).unwrap();
            log.read(&mut reader, &applied(1, 3, b"b")).unwrap();
        }
    }
}
