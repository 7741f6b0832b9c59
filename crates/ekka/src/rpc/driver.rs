//! Carries one connection: reads what has come and hands it on, then writes all that has gathered, in one task and without
//! locks between the two.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use ekka_core::control::CloseCause;
use ekka_core::rpc::{Head, decode};
use ekka_core::wire::{FrameDecoder, FrameKind};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep, sleep_until, timeout};

use super::client::Unanswered;
use super::connection::Connection;
use crate::env::BoxStream;
use crate::home::Vigil;
use crate::transport::LaneConnection;

/// Bytes read at once: a few TLS records.
const READ_BYTES: usize = 64 * 1024;
/// A buffer that grew beyond this is given back once it is written.
const KEPT_BYTES: usize = 1024 * 1024;

/// Carries one connection to its end.
pub(super) struct Driver {
    connection: Arc<Connection>,
    stream: BoxStream,
    decoder: FrameDecoder,
    input: Vec<u8>,
    batch: Vec<u8>,
    /// Of the batch.
    written: usize,
    unflushed: bool,
    alarm: Pin<Box<Sleep>>,
    /// Told of each message, where the thread is one for calls alone.
    vigil: Option<Arc<Vigil>>,
    /// Why it ended, once it has.
    end: String,
}

/// What the transport has to do with a connection; a connection with oneself has none.
pub(super) type Port = Option<LaneConnection>;

impl Drop for Driver {
    fn drop(&mut self) {
        self.connection.end(&self.end);
    }
}

impl Driver {
    pub(super) fn new(connection: Arc<Connection>, stream: BoxStream, vigil: Option<Arc<Vigil>>) -> Self {
        Self {
            connection,
            stream,
            decoder: FrameDecoder::new(&[FrameKind::Call]),
            input: vec![0; READ_BYTES],
            batch: Vec::new(),
            written: 0,
            unflushed: false,
            alarm: Box::pin(sleep_until(Instant::now())),
            vigil,
            end: "this node has stopped".to_owned(),
        }
    }

    /// Runs to the end of the connection; `stop` ends it in order.
    pub(super) async fn run(mut self, port: Port, stop: impl Future<Output = ()>) {
        let closing = async {
            match &port {
                Some(port) => port.closing().await,
                None => std::future::pending().await,
            }
        };
        let cause = tokio::select! {
            biased;
            () = stop => CloseCause::Stopping,
            cause = closing => cause,
            cause = std::future::poll_fn(|cx| self.poll(cx, port.as_ref())) => cause,
        };
        if cause == CloseCause::Stopping {
            self.connection.cancel_all();
        }
        self.connection.queue.close();
        self.last_words(&cause, port.as_ref()).await;
        let peer = &self.connection.peer.name;
        tracing::debug!(%peer, lane = "calls", reason = ?cause, "connection ended");
        self.end = words(&cause, &peer.to_string());
    }

    /// Takes what has come already, and lets out what was queued where this side ends the connection.
    async fn last_words(&mut self, cause: &CloseCause, port: Option<&LaneConnection>) {
        if matches!(cause, CloseCause::Garbage(_)) {
            return;
        }
        std::future::poll_fn(|cx| {
            while let Poll::Ready(Ok(())) = self.poll_read(cx, port) {}
            Poll::Ready(())
        })
        .await;
        if let (CloseCause::Stopping | CloseCause::Credentials, Some(port)) = (cause, port) {
            let flushed = timeout(port.flush_limit(), std::future::poll_fn(|cx| self.poll_write(cx, Some(port)))).await;
            tracing::trace!(in_time = flushed.is_ok(), "flushed calls before the close");
        }
    }

    fn poll(&mut self, cx: &mut Context<'_>, port: Option<&LaneConnection>) -> Poll<CloseCause> {
        loop {
            let read = match self.poll_read(cx, port) {
                Poll::Ready(Ok(())) => true,
                Poll::Ready(Err(cause)) => return Poll::Ready(cause),
                Poll::Pending => false,
            };
            if let Poll::Ready(ended) = self.poll_write(cx, port) {
                return Poll::Ready(ended.err().unwrap_or(CloseCause::Stopping));
            }
            let expired = self.poll_alarm(cx);
            if !read && !expired {
                return Poll::Pending;
            }
        }
    }

    /// Reads once and hands on all whole messages.
    fn poll_read(&mut self, cx: &mut Context<'_>, port: Option<&LaneConnection>) -> Poll<Result<(), CloseCause>> {
        let mut buffer = ReadBuf::new(&mut self.input);
        match Pin::new(&mut self.stream).poll_read(cx, &mut buffer) {
            Poll::Pending => return Poll::Pending,
            Poll::Ready(Err(error)) => return Poll::Ready(Err(broken(&error))),
            Poll::Ready(Ok(())) if buffer.filled().is_empty() => return Poll::Ready(Err(CloseCause::Reset)),
            Poll::Ready(Ok(())) => {}
        }
        if let Some(port) = port {
            port.read(buffer.filled().len());
        }
        if let Some(vigil) = &self.vigil {
            vigil.stir();
        }
        self.decoder.push(buffer.filled());
        // Handlers that begin here find the application's runtime around them.
        let app = self.connection.service.app.clone();
        let _entered = app.enter();
        loop {
            match self.decoder.next_slice() {
                Ok(None) => return Poll::Ready(Ok(())),
                Ok(Some((_, frame))) => {
                    if let Err(text) = take(&self.connection, frame) {
                        return Poll::Ready(Err(CloseCause::Garbage(text)));
                    }
                }
                Err(error) => return Poll::Ready(Err(CloseCause::Garbage(error.to_string()))),
            }
        }
    }

