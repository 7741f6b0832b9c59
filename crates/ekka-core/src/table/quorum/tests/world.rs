//! Replicas, concurrent transactions and watchers beside the model, by a seed.

use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::ops::Bound;

use super::super::*;
use super::model::{Key, Model, Open};
use super::wall;
use crate::consensus::StateMachine as _;
use crate::limits::QUORUM_EXPIRED_STEP;
use crate::rng::Rng;
use crate::table::{Extract, PageLimits};
use crate::time::Wall;

/// What has happened in the worlds so far.
#[derive(Clone, Copy, Default, Debug)]
pub(super) struct Seen {
    pub(super) committed: u64,
    pub(super) conflicts: u64,
    pub(super) restored: u64,
    pub(super) resyncs: u64,
    pub(super) resumed: u64,
    pub(super) changes: u64,
    pub(super) expired: u64,
}

struct Replica {
    tables: QuorumTables,
    /// Commands of the log that it has applied.
    applied: usize,
}

struct Watcher {
    table: TableId,
    at: Option<(usize, Cursor)>,
    rows: BTreeMap<Key, Row>,
}

struct World<'a> {
    rng: Rng,
    seen: &'a mut Seen,
    faults: Faults,
    /// Some worlds take out no expired rows save for those that are written, so that many are left.
    expired_step: usize,
    model: Model,
    now: u64,
    /// The clock with each revision.
    clocks: BTreeMap<u64, Wall>,
    log: Vec<(Vec<u8>, Answer)>,
    /// The first one applies a command as soon as it is in the log.
    replicas: Vec<Replica>,
    watchers: Vec<Watcher>,
    open: Vec<Open>,
}

const TABLES: u64 = 2;

fn ensure(holds: bool, words: &str) -> Result<(), String> {
    if holds { Ok(()) } else { Err(words.into()) }
}

pub(super) fn run(seed: u64, faults: Faults, seen: &mut Seen) -> Result<(), String> {
    let watchers = (0..4).map(|n| Watcher { table: n % TABLES, at: None, rows: BTreeMap::new() });
    let mut world = World {
        rng: Rng::new(seed),
        seen,
        faults,
        expired_step: if seed.is_multiple_of(2) { 0 } else { QUORUM_EXPIRED_STEP },
        model: Model::default(),
        now: 1_000,
        clocks: BTreeMap::new(),
        log: Vec::new(),
        replicas: Vec::new(),
        watchers: watchers.collect(),
        open: Vec::new(),
    };
    for _ in 0..3 {
        let replica = Replica { tables: world.no_tables(), applied: 0 };
        world.replicas.push(replica);
    }
    for table in 0..TABLES {
        world.submit(&Command::Create { table })?;
        world.model.tables.insert(table);
    }
    for _ in 0..300 {
        world.step()?;
        world.compare()?;
        world.index();
    }
    for replica in 0..world.replicas.len() {
        world.catch_up(replica, usize::MAX)?;
        let (one, other) = (&world.replicas[0].tables, &world.replicas[replica].tables);
        ensure(one.snapshot() == other.snapshot(), "replicas differ")?;
    }
    (0..world.watchers.len()).try_for_each(|watcher| world.poll(watcher, 0))
}

