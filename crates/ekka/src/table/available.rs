//! An `available` table on this node: the lock around the pure machine, and whoever waits for something of it.

mod loaded;
mod write;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crossbeam_utils::sync::{ShardedLock, ShardedLockReadGuard, ShardedLockWriteGuard};
use ekka_core::event::EventKind;
use ekka_core::id::{Incarnation, NodeId};
use ekka_core::limits::TABLE_MERGE_STEP;
use ekka_core::schema::Schema;
use ekka_core::table::{
    Acknowledged, Body, Event, Extract, Hlc, Malformed, Message, PeerClocks, Settings, StampError, Table, Version,
    WriteError,
};
use ekka_core::time::{Instant, Now, Wall};
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

pub(super) use self::write::Write;
use super::acks::{Acks, Answer, Terms, Written};
use super::committed::Committed;
use super::disc::Side;
use super::error::PutError;
use super::estate::Heir;
use super::figures::Figures;
use super::heal::Sights;
use super::hub::World;
use super::seldom::Seldom;
use super::signals::Signals;
use super::told::{Due, Here, Told};
use crate::answers::Answers;

/// What is said of this node itself.
const HERE: NodeId = NodeId::from_u128(0);

/// An `available` table.
pub struct AvailableSlot {
    pub(super) id: u64,
    pub(super) schema: Schema,
    /// What its revisions belong to.
    pub(super) history: String,
    /// Readers on several threads seldom meet in one word of memory.
    table: ShardedLock<Table>,
    acks: Acks,
    pub(super) signals: Signals,
    /// What the peers know of each other's tables.
    pub(super) told: Told,
    refused: Seldom,
    stuck: Seldom,
    /// The ids of its indexes, in the order of their places.
    indexes: Mutex<Vec<String>>,
    pub(super) figures: Figures,
    opened: Instant,
    /// How far the record went that was followed last.
    followed: AtomicU64,
    pub(super) world: Arc<World>,
    pub(super) closed: CancellationToken,
    /// Of a table that is kept on disc.
    disc: Option<Arc<Side>>,
    /// What this node held before it was admitted, and others are to have.
    pub(super) heirs: Mutex<Vec<Heir>>,
    /// What was held when links with peers ended.
    pub(super) sights: Sights,
}

impl AvailableSlot {
    pub(super) fn new(id: u64, schema: Schema, me: Incarnation, world: Arc<World>) -> Self {
        let bound = world.bound();
        let settings = Settings { me, storage: schema.storage, bound: bound.found, faults: world.faults };
        Self::of((id, schema), Table::new(settings), world, None)
    }

    /// One that is there already, and how it is kept on disc.
    pub(super) fn of(
        (id, schema): (u64, Schema),
        mut table: Table,
        world: Arc<World>,
        disc: Option<Arc<Side>>,
    ) -> Self {
        table.bound_is(world.bound().on_disc);
        Self {
            history: world.next_history(table.me(), id),
            id,
            schema,
            table: ShardedLock::new(table),
            acks: Acks::new(world.links.company()),
            signals: Signals::new(),
            told: Told::default(),
            refused: Seldom::default(),
            stuck: Seldom::default(),
            indexes: Mutex::default(),
            figures: Figures::default(),
            opened: world.clock.now().mono,
            followed: AtomicU64::new(0),
            world,
            closed: CancellationToken::new(),
            disc,
            heirs: Mutex::default(),
            sights: Sights::default(),
        }
    }

    /// The table, to read.
    pub(super) fn read(&self) -> ShardedLockReadGuard<'_, Table> {
        // Nothing that holds this lock can leave it half-changed.
        self.table.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn write_lock(&self) -> ShardedLockWriteGuard<'_, Table> {
        self.table.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// The table at the present time, with everything told of that has expired by then: so what a reader of all rows leaves
    /// out is no change after them.
    pub(super) fn expired(&self) -> (ShardedLockWriteGuard<'_, Table>, Wall) {
        let mut table = self.write_lock();
        let wall = self.world.clock.now().wall;
        table.expire(wall);
        self.signals.tell(table.revision());
        (table, wall)
    }

    /// Adds an index over the rows that are there, and those that come, where there is none of this id; its place.
    pub(super) fn add_index(&self, id: &str, extract: &Extract) -> usize {
        let mut ids = self.indexes.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(at) = ids.iter().position(|held| held == id) {
            return at;
        }
        ids.push(id.to_owned());
        let wall = self.world.clock.now().wall;
        self.write_lock().add_index(extract, wall)
    }

