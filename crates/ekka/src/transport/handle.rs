//! The handle that the shell of a node holds.

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use ekka_core::control::{CloseCause, ConnId, DialError, Input};
use ekka_core::id::{Endpoint, Host, NodeId};
use ekka_core::wire::{FrameKind, Hello, HelloReply, Lane, Purpose, Refusal, encode_frame};
use tokio::sync::{broadcast, mpsc};
use tokio::time::{Instant, timeout};
use tokio_util::sync::DropGuard;

use super::bulk::{self, BulkConnection};
use super::credentials::{Credentials, Mode};
use super::dial::Dialer;
use super::files::{self, CertificateNotice};
use super::lanes::{self, Hosts, LaneConnection};
use super::limits::Limits;
use super::refusals::RefusalNotice;
use super::shared::Shared;
use super::stats::{TransportStats, lane_name};
use super::{BulkSender, GroupSender, HelloSource, accept, dial};
use crate::env::{BoxStream, Env};

/// How a transport is set up.
#[derive(Clone, Default)]
pub struct Options {
    /// Where to listen; port 0 lets the system choose.
    pub listen: Vec<SocketAddr>,
    /// Bounds.
    pub limits: Limits,
    /// Who takes frames of the bulk lane; without it bulk connections are refused.
    pub bulk: Option<BulkSender>,
    /// Who takes frames of consensus groups; without it they are ignored.
    pub groups: Option<GroupSender>,
    /// Who takes connections of the lanes for calls and for tables.
    pub hosts: Hosts,
}

/// A running transport. Clones are handles to the same one; dropping the last ends it at once.
#[derive(Clone)]
pub struct Transport {
    pub(super) shared: Arc<Shared>,
    local_addrs: Arc<[SocketAddr]>,
    _kill: Arc<DropGuard>,
}

/// An address that cannot be listened on.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {addr}: {problem}")]
pub struct BindError {
    /// Which one.
    pub addr: SocketAddr,
    /// Why, and by whom it is in use where that can be found out.
    pub problem: String,
    /// The error of the system.
    pub source: io::Error,
}

impl Transport {
    /// Listens and begins to accept. Inputs go to `events`, whose bound makes peers wait.
    ///
    /// # Errors
    /// An address cannot be listened on; nothing was begun.
    pub async fn start(
        env: &Env,
        options: Options,
        credentials: Credentials,
        hello: HelloSource,
        events: mpsc::Sender<Input>,
    ) -> Result<Self, BindError> {
        let mut listeners = Vec::new();
        let mut local_addrs = Vec::new();
        for addr in &options.listen {
            let bound = match env.net.bind(*addr).await {
                Ok(listener) => listener.local_addr().map(|local| (listener, local)),
                Err(error) => Err(error),
            };
            match bound {
                Ok((listener, local)) => {
                    listeners.push(listener);
                    local_addrs.push(local);
                }
                Err(error) => return Err(explain(env, &credentials, &hello, *addr, error).await),
            }
        }
        let sinks = (options.bulk, options.groups, options.hosts);
        let shared = Shared::new(env, options.limits, credentials, hello, events, sinks);
        let shared = Arc::new(shared);
        for listener in listeners {
            shared.tasks.spawn(accept::run(shared.clone(), listener));
        }
        shared.tasks.spawn(report(shared.clone()));
        if matches!(shared.credentials().mode(), Mode::Files { .. }) {
            shared.tasks.spawn(files::watch(shared.clone()));
        }
        let kill = Arc::new(shared.kill.clone().drop_guard());
        Ok(Self { shared, local_addrs: local_addrs.into(), _kill: kill })
    }

    /// Where it listens, in the order of the options.
    #[must_use]
    pub fn local_addrs(&self) -> Vec<SocketAddr> {
        self.local_addrs.to_vec()
    }

    /// Dials once. The answer is [`Input::Hello`] or [`Input::DialFailed`]; a dial of the same endpoint that is under
    /// way counts for both.
    pub fn dial(&self, endpoint: Endpoint) {
        let shared = &self.shared;
        {
            let mut registry = shared.registry();
            if registry.dialing.contains(&endpoint) {
                return;
            }
            if registry.dialing.len() < shared.limits.dials {
                registry.dialing.insert(endpoint.clone());
                shared.tasks.spawn(dial::run(shared.clone(), endpoint));
                return;
            }
        }
        let text = format!("{} dials are under way already", shared.limits.dials);
        let failed = Input::DialFailed { endpoint, error: DialError::Network(text) };
        let events = shared.events.clone();
        if let Err(mpsc::error::TrySendError::Full(failed)) = events.try_send(failed) {
            shared.tasks.spawn(async move {
                let _ = events.send(failed).await;
            });
        }
    }

