//! The dialling side: resolve, connect, secure, say Hello, hear the answer.

use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use ekka_core::control::DialError;
use ekka_core::id::Endpoint;
use ekka_core::wire::{Hello, HelloReply, Lane, Purpose};
use tokio::time::{Instant, timeout, timeout_at};

use super::credentials::Credentials;
use super::failure::Failure;
use super::greeting::Greeting;
use super::limits::Limits;
use super::link::part;
use super::secure;
use super::shared::{Greeted, Shared};
use crate::env::{BoxFuture, BoxStream, Env, Net};

/// What a dial needs; there may be no transport yet.
pub(super) struct Dialer<'a> {
    pub(super) env: &'a Env,
    pub(super) credentials: &'a Credentials,
    pub(super) limits: &'a Limits,
}

impl Dialer<'_> {
    /// Dials and says Hello. The peer has accepted this node where the result is a Hello.
    pub(super) async fn dial(
        &self,
        endpoint: &Endpoint,
        ours: &Hello,
    ) -> Result<(Greeting, Hello, SocketAddr), DialError> {
        let deadline = Instant::now() + self.limits.dial;
        let (stream, addr) = self.connect(endpoint, deadline).await?;
        let told = endpoint.to_string();
        self.greet(stream, ours, deadline)
            .await
            .map(|(greeting, hello)| (greeting, hello, addr))
            .map_err(|failure| failure.into_dial_error(&told, &self.credentials.describe()))
    }

    /// Resolves and connects. Each address gets its share of the time, so that one that is silent does not hide the next.
    async fn connect(&self, endpoint: &Endpoint, deadline: Instant) -> Result<(BoxStream, SocketAddr), DialError> {
        let net = &self.env.net;
        let addrs = timeout_at(deadline, net.resolve(&endpoint.host, endpoint.port))
            .await
            .map_err(|_| DialError::Unresolved("no answer from the resolver in time".to_owned()))?
            .map_err(|error| DialError::Unresolved(error.to_string()))?;
        let mut last = DialError::Unresolved("it has no address".to_owned());
        let mut left = u32::try_from(addrs.len()).unwrap_or(u32::MAX);
        for addr in addrs {
            let share = deadline.saturating_duration_since(Instant::now()) / left.max(1);
            left = left.saturating_sub(1);
            last = match timeout(share, connect(net.as_ref(), addr)).await {
                Ok(Ok(stream)) => return Ok((stream, addr)),
                Ok(Err(error)) => of_connect(&error),
                Err(_) => DialError::TimedOut,
            };
        }
        Err(last)
    }

    async fn greet(&self, stream: BoxStream, ours: &Hello, deadline: Instant) -> Result<(Greeting, Hello), Failure> {
        self.credentials.use_clock(&self.env.clock);
        let secured = timeout_at(deadline, secure::dial(self.credentials, &*self.env.entropy, stream)).await;
        let secured = match secured {
            Ok(Ok(secured)) => secured,
            Ok(Err(unsecured)) => {
                if let Some(stream) = unsecured.stream {
                    part(stream, PARTING).await;
                }
                return Err(unsecured.failure);
            }
            Err(_) => return Err(Failure::Timeout("its credentials")),
        };
        let mut greeting = Greeting::new(secured, self.limits.unchecked_frame_limit);
        // Below TLS 1.3 a refusal of our certificate shows here, and even a failed write may leave it to be read.
        let said = timeout_at(deadline, greeting.send_hello(ours))
            .await
            .map_err(|_| Failure::Timeout("room for our hello"))?;
        if let Err(failure) = said
            && !matches!(failure, Failure::Broken(_))
        {
            return Err(failure);
        }
        // The peer may hold its answer back while it probes another that claims the same identity.
        let heard = timeout(self.limits.verdict, greeting.receive_reply(ours)).await;
        match heard.unwrap_or(Err(Failure::Timeout("its answer to our hello"))) {
            Ok(hello) => Ok((greeting, hello)),
            Err(failure) => {
                if let Failure::Refuse(refusal) = &failure {
                    let told = timeout(PARTING, greeting.send_reply(&HelloReply::Refused(refusal.clone()))).await;
                    tracing::trace!(told = matches!(told, Ok(Ok(()))), "refused the welcome");
                    part(greeting.into_stream(), PARTING).await;
                }
                Err(failure)
            }
        }
    }

    /// Looks at a node without changing anything there.
    pub(super) async fn observe(&self, endpoint: &Endpoint, ours: &Hello) -> Result<(Hello, Duration), DialError> {
        let begun = Instant::now();
        let (greeting, hello, _) = self.dial(endpoint, ours).await?;
        let took = begun.elapsed();
        part(greeting.into_stream(), PARTING).await;
        Ok((hello, took))
    }
}

/// Time for the last words of a dial that came to nothing.
const PARTING: Duration = Duration::from_millis(200);

fn of_connect(error: &io::Error) -> DialError {
    match error.kind() {
        io::ErrorKind::ConnectionRefused => DialError::Refused,
        io::ErrorKind::TimedOut => DialError::TimedOut,
        _ => DialError::Network(error.to_string()),
    }
}

/// One dial of a control connection, to its end.
pub(super) async fn run(shared: Arc<Shared>, endpoint: Endpoint) {
    let credentials = shared.credentials();
    let ours = (shared.hello)(Purpose::Peer(Lane::Control));
    let dialer = Dialer { env: &shared.env, credentials: &credentials, limits: &shared.limits };
    let dialed = tokio::select! {
        biased;
        () = shared.stop.cancelled() => Err(DialError::Network("this node is stopping".to_owned())),
        dialed = dialer.dial(&endpoint, &ours) => dialed,
    };
    match dialed {
        Ok((greeting, hello, addr)) => {
            let greeted = Greeted { greeting, hello, addr, dialed: Some(endpoint) };
            shared.ask_and_carry(greeted).await;
        }
        Err(error) => shared.dial_came_to(endpoint, error).await,
    }
}

/// A connection that has not come about after this is tried anew beside itself.
const ATTEMPT: Duration = Duration::from_millis(400);

/// Connects, by as many attempts as it takes. What the system sends again it sends at growing distances, a second and more; a
/// cut that is repaired meanwhile would be noticed so much later, by each node in its own time.
async fn connect(net: &dyn Net, addr: SocketAddr) -> io::Result<BoxStream> {
    let mut attempts: Vec<BoxFuture<'_, io::Result<BoxStream>>> = Vec::new();
    loop {
        attempts.push(net.connect(addr));
        let first = poll_fn(|cx| {
            let ended = attempts.iter_mut().map(|attempt| attempt.as_mut().poll(cx)).find(Poll::is_ready);
            ended.unwrap_or(Poll::Pending)
        });
        // What answers, answers all of them: a refusal is one.
        if let Ok(ended) = timeout(ATTEMPT, first).await {
            return ended;
        }
    }
}
