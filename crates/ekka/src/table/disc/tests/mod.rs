//! Written, crashed, read back.

mod life;
mod room;
mod schedules;

use std::time::Duration;

use ekka_core::table::{Message, Storage as Kept};
use tokio_util::sync::CancellationToken;

use self::life::{Around, KEY, Life, assert_journal, id, other_rows};
use super::form::{write_index, write_record};
use super::names::{INDEX, Names};
use crate::storage::Storage;
use crate::table::available::Write;
use crate::testing::CrashingDisc;

fn put<'a>(key: &'a [u8], value: &'a [u8]) -> Write<'a> {
    Write::Put { key, value, expires_at: None }
}

#[tokio::test(start_paused = true)]
async fn what_was_acknowledged_is_there_whichever_step_of_a_checkpoint_a_crash_interrupts() {
    let (around, disc) = (Around::new(), CrashingDisc::default());
    let mut peer = around.peer();
    let mut life = Life::begin(&around, &disc, 1).await;
    life.connect(&mut peer);
    for round in 0..60u8 {
        life.write(put(&[round % 20], &[round; 100]));
        if round % 3 == 0 {
            life.write(Write::Delete { key: &[round % 7] });
        }
        if round == 30 {
            // A full copy comes in the middle.
            peer.put(b"theirs", b"1", None, around.now().wall).unwrap();
            peer.drop_log();
        }
        life.exchange(&mut peer);
        life.pass(Duration::from_micros(700)).await;
    }
    life.settle().await;
    let acked = life.acked.clone();
    let shadow = life.crash(&mut peer).await;
    let (_, changes) = disc.changes();
    assert!(changes > 60 && acked.len() == 80, "{changes} changes, {} writes", acked.len());
    for crash in 0..=changes {
        let table = around.read(&disc.first(crash), id(1, 2));
        table.check();
        for (op, at) in &acked {
            assert!(*at > crash || table.holds(*op), "{op:?} was acknowledged at {at} of {crash} changes");
        }
        if table.held() == shadow.held() {
            let wall = around.now().wall;
            assert_eq!(other_rows(&table, &shadow, wall), [], "rows after {crash} changes");
            assert_journal(&table, &shadow);
        }
    }
    assert_eq!(around.read(&disc, id(1, 2)).held(), shadow.held());
}

#[tokio::test(start_paused = true)]
async fn the_log_is_cut_and_the_old_pieces_go() {
    let (around, disc) = (Around::new(), CrashingDisc::default());
    let mut life = Life::begin(&around, &disc, 1).await;
    for round in 0..200u8 {
        life.write(put(&[round % 5], &[round; 200]));
        life.pass(Duration::from_millis(2)).await;
    }
    life.settle().await;
    let (storage, names) = (disc.open(), Names::new(KEY, 0));
    let bounds = storage.bounds(&names.log);
    assert!(bounds.first > 150 && bounds.next - bounds.first < 40, "{bounds:?}");
    let sets = [0, 1].map(|set| storage.read_checkpoint(&names.piece(set, 0)).unwrap().is_some());
    assert_eq!(sets.iter().filter(|there| **there).count(), 1, "one set of pieces is there: {sets:?}");
}

