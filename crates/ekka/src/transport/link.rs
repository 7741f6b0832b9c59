//! An open connection: reads frames to where they are handled, writes what is queued, and ends with a cause.

use std::future::Future;
use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use ekka_core::control::{CloseCause, ConnId, Input};
use ekka_core::id::{Incarnation, NodeId};
use ekka_core::wire::{FrameDecoder, FrameKind, HelloReply, Lane};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadHalf};
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::GroupSender;
use super::lanes::Hosts;
use super::outbox::Outbox;
use super::stats::PeerCounters;
use crate::env::BoxStream;

/// Where the frames of a connection go.
pub(super) enum Sink {
    /// To `Control`.
    Control(ConnId, mpsc::Sender<Input>, Option<GroupSink>, Asked),
    /// To the reader of the bulk lane.
    Bulk(NodeId, mpsc::Sender<(NodeId, Vec<u8>)>),
    /// Nowhere: the dialling side of a bulk connection only writes.
    Nowhere,
}

/// Where the frames of groups go that come on a control connection.
pub(super) struct GroupSink {
    pub(super) from: Incarnation,
    pub(super) frames: GroupSender,
    pub(super) counters: Arc<PeerCounters>,
}

/// Who is told that the peer of a control connection wants a connection of another lane.
pub(super) struct Asked {
    pub(super) by: NodeId,
    pub(super) hosts: Hosts,
}

impl GroupSink {
    fn give(&self, body: Vec<u8>) -> Result<(), CloseCause> {
        match self.frames.try_send((self.from, body)) {
            Ok(()) => Ok(()),
            Err(mpsc::error::TrySendError::Full(_)) => {
                self.counters.dropped(Lane::Control, "group_behind", 1);
                Ok(())
            }
            Err(mpsc::error::TrySendError::Closed(_)) => Err(CloseCause::Stopping),
        }
    }
}

impl Sink {
    pub(super) fn lane(&self) -> Lane {
        match self {
            Self::Control(..) => Lane::Control,
            Self::Bulk(..) | Self::Nowhere => Lane::Bulk,
        }
    }

    fn allowed(&self) -> &'static [FrameKind] {
        match self {
            // The dialling side may still refuse after it was welcomed.
            Self::Control(..) => {
                &[FrameKind::Control, FrameKind::Group, FrameKind::Call, FrameKind::Table, FrameKind::HelloReply]
            }
            Self::Bulk(..) => &[FrameKind::Bulk, FrameKind::HelloReply],
            Self::Nowhere => &[FrameKind::HelloReply],
        }
    }

    /// Hands one frame on; waits while the receiver is busy, and so makes the peer wait.
    async fn give(&self, kind: FrameKind, body: Vec<u8>) -> Result<(), CloseCause> {
        if kind == FrameKind::HelloReply {
            return Err(match HelloReply::decode(&body) {
                Ok(HelloReply::Refused(refusal)) => CloseCause::Refused(refusal),
                Ok(HelloReply::Welcome(_)) => CloseCause::Garbage("a second welcome".to_owned()),
                Err(error) => CloseCause::Garbage(error.to_string()),
            });
        }
        if let Self::Control(_, _, groups, asked) = self {
            // A node without groups, calls or tables ignores them.
            match kind {
                FrameKind::Group => return groups.as_ref().map_or(Ok(()), |groups| groups.give(body)),
                FrameKind::Call | FrameKind::Table => {
                    asked.hosts.asked(kind, asked.by);
                    return Ok(());
                }
                _ => {}
            }
        }
        let given = match self {
            Self::Control(conn, events, ..) => {
                events.send(Input::Frame { conn: *conn, bytes: body }).await.map_err(|_| ())
            }
            Self::Bulk(node, frames) => frames.send((*node, body)).await.map_err(|_| ()),
            Self::Nowhere => Ok(()),
        };
        given.map_err(|()| CloseCause::Stopping)
    }
}

/// What a connection is run with.
pub(super) struct Carrier<'a> {
    pub(super) outbox: &'a Outbox,
    pub(super) counters: &'a PeerCounters,
    pub(super) sink: &'a Sink,
    pub(super) flush: Duration,
    pub(super) kill: &'a CancellationToken,
    pub(super) unchecked: bool,
}

