//! Clients of the tables of one host: what they do, and what they are told.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use ekka::node::Node;
use ekka::table::{Acknowledged, Available, PutError, QuorumError, Table};
use ekka_core::table::Ack;

use super::watcher::Own;
use super::{DISC, Handles, KEYS, OWNED, RAM, STOCK, SharedTables, Which, Written};
use crate::stack::world::ONE_THREAD;

/// Between two operations of one host.
const PAUSE: Duration = Duration::from_millis(15);
/// What a write may take.
const DEADLINE: Duration = Duration::from_secs(2);
/// Before tables that could not be opened are tried again.
const AGAIN: Duration = Duration::from_millis(200);

/// A value as a table has it.
pub(super) fn value_of(bytes: &[u8]) -> Option<u64> {
    serde_json::from_slice(bytes).ok()
}

/// Opens all tables; `None` once the node has ended.
pub(super) async fn open(node: &Node) -> Option<Handles> {
    loop {
        let opened = async {
            let (ram, disc) = (node.table(&RAM).await?, node.table(&DISC).await?);
            let (owned, stock) = (node.table(&OWNED).await?, node.table(&STOCK).await?);
            let me = node.view().me.node_id;
            Ok::<_, ekka::table::OpenError>(Handles { me, ram, disc, owned, stock, door: node.tables() })
        };
        tokio::select! {
            biased;
            _ = node.ended() => return None,
            opened = opened => if let Ok(handles) = opened { return Some(handles) },
        }
        tokio::time::sleep(AGAIN).await;
    }
}

/// Uses the tables until the node ends.
pub(super) async fn run(host: usize, node: Node, handles: Handles, ledger: SharedTables) {
    loop {
        tokio::select! {
            biased;
            _ = node.ended() => return,
            () = tokio::time::sleep(PAUSE) => {}
        }
        let drawn = {
            let mut ledger = ledger.lock().expect(ONE_THREAD);
            if !ledger.writes_on {
                continue;
            }
            *ledger.in_flight.entry(host).or_default() += 1;
            (ledger.chance(10), ledger.chance(KEYS), ledger.chance(4), ledger.chance(4))
        };
        let (handles, ledger) = (handles.clone(), ledger.clone());
        tokio::spawn(async move {
            one(host, &handles, &ledger, drawn).await;
            if let Some(count) = ledger.lock().expect(ONE_THREAD).in_flight.get_mut(&host) {
                *count = count.saturating_sub(1);
            }
        });
    }
}

async fn one(host: usize, handles: &Handles, ledger: &SharedTables, drawn: (u64, u64, u64, u64)) {
    let (kind, key, ack, way) = drawn;
    let ack = [Ack::Two, Ack::Two, Ack::Local, Ack::All][usize::try_from(ack).unwrap_or(0)];
    match kind {
        0..=2 => write(host, handles, ledger, (Which::Ram, key, way == 0, ack)).await,
        3..=5 => write(host, handles, ledger, (Which::Disc, key, way == 0, ack)).await,
        6 => own(host, handles, ledger, (key, way == 0, ack)).await,
        7 => raise(handles, ledger, key).await,
        _ => read(handles, ledger, key).await,
    }
}

fn number(ledger: &SharedTables) -> u64 {
    let mut ledger = ledger.lock().expect(ONE_THREAD);
    ledger.last += 1;
    ledger.last
}

async fn write(host: usize, handles: &Handles, ledger: &SharedTables, what: (Which, u64, bool, Ack)) {
    let (which, key, delete, ack) = what;
    let (table, id) = (handles.available(which).clone(), number(ledger));
    let written = Written { which, key, delete, by: host, copies: 0, saw: None, done: false, promised: false };
    let before = {
        let mut ledger = ledger.lock().expect(ONE_THREAD);
        ledger.writes.insert(id, written);
        ledger.deaths
    };
    let inner: Answer = if delete {
        table.delete(&key).ack(ack).deadline(DEADLINE).into_future()
    } else {
        table.put(&key, &id).ack(ack).deadline(DEADLINE).into_future()
    };
    let of = (host, which);
    let seen = Seen { inner, table, of, key, id, delete, ledger: ledger.clone(), done: false };
    let answer = seen.await;
    ledger.lock().expect(ONE_THREAD).told((id, before), &answer);
}

type Answer = Pin<Box<dyn Future<Output = Result<Acknowledged, PutError>> + Send>>;

/// A write, of which the version that it replaces is looked at as it happens: nothing else runs meanwhile.
struct Seen {
    inner: Answer,
    table: Table<u64, u64, Available>,
    of: (usize, Which),
    key: u64,
    id: u64,
    delete: bool,
    ledger: SharedTables,
    done: bool,
}