impl World<'_> {
    fn no_tables(&self) -> QuorumTables {
        let mut tables = QuorumTables::with_faults(self.faults);
        tables.expired_step = self.expired_step;
        tables
    }

    fn step(&mut self) -> Result<(), String> {
        self.now += self.rng.below(6);
        match self.rng.below(20) {
            0..=2 if self.open.len() < 6 => {
                let replica = self.rng.index(self.replicas.len());
                self.open.push(Open::new(self.replicas[replica].tables.view()));
                Ok(())
            }
            0..=8 => self.go_on(),
            9..=11 => self.commit(),
            12 => self.write_one(),
            13 => {
                let now = self.time();
                self.submit(&Command::Tick { now: wall(now) })?;
                self.model.tick(now);
                self.rarely()
            }
            14 | 15 => {
                let (replica, most) = (self.rng.index(self.replicas.len()), self.rng.index(8));
                self.catch_up(replica, most)
            }
            16 if self.rng.below(3) == 0 => self.restore(),
            _ => {
                let (watcher, replica) = (self.rng.index(self.watchers.len()), self.rng.index(self.replicas.len()));
                self.poll(watcher, replica)
            }
        }
    }

    /// Clocks of nodes differ.
    fn time(&mut self) -> u64 {
        self.now - self.rng.below(20)
    }

    fn key(&mut self) -> Key {
        let len = 1 + self.rng.index(2);
        (0..len).map(|_| b"abc"[self.rng.index(3)]).collect()
    }

    fn bound(&mut self) -> Bound<Key> {
        match self.rng.below(4) {
            0 => Bound::Unbounded,
            1 => Bound::Excluded(self.key()),
            _ => Bound::Included(self.key()),
        }
    }

    fn some_write(&mut self) -> Write {
        let (table, key) = (self.rng.below(TABLES), Octets(self.key()));
        let expires_at = (self.rng.below(3) == 0).then(|| wall(self.now + self.rng.below(40)));
        let value = Octets(self.rng.next_u64().to_le_bytes().to_vec());
        if self.rng.below(3) == 0 { Write::Delete { table, key } } else { Write::Put { table, key, value, expires_at } }
    }

    /// A step of an open transaction.
    fn go_on(&mut self) -> Result<(), String> {
        if self.open.is_empty() {
            return Ok(());
        }
        let at = self.rng.index(self.open.len());
        let (table, key, write) = (self.rng.below(TABLES), self.key(), self.some_write());
        let range = (self.bound(), self.bound());
        let (rows, pages) = (1 + self.rng.index(4), 1 + self.rng.index(3));
        let open = &mut self.open[at];
        match self.rng.below(5) {
            0 | 1 => open.get(table, &key).map_err(String::from),
            2 => open.scan(table, range, rows, pages).map_err(String::from),
            _ => {
                let done = match &write {
                    Write::Put { table, key, value, expires_at } => open.draft.put(*table, key, value, *expires_at),
                    Write::Delete { table, key } => open.draft.delete(*table, key),
                };
                if done.is_ok() {
                    open.writes.insert((write.table(), write.key().to_vec()), write);
                }
                Ok(())
            }
        }
    }

    fn commit(&mut self) -> Result<(), String> {
        if self.open.is_empty() {
            return Ok(());
        }
        let open = self.open.swap_remove(self.rng.index(self.open.len()));
        let writes: Vec<Write> = open.writes.values().cloned().collect();
        let lacks = open.tables().iter().any(|table| !self.model.tables.contains(table));
        let now = self.time();
        self.model.tick(now);
        let (fresh, whole) = (open.is_current(&self.model), open.view_is_current(&self.model));
        match self.submit(&open.finish(now))? {
            Answer::Committed { revision } => {
                self.seen.committed += 1;
                ensure(fresh, "a transaction was committed that had read what is not so")?;
                ensure(!lacks, "a transaction was committed in a table that is not there")?;
                self.model.write(&writes, revision);
                Ok(())
            }
            Answer::Conflict { .. } => {
                self.seen.conflicts += 1;
                ensure(!whole, "a transaction was refused that had read what is so")
            }
            Answer::NoTable { .. } => ensure(lacks, "a table is lacking that is there"),
            other => Err(format!("a transaction was answered with {other:?}")),
        }
    }

    fn write_one(&mut self) -> Result<(), String> {
        let (write, now) = (self.some_write(), self.time());
        let (table, key) = (write.table(), write.key().to_vec());
        let mut transaction = match &write {
            Write::Put { value, expires_at, .. } => Transaction::put(table, &key, value, *expires_at, wall(now)),
            Write::Delete { .. } => Transaction::delete(table, &key, wall(now)),
        }
        .map_err(|error| format!("{error}"))?;
        self.model.tick(now);
        let held = self.model.get(table, &key).map(|(version, _)| version);
        let expected = match self.rng.below(3) {
            0 => held,
            1 => Some(1 + self.rng.below(self.log.len() as u64)),
            _ => None,
        };
        transaction = transaction.only_at(expected);
        match self.submit(&transaction.into())? {
            Answer::Committed { revision } => {
                ensure(held == expected, "a row was set that had another version")?;
                self.model.write(&[write], revision);
                Ok(())
            }
            Answer::Conflict { .. } => ensure(held != expected, "a row was not set that had this version"),
            Answer::NoTable { .. } => ensure(!self.model.tables.contains(&table), "a table is lacking that is there"),
            other => Err(format!("a write was answered with {other:?}")),
        }
    }

    fn rarely(&mut self) -> Result<(), String> {
        let table = self.rng.below(TABLES);
        match self.rng.below(6) {
            0 if self.model.tables.contains(&table) => {
                self.submit(&Command::Drop { table })?;
                self.model.drop_table(table);
            }
            1 | 2 => {
                for table in 0..TABLES {
                    self.submit(&Command::Create { table })?;
                    self.model.tables.insert(table);
                }
            }
            3 => {
                self.replicas[0].applied += 1;
                let bytes: Vec<u8> = self.rng.next_u64().to_le_bytes().into_iter().map(|byte| byte | 128).collect();
                let answer = self.replicas[0].tables.apply_bytes(&bytes);
                ensure(matches!(answer, Answer::Unknown { .. }), "garbage was understood")?;
                self.log.push((bytes, answer));
            }
            _ => {}
        }
        Ok(())
    }

    fn submit(&mut self, command: &Command) -> Result<Answer, String> {
        let bytes = command.encode();
        let before = self.replicas[0].tables.view().revision();
        let answer = self.replicas[0].tables.apply_bytes(&bytes);
        let view = self.replicas[0].tables.view();
        ensure(view.revision() - before <= 1, "a revision was left out")?;
        self.clocks.entry(view.revision()).or_insert(view.clock());
        self.replicas[0].applied += 1;
        self.log.push((bytes, answer.clone()));
        Ok(answer)
    }

    fn catch_up(&mut self, at: usize, most: usize) -> Result<(), String> {
        let replica = &mut self.replicas[at];
        for (bytes, answer) in self.log.iter().skip(replica.applied).take(most) {
            ensure(replica.tables.apply_bytes(bytes) == *answer, "replicas answer differently")?;
            replica.applied += 1;
        }
        if replica.applied == self.log.len() {
            let snapshot = self.replicas[at].tables.snapshot();
            ensure(self.replicas[0].tables.snapshot() == snapshot, "replicas differ")?;
        }
        Ok(())
    }

    /// A replica is replaced by a snapshot of another one that is further.
    fn restore(&mut self) -> Result<(), String> {
        let (from, to, size) = (self.rng.index(3), 1 + self.rng.index(2), 1 + self.rng.index(300));
        if self.replicas[from].applied < self.replicas[to].applied {
            return Ok(());
        }
        self.seen.restored += 1;
        let pieces: Vec<u8> = self.replicas[from].tables.view().pieces().flatten().collect();
        let mut reader = Reader::default();
        pieces.chunks(size).try_for_each(|piece| reader.take(piece)).map_err(|error| format!("{error}"))?;
        let view = reader.finish().map_err(|error| format!("{error}"))?;
        if self.rng.below(2) == 0 {
            // A replica that has just begun.
            self.replicas[to].tables = self.no_tables();
            self.watchers.iter_mut().filter(|watcher| watcher.at.is_some_and(|(at, _)| at == to)).for_each(|watcher| {
                watcher.at = None;
            });
        }
        self.replicas[to].tables.adopt(view);
        self.replicas[to].applied = self.replicas[from].applied;
        Ok(())
    }

    /// A watcher takes what is new at a replica.
    fn poll(&mut self, watcher: usize, replica: usize) -> Result<(), String> {
        let tables = &self.replicas[replica].tables;
        let watcher = &mut self.watchers[watcher];
        let cursor = match watcher.at {
            Some((at, cursor)) if at == replica => Some(cursor),
            Some((_, cursor)) => {
                let resumed = tables.resume(watcher.table, cursor.revision).ok();
                self.seen.resumed += u64::from(resumed.is_some());
                resumed
            }
            None => None,
        };
        let limits = PageLimits { rows: 1 + self.rng.index(5), bytes: usize::MAX };
        let mut cursor = cursor;
        while let Some(news) = cursor.and_then(|cursor| tables.changes(cursor, limits).ok()) {
            watcher.take(&news, cursor.map_or(0, |cursor| cursor.revision), &self.clocks, self.seen)?;
            cursor = Some(news.next);
            if news.changes.is_empty() {
                break;
            }
        }
        let contents = tables.view().tables.get(&watcher.table);
        let rows = contents.into_iter().flat_map(|contents| contents.rows().iter());
        let rows: BTreeMap<Key, Row> = rows.map(|row| (row.key().to_vec(), row.clone())).collect();
        if let Some(cursor) = cursor.filter(|cursor| tables.changes(*cursor, limits).is_ok()) {
            watcher.at = Some((replica, cursor));
            ensure(cursor.revision == tables.view().revision(), "a watcher does not come to the end")?;
            return ensure(watcher.rows == rows, "a watcher has other rows than the table");
        }
        self.seen.resyncs += 1;
        watcher.rows = rows;
        watcher.at = tables.watch(watcher.table).ok().map(|cursor| (replica, cursor));
        Ok(())
    }

    /// What can be read is what the model has.
    /// Each table of each replica has an index, which goes by what the rows are.
    fn index(&mut self) {
        let keys = |key: &[u8], value: &[u8]| value.chunks(1).chain([key]).map(<[u8]>::to_vec).collect();
        for Replica { tables, .. } in &mut self.replicas {
            let known: Vec<_> = tables.view().tables().collect();
            for table in known {
                if tables.view().index(table, "bytes").is_ok_and(|index| index.is_none()) {
                    tables.add_index(table, "bytes", &Extract::new(keys)).unwrap();
                }
            }
            tables.check_indexes();
        }
    }

    fn compare(&self) -> Result<(), String> {
        let view = self.replicas[0].tables.view();
        ensure(view.tables().eq(self.model.tables.iter().copied()), "the tables differ from the model")?;
        ensure(view.clock() == wall(self.model.clock), "the clock differs from the model")?;
        for table in view.tables() {
            let page = view.page(table, &crate::table::KeyRange::all(), None, super::ALL);
            let rows = page.map_err(|error| format!("{error}"))?.rows;
            let rows = rows.iter().map(|row| (row.key().to_vec(), row.version(), row.value().to_vec()));
            ensure(rows.eq(self.model.live(table)), "the rows differ from the model")?;
        }
        Ok(())
    }
}

impl Watcher {
    fn take(&mut self, news: &News, after: u64, clocks: &BTreeMap<u64, Wall>, seen: &mut Seen) -> Result<(), String> {
        let mut last = after + 1;
        for Changed { revision, change } in &news.changes {
            ensure(*revision >= last && *revision <= news.next.revision, "changes are not in order")?;
            last = *revision;
            seen.changes += 1;
            let live = |row: &Row| clocks.get(revision).is_some_and(|clock| row.is_live(*clock));
            let (old, live) = match change {
                Change::Put(row) => {
                    ensure(row.version() == *revision, "a row has another version than its change")?;
                    let old = self.rows.insert(row.key().to_vec(), row.clone());
                    ensure(old.is_none_or(|old| live(&old)), "a row was written over that had expired")?;
                    continue;
                }
                Change::Expired(row) => {
                    seen.expired += 1;
                    (row, !live(row))
                }
                Change::Deleted(row) => (row, live(row)),
            };
            ensure(live, "a row went otherwise than it is said to have gone")?;
            ensure(self.rows.remove(old.key()).as_ref() == Some(old), "a row goes that was not there")?;
        }
        Ok(())
    }
}
