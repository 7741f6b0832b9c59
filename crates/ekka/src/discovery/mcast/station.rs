//! The sockets in use, and what goes through them.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use ekka_core::id::Host;
use ekka_core::time::Instant;

use super::message::DATAGRAM_MAX;
use super::pace::Pace;
use crate::config::Mcast;
use crate::discovery::Context;
use crate::env::{Datagrams, Env, MulticastGroup, MulticastSockets};

/// How long this host's own name may take to be resolved: far less than an answer of this strategy may take.
const RESOLVE_TIMEOUT: Duration = Duration::from_secs(2);

/// Two open sockets.
pub(super) struct Station {
    env: Env,
    sockets: MulticastSockets,
    /// Where answers to this node come.
    pub(super) reply: SocketAddr,
    /// Where pings go.
    targets: Vec<SocketAddr>,
    // One each, so that a flood of the group takes nothing from the answers.
    group_pace: Mutex<Pace>,
    own_pace: Mutex<Pace>,
}

impl Station {
    /// Opens the sockets.
    ///
    /// # Errors
    /// The system refuses, in words.
    pub(super) async fn open(options: &Mcast, context: &Context) -> Result<Self, String> {
        let group = MulticastGroup {
            addr: options.addr,
            ports: options.ports.clone(),
            iface: options.iface,
            near: if options.iface.is_unspecified() { near(context).await } else { Vec::new() },
            ttl: options.ttl,
            loopback: options.loopback,
            sndbuf: options.sndbuf,
            recbuf: options.recbuf,
        };
        let sockets = context.env.net.multicast(&group).await.map_err(|error| error.to_string())?;
        let reply = sockets.own.local_addr().map_err(|error| format!("the address of the UDP socket: {error}"))?;
        let targets =
            options.ports.iter().map(|port| on_link((options.addr, *port).into(), sockets.scope_id)).collect();
        let pace = || Mutex::new(Pace::new(context.env.clock.now().mono));
        let env = context.env.clone();
        Ok(Self { env, sockets, reply, targets, group_pace: pace(), own_pace: pace() })
    }

    /// Sends to the group, on every port.
    ///
    /// # Errors
    /// On none it could be sent: the last error.
    pub(super) async fn send_to_group(&self, datagram: &[u8]) -> io::Result<()> {
        let mut result = Err(io::Error::from(io::ErrorKind::AddrNotAvailable));
        for target in &self.targets {
            let sent = self.sockets.own.send_to(datagram, *target).await.map(drop);
            result = result.or(sent);
        }
        result
    }

    /// Sends to one node.
    ///
    /// # Errors
    /// The system refuses.
    pub(super) async fn send(&self, datagram: &[u8], to: SocketAddr) -> io::Result<()> {
        self.sockets.own.send_to(datagram, on_link(to, self.sockets.scope_id)).await.map(drop)
    }

    /// Gives what comes to `take`, and sends what that answers, until a socket fails. May be dropped at any time, and
    /// run by several tasks at once: each datagram comes to one of them.
    pub(super) async fn receive(&self, take: impl Fn(&[u8], SocketAddr) -> Option<(SocketAddr, Vec<u8>)>) -> io::Error {
        tokio::select! {
            error = self.receive_from(&*self.sockets.group, &self.group_pace, &take) => error,
            error = self.receive_from(&*self.sockets.own, &self.own_pace, &take) => error,
        }
    }

    async fn receive_from(
        &self,
        socket: &dyn Datagrams,
        pace: &Mutex<Pace>,
        take: &impl Fn(&[u8], SocketAddr) -> Option<(SocketAddr, Vec<u8>)>,
    ) -> io::Error {
        // One byte more than the longest, so that a longer one is seen to be longer.
        let mut buffer = [0; DATAGRAM_MAX + 1];
        loop {
            let paced = |now: Instant| pace.lock().unwrap_or_else(PoisonError::into_inner).take(now);
            while let Err(wait) = paced(self.env.clock.now().mono) {
                tokio::time::sleep(wait).await;
            }
            let (len, from) = match socket.recv_from(&mut buffer).await {
                Ok(received) => received,
                Err(error) => return error,
            };
            let Some((to, answer)) = take(&buffer[..len], from) else { continue };
            if let Err(error) = self.send(&answer, to).await {
                tracing::debug!(strategy = "mcast", addr = %to, err = %error, "an answer could not be sent");
            }
        }
    }
}

/// The addresses of this host by which this node is known.
async fn near(context: &Context) -> Vec<IpAddr> {
    let endpoint = &context.me.endpoint;
    match &endpoint.host {
        Host::Ip(ip) => vec![*ip],
        // A name without an address leaves the choice to the route.
        Host::Dns(_) => {
            let asked = context.env.net.resolve(&endpoint.host, endpoint.port);
            let found = tokio::time::timeout(RESOLVE_TIMEOUT, asked).await;
            found.ok().and_then(Result::ok).unwrap_or_default().into_iter().map(|addr| addr.ip()).collect()
        }
    }
}

/// An address of the link is meant on the interface of the group.
fn on_link(mut addr: SocketAddr, scope_id: u32) -> SocketAddr {
    if let SocketAddr::V6(v6) = &mut addr {
        v6.set_scope_id(scope_id);
    }
    addr
}
