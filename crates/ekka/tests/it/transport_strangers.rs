//! What strangers can do: nothing but be counted.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::time::{Duration, Instant};

use crate::transport_common::*;
use ekka::config::TlsMode;
use ekka::transport::fuzz::{fuzz_frames, fuzz_hello};
use ekka::transport::{Limits, RefusalNotice};
use ekka_core::control::{DialError, Input};
use ekka_core::rng::Rng;
use ekka_core::wire::{FrameKind, HelloReply, Refusal, RefusalReason, encode_frame};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;

async fn connect(node: &Node) -> TcpStream {
    TcpStream::connect(node.transport.local_addrs()[0]).await.unwrap()
}

/// Waits for the end of a connection.
async fn ended(mut stream: TcpStream) {
    let swallow = async {
        let mut buffer = [0; 1024];
        while matches!(stream.read(&mut buffer).await, Ok(1..)) {}
    };
    timeout(PATIENCE, swallow).await.expect("the connection is closed");
}

fn hasty() -> Limits {
    let short = Duration::from_millis(300);
    Limits { handshake: short, dial: short, verdict: short, linger: Duration::from_millis(50), ..Limits::default() }
}

async fn nodes_of_both_modes() -> Vec<Node> {
    let mut nodes = Vec::new();
    for mode in [TlsMode::Cookie, TlsMode::Off] {
        let credentials = credentials(COOKIE, "ekka", &mode);
        nodes.push(Setup { credentials, limits: hasty(), ..setup(1) }.start().await);
    }
    nodes
}

#[tokio::test]
async fn garbage_is_refused_and_counted() {
    for node in nodes_of_both_modes().await {
        let words: [&[u8]; 4] =
            [b"GET / HTTP/1.1\r\n\r\n", &[0xff; 64], &[0; 64], b"\x16garbage that looks like TLS..."];
        for (sent, bytes) in words.iter().enumerate() {
            let mut stream = connect(&node).await;
            stream.write_all(bytes).await.unwrap();
            ended(stream).await;
            let counted = node.transport.stats().refused;
            let all = counted["garbage"] + counted["credentials"];
            assert!(all > sent as u64, "{counted:?}");
        }
        assert!(node.transport.stats().refused["garbage"] >= 3);
    }
}