impl Carrier<'_> {
    /// Carries frames until the connection ends. Gives the cause, and the reading half for [`linger`].
    pub(super) async fn run(&self, stream: BoxStream) -> (CloseCause, ReadHalf<BoxStream>) {
        let (mut reader, writer) = tokio::io::split(stream);
        let cause = {
            let mut write = pin!(self.write_all(writer));
            let mut read = pin!(self.read_all(&mut reader));
            tokio::select! {
                biased;
                () = self.kill.cancelled() => CloseCause::Stopping,
                cause = self.outbox.closing() => self.flush_for(cause, write).await,
                cause = &mut write => cause,
                cause = &mut read => cause,
            }
        };
        self.outbox.close(cause.clone());
        (cause, reader)
    }

    /// Lets out what was queued, where the peer may still read.
    async fn flush_for(&self, cause: CloseCause, write: impl Future<Output = CloseCause>) -> CloseCause {
        if !matches!(cause, CloseCause::Silent | CloseCause::Stuck) {
            let flushed = timeout(self.flush, write).await;
            tracing::trace!(in_time = flushed.is_ok(), "flushed before the close");
        }
        cause
    }

    async fn write_all(&self, mut writer: impl AsyncWrite + Unpin) -> CloseCause {
        while let Some(batch) = self.outbox.take().await {
            let written = async {
                writer.write_all(&batch).await?;
                writer.flush().await
            };
            if let Err(error) = written.await {
                return broken(&error);
            }
            self.outbox.written();
            self.counters.wrote(batch.len());
        }
        let closed = writer.shutdown().await;
        tracing::trace!(ok = closed.is_ok(), "said goodbye");
        self.outbox.closing().await
    }

    async fn read_all(&self, reader: &mut (impl AsyncRead + Unpin)) -> CloseCause {
        let mut frames = Frames::new(self.sink.allowed(), self.unchecked);
        let mut buffer = vec![0u8; READ_BYTES];
        loop {
            let count = match reader.read(&mut buffer).await {
                Ok(0) => return CloseCause::Reset,
                Ok(count) => count,
                Err(error) => return broken(&error),
            };
            self.counters.read(count);
            frames.push(&buffer[..count]);
            loop {
                match frames.next() {
                    Ok(None) => break,
                    Ok(Some((kind, body))) => {
                        if let Err(cause) = self.sink.give(kind, body).await {
                            return cause;
                        }
                    }
                    Err(text) => return CloseCause::Garbage(text),
                }
            }
        }
    }
}

/// Bytes read at once: a TLS record.
const READ_BYTES: usize = 16 * 1024;
/// Bytes that a closed connection still swallows.
const LINGER_BYTES: usize = 1024 * 1024;

fn broken(error: &io::Error) -> CloseCause {
    if let Some(tls) = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
        return CloseCause::Garbage(tls.to_string());
    }
    tracing::debug!(err = %error, "connection broke");
    CloseCause::Reset
}

/// Swallows input until the peer closes too: a socket closed with input unread is reset, and the peer may then lose
/// the last words, the reason of a refusal among them.
pub(super) async fn linger(mut stream: impl AsyncRead + Unpin, limit: Duration) {
    let swallow = async {
        let mut buffer = [0u8; 1024];
        let mut left = LINGER_BYTES;
        while left > 0 {
            match stream.read(&mut buffer).await {
                Ok(0) | Err(_) => return,
                Ok(count) => left = left.saturating_sub(count),
            }
        }
    };
    let ended = timeout(limit, swallow).await;
    tracing::trace!(in_time = ended.is_ok(), "lingered");
}

/// Flushes and shuts the writing side, then swallows input.
pub(super) async fn part(mut stream: BoxStream, limit: Duration) {
    let shut = timeout(limit, stream.shutdown()).await;
    if matches!(shut, Ok(Ok(()))) {
        linger(stream, limit).await;
    }
}

/// The decoder, or the planted fault in its place.
enum Frames {
    Checked(FrameDecoder),
    Unchecked(Vec<u8>),
}

impl Frames {
    fn new(allowed: &'static [FrameKind], unchecked: bool) -> Self {
        if unchecked { Self::Unchecked(Vec::new()) } else { Self::Checked(FrameDecoder::new(allowed)) }
    }

    fn push(&mut self, bytes: &[u8]) {
        match self {
            Self::Checked(decoder) => decoder.push(bytes),
            Self::Unchecked(buffer) => buffer.extend_from_slice(bytes),
        }
    }

    fn next(&mut self) -> Result<Option<(FrameKind, Vec<u8>)>, String> {
        match self {
            Self::Checked(decoder) => decoder.next_frame().map_err(|error| error.to_string()),
            Self::Unchecked(buffer) => {
                let Some((head, rest)) = buffer.split_first_chunk::<4>() else { return Ok(None) };
                let length = u32::from_be_bytes(*head) as usize;
                let (Some(frame), true) = (rest.get(..length), length > 0) else { return Ok(None) };
                let kind = if frame[0] == FrameKind::Bulk as u8 { FrameKind::Bulk } else { FrameKind::Control };
                let body = frame[1..].to_vec();
                buffer.drain(..4 + length);
                Ok(Some((kind, body)))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn end_after(bytes: &[u8]) -> CloseCause {
        let (near, mut far) = tokio::io::duplex(1 << 20);
        let (events, _inputs) = mpsc::channel(16);
        let (outbox, counters) = (Outbox::new(1024), PeerCounters::default());
        let asked = Asked { by: NodeId::from_u128(2), hosts: Hosts::default() };
        let (sink, kill) = (Sink::Control(ConnId(1), events, None, asked), CancellationToken::new());
        let flush = Duration::from_secs(1);
        let (outbox, counters, sink, kill) = (&outbox, &counters, &sink, &kill);
        let carrier = Carrier { outbox, counters, sink, flush, kill, unchecked: false };
        far.write_all(bytes).await.unwrap();
        carrier.run(Box::new(near)).await.0
    }

    #[tokio::test]
    async fn what_is_no_frame_ends_the_link_in_words() {
        for (bytes, words) in [
            (&u32::MAX.to_be_bytes()[..], "a frame of 4294967295 bytes is announced"),
            (&[0, 0, 0, 0], "an empty frame"),
            (&[0, 0, 0, 2, 99, 0], "unknown frame kind 99"),
            (&[0, 0, 0, 2, 1, 0], "has no place here"),
            (&[0, 0, 0, 2, 2, 0], "does not speak"),
        ] {
            let CloseCause::Garbage(text) = end_after(bytes).await else { panic!("{words}: not garbage") };
            assert!(text.contains(words), "{text}");
        }
    }
}
