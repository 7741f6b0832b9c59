//! What a watcher is given that begins at a bad moment, or comes back.

use std::sync::Arc;
use std::time::Duration;

use ekka_core::id::{Guid, Incarnation, NodeId};
use ekka_core::schema::{Kind, Schema};
use ekka_core::table::{Ack, Faults, Hlc, OwnedTable, PeerClocks};
use ekka_core::time::Wall;

use super::super::acks::Terms;
use super::super::available::{AvailableSlot, Write};
use super::super::committed::Committed;
use super::super::hub::World;
use super::super::owned::OwnedSlot;
use super::*;
use crate::answers::Answers;
use crate::env::Clock;
use crate::testing::RuntimeClock;

fn id(node: u128) -> Incarnation {
    Incarnation { node_id: NodeId::from_u128(node), guid: Guid::from_u128(1) }
}

fn world() -> Arc<World> {
    let clock = Arc::new(RuntimeClock::default());
    let wall = clock.now().wall;
    let world = Arc::new(World::new(clock, Hlc::at(wall), Faults::default()));
    world.bound_is(Hlc::at(Wall::from_millis(wall.as_millis() + 10_000_000)));
    world
}

/// The table of this number, as node 1 opens it.
fn available(world: &Arc<World>) -> Arc<AvailableSlot> {
    Arc::new(AvailableSlot::new(7, Schema::new("users", Kind::Available), id(1), world.clone()))
}

fn put(slot: &AvailableSlot, key: &[u8], expires_at: Option<Wall>) {
    let write = Write::Put { key, value: b"v", expires_at };
    assert!(slot.write(write, Terms { ack: Ack::Local, strict: false }).is_ok());
}

/// What there is to be given now, in short.
async fn given(watch: &mut RawWatch) -> Vec<String> {
    let mut given = Vec::new();
    while let Ok(Some(change)) = tokio::time::timeout(Duration::from_millis(1), watch.next()).await {
        let text = |key: &[u8]| String::from_utf8_lossy(key).into_owned();
        given.push(match change {
            RawChange::Snapshot(row) => format!("row {}", text(row.key())),
            RawChange::SnapshotEnd(revision) => format!("end at {revision}"),
            RawChange::Put(row, _) => format!("put {}", text(row.key())),
            RawChange::Delete(row, _) => format!("delete {}", text(row.key())),
            RawChange::Gone(key, _) => format!("gone {}", text(&key)),
            RawChange::Resync => "resync".to_owned(),
        });
    }
    given
}

#[tokio::test(start_paused = true)]
async fn a_row_that_has_expired_and_was_not_told_of_yet_is_no_change_after_a_snapshot_without_it() {
    let slot = available(&world());
    let mut early = RawWatch::new(slot.clone());
    let wall = slot.world.clock.now().wall;
    put(&slot, b"short", Some(Wall::from_millis(wall.as_millis() + 50)));
    put(&slot, b"long", None);
    assert_eq!(given(&mut early).await, ["row long", "row short", "end at 2"]);
    tokio::time::advance(Duration::from_millis(60)).await;
    let mut late = RawWatch::new(slot.clone());
    assert_eq!(given(&mut late).await, ["row long", "end at 3"]);
    slot.tick(PeerClocks::default(), slot.world.clock.now());
    put(&slot, b"new", None);
    assert_eq!(given(&mut late).await, ["put new"], "nothing goes that was never there");
    assert_eq!(given(&mut early).await, ["delete short", "put new"], "who saw it is told once");
}

#[tokio::test(start_paused = true)]
async fn a_revision_goes_on_in_the_table_that_it_is_of_and_in_no_other_of_its_number() {
    let world = world();
    let (slot, other) = (available(&world), available(&world));
    for slot in [&slot, &other] {
        put(slot, b"a", None);
        put(slot, b"b", None);
    }
    let history = slot.history.clone();
    let mut back = RawWatch::after(slot.clone(), &history, 1);
    assert_eq!(given(&mut back).await, ["put b"]);
    for (slot, history) in [(other, history.as_str()), (slot, "")] {
        let mut stranger = RawWatch::after(slot, history, 1);
        assert_eq!(given(&mut stranger).await, ["resync", "row a", "row b", "end at 2"]);
    }
}

/// A table of node 1, with a row of node 2, which is down, and one of node 3.
fn owned(world: &Arc<World>) -> Arc<OwnedSlot> {
    let slot = OwnedSlot::new(7, Schema::new("routes", Kind::Owned), id(1), world.clone());
    let committed = Committed { present: [id(1), id(2), id(3)].into(), number: 1, ..Committed::default() };
    slot.follow(&committed);
    let now = slot.world.clock.now();
    for node in [2, 3] {
        let mut peer = OwnedTable::new(id(node));
        peer.roster_is([id(1), id(2), id(3)]);
        peer.put(b"topic", b"here").unwrap();
        peer.connect(id(1));
        slot.connect(id(node));
        while let Some(message) = peer.poll(id(1), 4096) {
            slot.receive(id(node), message, now, &mut Answers::default()).unwrap();
            while let Some(message) = slot.poll(id(node), 4096) {
                peer.receive(id(1), message).unwrap();
            }
        }
    }
    slot.world.runs([id(1), id(3)].into());
    slot.sees(&committed, now);
    Arc::new(slot)
}

#[tokio::test(start_paused = true)]
async fn an_owner_that_is_down_is_named_within_the_snapshot_and_at_no_revision() {
    let world = world();
    let (slot, other) = (owned(&world), owned(&world));
    let revision = slot.read().revision();
    let all = async |watch: &mut RawOwnedWatch| {
        let mut given = Vec::new();
        while let Ok(Some(change)) = tokio::time::timeout(Duration::from_millis(1), watch.next()).await {
            given.push(match change {
                RawOwnedChange::Snapshot(owner, _) => format!("row of {}", owner.as_u128()),
                RawOwnedChange::Hidden(owner) => format!("{} is down", owner.as_u128()),
                RawOwnedChange::SnapshotEnd(end) if end == revision => "end".to_owned(),
                RawOwnedChange::Resync => "resync".to_owned(),
                change => panic!("{change:?} at {revision}"),
            });
        }
        given
    };
    let snapshot = ["row of 2", "2 is down", "row of 3", "end"];
    assert_eq!(all(&mut RawOwnedWatch::new(slot.clone())).await, snapshot);
    let history = slot.history.clone();
    let mut stranger = RawOwnedWatch::after(other, &history, revision);
    assert_eq!(all(&mut stranger).await[0], "resync");
    let mut back = RawOwnedWatch::after(slot, &history, revision - 1);
    let change = back.next().await;
    assert!(matches!(change, Some(RawOwnedChange::Changed(_, at)) if at == revision), "{change:?}");
}
