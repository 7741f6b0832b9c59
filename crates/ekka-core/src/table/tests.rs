mod digests;
mod hostile;
mod refused;
mod saved;
mod seams;

use alloc::vec;
use alloc::vec::Vec;

use super::*;
use crate::id::{Guid, Incarnation, NodeId};
use crate::limits::{TABLE_CHANGES_MAX, TABLE_JOURNAL_BYTES_MAX, TABLE_KEY_MAX, TABLE_VALUE_MAX};
use crate::time::{Instant, Now, Wall};

const START: u64 = 1_000_000;

fn id(node: u128) -> Incarnation {
    Incarnation { node_id: NodeId::from_u128(node), guid: Guid::from_u128(1) }
}

fn at(ms: u64) -> Now {
    Now { mono: Instant::from_nanos(ms * 1_000_000), wall: Wall::from_millis(START + ms) }
}

fn settings_of(node: u128) -> Settings {
    Settings { me: id(node), storage: Storage::Ram, bound: Hlc::ZERO, faults: Faults::default() }
}

fn table(node: u128) -> Table {
    let mut table = Table::new(settings_of(node));
    table.bound_is(Hlc::at(Wall::from_millis(2 * START)));
    table
}

fn connect(a: &mut Table, b: &mut Table, now: Now) {
    a.connect(b.me(), now);
    b.connect(a.me(), now);
}

/// All that two tables have for each other gets there.
fn exchange(a: &mut Table, b: &mut Table, now: Now) {
    loop {
        let (to_b, to_a) = (next(a, b.me(), now), next(b, a.me(), now));
        if to_a.is_none() && to_b.is_none() {
            return;
        }
        let (from_a, from_b) = (a.me(), b.me());
        if let Some(message) = to_b {
            b.receive(from_a, message, now).unwrap();
        }
        if let Some(message) = to_a {
            a.receive(from_b, message, now).unwrap();
        }
        for table in [&mut *a, &mut *b] {
            while table.is_merging() {
                table.merge_some(usize::MAX, now);
            }
        }
    }
}

fn next(table: &mut Table, peer: Incarnation, now: Now) -> Option<Message> {
    table.poll(peer, 4096).or_else(|| table.poll_copy(peer, now))
}

fn changes(table: &Table, after: Revision) -> Vec<(&'static str, Vec<u8>)> {
    let word = |change: &Change| match change {
        Change::Put(_) => "put",
        Change::Delete(_) => "delete",
        Change::Expired(_) => "expired",
    };
    table.changes_after(after).unwrap().map(|change| (word(change), change.version().key().to_vec())).collect()
}

#[test]
fn a_watcher_sees_every_change_once_and_is_told_when_it_cannot() {
    let mut table = table(1);
    let now = at(0);
    table.put(b"a", b"1", None, now.wall).unwrap();
    let (rows, revision) = (table.rows(), table.revision());
    table.delete(b"nothing", now.wall).unwrap();
    table.put(b"a", b"2", None, now.wall).unwrap();
    table.put(b"b", b"1", Some(at(500).wall), now.wall).unwrap();
    table.delete(b"a", now.wall).unwrap();
    table.tick(at(600));
    let expected = [("put", b"a"), ("put", b"b"), ("delete", b"a"), ("expired", b"b")];
    assert_eq!(changes(&table, revision), expected.map(|(word, key)| (word, key.to_vec())));
    assert_eq!(rows.get(b"a").unwrap().value(), b"1", "the snapshot stays as it was");
    for _ in 0..=TABLE_CHANGES_MAX {
        table.put(b"c", b"", None, now.wall).unwrap();
    }
    assert!(table.changes_after(revision).is_err());
    assert!(table.changes_after(table.revision() + 1).is_err(), "a revision of another node or start");
}

#[test]
fn what_is_too_long_is_refused_and_changes_nothing() {
    let mut table = table(1);
    let wall = at(0).wall;
    let error = table.put(&vec![0; TABLE_KEY_MAX + 1], b"", None, wall).unwrap_err();
    assert_eq!(error, WriteError::KeyTooLong { len: TABLE_KEY_MAX + 1 });
    let error = table.put(b"k", &vec![0; TABLE_VALUE_MAX + 1], None, wall).unwrap_err();
    assert_eq!(error, WriteError::ValueTooLong { len: TABLE_VALUE_MAX + 1 });
    assert!(table.rows().is_empty() && table.held().is_empty());
}

