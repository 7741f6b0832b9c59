//! The bulk lane beside the control lane.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::time::Duration;

use crate::transport_common::*;
use ekka::transport::BulkError;
use ekka_core::control::{CloseCause, DialError};
use ekka_core::id::NodeId;
use tokio::time::timeout;

#[tokio::test]
async fn bulk_frames_arrive_in_order_with_their_sender() {
    let (mut a, mut b) = (setup(1).start().await, setup(2).start().await);
    link(&mut a, &mut b).await;
    let bulk = a.transport.open_bulk(&b.endpoint).await.unwrap();
    assert_eq!(bulk.peer().name, b.own_hello().name);
    let sending = async {
        for n in 0..200u8 {
            bulk.send(&vec![n; 100_000]).await.unwrap();
        }
    };
    let receiving = async {
        for n in 0..200u8 {
            let (from, bytes) = timeout(PATIENCE, b.bulk.recv()).await.unwrap().unwrap();
            assert_eq!((from, bytes), (NodeId::from_random(1), vec![n; 100_000]));
        }
    };
    tokio::join!(sending, receiving);
    let too_large = bulk.send(&vec![0; 17 * 1024 * 1024]).await;
    assert!(matches!(too_large, Err(BulkError::TooLarge { .. })));
}

#[tokio::test]
async fn either_side_of_a_link_may_open_a_bulk_connection() {
    let (mut a, mut b) = (setup(1).start().await, setup(2).start().await);
    link(&mut a, &mut b).await;
    b.transport.open_bulk(&a.endpoint).await.unwrap().send(b"from b").await.unwrap();
    assert_eq!(timeout(PATIENCE, a.bulk.recv()).await.unwrap().unwrap().1, b"from b");
}

#[tokio::test]
async fn a_flooded_and_unread_bulk_connection_does_not_delay_control() {
    let (mut a, mut b) = (setup(1).start().await, setup(2).start().await);
    let (at_a, at_b) = link(&mut a, &mut b).await;
    let bulk = a.transport.open_bulk(&b.endpoint).await.unwrap();
    // Nobody reads the bulk lane of `b`: the sender is made to wait, with bounded memory.
    let chunk = vec![0; 1024 * 1024];
    let mut taken = 0u64;
    while let Ok(sent) = timeout(Duration::from_millis(500), bulk.send(&chunk)).await {
        sent.unwrap();
        taken += 1;
        assert!(taken < 200, "the sender is never made to wait");
    }
    let queued = a.transport.stats().lane_queue_bytes[&("ekka2@127.0.0.1".to_owned(), "bulk")];
    assert!(queued > 0 && queued <= 20 * 1024 * 1024, "{queued} bytes wait");
    let begun = std::time::Instant::now();
    for _ in 0..100 {
        exchange((&mut a, at_a), (&mut b, at_b), b"heartbeat").await;
    }
    assert!(begun.elapsed() < Duration::from_secs(2), "100 round trips took {:?}", begun.elapsed());
    // Once it is read, everything arrives.
    for _ in 0..taken {
        timeout(PATIENCE, b.bulk.recv()).await.unwrap().unwrap();
    }
}

#[tokio::test]
async fn bulk_without_a_link_is_refused_and_ends_with_the_link() {
    let (mut a, mut b) = (setup(1).start().await, setup(2).start().await);
    let error = a.transport.open_bulk(&b.endpoint).await.err().expect("there is no link");
    assert!(
        matches!(&error, DialError::Rejected(refusal) if refusal.text.contains("no control connection")),
        "{error}"
    );
    let (at_a, _) = link(&mut a, &mut b).await;
    let bulk = a.transport.open_bulk(&b.endpoint).await.unwrap();
    bulk.send(b"one").await.unwrap();
    timeout(PATIENCE, b.bulk.recv()).await.unwrap().unwrap();
    a.transport.close(at_a, CloseCause::Silent);
    assert_eq!(timeout(PATIENCE, bulk.closed()).await.unwrap(), CloseCause::Silent);
    assert_eq!(bulk.send(b"two").await, Err(BulkError::Closed(CloseCause::Silent)));
}
