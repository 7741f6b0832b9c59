//! The connection of a link: takes messages of its tables as they come, and sends what the tables have for the peer, without
//! a queue between the two. Each side says now and then that it lives, for a connection can be dead without a word while the
//! control lane has another one already. A peer that does not read is sent nothing more: what it misses stays in the op log.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use ekka_core::control::CloseCause;
use ekka_core::limits::{TABLE_LINK_BEAT, TABLE_LINK_SILENT};
use ekka_core::table::{Body, Envelope};
use ekka_core::wire::{FrameDecoder, FrameKind};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep, sleep};

use super::acks::Answer;
use super::hub::Tables;
use super::link::Link;
use crate::answers::Answers;
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

/// The connection of one link, and what is on its way in and out.
pub(super) struct Wire {
    tables: Arc<Tables>,
    port: Arc<LaneConnection>,
    stream: BoxStream,
    decoder: FrameDecoder,
    input: Vec<u8>,
    batch: Vec<u8>,
    /// Of the batch.
    written: usize,
    unflushed: bool,
    /// It broke in the hands of a writer; the driver is still to be told.
    broken: Option<CloseCause>,
    vigil: Option<Arc<Vigil>>,
    /// When it is to be said again that this side lives, and whether that is due.
    beat: Pin<Box<Sleep>>,
    owes_beat: bool,
    heard: Instant,
}

impl Wire {
    pub(super) fn new(
        tables: Arc<Tables>,
        port: Arc<LaneConnection>,
        stream: BoxStream,
        vigil: Option<Arc<Vigil>>,
    ) -> Self {
        Self {
            tables,
            port,
            stream,
            decoder: FrameDecoder::new(&[FrameKind::Table]),
            input: vec![0; READ_BYTES],
            batch: Vec::new(),
            written: 0,
            unflushed: false,
            broken: None,
            vigil,
            beat: Box::pin(sleep(TABLE_LINK_BEAT)),
            owes_beat: false,
            heard: Instant::now(),
        }
    }

    pub(super) fn port(&self) -> Arc<LaneConnection> {
        self.port.clone()
    }

    /// Writes in the place of the driver, which is woken for whatever is to be waited for.
    pub(super) fn write_for(&mut self, link: &Link, driver: &Waker) {
        if let Poll::Ready(cause) = self.poll_write(link, &mut Context::from_waker(driver)) {
            self.broken = Some(cause);
            driver.wake_by_ref();
        }
        if self.written < self.batch.len() {
            // It may be the turn of this task that is over, not the room of the socket: the driver looks itself.
            driver.wake_by_ref();
        }
    }

    /// Reads once and takes what came; what is to be answered after that is among the answers.
    pub(super) fn poll_in(
        &mut self,
        link: &Arc<Link>,
        cx: &mut Context<'_>,
        answers: &mut Answers<Answer>,
    ) -> Poll<Result<(), CloseCause>> {
        if let Some(cause) = self.broken.take() {
            return Poll::Ready(Err(cause));
        }
        while self.beat.as_mut().poll(cx).is_ready() {
            self.owes_beat = true;
            self.beat.as_mut().reset(Instant::now() + TABLE_LINK_BEAT);
        }
        match self.poll_read(link, cx, answers) {
            Poll::Pending if self.heard.elapsed() >= TABLE_LINK_SILENT => Poll::Ready(Err(CloseCause::Silent)),
            polled => polled,
        }
    }

    /// Reads once and takes all whole messages.
    fn poll_read(
        &mut self,
        link: &Arc<Link>,
        cx: &mut Context<'_>,
        answers: &mut Answers<Answer>,
    ) -> Poll<Result<(), CloseCause>> {
        let mut buffer = ReadBuf::new(&mut self.input);
        match Pin::new(&mut self.stream).poll_read(cx, &mut buffer) {
            Poll::Pending => return Poll::Pending,
            Poll::Ready(Err(error)) => return Poll::Ready(Err(broken(&error))),
            Poll::Ready(Ok(())) if buffer.filled().is_empty() => return Poll::Ready(Err(CloseCause::Reset)),
            Poll::Ready(Ok(())) => {}
        }
        self.port.read(buffer.filled().len());
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
                    let taken = taken.and_then(|envelope| self.tables.take(link, envelope, answers));
                    if let Err(text) = taken {
                        return Poll::Ready(Err(CloseCause::Garbage(text)));
                    }
                }
                Err(error) => return Poll::Ready(Err(CloseCause::Garbage(error.to_string()))),
            }
        }
    }

    /// Writes what there is, batch by batch; ready where the connection broke.
    pub(super) fn poll_write(&mut self, link: &Link, cx: &mut Context<'_>) -> Poll<CloseCause> {
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
                self.port.wrote(count);
            }
            self.batch.clear();
            self.written = 0;
            if self.batch.capacity() > KEPT_BYTES {
                self.batch = Vec::new();
            }
            if self.gather(link, cx) {
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
    fn gather(&mut self, link: &Link, cx: &mut Context<'_>) -> bool {
        loop {
            let taken = link.take(cx);
            if std::mem::take(&mut self.owes_beat) {
                self.push(&Envelope { table: 0, shard: 0, body: Body::Alive });
            }
            let Some((opened, dirty)) = taken else { return !self.batch.is_empty() };
            for table in opened {
                self.push(&Envelope { table, shard: 0, body: Body::Opened });
            }
            for table in dirty {
                if self.batch.len() >= BATCH_BYTES || !self.ask(link, table) {
                    link.mark(table);
                }
            }
            if !self.batch.is_empty() {
                return true;
            }
        }
    }

    /// Asks one table for what it has; whether it has no more.
    fn ask(&mut self, link: &Link, table: u64) -> bool {
        let Some(slot) = self.tables.slot(table) else { return true };
        for _ in 0..TURN {
            match slot.poll(link.peer, BUDGET) {
                Some(body) => self.push(&Envelope { table, shard: 0, body }),
                None if !slot.has_more_for(link.peer) => return true,
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
