//! Random histories, against a store that is two maps.

use std::collections::BTreeMap;
use std::sync::Arc;

use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};

use super::{Make, Subject, block_on, reopen};
use crate::storage::{Seq, Storage, StorageError, Ticket, Truncate};

const LOGS: [&str; 3] = ["durable", "table/x", "table/xy"];

#[derive(Clone, Debug)]
enum Step {
    Append {
        log: usize,
        sizes: Vec<usize>,
    },
    Gap {
        log: usize,
        off: Seq,
    },
    /// `at` is counted from the log's first record.
    Truncate {
        log: usize,
        before: bool,
        at: Seq,
    },
    Checkpoint {
        log: usize,
        size: Option<usize>,
    },
    Read {
        log: usize,
        at: Seq,
        count: Seq,
        bytes_max: usize,
    },
    /// Waits for the ticket that is so many before the last.
    Sync {
        back: u64,
    },
    Reopen,
    Crash,
}

fn step() -> impl Strategy<Value = Step> {
    let log = 0..LOGS.len();
    let size = prop_oneof![8 => 0usize..40, 1 => 200_000usize..700_000];
    prop_oneof![
        10 => (log.clone(), prop::collection::vec(size.clone(), 1..5))
            .prop_map(|(log, sizes)| Step::Append { log, sizes }),
        1 => (log.clone(), 1u64..4).prop_map(|(log, off)| Step::Gap { log, off }),
        5 => (log.clone(), any::<bool>(), 0u64..12)
            .prop_map(|(log, before, at)| Step::Truncate { log, before, at }),
        3 => (log.clone(), prop::option::of(size)).prop_map(|(log, size)| Step::Checkpoint { log, size }),
        5 => (log, 0u64..12, 0u64..9, 0usize..100)
            .prop_map(|(log, at, count, bytes_max)| Step::Read { log, at, count, bytes_max }),
        5 => (0u64..4).prop_map(|back| Step::Sync { back }),
        1 => Just(Step::Reopen),
        2 => Just(Step::Crash),
    ]
}

/// One log: the number of the first record, and the records.
type Log = (Seq, Vec<Vec<u8>>);

/// All that a store holds.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
struct Content {
    logs: BTreeMap<usize, Log>,
    checkpoints: BTreeMap<usize, Vec<u8>>,
}

impl Content {
    fn log(&self, log: usize) -> Log {
        self.logs.get(&log).cloned().unwrap_or((1, Vec::new()))
    }

    /// What is there in truth.
    fn of(store: &dyn Storage) -> Self {
        let mut content = Self::default();
        for (n, name) in LOGS.iter().enumerate() {
            let bounds = store.bounds(&(*name).into());
            let records = store.read(&(*name).into(), 0, Seq::MAX, usize::MAX).unwrap();
            assert!(records.iter().map(|(seq, _)| *seq).eq(bounds.first..bounds.next), "{name}: {bounds:?}");
            if bounds != crate::storage::Bounds::EMPTY {
                content.logs.insert(n, (bounds.first, records.into_iter().map(|(_, bytes)| bytes).collect()));
            }
            content.checkpoints.extend(store.read_checkpoint(name).unwrap().map(|bytes| (n, bytes)));
        }
        content
    }

    /// Without logs that are as if nobody had written them.
    fn plain(mut self) -> Self {
        self.logs.retain(|_, (first, records)| *first != 1 || !records.is_empty());
        self
    }
}

struct Run<'a> {
    subject: &'a mut dyn Subject,
    store: Arc<dyn Storage>,
    content: Content,
    /// What the store held after each change that may still be lost, with the change's ticket. The first is certain.
    may_be: Vec<(Ticket, Content)>,
    /// Makes every record another one.
    written: usize,
}

