//! S2-13: strangers that connect and say nothing, from many addresses or as fast as they can, do not keep members out.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};

use crate::transport_common::*;
use ekka::transport::Limits;
use ekka_core::control::CloseCause;
use tokio::io::AsyncReadExt;
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::timeout;

/// Connects from an address of its own: every one of 127.0.0.0/8 is this host's.
async fn connect_from(last: u8, node: &Node) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind(SocketAddr::from((Ipv4Addr::new(127, 0, 0, last), 0))).unwrap();
    socket.connect(node.transport.local_addrs()[0]).await.unwrap()
}

/// Whether the node closed the connection; waits for that as long as a failing test may last.
async fn is_closed(mut stream: TcpStream) {
    let end = timeout(PATIENCE, stream.read(&mut [0; 16])).await.expect("the connection is closed");
    assert!(matches!(end, Ok(0) | Err(_)), "it is closed without a word");
}

#[tokio::test]
async fn s2_13_strangers_that_hold_all_places_do_not_starve_members() {
    let (mut a, mut b) = (setup(1).start().await, setup(2).start().await);
    let (at_a, _) = link(&mut a, &mut b).await;
    // The name of a member may hold no address: it is known by where its connection comes from.
    a.transport.set_members(BTreeMap::from([(b.own_hello().node_id, None)]));
    let limits = Limits::default();
    let places = limits.half_open - limits.half_open_reserved;
    let mut silent = Vec::new();
    for last in 2..7 {
        for _ in 0..limits.half_open_loopback {
            silent.push(connect_from(last, &a).await);
        }
    }
    let turned_away = (silent.len() - places) as u64;
    assert!(silent.len() >= 256);
    a.refused("half_open_limit", turned_away).await;
    assert_eq!(a.transport.stats().half_open, places, "the rest is kept for members");

    a.transport.close(at_a, CloseCause::Silent);
    b.closed().await;
    a.closed().await;
    let (at_a, at_b) = link(&mut a, &mut b).await;
    exchange((&mut a, at_a), (&mut b, at_b), b"in spite of them").await;
    assert_eq!(a.transport.stats().refused["half_open_limit"], turned_away, "no member was refused");
    drop(silent);
}

#[tokio::test]
async fn s2_13_who_is_no_member_any_more_has_no_place_kept() {
    let limits = Limits { half_open: 8, half_open_reserved: 4, ..Limits::default() };
    let (mut a, mut b) = (Setup { limits, ..setup(1) }.start().await, setup(2).start().await);
    let who = b.own_hello().node_id;
    a.transport.set_members(BTreeMap::from([(who, None)]));
    link(&mut a, &mut b).await;
    let mut silent = Vec::new();
    for _ in 0..4 {
        silent.push(connect_from(2, &a).await);
    }
    while a.transport.stats().half_open < 4 {
        tokio::task::yield_now().await;
    }
    let place = connect_from(1, &a).await;
    while a.transport.stats().half_open < 5 {
        tokio::task::yield_now().await;
    }
    a.transport.set_members(BTreeMap::new());
    is_closed(connect_from(1, &a).await).await;
    a.refused("half_open_limit", 1).await;
    drop((place, silent));
}

#[tokio::test]
async fn s2_13_the_rate_of_new_connections_is_bounded_for_each_source() {
    let limits = Limits { accept_rate_loopback: 4, ..Limits::default() };
    let node = Setup { limits, ..setup(1) }.start().await;
    let mut streams = Vec::new();
    for _ in 0..40 {
        streams.push(connect_from(2, &node).await);
    }
    // Forty take far less than the seconds in which four each would be let in.
    node.refused("half_open_limit", 30).await;
    assert!(node.transport.stats().half_open < 10);
    let before = node.transport.stats().half_open;
    let _other = connect_from(3, &node).await;
    while node.transport.stats().half_open <= before {
        tokio::task::yield_now().await;
    }
}