    /// Answers [`Input::Hello`]: lets the connection in, or refuses it in words and closes it.
    pub fn verdict(&self, conn: ConnId, verdict: Result<Box<Hello>, Refusal>) {
        let mut registry = self.shared.registry();
        registry.decide(conn, verdict, &self.shared.counters);
        self.shared.gate.set_known(registry.known_addrs());
        drop(registry);
        self.shared.links_changed.notify_waiters();
    }

    /// Queues a frame of the control lane. A queue that runs over closes the connection as [`CloseCause::Stuck`].
    #[expect(clippy::needless_pass_by_value, reason = "the frame is given away, as in `Output::Send`")]
    pub fn send(&self, conn: ConnId, bytes: Vec<u8>) {
        self.shared.send(conn, &bytes);
    }

    /// Queues a frame of a consensus group for a node, on the link that there is with it; whether it was taken. It may
    /// be lost all the same.
    #[must_use]
    pub fn send_group(&self, to: NodeId, bytes: &[u8]) -> bool {
        self.shared.send_group(to, bytes)
    }

    /// Closes a connection after what was sent on it, within a bounded time; at once where the peer is
    /// [`CloseCause::Silent`].
    pub fn close(&self, conn: ConnId, cause: CloseCause) {
        if let Some(connection) = self.shared.registry().connections.get(&conn) {
            // A link can still be refused: the peer is told why, behind what was queued.
            if let CloseCause::Refused(refusal) = &cause
                && connection.open
            {
                let mut frame = Vec::new();
                match encode_frame(FrameKind::HelloReply, &HelloReply::Refused(refusal.clone()).encode(), &mut frame) {
                    Ok(()) => drop(connection.outbox.push(frame)),
                    Err(error) => tracing::error!(peer = %connection.peer, err = %error, "own refusal dropped"),
                }
            }
            connection.outbox.close(cause);
        }
    }

    /// Names the members, each with the address in its name where it holds one. Places in the handshake are kept for
    /// these addresses, and for those of the verified connections with members.
    pub fn set_members(&self, members: BTreeMap<NodeId, Option<IpAddr>>) {
        let mut registry = self.shared.registry();
        self.shared.gate.set_known(registry.set_members(members));
    }

    /// Looks at a node without changing anything there.
    ///
    /// # Errors
    /// It could not be reached, or it refused.
    pub async fn observe(&self, endpoint: &Endpoint) -> Result<(Hello, Duration), DialError> {
        let shared = &self.shared;
        let credentials = shared.credentials();
        let dialer = Dialer { env: &shared.env, credentials: &credentials, limits: &shared.limits };
        dialer.observe(endpoint, &(shared.hello)(Purpose::Observer)).await
    }

    /// Opens a connection of the bulk lane to a node that has a control connection with this one.
    ///
    /// # Errors
    /// It could not be reached, or it refused, or has no control connection. May be tried again.
    pub async fn open_bulk(&self, endpoint: &Endpoint) -> Result<BulkConnection, DialError> {
        bulk::open(&self.shared, endpoint).await
    }

    /// Opens a connection of the lane for calls, or of that for tables, to a node that has a control connection with this
    /// one. The runtime that awaits this waits for the socket from then on.
    ///
    /// # Errors
    /// It could not be reached, or it refused, or has no control connection. May be tried again.
    pub async fn open_lane(
        &self,
        lane: Lane,
        endpoint: &Endpoint,
        node: NodeId,
    ) -> Result<(LaneConnection, BoxStream), DialError> {
        lanes::open(&self.shared, lane, endpoint, node).await
    }

    /// Asks a node by its link to open a connection of such a lane, for where this side cannot dial it; whether there is a
    /// link.
    #[must_use]
    pub fn ask_for_lane(&self, lane: Lane, node: NodeId) -> bool {
        lanes::ask(&self.shared, lane, node)
    }

    /// The credentials in use.
    #[must_use]
    pub fn credentials(&self) -> Credentials {
        self.shared.credentials()
    }

    /// Replaces the credentials. Connections that stand on one that is no longer trusted are closed.
    pub fn set_credentials(&self, credentials: Credentials) {
        self.shared.take_credentials(credentials, None);
    }

    /// What becomes of changed certificate files, from now on.
    #[must_use]
    pub fn certificate_notices(&self) -> broadcast::Receiver<CertificateNotice> {
        self.shared.certificates.subscribe()
    }