#[tokio::test(start_paused = true)]
async fn a_dropped_table_is_deleted_also_where_a_crash_interrupts_that() {
    let (around, disc) = (Around::new(), CrashingDisc::default());
    let mut peer = around.peer();
    let mut life = Life::begin(&around, &disc, 1).await;
    for round in 0..50u8 {
        life.write(put(&[round], &[round; 100]));
        life.pass(Duration::from_millis(1)).await;
    }
    life.settle().await;
    let before = disc.changes().1;
    life.discs.drop_those(|key| key == KEY);
    life.pass(Duration::from_millis(50)).await;
    life.crash(&mut peer).await;
    for crash in before + 1..=disc.changes().1 {
        let disc = disc.first(crash);
        if disc.open().read_checkpoint(INDEX).unwrap() != Some(write_index(&super::Index::new())) {
            // As the next start does it.
            let next = Life::begin(&around, &disc, 2).await;
            next.discs.drop_those(|_| false);
            tokio::time::sleep(Duration::from_millis(50)).await;
            next.crash(&mut peer).await;
        }
        let (storage, names) = (disc.open(), Names::new(KEY, 0));
        assert_eq!(storage.read_checkpoint(INDEX).unwrap(), Some(write_index(&super::Index::new())), "{crash}");
        assert_eq!(storage.read_checkpoint(&names.head()).unwrap(), None);
        for (set, number) in [(0, 0), (0, 1), (1, 0), (1, 1)] {
            assert_eq!(storage.read_checkpoint(&names.piece(set, number)).unwrap(), None);
        }
        let bounds = storage.bounds(&names.log);
        assert_eq!(bounds.first, bounds.next, "after {crash} changes");
    }
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_read_is_kept_aside_and_the_table_begins_anew() {
    let (around, disc) = (Around::new(), CrashingDisc::default());
    let mut peer = around.peer();
    let mut life = Life::begin(&around, &disc, 1).await;
    life.connect(&mut peer);
    life.write(put(b"a", b"1"));
    life.exchange(&mut peer);
    life.settle().await;
    life.crash(&mut peer).await;

    let names = Names::new(KEY, 0);
    let storage = disc.open();
    let next = storage.bounds(&names.log).next;
    let mut foreign = write_record(&a_batch(&around));
    foreign[0] = 77;
    storage.append(&names.log, next, vec![foreign.clone()]).unwrap();

    let mut life = Life::begin(&around, &disc, 2).await;
    assert_eq!(life.slot.read().size().rows, 0);
    peer.members_are([id(1, 1).node_id, id(2, 1).node_id]);
    peer.gone(id(1, 1));
    life.connect(&mut peer);
    life.write(put(b"b", b"2"));
    life.converge(&mut peer).await;
    life.settle().await;
    life.crash(&mut peer).await;
    let life = Life::begin(&around, &disc, 3).await;
    assert_eq!(life.slot.read().size().rows, 2, "what the peer gave, and what was written since");
    let kept = disc.first(disc.changes().1).open().read(&names.log, next, next + 1, 0).unwrap();
    assert_eq!(kept, [(next, foreign)], "it is where it was");
    life.discs.drop_those(|_| true);
    tokio::time::sleep(Duration::from_millis(50)).await;
    let bounds = disc.open().bounds(&names.log);
    assert_eq!(bounds.first, bounds.next, "with the table that goes too");
}

#[tokio::test(start_paused = true)]
async fn a_node_that_takes_another_guid_while_a_table_is_read_opens_it_under_that_one() {
    let (around, disc) = (Around::new(), CrashingDisc::default());
    let (discs, world) = (around.discs(&disc, CancellationToken::new()), around.world());
    let settings = |guid| around.settings(id(1, guid), Kept::Disc);
    assert!(discs.open(KEY, &around.schema, settings(1), &world).is_none());
    discs.changed().await;
    let slot = discs.open(KEY, &around.schema, settings(2), &world).expect("it was read");
    assert_eq!(slot.read().me(), id(1, 2));
    assert!(discs.open(KEY, &around.schema, settings(2), &world).is_none(), "it is open already");
}

#[tokio::test(start_paused = true)]
async fn a_table_that_is_dropped_while_it_is_read_is_not_opened() {
    let (around, disc) = (Around::new(), CrashingDisc::default());
    let mut life = Life::begin(&around, &disc, 1).await;
    life.write(put(b"a", b"1"));
    life.settle().await;
    life.crash(&mut around.peer()).await;
    let (discs, world) = (around.discs(&disc, CancellationToken::new()), around.world());
    let settings = around.settings(id(1, 2), Kept::Disc);
    assert!(discs.open(KEY, &around.schema, settings, &world).is_none());
    discs.drop_those(|_| true);
    discs.changed().await;
    discs.drop_those(|_| false);
    discs.changed().await;
    assert!(discs.open(KEY, &around.schema, settings, &world).is_none(), "it is gone, and would be made anew");
    discs.changed().await;
    let slot = discs.open(KEY, &around.schema, settings, &world).expect("a new one");
    assert_eq!(slot.read().size().rows, 0);
}

/// A batch of one operation.
fn a_batch(around: &Around) -> ekka_core::table::Batch {
    let mut peer = around.peer();
    peer.put(b"x", b"y", None, around.now().wall).unwrap();
    let mut giving = peer.clone_to_give(around.now());
    let mut messages = std::iter::from_fn(move || giving.next_message());
    let rows =
        messages.find_map(|message| if let Message::CopyRows { rows, .. } = message { Some(rows) } else { None });
    rows.expect("a row")
}