#[test]
fn a_row_expires_at_the_same_stamp_everywhere() {
    let (mut a, mut b) = (table(1), table(2));
    connect(&mut a, &mut b, at(0));
    a.put(b"k", b"v", Some(at(1_000).wall), at(0).wall).unwrap();
    exchange(&mut a, &mut b, at(10));
    assert!([&a, &b].iter().all(|table| table.get(b"k", at(999).wall).is_some()));
    assert!([&a, &b].iter().all(|table| table.get(b"k", at(1_000).wall).is_none()));
}

#[test]
fn an_index_follows_the_rows() {
    let mut table = table(1);
    let wall = at(0).wall;
    table.put(b"1", b"red", None, wall).unwrap();
    let by_value = table
        .add_index(&Extract::new(|_, value| if value.is_empty() { Vec::new() } else { vec![value.to_vec()] }), wall);
    table.put(b"2", b"red", None, wall).unwrap();
    table.put(b"3", b"redder", None, wall).unwrap();
    table.put(b"4", b"", None, wall).unwrap();
    table.put(b"1", b"blue", None, wall).unwrap();
    let keys = |table: &Table, value: &[u8]| -> Vec<Vec<u8>> {
        table.index(by_value).unwrap().get(value).map(|row| row.key().to_vec()).collect()
    };
    assert_eq!(keys(&table, b"red"), [b"2"]);
    assert_eq!(keys(&table, b"blue"), [b"1"]);
    table.delete(b"2", wall).unwrap();
    assert!(keys(&table, b"red").is_empty());
    assert_eq!(table.index(by_value).unwrap().len(), 2);
}

#[test]
fn a_bag_keeps_what_is_added_while_others_remove() {
    let (mut a, mut b) = (table(1), table(2));
    connect(&mut a, &mut b, at(0));
    a.bag_add(b"topic", b"x", None, at(0).wall).unwrap();
    exchange(&mut a, &mut b, at(10));
    // The one removes what it sees, the other adds the same value meanwhile.
    assert!(a.bag_remove(b"topic", Some(b"x"), at(20).wall).unwrap().is_some());
    b.bag_add(b"topic", b"x", None, at(20).wall).unwrap();
    exchange(&mut a, &mut b, at(30));
    for table in [&a, &b] {
        let values = table.bag_values(b"topic", at(30).wall);
        assert_eq!(values.iter().map(Version::value).collect::<Vec<_>>(), [b"x"]);
        assert_eq!(table.journal().count(), 0, "nothing is ever written by two");
    }
    assert!(a.bag_remove(b"topic", None, at(40).wall).unwrap().is_some());
    assert!(a.bag_remove(b"topic", None, at(40).wall).unwrap().is_none());
}

#[test]
fn counters_add_up_what_all_sides_of_a_cut_added() {
    let (mut a, mut b) = (table(1), table(2));
    for _ in 0..3 {
        a.sum_add(b"n", 2, at(0).wall).unwrap();
        b.sum_add(b"n", 5, at(0).wall).unwrap();
    }
    assert!(a.max_raise(b"m", 7, at(0).wall).unwrap().is_some());
    assert!(b.max_raise(b"m", 9, at(0).wall).unwrap().is_some());
    assert!(b.max_raise(b"m", 8, at(0).wall).unwrap().is_none(), "it is as high already");
    connect(&mut a, &mut b, at(10));
    exchange(&mut a, &mut b, at(10));
    for table in [&a, &b] {
        assert_eq!((table.sum(b"n", at(10).wall), table.max(b"m", at(10).wall)), (Some(21), Some(9)));
        assert_eq!(table.sum(b"other", at(10).wall), None);
    }
    a.parts_delete(b"n", at(20).wall).unwrap();
    assert_eq!(a.sum(b"n", at(20).wall), None);
}

