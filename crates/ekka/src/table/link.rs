//! A link to one peer: takes messages of its tables as they come, and sends what the tables have for it, in one task and
//! without a queue between the two. Each side says now and then that it lives, for a connection can be dead without a word
//! while the control lane has another one already. A peer that does not read is sent nothing more: what it misses stays in the op log.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::task::{Context, Poll, Waker};

use ekka_core::control::CloseCause;
use ekka_core::id::{Incarnation, NodeName};
use ekka_core::limits::{TABLE_LINK_BEAT, TABLE_LINK_SILENT};
use ekka_core::table::{Body, Envelope};
use ekka_core::wire::{FrameDecoder, FrameKind};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::Notify;
use tokio::time::{Instant, Sleep, sleep};
use tokio_util::sync::CancellationToken;

use super::hub::Tables;
use crate::env::BoxStream;
use crate::home::Vigil;
use crate::transport::LaneConnection;

/// Bytes read at once: a few TLS records.
const READ_BYTES: usize = 64 * 1024;
/// Bytes of operations in one message, about.
const BUDGET: usize = 32 * 1024;
/// No more is gathered into one batch.
const BATCH_BYTES: usize = 64 * 1024;
/// A buffer that grew beyond this is given back once it is written.
const KEPT_BYTES: usize = 1024 * 1024;
/// How often a table is asked in one turn before the others and the reader have theirs.
const TURN: usize = 16;

/// A link, as others see it.
pub(super) struct Link {
    pub(super) peer: Incarnation,
    pub(super) name: NodeName,
    state: Mutex<State>,
    /// A full copy may have to be sent.
    pub(super) copies: Notify,
    /// It is to end: replaced, or of no use.
    pub(super) end: CancellationToken,
}

#[derive(Default)]
struct State {
    /// Tables that may have something for the peer.
    dirty: Vec<u64>,
    /// Tables that were opened on this link.
    opened: Vec<u64>,
    driver: Option<Waker>,
}

impl Link {
    pub(super) fn new(peer: Incarnation, name: NodeName) -> Self {
        let (copies, end) = (Notify::new(), CancellationToken::new());
        Self { peer, name, state: Mutex::default(), copies, end }
    }

    fn locked(&self) -> MutexGuard<'_, State> {
        // Nothing that holds this lock can leave it half-changed.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A table may have something for the peer: said by the driver itself, which looks before it waits.
    pub(super) fn mark(&self, table: u64) {
        let mut state = self.locked();
        if !state.dirty.contains(&table) {
            state.dirty.push(table);
        }
    }

    /// The driver, where it waits and there is something for it.
    fn sleeper(&self) -> Option<Waker> {
        let mut state = self.locked();
        if state.dirty.is_empty() { None } else { state.driver.take() }
    }

    /// A table was opened while the link was there: the peer is told first of all.
    pub(super) fn opened(&self, table: u64) {
        let mut state = self.locked();
        state.opened.push(table);
        state.dirty.push(table);
        wake(state);
    }

    /// The tables that may have something; `None` where none has, and then the driver is woken once one has.
    fn take(&self, cx: &mut Context<'_>) -> Option<(Vec<u64>, Vec<u64>)> {
        let mut state = self.locked();
        if state.dirty.is_empty() {
            state.driver = Some(cx.waker().clone());
            return None;
        }
        Some((std::mem::take(&mut state.opened), std::mem::take(&mut state.dirty)))
    }
}

fn wake(mut state: MutexGuard<'_, State>) {
    let driver = state.driver.take();
    drop(state);
    if let Some(driver) = driver {
        driver.wake();
    }
}

/// All links of a node.
#[derive(Default)]
pub(super) struct Links {
    all: RwLock<Arc<[Arc<Link>]>>,
    /// Wakes the drivers, on their own thread: a writer on another one wakes that thread once, however many they are.
    pump: Mutex<Option<Waker>>,
}