impl Future for Seen {
    type Output = Result<Acknowledged, PutError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let before = self.table.get(&self.key).ok().flatten();
        let polled = self.inner.as_mut().poll(cx);
        if !self.done {
            let after = self.table.get(&self.key).ok().flatten();
            self.done = if self.delete { before.is_some() && after.is_none() } else { after == Some(self.id) };
            if self.done {
                let mut ledger = self.ledger.lock().expect(ONE_THREAD);
                if let Some(written) = ledger.writes.get_mut(&self.id) {
                    (written.done, written.saw) = (true, before);
                }
                if let Some(follower) = ledger.followers.get_mut(&self.of) {
                    follower.is_owed(Own { key: self.key, value: after, saw: before });
                }
            }
        }
        polled
    }
}

impl super::Ledger {
    /// The answer to a write; so many had died before it was begun.
    fn told(&mut self, (id, before): (u64, usize), answer: &Result<Acknowledged, PutError>) {
        let Ok(answer) = answer else {
            self.counts.failed += 1;
            return;
        };
        self.counts.acknowledged += 1;
        self.counts.single += usize::from(answer.copies == 1);
        let Some(written) = self.writes.get_mut(&id) else { return };
        if !(written.done || written.delete) {
            self.complain(|| format!("write {id} is acknowledged, and was never in the table of its node"));
            return;
        }
        // A deletion of what was not there has nothing to be known by.
        written.copies = answer.copies;
        written.promised = written.done && (written.which == Which::Ram || answer.durable);
        // Whoever has died meanwhile may have been one of those that it was copied to.
        if written.which == Which::Ram && self.deaths > before {
            let gone = answer.copies < 2 && !self.seats.contains_key(&written.by);
            written.promised &= self.promises.saw(id, self.deaths - before) && !gone;
        }
        if written.which == Which::Disc && !answer.durable {
            self.complain(|| format!("write {id} to a table on disc is acknowledged before it is on disc: {answer:?}"));
        }
    }
}

/// Writes a row that belongs to this start of the node.
async fn own(host: usize, handles: &Handles, ledger: &SharedTables, (key, delete, ack): (u64, bool, Ack)) {
    let (table, id) = (&handles.owned, number(ledger));
    let write = if delete { table.delete(&key) } else { table.put(&key, &id) };
    let mut write = write.ack(ack).deadline(DEADLINE).into_future();
    std::future::poll_fn(|cx| {
        let polled = write.as_mut().poll(cx).map(drop);
        // The truth is what the owner has itself; what others have of it is held against that in the end.
        let rows = table.owners_including_down(&key).unwrap_or_default();
        let mine = rows.into_iter().find(|(owner, _)| *owner == handles.me).map(|(_, value)| value);
        if let Some(own) = ledger.lock().expect(ONE_THREAD).own.get_mut(&host) {
            match mine {
                Some(value) => own.rows.insert(key, value),
                None => own.rows.remove(&key),
            };
        }
        polled
    })
    .await;
}

/// Raises a counter of the quorum table by one.
async fn raise(handles: &Handles, ledger: &SharedTables, key: u64) {
    let floor = {
        let mut ledger = ledger.lock().expect(ONE_THREAD);
        let counter = ledger.stock.entry(key).or_default();
        counter.tried += 1;
        counter.floor
    };
    let made = handles
        .stock
        .transact_within(DEADLINE, async |t| {
            let next = t.get(&key).await?.unwrap_or(0) + 1;
            t.put(&key, &next)?;
            Ok::<u64, QuorumError>(next)
        })
        .await;
    let Ok(made) = made else { return };
    let mut ledger = ledger.lock().expect(ONE_THREAD);
    ledger.counts.raised += 1;
    let counter = ledger.stock.entry(key).or_default();
    let fresh = counter.made.insert(made);
    counter.floor = counter.floor.max(made);
    if !fresh || made <= floor {
        ledger.complain(|| format!("counter {key} was raised to {made} although it had been {floor} before, or twice"));
    }
}

/// A read that sees all that was committed before it began.
async fn read(handles: &Handles, ledger: &SharedTables, key: u64) {
    let floor = ledger.lock().expect(ONE_THREAD).stock.get(&key).map_or(0, |counter| counter.floor);
    let Ok(Ok(read)) = tokio::time::timeout(DEADLINE, handles.stock.get(&key)).await else { return };
    let read = read.unwrap_or(0);
    let mut ledger = ledger.lock().expect(ONE_THREAD);
    ledger.counts.read += 1;
    let counter = ledger.stock.entry(key).or_default();
    counter.floor = counter.floor.max(read);
    if read < floor {
        ledger.complain(|| format!("counter {key} was read as {read} after it was seen to be {floor}"));
    }
}