    /// Reads a row in the caller's task.
    pub(super) fn get<T>(&self, key: &[u8], read: impl FnOnce(&Version) -> T) -> Option<T> {
        self.read().get_at(key, || self.world.clock.now().wall).map(read)
    }

    /// Writes, in the caller's task.
    ///
    /// # Errors
    /// Nothing was written; where only the bound of stamps is in the way a retry is right once it is raised.
    pub(super) fn write(&self, write: Write<'_>, terms: Terms) -> Result<Written, WriteError> {
        let (_, written) = self.change(terms, |table, wall| write.carry_out(table, wall))?;
        Ok(written)
    }

    /// Changes the table in the caller's task; what `change` gives, if the table is still open.
    ///
    /// # Errors
    /// Those of `change`, which has written nothing then that anybody waits for.
    pub(super) fn change<T, E>(
        &self,
        terms: Terms,
        change: impl FnOnce(&mut Table, Wall) -> Result<T, E>,
    ) -> Result<(Option<T>, Written), E> {
        let wall = self.world.clock.now().wall;
        let up = self.counted();
        let mut table = self.write_lock();
        if self.closed.is_cancelled() || self.world.is_closing() {
            return Ok((None, Written::Closed));
        }
        let changed = change(&mut table, wall)?;
        // What changes nothing is held by whoever holds all that was written here before it.
        let is_alone = self.acks.goes_alone(terms.ack);
        let number = table.latest();
        let written = match table.answer(number, terms.ack, terms.strict, &up) {
            Some(answer) => Written::Now(answer),
            None => Written::Later(self.acks.wait(number, terms.ack, terms.strict)),
        };
        let revision = table.revision();
        drop(table);
        self.signals.tell(revision);
        match written {
            Written::Later(_) if is_alone => self.world.links.send(self.id),
            _ => self.world.links.stir(self.id),
        }
        self.stir_disc();
        Ok((Some(changed), written))
    }

    /// Writes and waits for the copies, until the deadline.
    pub(super) async fn put(
        &self,
        write: Write<'_>,
        terms: Terms,
        deadline: Duration,
    ) -> Result<Acknowledged, PutError> {
        let begun = tokio::time::Instant::now();
        let result = self.put_by(write, terms, (begun, deadline)).await;
        self.figures.count(write.makes_room(), begun.elapsed(), &result);
        result
    }

    async fn put_by(
        &self,
        write: Write<'_>,
        terms: Terms,
        (begun, deadline): (tokio::time::Instant, Duration),
    ) -> Result<Acknowledged, PutError> {
        if !self.is_ready(deadline).await {
            return Err(PutError::NotLoaded);
        }
        let mut bounds = None;
        let written = loop {
            if self.closed.is_cancelled() {
                return Err(PutError::Closed);
            }
            if let Some(refused) = self.disc.as_ref().and_then(|disc| disc.refuses(write.makes_room())) {
                return Err(refused);
            }
            match self.write(write, terms) {
                Ok(written) => break written,
                Err(WriteError::Stamp(StampError::BoundReached)) if begun.elapsed() < deadline => match &mut bounds {
                    // Once more: it may have been raised before this began to listen.
                    None => bounds = Some(self.world.bounds()),
                    Some(bounds) => {
                        let left = deadline.saturating_sub(begun.elapsed());
                        let raised = tokio::time::timeout(left, bounds.changed()).await;
                        debug!(in_time = raised.is_ok(), "waited for the bound of stamps");
                    }
                },
                Err(error) => return Err(error.into()),
            }
        };
        self.answered(written, deadline.saturating_sub(begun.elapsed())).await
    }

    /// The answer to what was written, within the time that is left.
    pub(super) async fn answered(&self, written: Written, left: Duration) -> Result<Acknowledged, PutError> {
        let unanswered = || self.disc.as_ref().and_then(|disc| disc.unanswered()).unwrap_or(PutError::Closed);
        let missing = || {
            let counted = self.counted();
            let lags = |peer: Incarnation| self.lag_of(peer.node_id).is_none_or(|lag| lag > 0);
            self.world.names_of(|peer| counted.contains(&peer) && lags(peer))
        };
        written.answer(left, unanswered, missing).await
    }

    /// Why nothing more is written to its disc now, where that is so.
    pub(super) fn refuses(&self) -> Option<PutError> {
        self.disc.as_ref().and_then(|disc| disc.refuses(false))
    }

