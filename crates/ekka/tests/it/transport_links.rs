//! Links between nodes that trust each other.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::time::Duration;

use crate::transport_common::*;
use ekka::config::TlsMode;
use ekka::transport::{Limits, observe_once};
use ekka_core::control::{CloseCause, DialError};
use ekka_core::wire::{Purpose, Refusal, RefusalReason};
use tokio::time::timeout;

#[tokio::test]
async fn a_link_carries_frames_both_ways_in_every_mode_made_from_the_cookie() {
    for mode in [TlsMode::Cookie, TlsMode::Off] {
        let with = |number| Setup { credentials: credentials(COOKIE, "ekka", &mode), ..setup(number) };
        let (mut a, mut b) = (with(1).start().await, with(2).start().await);
        let (at_a, at_b) = link(&mut a, &mut b).await;
        for size in [0, 1, 1000, 1024 * 1024 - 1] {
            exchange((&mut a, at_a), (&mut b, at_b), &vec![7; size]).await;
        }
        let stats = a.transport.stats();
        let peer = "ekka2@127.0.0.1".to_owned();
        assert!(stats.net_bytes[&(peer.clone(), "out")] > 1024 * 1024);
        assert!(stats.net_bytes[&(peer, "in")] > 1024 * 1024);
    }
}

#[tokio::test]
async fn frames_queued_before_a_close_arrive() {
    let (mut a, mut b) = (setup(1).start().await, setup(2).start().await);
    let (at_a, _) = link(&mut a, &mut b).await;
    for n in 0..100u8 {
        a.transport.send(at_a, vec![n; 1000]);
    }
    a.transport.close(at_a, CloseCause::Superseded);
    for n in 0..100u8 {
        assert_eq!(b.frame().await, vec![n; 1000]);
    }
    assert_eq!(b.closed().await, CloseCause::Reset);
    assert_eq!(a.closed().await, CloseCause::Superseded);
}

#[tokio::test]
async fn a_verdict_against_it_reaches_the_dialler_in_words() {
    let (mut a, mut b) = (setup(1).start().await, setup(2).start().await);
    a.transport.dial(b.endpoint.clone());
    let (at_b, _) = b.greeted().await;
    let refusal = Refusal::new(RefusalReason::DuplicateIdentity, "ekka1 answers from 10.0.0.9");
    b.transport.verdict(at_b, Err(refusal.clone()));
    assert_eq!(a.dial_failed().await, DialError::Rejected(refusal.clone()));
    assert_eq!(b.closed().await, CloseCause::Refused(refusal));
    b.refused("duplicate_identity", 1).await;
}

#[tokio::test]
async fn a_verdict_of_the_dialler_against_it_reaches_the_other_side_in_words() {
    let (mut a, mut b) = (setup(1).start().await, setup(2).start().await);
    a.transport.dial(b.endpoint.clone());
    let (at_b, _) = b.greeted().await;
    b.transport.verdict(at_b, Ok(b.own_hello()));
    let (at_a, _) = a.greeted().await;
    let refusal = Refusal::new(RefusalReason::OurSelf, "it is us");
    a.transport.verdict(at_a, Err(refusal.clone()));
    assert_eq!(b.closed().await, CloseCause::Refused(refusal.clone()));
    assert_eq!(a.closed().await, CloseCause::Refused(refusal));
}

#[tokio::test]
async fn a_link_that_is_refused_later_tells_the_other_side_why() {
    let (mut a, mut b) = (setup(1).start().await, setup(2).start().await);
    let (_, at_b) = link(&mut a, &mut b).await;
    b.transport.send(at_b, b"before".to_vec());
    let refusal = Refusal::new(RefusalReason::DuplicateIdentity, "the original answers from 10.0.0.9");
    b.transport.close(at_b, CloseCause::Refused(refusal.clone()));
    assert_eq!(a.frame().await, b"before");
    assert_eq!(a.closed().await, CloseCause::Refused(refusal.clone()));
    assert_eq!(b.closed().await, CloseCause::Refused(refusal));
}

#[tokio::test]
async fn two_dials_of_one_endpoint_are_one() {
    let (mut a, mut b) = (setup(1).start().await, setup(2).start().await);
    a.transport.dial(b.endpoint.clone());
    a.transport.dial(b.endpoint.clone());
    let (at_b, _) = b.greeted().await;
    b.transport.verdict(at_b, Ok(b.own_hello()));
    a.greeted().await;
    // The next thing that reaches `b` is a dial made after the first had its answer.
    a.transport.dial(b.endpoint.clone());
    b.greeted().await;
    assert_eq!(b.transport.stats().connections, 2);
}

