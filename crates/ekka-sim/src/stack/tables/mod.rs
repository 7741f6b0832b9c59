//! Tables of whole nodes under faults: what clients were told, beside what is there in the end.
//!
//! Every write has a value that no other has, and it is known which version it replaced (`client`), so that in the end
//! each can be accounted for (`judge`). Which of those that were acknowledged has to be there still depends on what was
//! promised and on who has died since (`promise`).

mod client;
mod judge;
mod plan;
mod promise;
mod watcher;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard};

use ekka::node::Node;
use ekka::table::{Available, Owned, Quorum, Table, TableDef, TableDoor};
use ekka_core::id::NodeId;
use ekka_core::rng::Rng;
use ekka_core::table::Faults;

pub use self::plan::{TableFault, TablesPlan};
use self::promise::Promises;
use self::watcher::Follower;
use super::world::{ONE_THREAD, World};

const RAM: TableDef<u64, u64, Available> = TableDef::available("sim.ram").json();
const DISC: TableDef<u64, u64, Available> = TableDef::available("sim.disc").json().disc();
const OWNED: TableDef<u64, u64, Owned> = TableDef::owned("sim.owned");
const STOCK: TableDef<u64, u64, Quorum> = TableDef::quorum("sim.stock").disc();

/// Keys of each table: few, so that writers meet.
const KEYS: u64 = 5;

/// An `available` table.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum Which {
    Ram,
    Disc,
}

/// A write to an `available` table; the number that it is known by is its value.
#[derive(Clone, Debug)]
struct Written {
    which: Which,
    key: u64,
    delete: bool,
    /// By which host's process.
    by: usize,
    /// How many nodes were said to have it; none before it was acknowledged.
    copies: u32,
    /// The version that it replaced, where there was one.
    saw: Option<u64>,
    /// It is in the table of its node.
    done: bool,
    /// It was acknowledged, and has to be accounted for.
    promised: bool,
}

/// What one process of a host has open.
#[derive(Clone)]
pub(super) struct Handles {
    me: NodeId,
    ram: Table<u64, u64, Available>,
    disc: Table<u64, u64, Available>,
    owned: Table<u64, u64, Owned>,
    stock: Table<u64, u64, Quorum>,
    door: TableDoor,
}

impl Handles {
    fn available(&self, which: Which) -> &Table<u64, u64, Available> {
        match which {
            Which::Ram => &self.ram,
            Which::Disc => &self.disc,
        }
    }

    /// The rows as they are on this node.
    fn rows(&self, which: Which) -> Result<BTreeMap<u64, u64>, String> {
        self.available(which).scan().collect::<Result<_, _>>().map_err(|error| error.to_string())
    }

    /// What lost, by its value.
    fn losses(&self, which: Which) -> BTreeSet<u64> {
        let name = &self.available(which).schema().name;
        let losses = self.door.losses(name, usize::MAX).unwrap_or_default();
        losses.iter().filter_map(|loss| loss.value.as_deref()).filter_map(client::value_of).collect()
    }
}

/// Rows of one process in the owned table.
#[derive(Debug, Default)]
struct Own {
    rows: BTreeMap<u64, u64>,
}

/// A counter in the quorum table.
#[derive(Debug, Default)]
struct Counter {
    /// Values that somebody was told to have made.
    made: BTreeSet<u64>,
    /// How many may have been made.
    tried: u64,
    /// No read that begins now may see less.
    floor: u64,
}

/// What clients did, and what they were told. It outlives all processes.
#[derive(Default)]
pub(super) struct Ledger {
    pub(super) on: bool,
    /// Clients write; else they only wait.
    pub(super) writes_on: bool,
    pub(super) faults: Faults,
    rng: Option<Rng>,
    last: u64,
    writes: BTreeMap<u64, Written>,
    own: BTreeMap<usize, Own>,
    stock: BTreeMap<u64, Counter>,
    seats: BTreeMap<usize, Handles>,
    followers: BTreeMap<(usize, Which), Follower>,
    promises: Promises,
    /// Operations of each host's process that have no answer yet.
    in_flight: BTreeMap<usize, usize>,
    counts: TableCounts,
    deaths: usize,
    /// The writes and deaths that there had been when all held the same last.
    rested: Option<(u64, usize)>,
    wrong: Option<String>,
}

pub(super) type SharedTables = Arc<Mutex<Ledger>>;

