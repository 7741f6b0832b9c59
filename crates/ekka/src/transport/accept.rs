//! The accepting side: the gate, then a handshake in a task of its own.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use ekka_core::wire::{HelloReply, Lane, Purpose, Refusal, RefusalReason};
use tokio::time::{Instant, timeout, timeout_at};

use super::failure::Failure;
use super::greeting::Greeting;
use super::link::part;
use super::secure;
use super::shared::{Greeted, Shared};
use crate::env::{BoxStream, Listener};

/// Accepts until the transport stops. Nothing that a stranger does is waited for here.
pub(super) async fn run(shared: Arc<Shared>, listener: Box<dyn Listener>) {
    let mut failing = false;
    loop {
        let accepted = tokio::select! {
            biased;
            () = shared.stop.cancelled() => return,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, addr)) => {
                failing = false;
                admit(&shared, stream, addr);
            }
            Err(error) => {
                // The peer may have gone already, or descriptors have run out: neither the loop nor the log must
                // spin on that.
                if !std::mem::replace(&mut failing, true) {
                    tracing::warn!(err = %error, "accept failed; trying on, and silent about it until one succeeds");
                }
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

const ACCEPT_PAUSE: Duration = Duration::from_millis(20);

fn admit(shared: &Arc<Shared>, stream: BoxStream, addr: SocketAddr) {
    let now = Instant::now();
    match shared.gate.enter(addr.ip(), now) {
        Err(text) => shared.refusals.add(addr.ip(), RefusalReason::HalfOpenLimit, text, now),
        Ok(place) => {
            let task = shared.clone();
            shared.tasks.spawn(async move {
                let stop = task.stop.clone();
                let greeted = tokio::select! {
                    biased;
                    () = stop.cancelled() => None,
                    greeted = greet(&task, stream, addr) => greeted,
                };
                drop(place);
                if let Some(greeted) = greeted {
                    serve(&task, greeted).await;
                }
            });
        }
    }
}

/// From accept to a verified Hello, within the deadline; refusals are counted and said here.
async fn greet(shared: &Shared, stream: BoxStream, addr: SocketAddr) -> Option<Greeted> {
    let deadline = Instant::now() + shared.limits.handshake;
    let credentials = shared.credentials();
    let secured = timeout_at(deadline, secure::accept(&credentials, &*shared.env.entropy, stream)).await;
    let secured = match secured {
        Ok(Ok(Some(secured))) => secured,
        Ok(Ok(None)) => {
            tracing::debug!(peer_addr = %addr, "closed before its first byte");
            return None;
        }
        Ok(Err(unsecured)) => {
            refused(shared, addr.ip(), &unsecured.failure);
            if let Some(stream) = unsecured.stream {
                part(stream, shared.limits.linger).await;
            }
            return None;
        }
        Err(_) => {
            refused(shared, addr.ip(), &Failure::Timeout("its credentials"));
            return None;
        }
    };
    let mut greeting = Greeting::new(secured, shared.limits.unchecked_frame_limit);
    let ours = (shared.hello)(Purpose::Peer(Lane::Control));
    let failure = match timeout_at(deadline, greeting.receive_hello(&ours)).await {
        Ok(Ok(hello)) => return Some(Greeted { greeting, hello, addr, dialed: None }),
        Ok(Err(failure)) => failure,
        Err(_) => Failure::Timeout("its hello"),
    };
    refused(shared, addr.ip(), &failure);
    let reason = failure.reason().unwrap_or(RefusalReason::Garbage);
    let refusal = Refusal::new(reason, failure.text(&addr.to_string(), &credentials.describe()));
    let told = timeout(shared.limits.flush, greeting.send_reply(&HelloReply::Refused(refusal))).await;
    tracing::trace!(told = matches!(told, Ok(Ok(()))), "refused in words");
    part(greeting.into_stream(), shared.limits.linger).await;
    None
}

fn refused(shared: &Shared, addr: IpAddr, failure: &Failure) {
    let text = failure.text(&addr.to_string(), &shared.credentials().describe());
    if let Some(reason) = failure.reason() {
        shared.refusals.add(addr, reason, text, Instant::now());
    } else {
        tracing::debug!(peer_addr = %addr, reason = text, "handshake ended");
    }
}

/// A verified peer: observers, bulk and calls are served here, the rest is for `Control` to judge.
async fn serve(shared: &Arc<Shared>, greeted: Greeted) {
    match greeted.hello.purpose {
        Purpose::Peer(Lane::Control) => shared.ask_and_carry(greeted).await,
        Purpose::Peer(Lane::Bulk) => super::bulk::accept(shared, greeted).await,
        Purpose::Peer(lane @ (Lane::Calls | Lane::Tables)) => super::lanes::accept(shared, lane, greeted).await,
        Purpose::Observer => {
            let Greeted { mut greeting, .. } = greeted;
            let answer = HelloReply::Welcome((shared.hello)(Purpose::Observer));
            let told = timeout(shared.limits.flush, greeting.send_reply(&answer)).await;
            tracing::trace!(told = matches!(told, Ok(Ok(()))), "answered an observer");
            part(greeting.into_stream(), shared.limits.linger).await;
        }
    }
}
