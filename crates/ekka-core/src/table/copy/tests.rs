use alloc::vec;
use alloc::vec::Vec;

use super::super::{Event, Faults, Hlc, Message, Settings, Storage, Table};
use crate::id::{Guid, Incarnation, NodeId};
use crate::limits::TABLE_MERGE_STEP;
use crate::time::{Instant, Now, Wall};

const START: u64 = 1_000_000;

fn at(ms: u64) -> Now {
    Now { mono: Instant::from_nanos(ms * 1_000_000), wall: Wall::from_millis(START + ms) }
}

fn start(node: u128, guid: u128) -> Table {
    let me = Incarnation { node_id: NodeId::from_u128(node), guid: Guid::from_u128(guid) };
    let mut table = Table::new(Settings { me, storage: Storage::Ram, bound: Hlc::ZERO, faults: Faults::default() });
    table.bound_is(Hlc::at(Wall::from_millis(2 * START)));
    table
}

/// With rows of which three go into one message.
fn giver(guid: u128) -> Table {
    let mut table = start(1, guid);
    for n in 0..30u8 {
        table.put(&[n], &vec![1; 100_000], None, at(0).wall).unwrap();
    }
    table.drop_log();
    table
}

fn connect(a: &mut Table, b: &mut Table, now: Now) {
    a.disconnect(b.me(), now);
    b.disconnect(a.me(), now);
    a.connect(b.me(), now);
    b.connect(a.me(), now);
}

/// What both have for each other except copies gets there.
fn talk(a: &mut Table, b: &mut Table, now: Now) {
    loop {
        let (to_b, to_a) = (a.poll(b.me(), 4096), b.poll(a.me(), 4096));
        let (from_a, from_b) = (a.me(), b.me());
        if to_b.is_none() && to_a.is_none() {
            return;
        }
        if let Some(message) = to_b {
            b.receive(from_a, message, now).unwrap();
        }
        if let Some(message) = to_a {
            a.receive(from_b, message, now).unwrap();
        }
    }
}

/// The next so many messages of a copy, on their way.
fn some(a: &mut Table, b: &Table, count: usize) -> Vec<Message> {
    (0..count).filter_map(|_| a.poll_copy(b.me(), at(0))).collect()
}

fn arrive(b: &mut Table, from: Incarnation, messages: Vec<Message>, now: Now) {
    for message in messages {
        b.receive(from, message, now).unwrap();
    }
}

fn finish(table: &mut Table, now: Now) {
    while table.is_merging() {
        table.merge_some(1, now);
        table.check();
    }
}

#[test]
fn parts_of_an_earlier_try_that_come_late_are_not_counted() {
    let (mut a, mut b) = (giver(1), start(2, 1));
    connect(&mut a, &mut b, at(0));
    b.ask_copy(a.me(), at(0));
    talk(&mut a, &mut b, at(0));
    let first = some(&mut a, &b, 4);
    arrive(&mut b, a.me(), first, at(0));
    let late = some(&mut a, &b, 3);
    connect(&mut a, &mut b, at(100));
    talk(&mut a, &mut b, at(100));
    // Each of these was counted twice, so that the end did not add up and all of it was asked for again.
    arrive(&mut b, a.me(), late.clone(), at(100));
    let second = some(&mut a, &b, 2);
    arrive(&mut b, a.me(), second, at(100));
    arrive(&mut b, a.me(), late, at(100));
    connect(&mut a, &mut b, at(200));
    talk(&mut a, &mut b, at(200));
    let rest = some(&mut a, &b, 100);
    assert!(rest.len() < 10, "{} messages are left", rest.len());
    arrive(&mut b, a.me(), rest, at(200));
    finish(&mut b, at(200));
    assert!(!b.is_taking_copy() && b.held() == a.held() && b.rows().len() == 30);
}

#[test]
fn parts_that_an_earlier_start_of_the_giver_sent_are_refused() {
    let (mut a, mut b) = (giver(1), start(2, 1));
    a.put(b"of the first start", b"", None, at(0).wall).unwrap();
    connect(&mut a, &mut b, at(0));
    b.ask_copy(a.me(), at(0));
    talk(&mut a, &mut b, at(0));
    let late = some(&mut a, &b, 100);
    b.disconnect(a.me(), at(0));
    let mut again = giver(2);
    connect(&mut again, &mut b, at(100));
    // Nobody gives the first one any more, and this node knows that it is over.
    b.gone(a.me());
    b.ask_copy(again.me(), at(100));
    talk(&mut again, &mut b, at(100));
    let head = some(&mut again, &b, 1);
    arrive(&mut b, again.me(), head, at(100));
    // The shell knows by which node a part was sent, and takes it for one of its present start.
    arrive(&mut b, again.me(), late, at(100));
    let rest = some(&mut again, &b, 100);
    arrive(&mut b, again.me(), rest, at(100));
    finish(&mut b, at(100));
    assert!(b.get(b"of the first start", at(100).wall).is_none());
    assert_eq!((b.rows().len(), b.held()), (30, again.held()));
}