#[test]
fn a_full_copy_goes_on_where_the_connection_ended_and_counts_only_at_its_end() {
    let (mut a, mut b) = (table(1), table(2));
    let value = vec![1; 100_000];
    for n in 0..30u8 {
        a.put(&[n], &value, None, at(0).wall).unwrap();
    }
    a.drop_log();
    connect(&mut a, &mut b, at(0));
    b.ask_copy(a.me(), at(0));
    let mut bulk = 0;
    while bulk < 5 {
        if let Some(message) = b.poll(a.me(), 4096) {
            a.receive(b.me(), message, at(0)).unwrap();
        }
        if let Some(message) = a.poll_copy(b.me(), at(0)) {
            bulk += 1;
            b.receive(a.me(), message, at(0)).unwrap();
        }
    }
    assert!(b.rows().is_empty() && b.held().is_empty(), "nothing counts yet");
    a.disconnect(b.me(), at(100));
    b.disconnect(a.me(), at(100));
    // What is written meanwhile is not in the copy, and comes after it.
    a.put(b"later", b"", None, at(100).wall).unwrap();
    connect(&mut a, &mut b, at(200));
    let mut after = 0;
    for _ in 0..100 {
        for message in [b.poll(a.me(), 4096)].into_iter().flatten() {
            a.receive(b.me(), message, at(200)).unwrap();
        }
        for message in [a.poll(b.me(), 4096)].into_iter().flatten() {
            b.receive(a.me(), message, at(200)).unwrap();
        }
        if let Some(message) = a.poll_copy(b.me(), at(200)) {
            assert!(!matches!(message, Message::CopyHead(_)), "it does not begin anew");
            after += 1;
            b.receive(a.me(), message, at(200)).unwrap();
        }
        b.merge_some(8, at(200));
    }
    assert!(after < 10, "{after} messages of the copy after the connection ended, of 30 rows in messages of 3");
    assert_eq!((b.rows().len(), b.held()), (31, a.held()));
    assert!(b.take_events().contains(&Event::CopyTaken { giver: a.me() }));
}

#[test]
fn a_full_journal_is_set_aside_and_merging_stops_where_it_cannot_be() {
    let (mut a, mut b) = (table(1), table(2));
    let value = vec![1; 8 * 1024 * 1024];
    connect(&mut a, &mut b, at(0));
    for n in 0..9u8 {
        a.put(&[n], &value, None, at(0).wall).unwrap();
        b.put(&[n], &value, None, at(10).wall).unwrap();
        exchange(&mut a, &mut b, at(10));
    }
    assert!(a.journal_size().1 > TABLE_JOURNAL_BYTES_MAX);
    assert!(!a.to_set_aside().is_empty() && a.to_set_aside().is_empty(), "the same is not given twice");
    a.set_aside(false);
    b.put(b"more", b"", None, at(20).wall).unwrap();
    exchange(&mut a, &mut b, at(20));
    assert!(a.is_stuck() && a.get(b"more", at(20).wall).is_none());
    assert!(a.take_events().contains(&Event::Stuck));
    a.put(b"own", b"", None, at(20).wall).unwrap();
    let versions = a.to_set_aside();
    assert!(!versions.is_empty());
    a.set_aside(true);
    assert!(!a.is_stuck() && a.journal_size().1 <= TABLE_JOURNAL_BYTES_MAX && a.journal_size().2 == 9);
    for ms in [2_000, 4_000] {
        a.tick(at(ms));
        b.tick(at(ms));
        exchange(&mut a, &mut b, at(ms));
    }
    assert!(a.get(b"more", at(4_000).wall).is_some(), "it is asked for again");
}