    /// Waits until the table has got from its peers what they hold: before that the clock of its writes may lie below
    /// that of what was deleted.
    async fn is_ready(&self, limit: Duration) -> bool {
        if self.signals.is_loaded() {
            return true;
        }
        let mut loaded = self.signals.loaded();
        tokio::select! {
            biased;
            () = self.closed.cancelled() => true,
            waited = tokio::time::timeout(limit, loaded.wait_for(|loaded| *loaded)) => matches!(waited, Ok(Ok(_))),
        }
    }

    fn stir_disc(&self) {
        if let Some(disc) = &self.disc {
            disc.stir();
        }
    }

    /// Whether a peer has said that it has what its peers held.
    pub(super) fn has_loaded(&self, peer: Incarnation) -> bool {
        self.told.has_all(peer)
    }

    /// The other nodes whose copies count: those that are up, save those whose disc takes no more.
    pub(super) fn counted(&self) -> Arc<[Incarnation]> {
        self.told.with_room(self.world.up())
    }

    fn here(&self) -> Here {
        let has_room = self.disc.as_ref().is_none_or(|disc| disc.has_room());
        // One that has given nothing yet of what it held before is no judge of what others bring.
        Here { loaded: self.signals.is_loaded() && !self.has_estate(), has_room }
    }

    /// What a peer is to be told now of this node's copy.
    pub(super) fn tells(&self, peer: Incarnation) -> Option<Body> {
        Some(match self.told.next(peer, self.here())? {
            Due::Loaded => Body::Loaded,
            Due::Amount => Body::Amount { bytes: u64::try_from(self.read().size().bytes).unwrap_or(u64::MAX) },
            Due::Room(has) => Body::Room { has },
        })
    }

    /// A peer has what its peers held.
    pub(super) fn peer_is_loaded(&self, peer: Incarnation, now: Now, answers: &mut Answers<Answer>) {
        self.told.is_loaded(peer);
        answers.append(self.after(self.write_lock(), now));
    }

    /// Whether the disc of a peer has room: who waits for its copy waits no more, where it has none.
    pub(super) fn peer_has_room(&self, peer: Incarnation, has: bool, now: Now, answers: &mut Answers<Answer>) {
        self.told.room(peer, has);
        answers.append(self.after(self.write_lock(), now));
    }

    pub(super) fn connect(&self, peer: Incarnation, now: Now) {
        self.told.begin(peer);
        self.write_lock().connect(peer, now);
        self.offer_again(peer);
    }

    pub(super) fn disconnect(&self, peer: Incarnation, now: Now) {
        self.write_lock().disconnect(peer, now);
    }

    /// The link with a peer has ended, and no other one is in its place.
    pub(super) fn loses(&self, peer: Incarnation) {
        self.sights.lose(peer.node_id, &self.read());
    }

    pub(super) fn poll(&self, peer: Incarnation, budget: usize) -> Option<Message> {
        self.write_lock().poll(peer, budget)
    }

    pub(super) fn has_more_for(&self, peer: Incarnation) -> bool {
        self.told.owes(peer, self.here()) || self.read().has_more_for(peer)
    }

    pub(super) fn poll_copy(&self, peer: Incarnation, now: Now) -> Option<Message> {
        // Two statements: the table is not locked while the estate is.
        let copy = self.write_lock().poll_copy(peer, now);
        copy.or_else(|| self.poll_estate(peer))
    }

    /// Merges the next rows of a full copy that has come; whether more are to be merged now.
    pub(super) fn merge_some(&self, now: Now) -> bool {
        if !self.read().is_merging() {
            return false;
        }
        let mut table = self.write_lock();
        table.merge_some(TABLE_MERGE_STEP, now);
        let more = table.is_merging() && !table.is_stuck();
        drop(self.after(table, now));
        // With the last of them there is something to say to the peers.
        self.world.links.stir(self.id);
        more
    }

    /// Takes a message of a peer; what is to be answered after that is among the answers.
    pub(super) fn receive(
        &self,
        peer: Incarnation,
        message: Message,
        now: Now,
        answers: &mut Answers<Answer>,
    ) -> Result<(), Malformed> {
        let mut table = self.write_lock();
        self.estate_hears(peer, &message, &mut table, now);
        let received = table.receive(peer, message, now);
        answers.append(self.after(table, now));
        received
    }