#[tokio::test]
async fn an_observer_learns_who_answers_and_changes_nothing() {
    let (a, mut b) = (setup(1).start().await, setup(2).start().await);
    for _ in 0..20 {
        let (hello, _) = a.transport.observe(&b.endpoint).await.unwrap();
        assert_eq!(hello.name, b.own_hello().name);
    }
    let (hello, _) = observe_once(&a.env, &cookie(COOKIE), *a.own_hello(), &b.endpoint).await.unwrap();
    assert_eq!(hello.purpose, Purpose::Observer);
    assert!(b.inputs.try_recv().is_err(), "control hears nothing of it");
    assert_eq!(b.transport.stats().connections, 0);
    assert!(b.transport.stats().refused.values().all(|count| *count == 0));
}

#[tokio::test]
async fn a_port_in_use_is_refused_with_the_name_that_holds_it() {
    let a = setup(1).start().await;
    let error = |credentials| {
        let (hello, env) = (setup(2).hello(), a.env.clone());
        let options = ekka::transport::Options { listen: a.transport.local_addrs(), ..Default::default() };
        async move {
            let (events, _inputs) = tokio::sync::mpsc::channel(1);
            let started = ekka::transport::Transport::start(&env, options, credentials, hello, events).await;
            started.err().expect("the port is in use").to_string()
        }
    };
    let text = error(cookie(COOKIE)).await;
    assert!(text.ends_with(&format!("port {} is in use by ekka1@127.0.0.1", a.endpoint.port)), "{text}");
    let text = error(cookie("another")).await;
    assert!(text.contains("does not answer as a node of this cluster"), "{text}");
}

#[tokio::test]
async fn a_peer_that_does_not_read_is_stuck_and_costs_bounded_memory() {
    let limits = Limits { control_queue: 256 * 1024, ..Limits::default() };
    let (mut a, mut b) = (Setup { limits, ..setup(1) }.start().await, setup(2).start_with_inputs(1).await);
    let (at_a, _) = link(&mut a, &mut b).await;
    // Nobody takes the inputs of `b` from here on.
    let cause = async {
        loop {
            a.transport.send(at_a, vec![0; 60_000]);
            let queued = a.transport.stats().lane_queue_bytes.values().sum::<u64>();
            assert!(queued <= 256 * 1024, "{queued} bytes wait");
            match timeout(Duration::from_millis(1), a.inputs.recv()).await {
                Ok(Some(input)) => break input,
                Ok(None) => panic!("the transport ended"),
                Err(_) => {}
            }
        }
    };
    let input = timeout(PATIENCE, cause).await.expect("the queue runs over");
    assert!(matches!(input, ekka_core::control::Input::Closed { cause: CloseCause::Stuck, .. }), "{input:?}");
    let dropped = a.transport.stats().lane_dropped;
    assert!(dropped[&("ekka2@127.0.0.1".to_owned(), "control", "stuck")] > 0, "{dropped:?}");
}

#[tokio::test]
async fn a_reconnect_is_counted_under_its_reason() {
    let (mut a, mut b) = (setup(1).start().await, setup(2).start().await);
    let (at_a, _) = link(&mut a, &mut b).await;
    a.transport.close(at_a, CloseCause::Silent);
    assert_eq!(a.closed().await, CloseCause::Silent);
    assert_eq!(b.closed().await, CloseCause::Reset);
    link(&mut a, &mut b).await;
    assert_eq!(a.transport.stats().link_reconnects[&("ekka2@127.0.0.1".to_owned(), "silent")], 1);
    assert_eq!(b.transport.stats().link_reconnects[&("ekka1@127.0.0.1".to_owned(), "reset")], 1);
}

#[tokio::test]
async fn shutdown_flushes_says_goodbye_and_ends_every_task() {
    let (mut a, mut b) = (setup(1).start().await, setup(2).start().await);
    let (at_a, _) = link(&mut a, &mut b).await;
    a.transport.send(at_a, b"goodbye".to_vec());
    let begun = std::time::Instant::now();
    a.transport.shutdown(Duration::from_secs(10)).await;
    assert!(begun.elapsed() < Duration::from_secs(5), "it waits for the peer only a moment");
    assert_eq!(b.frame().await, b"goodbye");
    assert_eq!(b.closed().await, CloseCause::Reset);
    assert_eq!(a.closed().await, CloseCause::Stopping);
    let error = b.dial_and_fail(&a.endpoint.clone()).await;
    assert_eq!(error, DialError::Refused);
}

#[tokio::test]
async fn dropping_the_last_handle_ends_it() {
    let (mut a, mut b) = (setup(1).start().await, setup(2).start().await);
    link(&mut a, &mut b).await;
    let (endpoint, mut inputs) = (a.endpoint.clone(), a.inputs);
    drop(a.transport);
    assert_eq!(b.closed().await, CloseCause::Reset);
    // All senders of inputs are gone: no task is left, nor the listening socket.
    let drained = async { while inputs.recv().await.is_some() {} };
    timeout(PATIENCE, drained).await.expect("every task ends");
    assert_eq!(b.dial_and_fail(&endpoint).await, DialError::Refused);
}