    /// Writes all that waits; ready once nothing will come any more, or where the connection broke.
    fn poll_write(&mut self, cx: &mut Context<'_>, port: Option<&LaneConnection>) -> Poll<Result<(), CloseCause>> {
        loop {
            while self.written < self.batch.len() {
                let count = match Pin::new(&mut self.stream).poll_write(cx, &self.batch[self.written..]) {
                    Poll::Pending => return Poll::Pending,
                    Poll::Ready(Ok(0)) => return Poll::Ready(Err(CloseCause::Reset)),
                    Poll::Ready(Ok(count)) => count,
                    Poll::Ready(Err(error)) => return Poll::Ready(Err(broken(&error))),
                };
                self.written += count;
                self.unflushed = true;
                self.connection.wrote(count);
                if let Some(port) = port {
                    port.wrote(count);
                }
            }
            self.batch.clear();
            self.written = 0;
            if self.batch.capacity() > KEPT_BYTES {
                self.batch = Vec::new();
            }
            let open = match self.connection.queue.poll_take(&mut self.batch, cx) {
                Poll::Ready(true) => {
                    if let Some(vigil) = &self.vigil {
                        vigil.stir();
                    }
                    continue;
                }
                Poll::Ready(false) => false,
                Poll::Pending => true,
            };
            if self.unflushed {
                match Pin::new(&mut self.stream).poll_flush(cx) {
                    Poll::Pending => return Poll::Pending,
                    Poll::Ready(Ok(())) => self.unflushed = false,
                    Poll::Ready(Err(error)) => return Poll::Ready(Err(broken(&error))),
                }
            }
            if open {
                return Poll::Pending;
            }
            let stuck = self.connection.queue.is_stuck();
            return Poll::Ready(if stuck { Err(CloseCause::Stuck) } else { Ok(()) });
        }
    }

    /// Ends what has run out of time; whether there was any.
    fn poll_alarm(&mut self, cx: &mut Context<'_>) -> bool {
        let Some(deadline) = self.connection.server.deadline() else { return false };
        let moment = self.connection.service.moment(deadline);
        if self.alarm.deadline() != moment {
            self.alarm.as_mut().reset(moment);
        }
        if self.alarm.as_mut().poll(cx).is_pending() {
            return false;
        }
        self.connection.expire();
        true
    }
}

/// One message of the peer.
pub(super) fn take(connection: &Arc<Connection>, frame: &[u8]) -> Result<(), String> {
    let (head, payload) = decode(frame).map_err(|error| error.to_string())?;
    match head {
        Head::Call(call) => connection.serve(&call, false, payload),
        Head::Cast(call) => connection.serve(&call, true, payload),
        Head::Answer { id } => connection.client.take_reply(id, || Ok(payload.to_vec())),
        Head::Refused { id, why } => {
            let refused = || Unanswered::Refused(why, String::from_utf8_lossy(payload).into_owned());
            connection.client.take_reply(id, || Err(refused()));
            connection.outbound.ended(id, Err(refused()), &connection.queue);
        }
        Head::Cancel { id } => {
            if !connection.inbound.cancel(id) {
                connection.cancel(id);
            }
        }
        Head::Open { call, window } => connection.receive(&call, window),
        Head::Item { id } => connection.inbound.item(id, payload)?,
        Head::Handled { id, count } => connection.outbound.handled(id, count).map_err(|error| error.to_string())?,
        Head::Finish { id } => connection.inbound.finish(id),
        Head::Finished { id } => connection.outbound.ended(id, Ok(()), &connection.queue),
    }
    Ok(())
}

fn broken(error: &io::Error) -> CloseCause {
    if let Some(tls) = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
        return CloseCause::Garbage(tls.to_string());
    }
    CloseCause::Reset
}

/// Why a connection ended, for whoever called over it.
fn words(cause: &CloseCause, peer: &str) -> String {
    match cause {
        CloseCause::Reset => format!("the connection with {peer} was closed by the other side"),
        CloseCause::Silent => format!("{peer} was silent for too long"),
        CloseCause::Stuck => format!("{peer} does not read what it is sent"),
        CloseCause::Garbage(text) => format!("{peer} broke the protocol of calls: {text}"),
        CloseCause::Refused(refusal) => format!("{peer}: {}", refusal.text),
        CloseCause::Superseded => format!("{peer} was started again"),
        CloseCause::Stopping => "this node is stopping".to_owned(),
        CloseCause::Credentials => format!("the credentials of the connection with {peer} are not trusted any more"),
        CloseCause::Redundant => format!("the connection with {peer} was replaced"),
    }
}