    /// Seconds until the first of the operator's certificates ends (`own`, `ca`), negative once it has; empty where they
    /// are made from a cookie.
    #[must_use]
    pub fn certificate_expiry(&self) -> BTreeMap<&'static str, f64> {
        let credentials = self.shared.credentials();
        let Some(facts) = credentials.facts() else { return BTreeMap::new() };
        let now = Duration::from_millis(self.shared.env.clock.now().wall.as_millis()).as_secs_f64();
        let left = |ends: u64| Duration::from_secs(ends).as_secs_f64() - now;
        let ends = [("own", facts.own_ends), ("ca", facts.ca_ends)];
        ends.into_iter().filter_map(|(which, ends)| Some((which, left(ends?)))).collect()
    }

    /// A snapshot of the counters.
    #[must_use]
    pub fn stats(&self) -> TransportStats {
        let mut stats = TransportStats {
            refused: self.shared.refusals.counts(),
            half_open: self.shared.gate.half_open(),
            ..TransportStats::default()
        };
        self.shared.counters.snapshot(&mut stats);
        let registry = self.shared.registry();
        stats.connections = registry.connections.len();
        let mut queued = BTreeMap::new();
        for connection in registry.connections.values().filter(|c| c.open) {
            let key = (connection.peer.to_string(), lane_name(connection.lane));
            *queued.entry(key).or_insert(0) += connection.outbox.queued_bytes() as u64;
        }
        stats.lane_queue_bytes = queued;
        stats
    }

    /// Refused handshakes from now on, once a minute for each source and reason, with their number.
    #[must_use]
    pub fn refusals(&self) -> broadcast::Receiver<RefusalNotice> {
        self.shared.refusals.subscribe()
    }

    /// Closes everything after what was sent, within `limit`; what is left then ends at once.
    pub async fn shutdown(&self, limit: Duration) {
        let shared = &self.shared;
        shared.stop.cancel();
        {
            let mut registry = shared.registry();
            registry.stopping = true;
            registry.connections.values().for_each(|c| c.outbox.close(CloseCause::Stopping));
        }
        shared.tasks.close();
        let in_time = timeout(limit, shared.tasks.wait()).await.is_ok();
        tracing::debug!(in_time, "transport stopped");
        shared.kill.cancel();
    }
}

/// Reports held-back refusals until the transport stops.
async fn report(shared: Arc<Shared>) {
    let pause = (shared.limits.refusal_interval / 4).max(Duration::from_millis(10));
    loop {
        tokio::select! {
            biased;
            () = shared.stop.cancelled() => break,
            () = shared.kill.cancelled() => break,
            () = tokio::time::sleep(pause) => shared.refusals.flush(Instant::now()),
        }
    }
}

/// Looks at a node without a transport, for commands that run before any start.
///
/// # Errors
/// It could not be reached, or it refused.
pub async fn observe_once(
    env: &Env,
    credentials: &Credentials,
    hello: Hello,
    endpoint: &Endpoint,
) -> Result<(Hello, Duration), DialError> {
    let limits = Limits::default();
    let hello = Hello { purpose: Purpose::Observer, ..hello };
    Dialer { env, credentials, limits: &limits }.observe(endpoint, &hello).await
}

/// Says who holds an address, where it answers as a node of this cluster.
async fn explain(
    env: &Env,
    credentials: &Credentials,
    hello: &HelloSource,
    addr: SocketAddr,
    error: io::Error,
) -> BindError {
    let problem = if error.kind() == io::ErrorKind::AddrInUse {
        let ip = match addr.ip() {
            IpAddr::V4(ip) if ip.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
            IpAddr::V6(ip) if ip.is_unspecified() => IpAddr::V6(Ipv6Addr::LOCALHOST),
            ip => ip,
        };
        let endpoint = Endpoint { host: Host::Ip(ip), port: addr.port() };
        let looked =
            timeout(EXPLAIN_TIMEOUT, observe_once(env, credentials, hello(Purpose::Observer), &endpoint)).await;
        match looked {
            Ok(Ok((holder, _))) => format!("port {} is in use by {}", addr.port(), holder.name),
            _ => {
                format!("port {} is in use, and what holds it does not answer as a node of this cluster", addr.port())
            }
        }
    } else {
        error.to_string()
    };
    BindError { addr, problem, source: error }
}

/// Time for finding out who holds a port; the start fails in any case.
const EXPLAIN_TIMEOUT: Duration = Duration::from_secs(2);
