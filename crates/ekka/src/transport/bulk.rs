//! The bulk lane: one-way connections of their own, so that control frames never queue behind tables.

use std::sync::Arc;

use ekka_core::control::{CloseCause, DialError};
use ekka_core::id::Endpoint;
use ekka_core::limits::BULK_FRAME_MAX;
use ekka_core::wire::{FrameKind, Hello, HelloReply, Lane, Purpose, Refusal, RefusalReason, encode_frame};
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout, timeout_at};

use super::dial::Dialer;
use super::failure::Failure;
use super::link::{Sink, part};
use super::outbox::{Outbox, Pushed};
use super::shared::{Claim, Greeted, Registered, Shared};
use super::stats::PeerCounters;

/// The sending end of a bulk connection. Dropping it closes the connection after what was sent.
pub struct BulkConnection {
    hello: Hello,
    outbox: Arc<Outbox>,
    room: Arc<Semaphore>,
    room_max: usize,
    counters: Arc<PeerCounters>,
}

/// Why a frame was not taken.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BulkError {
    /// The connection has ended. Whether frames sent before have arrived is not known.
    #[error("the bulk connection has ended: {0:?}")]
    Closed(CloseCause),
    /// The frame is above the limit; the connection goes on.
    #[error("a frame of {length} bytes, at most {limit} are taken on the bulk lane")]
    TooLarge {
        /// Its length.
        length: usize,
        /// The limit.
        limit: usize,
    },
}

impl BulkConnection {
    /// Who is at the other end.
    #[must_use]
    pub fn peer(&self) -> &Hello {
        &self.hello
    }

    /// Queues a frame; waits while the queue is full, for as long as the connection lives.
    ///
    /// # Errors
    /// The connection has ended, or the frame is too large.
    pub async fn send(&self, bytes: &[u8]) -> Result<(), BulkError> {
        let mut frame = Vec::new();
        if encode_frame(FrameKind::Bulk, bytes, &mut frame).is_err() {
            return Err(BulkError::TooLarge { length: bytes.len(), limit: BULK_FRAME_MAX - 1 });
        }
        let cost = u32::try_from(frame.len().min(self.room_max)).unwrap_or(u32::MAX);
        tokio::select! {
            biased;
            cause = self.outbox.closing() => return Err(BulkError::Closed(cause)),
            permit = self.room.acquire_many(cost) => match permit {
                Ok(permit) => permit.forget(),
                Err(_) => return Err(BulkError::Closed(self.outbox.closing().await)),
            },
        }
        match self.outbox.push(frame) {
            Pushed::Queued => Ok(()),
            Pushed::Closing | Pushed::Stuck { .. } => {
                self.counters.dropped(Lane::Bulk, "closing", 1);
                Err(BulkError::Closed(self.outbox.closing().await))
            }
        }
    }

    /// Waits until the connection has ended and says why.
    pub async fn closed(&self) -> CloseCause {
        self.outbox.closing().await
    }
}

impl Drop for BulkConnection {
    fn drop(&mut self) {
        self.outbox.close(CloseCause::Redundant);
    }
}

/// Opens a bulk connection to an endpoint whose node has a control connection with this one.
pub(super) async fn open(shared: &Arc<Shared>, endpoint: &Endpoint) -> Result<BulkConnection, DialError> {
    let credentials = shared.credentials();
    let ours = (shared.hello)(Purpose::Peer(Lane::Bulk));
    let dialer = Dialer { env: &shared.env, credentials: &credentials, limits: &shared.limits };
    let (greeting, hello, addr) = dialer.dial(endpoint, &ours).await?;
    let greeted = Greeted { greeting, hello, addr, dialed: None };
    let Registered { conn, outbox, .. } = match admit(shared, greeted.claim(), Lane::Bulk).await {
        Ok(registered) => registered,
        Err(failure) => {
            part(greeted.greeting.into_stream(), shared.limits.linger).await;
            return Err(failure.into_dial_error(&endpoint.to_string(), &credentials.describe()));
        }
    };
    let Greeted { greeting, hello, .. } = greeted;
    let room_max = shared.limits.bulk_queue;
    let room = Arc::new(Semaphore::new(room_max));
    outbox.give_room_back_to(room.clone(), room_max);
    let connection = BulkConnection {
        counters: shared.counters.of(&hello.name),
        hello: hello.clone(),
        outbox: outbox.clone(),
        room,
        room_max,
    };
    let task = shared.clone();
    shared.tasks.spawn(async move {
        task.carry(conn, &hello, greeting.into_stream(), &outbox, &Sink::Nowhere).await;
    });
    Ok(connection)
}

/// Serves the accepting side of a bulk connection to its end.
pub(super) async fn accept(shared: &Shared, greeted: Greeted) {
    let sink = shared.bulk_sink(greeted.hello.node_id);
    let admitted = match sink {
        None => Err(refuse("this node takes no bulk connections")),
        Some(sink) => admit(shared, greeted.claim(), Lane::Bulk).await.map(|registered| (registered, sink)),
    };
    let (Registered { conn, outbox, .. }, sink) = match admitted {
        Ok(admitted) => admitted,
        Err(failure) => return shared.turn_away(greeted, failure).await,
    };
    let Greeted { mut greeting, hello, .. } = greeted;
    let answer = HelloReply::Welcome((shared.hello)(Purpose::Peer(Lane::Bulk)));
    let sent = timeout(shared.limits.flush, greeting.send_reply(&answer)).await;
    if !matches!(sent, Ok(Ok(()))) {
        return shared.registry().remove(conn, &CloseCause::Reset);
    }
    shared.carry(conn, &hello, greeting.into_stream(), &outbox, &sink).await;
}

/// Keeps a connection beside the link of an incarnation that has one. The verdict on a link may still be on its way to this
/// side when the other already has it, so this waits for a moment.
pub(super) async fn admit(shared: &Shared, claim: Claim<'_>, lane: Lane) -> Result<Registered, Failure> {
    let incarnation = claim.hello.incarnation();
    let deadline = Instant::now() + shared.limits.flush;
    loop {
        let mut changed = std::pin::pin!(shared.links_changed.notified());
        changed.as_mut().enable();
        if shared.registry().has_link(incarnation) {
            let registered = shared.register(claim, lane)?;
            shared.registry().decide(registered.conn, Ok(Box::new(claim.hello.clone())), &shared.counters);
            return Ok(registered);
        }
        if timeout_at(deadline, changed).await.is_err() {
            return Err(refuse("this incarnation has no control connection with us"));
        }
    }
}

pub(super) fn refuse(text: &str) -> Failure {
    Failure::Refuse(Refusal::new(RefusalReason::Garbage, text))
}