impl Links {
    pub(super) fn all(&self) -> Arc<[Arc<Link>]> {
        self.all.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// A table may have something for every peer.
    pub(super) fn stir(&self, table: u64) {
        let all = self.all();
        if all.is_empty() {
            return;
        }
        for link in &*all {
            link.mark(table);
        }
        let pump = self.pump.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(pump) = pump {
            pump.wake();
        }
    }

    /// Wakes drivers for which there is something, for ever.
    pub(super) async fn keep_pumping(&self) {
        std::future::poll_fn::<(), _>(|cx| {
            *self.pump.lock().unwrap_or_else(PoisonError::into_inner) = Some(cx.waker().clone());
            self.all().iter().filter_map(|link| link.sleeper()).for_each(Waker::wake);
            Poll::Pending
        })
        .await;
    }

    /// Takes a link into use, and says which one it replaces.
    pub(super) fn insert(&self, link: &Arc<Link>) -> Option<Arc<Link>> {
        let mut all = self.all.write().unwrap_or_else(PoisonError::into_inner);
        let same = |other: &&Arc<Link>| other.peer.node_id == link.peer.node_id;
        let replaced = all.iter().find(same).cloned();
        *all = all.iter().filter(|other| !same(other)).chain([link]).cloned().collect();
        replaced
    }

    /// Takes a link out; whether it was the one in use.
    pub(super) fn remove(&self, link: &Arc<Link>) -> bool {
        let mut all = self.all.write().unwrap_or_else(PoisonError::into_inner);
        let before = all.len();
        *all = all.iter().filter(|other| !Arc::ptr_eq(other, link)).cloned().collect();
        all.len() < before
    }
}

/// Carries one link to its end.
pub(super) struct Driver {
    tables: Arc<Tables>,
    link: Arc<Link>,
    stream: BoxStream,
    decoder: FrameDecoder,
    input: Vec<u8>,
    batch: Vec<u8>,
    /// Of the batch.
    written: usize,
    unflushed: bool,
    vigil: Option<Arc<Vigil>>,
    /// When it is to be said again that this side lives, and whether that is due.
    beat: Pin<Box<Sleep>>,
    owes_beat: bool,
    heard: Instant,
}

impl Driver {
    pub(super) fn new(tables: Arc<Tables>, link: Arc<Link>, stream: BoxStream, vigil: Option<Arc<Vigil>>) -> Self {
        Self {
            tables,
            link,
            stream,
            decoder: FrameDecoder::new(&[FrameKind::Table]),
            input: vec![0; READ_BYTES],
            batch: Vec::new(),
            written: 0,
            unflushed: false,
            vigil,
            beat: Box::pin(sleep(TABLE_LINK_BEAT)),
            owes_beat: false,
            heard: Instant::now(),
        }
    }

    /// Runs to the end of the connection, and says why it ended.
    pub(super) async fn run(mut self, port: &LaneConnection, stop: &CancellationToken) -> CloseCause {
        let link = self.link.clone();
        tokio::select! {
            biased;
            () = stop.cancelled() => CloseCause::Stopping,
            () = link.end.cancelled() => CloseCause::Redundant,
            cause = port.closing() => cause,
            cause = std::future::poll_fn(|cx| self.poll(cx, port)) => cause,
        }
    }

    fn poll(&mut self, cx: &mut Context<'_>, port: &LaneConnection) -> Poll<CloseCause> {
        while self.beat.as_mut().poll(cx).is_ready() {
            self.owes_beat = true;
            self.beat.as_mut().reset(Instant::now() + TABLE_LINK_BEAT);
        }
        loop {
            let read = match self.poll_read(cx, port) {
                Poll::Ready(Ok(())) => true,
                Poll::Ready(Err(cause)) => return Poll::Ready(cause),
                Poll::Pending => false,
            };
            if let Poll::Ready(cause) = self.poll_write(cx, port) {
                return Poll::Ready(cause);
            }
            if !read {
                let is_silent = self.heard.elapsed() >= TABLE_LINK_SILENT;
                return if is_silent { Poll::Ready(CloseCause::Silent) } else { Poll::Pending };
            }
        }
    }

