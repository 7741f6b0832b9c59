//! A disc that is full, and one that fails.

use std::sync::atomic::Ordering;
use std::time::Duration;

use ekka_core::table::{Ack, Body};
use tokio::time::sleep;

use super::life::{Around, Life, id};
use super::put;
use crate::answers::Answers;
use crate::table::PutError;
use crate::table::acks::Terms;
use crate::table::available::Write;
use crate::table::slot::Slot;
use crate::testing::CrashingDisc;

const LOCAL: Terms = Terms { ack: Ack::Local, strict: false };
const LIMIT: Duration = Duration::from_secs(5);

#[tokio::test(start_paused = true)]
async fn below_the_reserve_writes_are_refused_before_they_are_made_and_deletes_are_not() {
    let (around, disc) = (Around::new(), CrashingDisc::default());
    let life = Life::begin(&around, &disc, 1).await;
    assert!(life.slot.put(put(b"a", b"1"), LOCAL, LIMIT).await.unwrap().durable);
    around.is_full.store(true, Ordering::Relaxed);
    let refused = life.slot.put(put(b"b", b"1"), LOCAL, LIMIT).await;
    assert_eq!(refused, Err(PutError::DiscFull));
    assert!(life.slot.get(b"b", |_| ()).is_none() && life.slot.get(b"a", |_| ()).is_some(), "reads go on");
    assert!(life.slot.put(Write::Delete { key: b"a" }, LOCAL, LIMIT).await.unwrap().durable);
    around.is_full.store(false, Ordering::Relaxed);
    assert!(life.slot.put(put(b"b", b"1"), LOCAL, LIMIT).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn what_found_no_room_gets_to_disc_once_there_is() {
    let (around, disc) = (Around::new(), CrashingDisc::default());
    let life = Life::begin(&around, &disc, 1).await;
    disc.set_full(true);
    let late = life.slot.put(put(b"a", b"1"), LOCAL, Duration::from_millis(100)).await;
    assert!(matches!(late, Err(PutError::TimedOut { .. })), "{late:?}");
    assert_eq!(life.slot.put(put(b"b", b"1"), LOCAL, LIMIT).await, Err(PutError::DiscFull));
    let waits = life.slot.put(Write::Delete { key: b"c" }, LOCAL, LIMIT);
    let frees = async {
        sleep(Duration::from_secs(1)).await;
        disc.set_full(false);
    };
    assert!(tokio::join!(waits, frees).0.unwrap().durable);
    assert!(life.slot.put(put(b"b", b"1"), LOCAL, LIMIT).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn where_the_store_has_failed_writes_fail_in_words_and_reads_go_on() {
    let (around, disc) = (Around::new(), CrashingDisc::default());
    let life = Life::begin(&around, &disc, 1).await;
    life.slot.put(put(b"a", b"1"), LOCAL, LIMIT).await.unwrap();
    disc.fail();
    let pending = life.slot.put(put(b"b", b"1"), LOCAL, LIMIT).await.unwrap_err();
    assert!(matches!(pending, PutError::DiscFailed { written: true, .. }) && pending.outcome_unknown(), "{pending:?}");
    let refused = life.slot.put(Write::Delete { key: b"a" }, LOCAL, LIMIT).await.unwrap_err();
    assert!(matches!(refused, PutError::DiscFailed { written: false, .. }) && !refused.outcome_unknown());
    assert!(refused.to_string().contains("nothing was written") && refused.to_string().contains("broken"));
    assert!(life.slot.get(b"a", |_| ()).is_some());
}

#[tokio::test(start_paused = true)]
async fn peers_are_told_once_that_a_disc_has_no_room_and_once_that_it_has() {
    let (around, disc) = (Around::new(), CrashingDisc::default());
    let life = Life::begin(&around, &disc, 1).await;
    let mut peer = around.peer();
    life.connect(&mut peer);
    let told = || std::iter::from_fn(|| life.slot.tells(peer.me())).collect::<Vec<_>>();
    assert!(matches!(told()[..], [Body::Loaded, Body::Amount { .. }]));
    around.is_full.store(true, Ordering::Relaxed);
    assert!(life.slot.has_more_for(peer.me()), "a tick finds it");
    assert_eq!(told(), [Body::Room { has: false }]);
    around.is_full.store(false, Ordering::Relaxed);
    assert_eq!(told(), [Body::Room { has: true }]);
    disc.set_full(true);
    let late = life.slot.put(put(b"a", b"1"), LOCAL, Duration::from_millis(100)).await;
    assert!(matches!(late, Err(PutError::TimedOut { .. })), "{late:?}");
    assert_eq!(told(), [Body::Room { has: false }], "the store itself finds none");
}

#[tokio::test(start_paused = true)]
async fn a_peer_without_room_counts_for_no_write_and_nobody_waits_for_it() {
    let (around, disc) = (Around::new(), CrashingDisc::default());
    let mut life = Life::begin(&around, &disc, 1).await;
    let mut peer = around.peer();
    life.world.sees(&[id(2, 1)], &[]);
    life.connect(&mut peer);
    let slot = Slot::Available(life.slot.clone());
    let hears = |body| slot.receive(id(2, 1), body, life.now(), &mut Answers::default()).unwrap();
    let terms = |ack, strict| Terms { ack, strict };
    // It waits for the peer, which then says that it has no room.
    let waits = life.slot.put(put(b"a", b"1"), terms(Ack::Two, false), LIMIT);
    let says = async {
        sleep(Duration::from_millis(500)).await;
        hears(Body::Room { has: false });
    };
    let acknowledged = tokio::join!(waits, says).0.unwrap();
    assert_eq!((acknowledged.copies, acknowledged.lonely, acknowledged.durable), (1, true, true));
    let all = life.slot.put(put(b"b", b"1"), terms(Ack::All, false), LIMIT).await.unwrap();
    assert_eq!((all.copies, all.lonely), (1, true));
    let strict = life.slot.put(put(b"c", b"1"), terms(Ack::Two, true), LIMIT).await;
    assert!(matches!(strict, Err(PutError::TooFewCopies(_))), "{strict:?}");
    hears(Body::Room { has: true });
    let late = life.slot.put(put(b"d", b"1"), terms(Ack::Two, false), Duration::from_millis(500)).await;
    assert!(matches!(late, Err(PutError::TimedOut { .. })), "it counts again, and has not got it: {late:?}");
    life.converge(&mut peer).await;
    let again = life.slot.read().stored();
    assert_eq!(life.slot.read().missing_at(id(2, 1), &again), Some(0));
}