/// What came of all operations of a run.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct TableCounts {
    /// Writes to `available` tables that were acknowledged.
    pub acknowledged: usize,
    /// Of these, with one copy.
    pub single: usize,
    /// Writes that were not acknowledged.
    pub failed: usize,
    /// Acknowledged writes that have to be accounted for in the end.
    pub promised: usize,
    /// Versions that lost to one that had not seen them, and are in journals.
    pub lost: usize,
    /// Counters of the quorum table that were raised.
    pub raised: usize,
    /// Linearizable reads of it.
    pub read: usize,
    /// Changes that watchers saw.
    pub changes: usize,
    /// Times that all who ran had the same rows.
    pub rests: usize,
}

impl Ledger {
    fn chance(&mut self, of: u64) -> u64 {
        self.rng.get_or_insert_with(|| Rng::new(0)).below(of)
    }

    fn complain(&mut self, what: impl FnOnce() -> String) {
        if self.wrong.is_none() {
            self.wrong = Some(what());
        }
    }

    /// The process of a host has ended.
    pub(super) fn ended(&mut self, host: usize) {
        self.seats.remove(&host);
        self.own.remove(&host);
        self.in_flight.remove(&host);
        self.followers.retain(|(other, _), _| *other != host);
        self.deaths += 1;
        let Self { promises, writes, .. } = self;
        promises.died(host, writes);
    }

    /// Looks whether all that run hold the same, and whether something is wrong.
    ///
    /// # Errors
    /// A client was told something that is not true.
    pub(super) fn look(&mut self) -> Result<(), String> {
        if let Some(wrong) = &self.wrong {
            return Err(wrong.clone());
        }
        let state = (self.last, self.deaths);
        if self.seats.len() > 1 && self.rested != Some(state) && judge::at_rest(&self.seats) {
            self.counts.rests += 1;
            self.rested = Some(state);
            let held = self.held_by_all();
            let Self { promises, seats, .. } = self;
            promises.rest(seats.keys().copied(), held);
        }
        Ok(())
    }

    /// Whether so many hosts have all tables open, and no client waits for an answer.
    pub(super) fn is_idle(&self, hosts: usize) -> bool {
        self.seats.len() == hosts && self.in_flight.values().all(|count| *count == 0)
    }

    /// Whether all hold the same.
    pub(super) fn is_at_rest(&self) -> bool {
        judge::at_rest(&self.seats) && self.followers.values().all(Follower::is_following)
    }

    /// The rows of all, in words.
    pub(super) fn words(&self) -> String {
        judge::words(&self.seats)
    }
}

/// Opens the tables of a host, and uses them until the node ends.
pub(super) async fn use_tables(host: usize, node: Node, ledger: SharedTables) {
    if !ledger.lock().expect(ONE_THREAD).on {
        return;
    }
    let Some(handles) = client::open(&node).await else { return };
    {
        let ledger_of = ledger.clone();
        let mut ledger = ledger.lock().expect(ONE_THREAD);
        ledger.own.insert(host, Own::default());
        ledger.seats.insert(host, handles.clone());
        for which in [Which::Ram, Which::Disc] {
            ledger.followers.insert((host, which), Follower::default());
            tokio::spawn(watcher::follow((host, which), handles.available(which).watch(), ledger_of.clone()));
        }
    }
    client::run(host, node, handles, ledger).await;
}

impl World {
    pub(super) fn lock_tables(&self) -> MutexGuard<'_, Ledger> {
        self.tables.lock().expect(ONE_THREAD)
    }

    /// Lets all hosts that start from now on use tables, with these faults planted.
    pub fn let_them_use_tables(&mut self, seed: u64, faults: Faults) {
        let mut ledger = self.lock_tables();
        (ledger.on, ledger.faults, ledger.rng) = (true, faults, Some(Rng::new(seed)));
    }

    /// Lets clients write and read all the time, or only wait for what they have begun.
    pub fn write_to_tables(&mut self, on: bool) {
        self.lock_tables().writes_on = on;
    }

    /// Whether all hosts have all their tables open.
    #[must_use]
    pub fn all_have_tables(&self) -> bool {
        self.lock_tables().seats.len() == self.hosts()
    }

    /// Whether all was answered, and all hold the same.
    #[must_use]
    pub fn tables_rest(&self) -> bool {
        let ledger = self.lock_tables();
        ledger.is_idle(self.hosts()) && ledger.is_at_rest() && ledger.verdict().is_ok()
    }

    /// What all hold, in words.
    #[must_use]
    pub fn words_of_tables(&self) -> String {
        self.lock_tables().words()
    }

    /// What came of all that was done with tables.
    ///
    /// # Errors
    /// Something acknowledged is not accounted for, or something is there that must not be.
    pub fn tables_verdict(&self) -> Result<TableCounts, String> {
        self.lock_tables().verdict()
    }
}
