//! Streams between real nodes: order, credit, and how they end.

use std::sync::Arc;
use std::time::Duration;

use crate::rpc_support::{Cluster, within};
use ekka::rpc::{CallError, Caller, HandlerError, Handlers, Receiver, Stream};
use tokio::sync::{Semaphore, mpsc};

const ITEMS: Stream<u64> = Stream::new("test.items");
const BYTES: Stream<Vec<u8>> = Stream::raw("test.bytes");

/// A receiver that handles an item only with a permit, and passes each on.
fn gated() -> (Handlers, Arc<Semaphore>, mpsc::UnboundedReceiver<Option<u64>>) {
    let (gate, (seen, sees)) = (Arc::new(Semaphore::new(0)), mpsc::unbounded_channel());
    let held = gate.clone();
    let handlers = Handlers::new().receive(&ITEMS, move |_: Caller, mut items: Receiver<u64>| {
        let (gate, seen) = (held.clone(), seen.clone());
        async move {
            while let Some(item) = items.next().await? {
                gate.acquire().await?.forget();
                if item == 666 {
                    return Err(HandlerError::new("no such item"));
                }
                let _ = seen.send(Some(item));
            }
            let _ = seen.send(None);
            Ok(())
        }
    });
    (handlers, gate, sees)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn items_come_in_order_as_many_as_the_window_allows_and_each_is_acknowledged() {
    let (handlers, gate, mut sees) = gated();
    let cluster = Cluster::of(vec![Handlers::new(), handlers]).await;
    let node = &cluster.nodes[0];
    let (mut sender, mut acks) = node.stream(cluster.id(1), &ITEMS).window(4).await.expect("it is taken");
    for item in 0..4 {
        assert_eq!(within("there is room", sender.send(&item)).await, Ok(item + 1));
    }
    // The window is full: the fifth waits until something was handled.
    let blocked = tokio::time::timeout(Duration::from_millis(100), sender.send(&4)).await;
    assert!(blocked.is_err() && acks.handled() == 0);
    gate.add_permits(1_000_000);
    for item in 4..600 {
        assert_eq!(within("there is room", sender.send(&item)).await, Ok(item + 1));
    }
    within("all is handled", acks.reached(600)).await.expect("it is");
    assert_eq!(within("it ends", sender.finish()).await, Ok(600));
    for item in 0..600 {
        assert_eq!(sees.recv().await, Some(Some(item)));
    }
    assert_eq!(sees.recv().await, Some(None), "the receiver sees the end");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_ends_with_its_receiver_its_sender_and_its_node() {
    let (handlers, gate, mut sees) = gated();
    let mut cluster = Cluster::of(vec![Handlers::new(), handlers]).await;
    let (node, target) = (cluster.nodes[0].clone(), cluster.id(1));
    let unknown = node.stream(target, &BYTES).await.err().expect("nobody receives it");
    assert!(matches!(unknown, CallError::NoSuchMethod { .. }) && unknown.to_string().contains("test.items"));
    let other: Stream<u64> = Stream::new("test.items").json();
    let mismatch = node.stream(target, &other).await.err().expect("another codec");
    assert!(matches!(mismatch, CallError::VersionMismatch { .. }), "{mismatch:?}");

    // The receiver fails at the second item.
    gate.add_permits(2);
    let (mut sender, acks) = node.stream(target, &ITEMS).await.expect("it is taken");
    sender.send(&1).await.expect("there is room");
    sender.send(&666).await.expect("there is room");
    let error = within("it ends", sender.finish()).await.expect_err("the receiver fails");
    assert!(matches!(error, CallError::HandlerFailed { .. }) && error.to_string().contains("no such item"));
    assert_eq!((acks.handled(), sees.recv().await), (1, Some(Some(1))));

    // The sender gives up: the handler is dropped while it waits for a permit, so that the next stream gets it.
    let (mut sender, _) = node.stream(target, &ITEMS).await.expect("it is taken");
    sender.send(&2).await.expect("there is room");
    drop(sender);
    let (mut sender, mut acks) = node.stream(target, &ITEMS).await.expect("it is taken");
    sender.send(&3).await.expect("there is room");
    gate.add_permits(1);
    assert_eq!(within("the next stream goes on", sees.recv()).await, Some(Some(3)));
    within("it is handled", acks.reached(1)).await.expect("it is");

    let stopped = cluster.nodes.remove(1);
    stopped.stop(Duration::from_secs(10)).await.expect("it stops");
    let error = within("the stream ends", async {
        loop {
            if let Err(error) = sender.send(&4).await {
                return error;
            }
        }
    });
    let error = error.await;
    assert!(matches!(error, CallError::Unreachable { .. }) && error.outcome_unknown(), "{error:?}");
    assert_eq!(acks.handled(), 1, "how far it got stays known");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn large_items_wait_for_room_in_bytes() {
    let gate = Arc::new(Semaphore::new(0));
    let held = gate.clone();
    let handlers = Handlers::new().receive(&BYTES, move |_: Caller, mut items: Receiver<Vec<u8>>| {
        let gate = held.clone();
        async move {
            while items.next().await?.is_some() {
                gate.acquire().await?.forget();
            }
            Ok(())
        }
    });
    let cluster = Cluster::of(vec![Handlers::new(), handlers]).await;
    let (mut sender, _) = cluster.nodes[0].stream(cluster.id(1), &BYTES).await.expect("it is taken");
    let item = vec![7; 4 * 1024 * 1024];
    let fit = ekka::core::limits::CALLS_WINDOW_BYTES / item.len();
    for _ in 0..fit {
        within("there is room", sender.send(&item)).await.expect("it is sent");
    }
    assert!(tokio::time::timeout(Duration::from_millis(100), sender.send(&item)).await.is_err(), "no more bytes");
    gate.add_permits(1_000);
    within("there is room again", sender.send(&item)).await.expect("it is sent");
    assert_eq!(within("it ends", sender.finish()).await, Ok(fit as u64 + 1));
}