#[test]
fn what_changed_since_a_position_is_known_as_far_as_the_log_reaches() {
    let mut table = table(1);
    let wall = at(0).wall;
    for key in [&b"a"[..], b"b", b"c"] {
        table.put(key, b"first", None, wall).unwrap();
    }
    table.put(b"soon", b"gone", Some(at(100).wall), wall).unwrap();
    let position = table.position(wall);
    assert_eq!(table.since(&position, wall), Ok(Vec::new()));
    table.put(b"a", b"second", None, wall).unwrap();
    table.delete(b"b", wall).unwrap();
    table.put(b"d", b"first", None, wall).unwrap();
    table.put(b"a", b"third", None, wall).unwrap();
    table.tick(at(200));
    let row = |key: &[u8]| table.get(key, at(200).wall).unwrap().clone();
    let gone = |key: &[u8]| Since::Gone(key.to_vec());
    let expected = vec![gone(b"soon"), gone(b"b"), Since::Put(row(b"d")), Since::Put(row(b"a"))];
    assert_eq!(table.since(&position, at(200).wall), Ok(expected));
    // Once an expired row may have gone unseen, nothing is known for certain.
    assert_eq!(table.since(&position, at(70_000).wall), Err(Resync));
    let later = table.position(at(200).wall);
    table.drop_log();
    assert_eq!(table.since(&position, at(200).wall), Err(Resync));
    assert_eq!(table.since(&later, at(200).wall), Ok(Vec::new()));
    table.put(b"e", b"", None, at(200).wall).unwrap();
    assert_eq!(table.since(&later, at(200).wall).map(|since| since.len()), Ok(1));
}

#[test]
fn a_position_is_worth_nothing_after_a_full_copy_that_it_does_not_cover() {
    let (mut a, mut b) = (table(1), table(2));
    a.put(b"k", b"v", None, at(0).wall).unwrap();
    a.drop_log();
    let position = b.position(at(0).wall);
    connect(&mut a, &mut b, at(0));
    b.ask_copy(a.me(), at(0));
    exchange(&mut a, &mut b, at(0));
    assert_eq!(b.rows().len(), 1);
    assert_eq!(b.since(&position, at(0).wall), Err(Resync));
    assert_eq!(b.since(&b.position(at(0).wall), at(0).wall), Ok(Vec::new()));
}

#[test]
fn what_a_peer_lacks_is_counted_by_what_it_said_last() {
    let (mut a, mut b, now) = (table(1), table(2), at(1));
    for key in [b"a", b"b", b"c"] {
        a.put(key, b"1", None, now.wall).unwrap();
    }
    let goal = a.held();
    assert_eq!(a.missing_at(b.me(), &goal), None, "it is not there");
    connect(&mut a, &mut b, now);
    assert_eq!((a.missing_at(b.me(), &goal), b.missing_from(a.me())), (None, None), "it has said nothing");
    let report = b.poll(a.me(), 4096).unwrap();
    a.receive(b.me(), report, now).unwrap();
    assert_eq!(a.missing_at(b.me(), &goal), Some(3));
    let report = a.poll(b.me(), 0).unwrap();
    b.receive(a.me(), report, now).unwrap();
    assert_eq!(b.missing_from(a.me()), Some(3));
    exchange(&mut a, &mut b, now);
    assert_eq!((a.missing_at(b.me(), &goal), b.missing_from(a.me())), (Some(0), Some(0)));
    a.put(b"d", b"1", None, now.wall).unwrap();
    assert_eq!(a.missing_at(b.me(), &goal), Some(0), "what came after is not asked for");
    assert_eq!(a.missing_at(b.me(), &a.held()), Some(1));
}

#[test]
fn an_origin_that_is_met_after_it_was_said_to_be_over_is_folded_all_the_same() {
    let (mut a, mut b, old) = (table(1), table(2), table(3).me());
    let mut c = table(3);
    c.put(b"k", b"1", None, at(1).wall).unwrap();
    connect(&mut a, &mut c, at(1));
    exchange(&mut a, &mut c, at(1));
    a.disconnect(old, at(2));
    let members = [id(1).node_id, id(2).node_id];
    // Once, to both, before the second has heard of that origin.
    for table in [&mut a, &mut b] {
        table.members_are(members);
        table.gone(old);
    }
    connect(&mut a, &mut b, at(3));
    for second in 1..10 {
        let now = at(3 + second * 1_000);
        exchange(&mut a, &mut b, now);
        a.tick(now);
        b.tick(now);
    }
    assert!(b.get(b"k", at(20_000).wall).is_some());
    for table in [&mut a, &mut b] {
        assert!(table.take_events().iter().any(|event| matches!(event, Event::Folded { last } if last.origin == old)));
        table.check();
    }
}
