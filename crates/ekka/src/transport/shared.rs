//! What the tasks of one transport share, and the part of a connection's life that both sides have in common.

use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};

use ekka_core::control::{CloseCause, ConnId, Input};
use ekka_core::id::{Endpoint, NodeId};
use ekka_core::wire::{FrameKind, Hello, HelloReply, Lane, Refusal, RefusalReason, encode_frame};
use tokio::sync::{Notify, broadcast, mpsc, oneshot};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::credentials::Credentials;
use super::failure::Failure;
use super::files::CertificateNotice;
use super::gate::Gate;
use super::greeting::Greeting;
use super::lanes::Hosts;
use super::limits::Limits;
use super::link::{Asked, Carrier, GroupSink, Sink, linger, part};
use super::outbox::Outbox;
use super::refusals::Refusals;
use super::registry::{Connection, Registry, Verdict};
use super::secure::Trust;
use super::stats::Counters;
use super::{BulkSender, GroupSender, HelloSource};
use crate::env::{BoxStream, Env};

/// What the tasks share.
pub(super) struct Shared {
    pub(super) env: Env,
    pub(super) limits: Limits,
    pub(super) hello: HelloSource,
    pub(super) events: mpsc::Sender<Input>,
    pub(super) bulk: Option<BulkSender>,
    pub(super) groups: Option<GroupSender>,
    pub(super) hosts: Hosts,
    pub(super) tasks: TaskTracker,
    /// No new connections.
    pub(super) stop: CancellationToken,
    /// No connections at all.
    pub(super) kill: CancellationToken,
    pub(super) gate: Arc<Gate>,
    pub(super) refusals: Refusals,
    pub(super) counters: Counters,
    pub(super) links_changed: Notify,
    pub(super) certificates: broadcast::Sender<CertificateNotice>,
    credentials: Mutex<Credentials>,
    registry: Mutex<Registry>,
}

/// Who takes what comes on the lanes beside control, and for groups.
pub(super) type Sinks = (Option<BulkSender>, Option<GroupSender>, Hosts);

/// Notices about certificate files that wait for a slow reader.
const CERTIFICATE_NOTICES: usize = 16;

/// A greeted connection before its verdict.
pub(super) struct Greeted {
    pub(super) greeting: Greeting,
    pub(super) hello: Hello,
    pub(super) addr: SocketAddr,
    pub(super) dialed: Option<Endpoint>,
}

/// What a greeted connection is registered by.
#[derive(Clone, Copy)]
pub(super) struct Claim<'a> {
    pub(super) hello: &'a Hello,
    trust: Trust,
    remote: (IpAddr, bool),
}

impl Greeted {
    pub(super) fn claim(&self) -> Claim<'_> {
        let remote = (self.addr.ip(), self.dialed.is_some());
        Claim { hello: &self.hello, trust: self.greeting.trust(), remote }
    }
}

/// A connection in the registry.
pub(super) struct Registered {
    pub(super) conn: ConnId,
    pub(super) outbox: Arc<Outbox>,
    verdict: oneshot::Receiver<Verdict>,
}

impl Shared {
    pub(super) fn new(
        env: &Env,
        limits: Limits,
        credentials: Credentials,
        hello: HelloSource,
        events: mpsc::Sender<Input>,
        (bulk, groups, hosts): Sinks,
    ) -> Self {
        credentials.use_clock(&env.clock);
        let kill = CancellationToken::new();
        Self {
            env: env.clone(),
            gate: Arc::new(Gate::new(&limits)),
            refusals: Refusals::new(&limits),
            limits,
            hello,
            events,
            bulk,
            groups,
            hosts,
            tasks: TaskTracker::new(),
            stop: kill.child_token(),
            kill,
            counters: Counters::default(),
            links_changed: Notify::new(),
            certificates: broadcast::channel(CERTIFICATE_NOTICES).0,
            credentials: Mutex::new(credentials),
            registry: Mutex::default(),
        }
    }