impl Run<'_> {
    fn bytes(&mut self, size: usize) -> Vec<u8> {
        self.written += 1;
        (0..=u8::MAX).cycle().skip(self.written * 7 % 256).take(size).collect()
    }

    fn changed(&mut self, ticket: Ticket) {
        self.may_be.push((ticket, self.content.clone()));
    }

    fn step(&mut self, step: &Step) {
        match step {
            Step::Append { log, sizes } => self.append(*log, sizes),
            Step::Gap { log, off } => self.gap(*log, *off),
            Step::Truncate { log, before, at } => self.truncate(*log, *before, *at),
            Step::Checkpoint { log, size } => {
                let bytes = size.map(|size| self.bytes(size));
                match &bytes {
                    Some(bytes) => drop(self.content.checkpoints.insert(*log, bytes.clone())),
                    None => drop(self.content.checkpoints.remove(log)),
                }
                let ticket = self.store.checkpoint(LOGS[*log], bytes).unwrap();
                self.changed(ticket);
            }
            Step::Read { log, at, count, bytes_max } => self.read(*log, *at, *count, *bytes_max),
            Step::Sync { back } => {
                let at = self.may_be.len().saturating_sub(1 + usize::try_from(*back).unwrap());
                block_on(self.store.synced(self.may_be[at].0)).unwrap();
                self.may_be.drain(..at);
            }
            Step::Reopen => {
                block_on(self.store.close());
                self.may_be.drain(..self.may_be.len() - 1);
                self.opened();
            }
            Step::Crash => {
                self.subject.crash(self.store.clone());
                self.opened();
            }
        }
    }

    fn append(&mut self, log: usize, sizes: &[usize]) {
        let records: Vec<_> = sizes.iter().map(|size| self.bytes(*size)).collect();
        let (first, held) = self.content.log(log);
        let next = first + held.len() as u64;
        let ticket = self.store.append(&LOGS[log].into(), next, records.clone()).unwrap();
        self.content.logs.entry(log).or_insert((1, Vec::new())).1.extend(records);
        self.changed(ticket);
    }

    fn gap(&mut self, log: usize, off: Seq) {
        let (first, held) = self.content.log(log);
        let end = first + held.len() as u64;
        for got in [end + off, end.saturating_sub(off)] {
            match self.store.append(&LOGS[log].into(), got, vec![vec![1]]) {
                Err(StorageError::Gap { next, .. }) => assert_eq!(next, end),
                other => panic!("record {got} after {}: {other:?}", end - 1),
            }
        }
    }

    fn truncate(&mut self, log: usize, before: bool, at: Seq) {
        let (mut first, mut held) = self.content.log(log);
        // A little before the first, too.
        let seq = (first + at).saturating_sub(2);
        let length = held.len() as u64;
        if before {
            let drop = usize::try_from(seq.saturating_sub(first).min(length)).unwrap();
            held.drain(..drop);
            first = first.max(seq);
        } else {
            held.truncate(usize::try_from(seq.saturating_sub(first)).unwrap());
        }
        self.content.logs.insert(log, (first, held));
        let which = if before { Truncate::Before(seq) } else { Truncate::From(seq) };
        let ticket = self.store.truncate(&LOGS[log].into(), which).unwrap();
        self.changed(ticket);
    }

    fn read(&self, log: usize, at: Seq, count: Seq, bytes_max: usize) {
        let (first, held) = self.content.log(log);
        let from = (first + at).saturating_sub(2);
        let mut bytes = 0;
        let numbered = (first..).zip(held).filter(|(seq, _)| (from..from + count).contains(seq));
        let expected: Vec<_> = numbered
            .enumerate()
            .take_while(|(n, (_, record))| {
                bytes += record.len();
                *n == 0 || bytes <= bytes_max
            })
            .map(|(_, record)| record)
            .collect();
        assert_eq!(self.store.read(&LOGS[log].into(), from, from + count, bytes_max).unwrap(), expected);
    }

    /// The store was opened again: it holds what was certain, and perhaps more, up to some change.
    fn opened(&mut self) {
        let before = self.store.found();
        self.store = reopen(self.subject, &before);
        let now = Content::of(&*self.store);
        let at = self.may_be.iter().rposition(|(_, content)| content.clone().plain() == now);
        let at = at.unwrap_or_else(|| panic!("not a state that was ever given: {:?}", brief(&now)));
        self.content = self.may_be[at].1.clone();
        self.may_be = vec![(Ticket::default(), self.content.clone())];
    }
}

fn brief(content: &Content) -> Vec<String> {
    let logs = content.logs.iter().map(|(log, (first, records))| {
        format!("{}: {first}, lengths {:?}", LOGS[*log], records.iter().map(Vec::len).collect::<Vec<_>>())
    });
    let checkpoints = content.checkpoints.iter().map(|(log, bytes)| format!("{}: {}", LOGS[*log], bytes.len()));
    logs.chain(checkpoints).collect()
}

/// After every step of random histories (appends, truncations both ways, checkpoints, reads, syncs, openings, crashes)
/// the store is what two maps are; after a crash it is what they were at the last sync or at a change after it.
pub fn every_history_agrees_with_the_model(make: Make, cases: u32) {
    let config = Config { cases, failure_persistence: None, max_shrink_iters: 400, ..Config::default() };
    // The same histories in every run: a failure is there again.
    let mut runner = TestRunner::new_with_rng(config, TestRng::deterministic_rng(RngAlgorithm::ChaCha));
    let histories = prop::collection::vec(step(), 1..60);
    let checked = runner.run(&histories, |steps| {
        let mut subject = make();
        let store = subject.open();
        let may_be = vec![(Ticket::default(), Content::default())];
        let mut run = Run { subject: &mut *subject, store, content: Content::default(), may_be, written: 0 };
        for step in &steps {
            run.step(step);
        }
        assert_eq!(Content::of(&*run.store), run.content.clone().plain());
        block_on(run.store.close());
        Ok(())
    });
    checked.unwrap_or_else(|failure| panic!("{failure}"));
}