/// Two tables of many rows that know nothing of each other, the copy of the first one on its way into the second.
fn merging(rows: u32) -> (Table, Table) {
    let (mut a, mut b) = (start(1, 1), start(2, 1));
    for n in 0..rows {
        a.put(&n.to_be_bytes(), b"a", None, at(0).wall).unwrap();
    }
    a.drop_log();
    connect(&mut a, &mut b, at(10));
    b.ask_copy(a.me(), at(10));
    talk(&mut a, &mut b, at(10));
    let all = some(&mut a, &b, 1_000);
    arrive(&mut b, a.me(), all, at(10));
    (a, b)
}

#[test]
fn a_copy_is_merged_in_steps_and_counts_with_the_last() {
    let rows = u32::try_from(TABLE_MERGE_STEP * 3).unwrap();
    let (a, mut b) = merging(rows);
    assert!(b.is_merging() && b.rows().is_empty());
    let mut steps = 0;
    while b.is_merging() {
        let before = b.rows().len();
        b.merge_some(TABLE_MERGE_STEP, at(20));
        assert!(b.rows().len() - before <= TABLE_MERGE_STEP);
        b.check();
        steps += 1;
        if b.is_merging() {
            assert!(b.held().get(a.me()) == 0 && b.take_events().is_empty(), "nothing counts yet");
        }
    }
    assert!(steps >= 3);
    assert_eq!((b.rows().len(), b.held()), (rows as usize, a.held()));
    assert!(b.take_events().contains(&Event::CopyTaken { giver: a.me() }));
}

#[test]
fn writes_between_two_steps_stay_and_what_they_had_not_seen_is_in_the_journal() {
    let (mut a, mut b) = merging(100);
    b.merge_some(50, at(20));
    let (seen, unseen) = (10u32.to_be_bytes(), 90u32.to_be_bytes());
    assert!(b.get(&seen, at(20).wall).is_some() && b.get(&unseen, at(20).wall).is_none());
    for key in [&seen, &unseen] {
        b.put(key, b"b", None, at(30).wall).unwrap();
        b.check();
    }
    finish(&mut b, at(40));
    for key in [&seen, &unseen] {
        assert_eq!(b.get(key, at(40).wall).unwrap().value(), b"b");
    }
    let journal: Vec<_> = b.journal().map(|loser| loser.key().to_vec()).collect();
    assert_eq!(journal, [unseen.to_vec()]);
    // The other side comes to the same.
    for ms in [2_000, 4_000] {
        a.tick(at(ms));
        b.tick(at(ms));
        talk(&mut a, &mut b, at(ms));
    }
    assert_eq!((a.held(), a.journal().count()), (b.held(), 1));
    assert_eq!(a.get(&seen, at(4_000).wall).unwrap().value(), b"b");
}

#[test]
fn operations_of_others_wait_for_the_end_of_a_merge() {
    let (mut a, mut b) = merging(100);
    b.merge_some(50, at(20));
    a.put(&10u32.to_be_bytes(), b"later", None, at(30).wall).unwrap();
    talk(&mut a, &mut b, at(30));
    assert!(b.is_merging() && b.get(&10u32.to_be_bytes(), at(30).wall).unwrap().value() == b"a");
    finish(&mut b, at(40));
    talk(&mut a, &mut b, at(40));
    assert_eq!(b.get(&10u32.to_be_bytes(), at(40).wall).unwrap().value(), b"later");
    assert_eq!((b.held(), b.journal().count()), (a.held(), 0));
}

#[test]
fn nobody_is_given_a_copy_of_a_table_that_is_being_merged() {
    let (_, mut b) = merging(100);
    let mut c = start(3, 1);
    b.merge_some(50, at(20));
    connect(&mut b, &mut c, at(20));
    c.ask_copy(b.me(), at(20));
    talk(&mut b, &mut c, at(20));
    assert!(!c.is_taking_copy() && b.poll_copy(c.me(), at(20)).is_none());
    finish(&mut b, at(30));
    c.ask_copy(b.me(), at(30));
    talk(&mut b, &mut c, at(30));
    let all = some(&mut b, &c, 100);
    arrive(&mut c, b.me(), all, at(30));
    finish(&mut c, at(30));
    assert_eq!((c.rows().len(), c.held()), (100, b.held()));
}

#[test]
fn a_new_guid_in_the_middle_of_a_merge_leaves_nothing_uncounted() {
    let (a, mut b) = merging(100);
    b.merge_some(50, at(20));
    let next = Incarnation { guid: Guid::from_u128(2), ..b.me() };
    b.renew(next, at(30));
    b.check();
    assert_eq!((b.rows().len(), b.held().get(a.me())), (100, 100));
}

#[test]
fn the_giver_may_end_once_all_is_in() {
    let (a, mut b) = merging(100);
    b.merge_some(50, at(20));
    b.disconnect(a.me(), at(20));
    b.members_are([b.me().node_id, a.me().node_id]);
    b.gone(a.me());
    finish(&mut b, at(30));
    assert_eq!((b.rows().len(), b.held().get(a.me())), (100, 100));
}