    pub(super) fn credentials(&self) -> Credentials {
        self.credentials.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Replaces the credentials, where `before` are given only if those are the ones in use. Connections that stand on
    /// one that is no longer trusted are closed; the registry is locked meanwhile, so that none slips through.
    pub(super) fn take_credentials(&self, credentials: Credentials, before: Option<&Credentials>) -> bool {
        credentials.use_clock(&self.env.clock);
        let registry = self.registry();
        let mut present = self.credentials.lock().unwrap_or_else(PoisonError::into_inner);
        if before.is_some_and(|before| !present.is(before)) {
            return false;
        }
        let lost = registry.connections.values().filter(|c| !c.trust.holds_under(&credentials));
        lost.for_each(|connection| connection.outbox.close(CloseCause::Credentials));
        *present = credentials;
        true
    }

    pub(super) fn tell_certificates(&self, notice: CertificateNotice) {
        // Nobody may listen; that is no error.
        let _ = self.certificates.send(notice);
    }

    pub(super) fn registry(&self) -> std::sync::MutexGuard<'_, Registry> {
        self.registry.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps a greeted connection, unless this node stops or the credentials were replaced meanwhile.
    pub(super) fn register(&self, claim: Claim<'_>, lane: Lane) -> Result<Registered, Failure> {
        let Claim { hello, trust, remote } = claim;
        let mut registry = self.registry();
        if registry.stopping {
            return Err(Failure::Refuse(Refusal::new(RefusalReason::Stopping, "this node is stopping")));
        }
        if !trust.holds_under(&self.credentials()) {
            return Err(Failure::Credentials("its credentials were taken out of trust just now".to_owned()));
        }
        let (verdict, receiver) = oneshot::channel();
        // On the other lanes senders wait for room; the bound is theirs.
        let queue = if lane == Lane::Control { self.limits.control_queue } else { usize::MAX };
        let outbox = Arc::new(Outbox::new(queue));
        let conn = registry.insert(Connection {
            peer: hello.name.clone(),
            incarnation: hello.incarnation(),
            lane,
            trust,
            remote,
            outbox: outbox.clone(),
            counters: Arc::default(),
            verdict: Some(verdict),
            open: false,
        });
        Ok(Registered { conn, outbox, verdict: receiver })
    }

    /// Asks `Control` and goes on as it says, to the end of the connection.
    pub(super) async fn ask_and_carry(&self, greeted: Greeted) {
        let registered = match self.register(greeted.claim(), Lane::Control) {
            Ok(registered) => registered,
            Err(failure) => return self.turn_away(greeted, failure).await,
        };
        let Registered { conn, outbox, verdict } = registered;
        let Greeted { mut greeting, hello, addr, dialed } = greeted;
        let accepted = dialed.is_none();
        let input =
            Input::Hello { conn, hello: Box::new(hello.clone()), addr: addr.to_string(), dialed: dialed.clone() };
        let given = self.tell(input).await;
        if let Some(endpoint) = &dialed {
            self.registry().dialing.remove(endpoint);
        }
        if !given {
            return self.registry().remove(conn, &CloseCause::Stopping);
        }
        let decided = tokio::select! {
            biased;
            () = self.kill.cancelled() => Err(CloseCause::Stopping),
            verdict = timeout(self.limits.verdict, verdict) => Ok(match verdict {
                Ok(Ok(verdict)) => verdict,
                _ => Err(Refusal::new(RefusalReason::Timeout, "the node is too busy to answer")),
            }),
            cause = outbox.closing() => Err(cause),
        };
        let stream = match decided {
            Err(cause) => {
                self.finish(conn, cause).await;
                return part(greeting.into_stream(), self.limits.linger).await;
            }
            Ok(Err(refusal)) => {
                self.count_refusal(addr, &refusal);
                let told = timeout(self.limits.flush, greeting.send_reply(&HelloReply::Refused(refusal.clone()))).await;
                tracing::debug!(peer = %hello.name, reason = refusal.reason.as_str(), told = matches!(told, Ok(Ok(()))), "refused");
                self.finish(conn, CloseCause::Refused(refusal)).await;
                return part(greeting.into_stream(), self.limits.linger).await;
            }
            Ok(Ok(answer)) if accepted => {
                let sent = timeout(self.limits.verdict, greeting.send_reply(&HelloReply::Welcome(*answer))).await;
                if !matches!(sent, Ok(Ok(()))) {
                    return self.finish(conn, CloseCause::Reset).await;
                }
                greeting.into_stream()
            }
            Ok(Ok(_)) => greeting.into_stream(),
        };
        self.links_changed.notify_waiters();
        let groups = self.groups.clone().map(|frames| GroupSink {
            from: hello.incarnation(),
            frames,
            counters: self.counters.of(&hello.name),
        });
        let asked = Asked { by: hello.node_id, hosts: self.hosts.clone() };
        let sink = Sink::Control(conn, self.events.clone(), groups, asked);
        self.carry(conn, &hello, stream, &outbox, &sink).await;
    }

    /// Carries frames to the end of an open connection, says `Closed`, and parts.
    pub(super) async fn carry(&self, conn: ConnId, hello: &Hello, stream: BoxStream, outbox: &Outbox, sink: &Sink) {
        let counters = self.counters.of(&hello.name);
        let carrier = Carrier {
            outbox,
            counters: &counters,
            sink,
            flush: self.limits.flush,
            kill: &self.kill,
            unchecked: self.limits.unchecked_frame_limit,
        };
        let (cause, reader) = carrier.run(stream).await;
        tracing::debug!(peer = %hello.name, lane = ?sink.lane(), reason = ?cause, "connection ended");
        let hard = matches!(cause, CloseCause::Silent | CloseCause::Stuck | CloseCause::Reset);
        match sink.lane() {
            Lane::Control => self.finish(conn, cause).await,
            Lane::Bulk | Lane::Calls | Lane::Tables => self.registry().remove(conn, &cause),
        }
        if !hard && !self.kill.is_cancelled() {
            linger(reader, self.limits.linger).await;
        }
    }

    /// Takes a control connection out and says so, once.
    async fn finish(&self, conn: ConnId, cause: CloseCause) {
        self.registry().remove(conn, &cause);
        self.links_changed.notify_waiters();
        self.tell(Input::Closed { conn, cause }).await;
    }

    /// Gives an input to `Control`; waits while it is busy. False: nobody listens any more, the node has ended.
    async fn tell(&self, input: Input) -> bool {
        tokio::select! {
            biased;
            sent = self.events.send(input) => sent.is_ok(),
            () = self.kill.cancelled() => false,
        }
    }

    fn count_refusal(&self, addr: SocketAddr, refusal: &Refusal) {
        self.refusals.add(addr.ip(), refusal.reason, refusal.text.clone(), tokio::time::Instant::now());
    }

    /// A verified peer that cannot be taken: told in words, and counted where it is the one that came.
    pub(super) async fn turn_away(&self, greeted: Greeted, failure: Failure) {
        let Greeted { mut greeting, hello, addr, dialed } = greeted;
        if let Some(reason) = failure.reason() {
            let text = failure.text(&hello.name.to_string(), &self.credentials().describe());
            let refusal = Refusal::new(reason, text);
            if dialed.is_none() {
                self.count_refusal(addr, &refusal);
            }
            let told = timeout(self.limits.flush, greeting.send_reply(&HelloReply::Refused(refusal.clone()))).await;
            tracing::debug!(peer = %hello.name, reason = refusal.reason.as_str(), told = matches!(told, Ok(Ok(()))), "turned away");
        }
        if let Some(endpoint) = dialed {
            self.dial_failed(endpoint, failure).await;
        }
        part(greeting.into_stream(), self.limits.linger).await;
    }

    /// Says that a dial came to nothing.
    pub(super) async fn dial_failed(&self, endpoint: Endpoint, failure: Failure) {
        let ours = self.credentials().describe();
        let error = failure.into_dial_error(&endpoint.to_string(), &ours);
        self.dial_came_to(endpoint, error).await;
    }

    /// The same, with the error at hand.
    pub(super) async fn dial_came_to(&self, endpoint: Endpoint, error: ekka_core::control::DialError) {
        self.registry().dialing.remove(&endpoint);
        self.tell(Input::DialFailed { endpoint, error }).await;
    }

    /// Queues a frame of the control lane.
    pub(super) fn send(&self, conn: ConnId, bytes: &[u8]) {
        let (outbox, counters, peer) = {
            let registry = self.registry();
            let Some(connection) = registry.connections.get(&conn).filter(|c| c.open) else { return };
            (connection.outbox.clone(), connection.counters.clone(), connection.peer.clone())
        };
        let mut frame = Vec::new();
        if let Err(error) = encode_frame(FrameKind::Control, bytes, &mut frame) {
            counters.dropped(Lane::Control, "too_large", 1);
            tracing::error!(%peer, err = %error, "own frame dropped");
            return;
        }
        match outbox.push(frame) {
            super::outbox::Pushed::Queued => {}
            super::outbox::Pushed::Closing => counters.dropped(Lane::Control, "closing", 1),
            super::outbox::Pushed::Stuck { lost } => {
                counters.dropped(Lane::Control, "stuck", lost);
                tracing::warn!(%peer, "the peer does not read: connection dropped");
            }
        }
    }

    /// Queues a frame of a group on the link with a node; whether it was taken. A queue that is half full takes none:
    /// gossip goes first, and a group sends again what it misses.
    pub(super) fn send_group(&self, to: NodeId, bytes: &[u8]) -> bool {
        let found = {
            let registry = self.registry();
            // The newest: of two links the older is on its way out.
            let link = registry.links().filter(|link| link.incarnation.node_id == to).last();
            link.map(|link| (link.outbox.clone(), link.counters.clone(), link.peer.clone()))
        };
        let Some((outbox, counters, peer)) = found else { return false };
        let mut frame = Vec::new();
        if let Err(error) = encode_frame(FrameKind::Group, bytes, &mut frame) {
            counters.dropped(Lane::Control, "too_large", 1);
            tracing::error!(%peer, err = %error, "own frame dropped");
            return false;
        }
        if outbox.queued_bytes() + frame.len() > self.limits.control_queue / 2 {
            counters.dropped(Lane::Control, "group_behind", 1);
            return false;
        }
        outbox.push(frame) == super::outbox::Pushed::Queued
    }

    /// The node behind a bulk connection, for its receiver.
    pub(super) fn bulk_sink(&self, node: NodeId) -> Option<Sink> {
        self.bulk.clone().map(|frames| Sink::Bulk(node, frames))
    }
}
