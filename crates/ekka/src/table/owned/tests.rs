//! When an owned table has what its peers held.

use ekka_core::id::Guid;
use ekka_core::limits::TABLE_LOG_BYTES_MAX;
use ekka_core::schema::Kind;
use ekka_core::table::{Ack, Faults, Hlc};

use super::*;
use crate::testing::RuntimeClock;

fn id(node: u128) -> Incarnation {
    Incarnation { node_id: NodeId::from_u128(node), guid: Guid::from_u128(1) }
}

/// A table of node 1, with nodes 2 and 3 up.
fn slot() -> OwnedSlot {
    let world = Arc::new(World::new(Arc::new(RuntimeClock::default()), Hlc::ZERO, Faults::default()));
    world.sees(&[id(2), id(3)], &[]);
    let slot = OwnedSlot::new(7, Schema::new("routes", Kind::Owned), id(1), world);
    slot.follow(&Committed { present: [id(1), id(2), id(3)].into(), number: 1, ..Committed::default() });
    slot
}

fn peer(node: u128) -> OwnedTable {
    let mut table = OwnedTable::new(id(node));
    table.roster_is([id(1), id(2), id(3)]);
    table.put(b"topic", b"here").unwrap();
    table
}

/// All that this node and a peer have for each other gets there.
fn exchange(slot: &OwnedSlot, peer: &mut OwnedTable) {
    let (now, other) = (slot.world.clock.now(), peer.me());
    loop {
        let (there, here) = (slot.poll(other, 4096), peer.poll(id(1), 4096));
        if there.is_none() && here.is_none() {
            break;
        }
        if let Some(message) = there {
            peer.receive(id(1), message).unwrap();
        }
        if let Some(message) = here {
            slot.receive(other, message, now, &mut Answers::default()).unwrap();
        }
    }
    slot.tick(&Committed::default(), now);
}

#[tokio::test(start_paused = true)]
async fn all_owners_that_are_up_have_said_theirs_or_those_that_can_be_heard_after_a_while() {
    let (slot, mut two, mut three) = (slot(), peer(2), peer(3));
    for peer in [&mut two, &mut three] {
        slot.connect(peer.me());
        peer.connect(id(1));
    }
    exchange(&slot, &mut two);
    assert!(!slot.signals.is_loaded());
    assert_eq!(slot.waits().unwrap(), "ekka@10.0.0.3");
    exchange(&slot, &mut three);
    assert!(slot.signals.is_loaded() && slot.waits().is_none());
    assert_eq!(slot.read().get_including_down(b"topic").count(), 2);
}

#[tokio::test(start_paused = true)]
async fn an_owner_that_cannot_be_heard_is_not_waited_for_for_ever_and_nobody_begins_with_nothing() {
    let (slot, mut two) = (slot(), peer(2));
    tokio::time::advance(ALONE).await;
    slot.tick(&Committed::default(), slot.world.clock.now());
    assert!(!slot.signals.is_loaded(), "two are up, and none has said anything");
    slot.connect(id(2));
    two.connect(id(1));
    exchange(&slot, &mut two);
    assert!(slot.signals.is_loaded(), "there is no link with node 3");
}

/// A table of node 1 with node 2, which is up alone and holds what there is.
fn beside_one() -> (OwnedSlot, OwnedTable) {
    let (slot, mut two) = (slot(), peer(2));
    slot.world.sees(&[id(2)], &[]);
    slot.connect(id(2));
    two.connect(id(1));
    exchange(&slot, &mut two);
    (slot, two)
}

/// Rows of two logs, in one go.
fn many() -> Vec<(Vec<u8>, Vec<u8>)> {
    let rows = 2 * TABLE_LOG_BYTES_MAX / 65_536;
    (0..rows).map(|row| (row.to_string().into_bytes(), vec![7; 65_536])).collect()
}

/// A peer takes what there is for it, slowly, and never more than a part of the log at once.
async fn follow(slot: &OwnedSlot, peer: &mut OwnedTable) {
    loop {
        // Ten operations were written in this time, were nobody waited for.
        for _ in 0..10 {
            tokio::task::yield_now().await;
        }
        assert!(slot.read().lags().all(|(_, bytes)| bytes <= pace::BEHIND + 2 * OPERATION_BYTES as u64));
        if let Some(message) = slot.poll(peer.me(), 1) {
            assert!(!matches!(message, OwnedMessage::State { .. }), "it has to begin anew");
            peer.receive(id(1), message).unwrap();
        }
        if let Some(message) = peer.poll(id(1), 4096) {
            slot.receive(peer.me(), message, slot.world.clock.now(), &mut Answers::default()).unwrap();
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_call_with_more_than_the_log_keeps_goes_no_faster_than_who_follows() {
    let (slot, mut two) = beside_one();
    let (rows, terms) = (many(), Terms { ack: Ack::All, strict: true });
    let putting = slot.put_many(&rows, terms, Duration::from_secs(60));
    let put =
        tokio::select! { put = putting => put, () = follow(&slot, &mut two) => unreachable!("it goes on for ever") };
    assert_eq!(put.unwrap().copies, 2);
    assert_eq!(two.size().0, rows.len() + 1);
}

#[tokio::test(start_paused = true)]
async fn who_does_not_follow_is_waited_for_once_and_gets_all_rows_later() {
    let (slot, mut two) = beside_one();
    let (begun, rows) = (tokio::time::Instant::now(), many());
    let put = slot.put_many(&rows, Terms { ack: Ack::Local, strict: false }, Duration::from_secs(60)).await;
    assert_eq!((put.unwrap().copies, begun.elapsed()), (1, pace::PATIENCE));
    exchange(&slot, &mut two);
    assert_eq!(two.size().0, rows.len() + 1, "it has them as a whole");
}

#[tokio::test(start_paused = true)]
async fn a_deadline_holds_for_all_waiting_and_an_end_for_the_rest() {
    let (slot, _two) = beside_one();
    let (begun, rows, terms) = (tokio::time::Instant::now(), many(), Terms { ack: Ack::Local, strict: false });
    slot.put_many(&rows, terms, Duration::from_millis(300)).await.unwrap();
    assert_eq!(begun.elapsed(), Duration::from_millis(300));
    let rows = many();
    let putting = slot.put_many(&rows, terms, Duration::from_secs(60));
    let ending = async {
        tokio::task::yield_now().await;
        slot.end();
        std::future::pending::<()>().await;
    };
    let put = tokio::select! { put = putting => put, () = ending => unreachable!("it waits for ever") };
    assert!(matches!(put, Err(PutError::Closed)), "{put:?}");
}
