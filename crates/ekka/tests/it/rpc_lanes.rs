//! Calls where the way is narrow: only one side can dial, or one peer does not read.

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;

use crate::rpc_support::{Cluster, LONG, within};
use ekka::core::id::Host;
use ekka::core::limits::{CALLS_WINDOW, CALLS_WINDOW_BYTES};
use ekka::env::{BoxFuture, BoxStream, Listener, Net};
use ekka::rpc::{CallError, Caller, ECHO, Handlers, Method};

const BLOCK: Method<(), ()> = Method::new("test.block");
const WHO: Method<(), String> = Method::new("test.who");

/// A network from which nobody can be dialled, as behind a translated address.
struct Inward(Arc<dyn Net>);

impl Net for Inward {
    fn bind(&self, addr: SocketAddr) -> BoxFuture<'_, io::Result<Box<dyn Listener>>> {
        self.0.bind(addr)
    }

    fn connect(&self, _addr: SocketAddr) -> BoxFuture<'_, io::Result<BoxStream>> {
        Box::pin(async { Err(io::ErrorKind::NetworkUnreachable.into()) })
    }

    fn resolve<'a>(&'a self, host: &'a Host, port: u16) -> BoxFuture<'a, io::Result<Vec<SocketAddr>>> {
        self.0.resolve(host, port)
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn where_only_one_side_can_dial_both_can_call() {
    let who = || Handlers::new().serve(&WHO, async |caller: Caller, ()| Ok(caller.name().to_string()));
    let net =
        |(index, _): (usize, &[String]), net| if index == 1 { Arc::new(Inward(net)) as Arc<dyn Net> } else { net };
    let cluster = Cluster::in_nets(vec![who(), who()], net).await;
    let names: Vec<String> = cluster.nodes.iter().map(|node| node.view().name.to_string()).collect();
    // First the side that cannot dial, so that the other one opens nothing by itself.
    let heard = cluster.nodes[1].call(cluster.id(0), &WHO, &()).deadline(LONG).await;
    assert_eq!(heard.as_ref(), Ok(&names[1]));
    let heard = cluster.nodes[0].call(cluster.id(1), &WHO, &()).deadline(LONG).await;
    assert_eq!(heard.as_ref(), Ok(&names[0]));
}

/// A handler that blocks the thread of the calls until it is released, and the other end of both.
fn blocking() -> (Handlers, mpsc::Receiver<()>, mpsc::Sender<()>) {
    let ((began, begins), (release, released)) = (mpsc::channel(), mpsc::channel::<()>());
    let released = Arc::new(Mutex::new(released));
    let handlers = Handlers::new().serve(&BLOCK, move |_: Caller, ()| {
        let (began, released) = (began.clone(), released.clone());
        async move {
            let _ = began.send(());
            let _ = released.lock().expect("not poisoned").recv();
            Ok(())
        }
    });
    (handlers, begins, release)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_peer_that_does_not_read_costs_no_more_than_the_window_and_others_nothing() {
    let (handlers, begins, release) = blocking();
    let cluster = Cluster::of(vec![Handlers::new(), handlers, Handlers::new()]).await;
    let (node, stuck, free) = (&cluster.nodes[0], cluster.id(1), cluster.id(2));
    let blocked = tokio::spawn(node.call(stuck, &BLOCK, &()).deadline(LONG).into_future());
    tokio::task::spawn_blocking(move || begins.recv()).await.expect("no panic").expect("it blocks");

    let payload = vec![7u8; 256 * 1024];
    let mut calls = tokio::task::JoinSet::new();
    for _ in 0..2 * CALLS_WINDOW {
        calls.spawn(node.call(stuck, &ECHO, &payload).deadline(Duration::from_secs(3)).into_future());
    }
    let name = node.view().member(stuck).expect("a member").name.to_string();
    let mut most = 0;
    for _ in 0..300 {
        // To itself, to the free one: neither waits for the stuck one.
        let answer = node.call(free, &ECHO, &vec![1; 16]).deadline(Duration::from_secs(2)).await;
        assert_eq!(answer, Ok(vec![1; 16]));
        let waiting = node.counters().lane_queue_bytes.get(&(name.clone(), "calls")).copied().unwrap_or(0);
        most = most.max(waiting);
    }
    println!("at most {most} bytes waited");
    let heads = CALLS_WINDOW as u64 * 64;
    assert!(most > 0 && most <= CALLS_WINDOW_BYTES as u64 + heads, "{most}");

    let (mut unsent, mut unknown) = (0, 0);
    while let Some(result) = within("all calls end", calls.join_next()).await {
        match result.expect("no panic") {
            Err(CallError::TimedOut { sent: true, .. }) => unknown += 1,
            Err(CallError::TimedOut { sent: false, .. }) => unsent += 1,
            other => panic!("{other:?}"),
        }
    }
    println!("{unknown} in the window, {unsent} never sent");
    // A place in the window whose caller has gone is free once its request has left, not before.
    assert!(unknown > 0 && unknown <= 2 * CALLS_WINDOW_BYTES / payload.len(), "{unknown} {unsent}");
    assert!(unsent > CALLS_WINDOW, "{unknown} {unsent}");
    release.send(()).expect("it waits");
    assert_eq!(within("it ends", blocked).await.expect("no panic"), Ok(()));
    assert_eq!(node.call(stuck, &ECHO, &vec![2]).deadline(LONG).await, Ok(vec![2]), "it is called as before");
}