    /// Reads once and takes all whole messages.
    fn poll_read(&mut self, cx: &mut Context<'_>, port: &LaneConnection) -> Poll<Result<(), CloseCause>> {
        let mut buffer = ReadBuf::new(&mut self.input);
        match Pin::new(&mut self.stream).poll_read(cx, &mut buffer) {
            Poll::Pending => return Poll::Pending,
            Poll::Ready(Err(error)) => return Poll::Ready(Err(broken(&error))),
            Poll::Ready(Ok(())) if buffer.filled().is_empty() => return Poll::Ready(Err(CloseCause::Reset)),
            Poll::Ready(Ok(())) => {}
        }
        port.read(buffer.filled().len());
        self.heard = Instant::now();
        if let Some(vigil) = &self.vigil {
            vigil.stir();
        }
        self.decoder.push(buffer.filled());
        loop {
            match self.decoder.next_slice() {
                Ok(None) => return Poll::Ready(Ok(())),
                Ok(Some((_, frame))) => {
                    let taken = postcard::from_bytes(frame).map_err(|error| error.to_string());
                    let taken = taken.and_then(|envelope| self.tables.take(&self.link, envelope));
                    if let Err(text) = taken {
                        return Poll::Ready(Err(CloseCause::Garbage(text)));
                    }
                }
                Err(error) => return Poll::Ready(Err(CloseCause::Garbage(error.to_string()))),
            }
        }
    }

    /// Writes what there is, batch by batch; ready where the connection broke.
    fn poll_write(&mut self, cx: &mut Context<'_>, port: &LaneConnection) -> Poll<CloseCause> {
        loop {
            while self.written < self.batch.len() {
                let count = match Pin::new(&mut self.stream).poll_write(cx, &self.batch[self.written..]) {
                    Poll::Pending => return Poll::Pending,
                    Poll::Ready(Ok(0)) => return Poll::Ready(CloseCause::Reset),
                    Poll::Ready(Ok(count)) => count,
                    Poll::Ready(Err(error)) => return Poll::Ready(broken(&error)),
                };
                self.written += count;
                self.unflushed = true;
                port.wrote(count);
            }
            self.batch.clear();
            self.written = 0;
            if self.batch.capacity() > KEPT_BYTES {
                self.batch = Vec::new();
            }
            if self.gather(cx) {
                if let Some(vigil) = &self.vigil {
                    vigil.stir();
                }
                continue;
            }
            if self.unflushed {
                match Pin::new(&mut self.stream).poll_flush(cx) {
                    Poll::Pending => return Poll::Pending,
                    Poll::Ready(Ok(())) => self.unflushed = false,
                    Poll::Ready(Err(error)) => return Poll::Ready(broken(&error)),
                }
            }
            return Poll::Pending;
        }
    }

    /// Gathers messages of the tables that have some; false where none has, and the driver is woken once one has.
    fn gather(&mut self, cx: &mut Context<'_>) -> bool {
        loop {
            let taken = self.link.take(cx);
            if std::mem::take(&mut self.owes_beat) {
                self.push(&Envelope { table: 0, shard: 0, body: Body::Alive });
            }
            let Some((opened, dirty)) = taken else { return !self.batch.is_empty() };
            for table in opened {
                self.push(&Envelope { table, shard: 0, body: Body::Opened });
            }
            for table in dirty {
                if self.batch.len() >= BATCH_BYTES || !self.ask(table) {
                    self.link.mark(table);
                }
            }
            if !self.batch.is_empty() {
                return true;
            }
        }
    }

    /// Asks one table for what it has; whether it has no more.
    fn ask(&mut self, table: u64) -> bool {
        let Some(slot) = self.tables.slot(table) else { return true };
        for _ in 0..TURN {
            match slot.poll(self.link.peer, BUDGET) {
                Some(body) => self.push(&Envelope { table, shard: 0, body }),
                None if !slot.has_more_for(self.link.peer) => return true,
                None => {}
            }
            if self.batch.len() >= BATCH_BYTES {
                return false;
            }
        }
        false
    }

    fn push(&mut self, envelope: &Envelope) {
        let start = self.batch.len();
        self.batch.extend_from_slice(&[0, 0, 0, 0, FrameKind::Table as u8]);
        let batch = std::mem::take(&mut self.batch);
        self.batch = postcard::to_extend(envelope, batch).expect("a message consists of what postcard can hold");
        let length = u32::try_from(self.batch.len() - start - 4).expect("a message is far below 4 GiB");
        self.batch[start..start + 4].copy_from_slice(&length.to_be_bytes());
    }
}

fn broken(error: &io::Error) -> CloseCause {
    if let Some(tls) = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
        return CloseCause::Garbage(tls.to_string());
    }
    CloseCause::Reset
}