    pub(super) fn tick(&self, clocks: PeerClocks, now: Now) {
        self.acks.tidy();
        let mut table = self.write_lock();
        table.peer_clocks_are(clocks);
        table.tick(now);
        self.tend_estate(&mut table, now);
        drop(self.after(table, now));
    }

    /// What follows whenever the machine has taken something in; to whom that is an answer.
    pub(super) fn after(&self, mut table: ShardedLockWriteGuard<'_, Table>, now: Now) -> Answers<Answer> {
        let (events, revision, waste) = (table.take_events(), table.revision(), table.take_waste());
        // One that is stuck goes on with the next tick after its journal was set aside.
        if table.is_merging() && !table.is_stuck() {
            self.world.merging.notify_one();
        }
        for event in &events {
            self.estate_sees(event, table.log_end());
        }
        let mut answers = if self.acks.is_empty() {
            Answers::default()
        } else {
            let up = self.counted();
            self.acks
                .settle(|ack| table.watermark(ack, &up), |number, ack, strict| table.answer(number, ack, strict, &up))
        };
        let loaded = self.signals.is_loaded() || self.is_loaded(&table, now);
        drop(table);
        // To drop a clone can take long: nobody waits for that.
        if !waste.is_empty() {
            answers = Answers::default();
        }
        drop(waste);
        self.stir_disc();
        self.signals.tell(revision);
        self.signals.loaded_is(loaded);
        for event in events {
            self.say(&event, now.mono);
        }
        answers
    }

    fn say(&self, event: &Event, now: Instant) {
        let table = &self.schema.name;
        match event {
            Event::CopyTaken { giver } => debug!(table, peer = %giver.node_id, "a full copy is in"),
            // Both may come with each operation.
            Event::StampRefused { from, error } => {
                if let Some(count) = self.refused.one_more(from.node_id, now) {
                    warn!(table, peer = %from.node_id, err = %error, count, "operations are not taken for their stamps");
                }
            }
            Event::Stuck => {
                if let Some(count) = self.stuck.one_more(HERE, now) {
                    warn!(table, count, "nothing is merged: the journal is full and could not be set aside");
                }
            }
            Event::SetAside { from, lost, .. } => {
                debug!(table, peer = %from.node_id, lost, "a version of a member that came back is in the journal");
            }
            Event::EstateJudged { from, taken, aside } => {
                self.world.tell(EventKind::TableReturned {
                    table: table.clone(),
                    node_id: from.node_id,
                    taken: *taken,
                    aside: *aside,
                });
            }
            Event::Folded { .. } => debug!(table, "an origin that is over has left the vectors"),
        }
    }

    pub(super) fn follow(&self, committed: &Committed) {
        // A replica that was opened just now goes through what was followed already: with members that there were then
        // deleted rows would be forgotten too early.
        if self.followed.fetch_max(committed.number, Ordering::Relaxed) > committed.number {
            return;
        }
        let mut table = self.write_lock();
        table.members_are(committed.members.iter().copied());
        for over in &committed.over {
            table.gone(*over);
        }
    }

    pub(super) fn sees(&self, clocks: PeerClocks, now: Now) {
        let mut table = self.write_lock();
        table.peer_clocks_are(clocks);
        drop(self.after(table, now));
    }

    /// Whether there is, or was, anything in it.
    pub(super) fn has_rows(&self) -> bool {
        let table = self.read();
        table.log_end() > 0 || !table.rows().is_empty()
    }

    /// Whether no tombstone is dropped: another cluster goes into this one.
    pub(super) fn keep_tombstones(&self, keep: bool) {
        self.write_lock().keep_tombstones(keep);
    }

    pub(super) fn wanted_bound(&self, wall: Wall) -> Option<Hlc> {
        self.read().wanted_bound(wall)
    }

    pub(super) fn bound_is(&self, bound: Hlc) {
        self.write_lock().bound_is(bound);
    }

    pub(super) fn renew(&self, me: Incarnation) {
        self.write_lock().renew(me, self.world.clock.now());
        // Numbers begin anew under the new guid: nobody answers for the old ones.
        self.acks.end();
        self.figures.begin_anew();
    }

    pub(super) fn end(&self) {
        self.closed.cancel();
        // Writes that are in the table just now have their place among those that wait after this.
        drop(self.write_lock());
        self.acks.end();
    }

    /// Nobody who waits for copies will have an answer.
    pub(super) fn answers_nobody(&self) {
        self.acks.end();
    }
}

#[cfg(test)]
mod tests;