#[tokio::test]
async fn silence_and_dripping_end_at_the_deadline() {
    for node in nodes_of_both_modes().await {
        let silent = connect(&node).await;
        let begun = Instant::now();
        ended(silent).await;
        node.refused("timeout", 1).await;
        let mut dripping = connect(&node).await;
        let first: &[u8] = if node.transport.stats().refused["garbage"] == 0 { b"ekka" } else { b"" };
        let drip = async {
            // One byte at a time, each well within any deadline for one read.
            for byte in first.iter().chain([1u8].iter().cycle()) {
                if dripping.write_all(&[*byte]).await.is_err() {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        timeout(PATIENCE, drip).await.expect("the connection is closed although bytes come");
        assert!(begun.elapsed() < Duration::from_secs(5));
    }
}

#[tokio::test]
async fn a_stranger_that_drips_tls_is_timed_out() {
    let node = Setup { limits: hasty(), ..setup(1) }.start().await;
    let mut stream = connect(&node).await;
    // The head of a TLS record of 512 bytes that never ends.
    let drip = async {
        for byte in [22, 3, 1, 2, 0, 1].iter().chain([0u8].iter().cycle()) {
            if stream.write_all(&[*byte]).await.is_err() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(PATIENCE, drip).await.expect("the connection is closed although bytes come");
    node.refused("timeout", 1).await;
}

#[tokio::test]
async fn the_next_of_one_source_is_closed_at_once() {
    let limits = Limits { half_open_loopback: 4, ..Limits::default() };
    let node = Setup { limits, ..setup(1) }.start().await;
    let mut places = Vec::new();
    for _ in 0..4 {
        places.push(connect(&node).await);
    }
    let begun = Instant::now();
    ended(connect(&node).await).await;
    assert!(begun.elapsed() < Duration::from_secs(2), "it is not held until the deadline");
    node.refused("half_open_limit", 1).await;
    drop(places);
    let mut peer = setup(2).start().await;
    while node.transport.stats().half_open > 0 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    peer.transport.dial(node.endpoint.clone());
    let mut node = node;
    node.greeted().await;
    assert!(peer.inputs.try_recv().is_err());
}

#[tokio::test]
async fn refusals_are_announced_once_for_an_address_and_reason() {
    let node = setup(1).start().await;
    let mut notices = node.transport.refusals();
    for _ in 0..10 {
        let mut stream = connect(&node).await;
        stream.write_all(b"GET / HTTP/1.0\r\n").await.unwrap();
        ended(stream).await;
    }
    node.refused("garbage", 10).await;
    let RefusalNotice { addr, reason, count, text } = notices.try_recv().unwrap();
    assert_eq!((addr.to_string().as_str(), reason, count), ("127.0.0.1", RefusalReason::Garbage, 1));
    assert!(text.contains("does not speak ekka's protocol"), "{text}");
    assert!(notices.try_recv().is_err());
}

#[tokio::test]
async fn a_dial_of_what_is_no_node_fails_with_its_reason() {
    let mut node = Setup { limits: hasty(), ..setup(1) }.start().await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = ekka_core::id::Endpoint { port: listener.local_addr().unwrap().port(), ..node.endpoint.clone() };
    node.transport.dial(endpoint.clone());
    let (silent, _) = listener.accept().await.unwrap();
    assert_eq!(node.dial_failed().await, DialError::TimedOut);
    drop(silent);

    node.transport.dial(endpoint.clone());
    let (mut web, _) = listener.accept().await.unwrap();
    web.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await.unwrap();
    assert!(matches!(node.dial_failed().await, DialError::Garbage(_)));

    node.transport.dial(endpoint.clone());
    drop(listener.accept().await.unwrap());
    let error = node.dial_failed().await;
    assert!(matches!(error, DialError::Network(_)), "{error:?}");

    drop(listener);
    assert_eq!(node.dial_and_fail(&endpoint).await, DialError::Refused);
    let host = ekka_core::id::Host::Dns("no-such-host.invalid".to_owned());
    let error = node.dial_and_fail(&ekka_core::id::Endpoint { host, port: 1 }).await;
    assert!(matches!(error, DialError::Unresolved(_)), "{error:?}");
}

#[tokio::test]
async fn a_verdict_that_does_not_come_ends_the_connection() {
    let (mut a, mut b) = (setup(1).start().await, Setup { limits: hasty(), ..setup(2) }.start().await);
    a.transport.dial(b.endpoint.clone());
    b.greeted().await;
    let error = a.dial_failed().await;
    assert!(matches!(&error, DialError::Rejected(refusal) if refusal.reason == RefusalReason::Timeout), "{error:?}");
    assert!(matches!(b.input().await, Input::Closed { .. }));
}

fn mutate(rng: &mut Rng, seed: &[u8]) -> Vec<u8> {
    let mut bytes = seed.to_vec();
    for _ in 0..=rng.index(8) {
        let at = rng.index(bytes.len());
        match rng.index(5) {
            0 if !bytes.is_empty() => bytes[at] ^= 1 << rng.index(8),
            1 if !bytes.is_empty() => bytes[at] = rng.next_u64().to_le_bytes()[0],
            2 => bytes.truncate(at),
            3 => bytes.insert(at, rng.next_u64().to_le_bytes()[0]),
            _ => {
                let end = (at + rng.index(16)).min(bytes.len());
                let piece = bytes[at..end].to_vec();
                bytes.splice(at..at, piece);
            }
        }
    }
    bytes
}

#[test]
fn mutated_frames_and_hellos_never_panic() {
    let hello = setup(1).hello()(ekka_core::wire::Purpose::Observer);
    let replies = [
        HelloReply::Welcome(hello.clone()).encode(),
        HelloReply::Refused(Refusal::new(RefusalReason::Clock, "your clock is ahead")).encode(),
    ];
    let mut frames = vec![7];
    for kind in [FrameKind::Hello, FrameKind::HelloReply, FrameKind::Control, FrameKind::Bulk] {
        encode_frame(kind, &hello.encode(), &mut frames).unwrap();
    }
    let seed = std::env::var("EKKA_SEED").ok().and_then(|text| text.parse().ok()).unwrap_or(1u64);
    let mut rng = Rng::new(seed);
    let begun = Instant::now();
    let mut rounds = 0u64;
    while begun.elapsed() < Duration::from_secs(2) {
        fuzz_frames(&mutate(&mut rng, &frames));
        for seed in [&hello.encode(), &replies[0], &replies[1]] {
            fuzz_hello(&mutate(&mut rng, seed));
        }
        rounds += 1;
    }
    assert!(rounds > 100, "only {rounds} rounds with seed {seed}");
}

#[tokio::test]
async fn shutdown_waits_neither_for_strangers_nor_for_a_deaf_control() {
    let (a, mut b) = (setup(1).start_with_inputs(1).await, setup(2).start().await);
    let _silent = connect(&a).await;
    // The one place for inputs of `a` is taken by the first hello, and nobody takes it.
    for _ in 0..2 {
        b.transport.dial(a.endpoint.clone());
    }
    while a.transport.stats().connections == 0 || a.transport.stats().half_open == 0 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let begun = Instant::now();
    a.transport.shutdown(Duration::from_millis(1500)).await;
    assert!(begun.elapsed() < Duration::from_secs(3), "{:?}", begun.elapsed());
    let error = b.dial_failed().await;
    assert!(!matches!(error, DialError::TimedOut), "the peer learns of it at once: {error:?}");
}
