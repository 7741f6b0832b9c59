//! One node of the world: a table, its clock, its disc, and what the shell does around it.

use ekka_core::id::{Guid, Incarnation, NodeId};
use ekka_core::table::{Batch, Estate, Event, Extract, Faults, Hlc, Message, OpId, Settings, Storage, Table};
use ekka_core::time::{Instant, Now, Wall};

/// What was synced.
#[derive(Default)]
pub(crate) struct Disc {
    pub(crate) bound: Hlc,
    checkpoint: Option<Vec<Message>>,
    records: Vec<Batch>,
    /// The position in the log up to which records are on disc.
    position: u64,
}

pub(crate) struct Node {
    pub(crate) id: Incarnation,
    pub(crate) table: Option<Table>,
    pub(crate) disc: Disc,
    pub(crate) member: bool,
    /// It was cleaned, and does not know.
    pub(crate) cleaned: bool,
    /// Somebody declared its incarnation over while it ran.
    pub(crate) declared: bool,
    pub(crate) estate: Option<Estate>,
    pub(crate) ahead_ms: u64,
    /// Own writes that wait for their answer.
    pub(crate) waiting: Vec<(u64, OpId)>,
    pub(crate) events: Vec<Event>,
    storage: Storage,
    faults: Faults,
}

impl Node {
    pub(crate) fn new(n: usize, storage: Storage, ahead_ms: u64, faults: Faults) -> Self {
        let id = Incarnation { node_id: NodeId::from_u128(n as u128 + 1), guid: Guid::from_u128(1) };
        Self {
            id,
            table: None,
            disc: Disc::default(),
            member: true,
            cleaned: false,
            declared: false,
            estate: None,
            ahead_ms,
            waiting: Vec::new(),
            events: Vec::new(),
            storage,
            faults,
        }
    }

    pub(crate) fn now(&self, ms: u64) -> Now {
        Now { mono: Instant::from_nanos(ms * 1_000_000), wall: Wall::from_millis(ms + self.ahead_ms) }
    }

    pub(crate) fn next_guid(&mut self) {
        self.id.guid = Guid::from_u128(self.id.guid.as_u128() + 1);
    }

    pub(crate) fn empty_table(&self) -> Table {
        let settings = Settings { me: self.id, storage: self.storage, bound: self.disc.bound, faults: self.faults };
        let mut table = Table::new(settings);
        // Each byte of a value is an index key, and the first of the key one: `Table::check` compares with the rows.
        let keys =
            |key: &[u8], value: &[u8]| value.chunks(1).chain(key.chunks(1).take(1)).map(<[u8]>::to_vec).collect();
        table.add_index(&Extract::new(keys), Wall::from_millis(0));
        table
    }

    /// Starts it with what is on disc.
    pub(crate) fn start(&mut self, ms: u64) {
        let now = self.now(ms);
        let mut table = self.empty_table();
        if let Some(checkpoint) = self.disc.checkpoint.take() {
            table.restore(checkpoint, now).unwrap();
        }
        for batch in std::mem::take(&mut self.disc.records) {
            table.recover(&batch, now).unwrap();
        }
        self.table = Some(table);
        if self.storage == Storage::Disc {
            self.checkpoint(ms);
        }
        self.keep_bound(ms);
    }

    pub(crate) fn kill(&mut self) {
        self.table = None;
        self.waiting.clear();
        if self.storage == Storage::Ram {
            self.disc.checkpoint = None;
            self.disc.records.clear();
        }
    }

    /// Brings the bound of stamps to disc where one is wanted.
    pub(crate) fn keep_bound(&mut self, ms: u64) {
        let wall = self.now(ms).wall;
        if let Some(table) = self.table.as_mut()
            && let Some(bound) = table.wanted_bound(wall)
        {
            self.disc.bound = self.disc.bound.max(bound);
            table.bound_is(bound);
        }
    }

    fn checkpoint(&mut self, ms: u64) {
        let now = self.now(ms);
        let Some(table) = self.table.as_mut() else { return };
        let mut giving = table.clone_to_give(now);
        self.disc.checkpoint = Some(std::iter::from_fn(|| giving.next_message()).collect());
        self.disc.records.clear();
        self.disc.position = giving.position();
        table.checkpointed(giving.position());
    }

    /// Brings to disc what is not there yet.
    pub(crate) fn sync(&mut self, ms: u64) {
        if self.storage == Storage::Ram {
            return;
        }
        let Some(table) = self.table.as_mut() else { return };
        if table.wants_checkpoint() {
            return self.checkpoint(ms);
        }
        let (batch, end) = table.records(self.disc.position, usize::MAX);
        if !batch.is_empty() {
            self.disc.records.push(batch);
        }
        self.disc.position = end;
        table.synced(end);
    }

    /// It takes a new guid and starts empty; what it held is an estate.
    pub(crate) fn come_back(&mut self, ms: u64) {
        let old = self.table.take();
        self.next_guid();
        if self.estate.is_none() {
            self.estate = old.map(Estate::new);
        }
        self.disc.checkpoint = None;
        self.disc.records.clear();
        self.disc.position = 0;
        self.waiting.clear();
        self.table = Some(self.empty_table());
        self.keep_bound(ms);
        (self.cleaned, self.declared, self.member) = (false, false, true);
    }

    /// Its cluster goes into another one: it goes on under the guid that it has, and starts empty.
    pub(crate) fn go_over(&mut self, ms: u64) {
        self.estate = self.table.take().map(|old| Estate::new(old).absorbed(7, false));
        self.waiting.clear();
        self.table = Some(self.empty_table());
        self.keep_bound(ms);
    }
}
