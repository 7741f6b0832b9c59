//! Where one part of a table meets another: schedules that readers found.

use super::*;
use crate::limits::TABLE_LOG_OPS_MAX;

const SECOND: u64 = 1_000;

fn later(node: u128) -> Incarnation {
    Incarnation { guid: Guid::from_u128(2), ..id(node) }
}

#[test]
fn a_start_that_wrote_nothing_keeps_no_newcomer_waiting_once_it_is_over() {
    let (mut a, mut b, mut newcomer) = (table(1), table(2), table(3));
    a.renew(later(1), at(1));
    a.put(b"k", b"1", None, at(1).wall).unwrap();
    for table in [&mut a, &mut b] {
        table.members_are([id(1).node_id, id(2).node_id]);
        table.gone(id(1));
    }
    connect(&mut a, &mut b, at(1));
    for second in 1..10 {
        let now = at(second * SECOND);
        exchange(&mut a, &mut b, now);
        a.tick(now);
        b.tick(now);
    }
    let folded = a.take_events().iter().any(|event| matches!(event, Event::Folded { last } if last.number == 0));
    assert!(folded, "the first start of node 1 has left the vectors");
    a.members_are([1, 2, 3].map(|node| id(node).node_id));
    connect(&mut a, &mut newcomer, at(11 * SECOND));
    for second in 11..15 {
        exchange(&mut a, &mut newcomer, at(second * SECOND));
        newcomer.tick(at(second * SECOND));
    }
    assert!(newcomer.get(b"k", at(15 * SECOND).wall).is_some());
    assert_eq!(newcomer.is_abreast_of(a.me()), Some(true), "it lacks nothing");
}

/// What all members agreed on is in no log record and may be in no checkpoint; and one of them is down now.
#[test]
fn a_new_start_has_all_although_a_member_is_down_that_agreed_to_a_fold() {
    let (mut a, mut b, mut down, mut c) = (table(1), table(2), table(4), table(3));
    let (old, members) = (c.me(), [1, 2, 4].map(|node| id(node).node_id));
    c.put(b"k", b"1", None, at(1).wall).unwrap();
    connect(&mut b, &mut c, at(1));
    exchange(&mut b, &mut c, at(1));
    b.disconnect(old, at(2));
    for table in [&mut a, &mut b, &mut down] {
        table.members_are(members);
        table.gone(old);
    }
    connect(&mut a, &mut b, at(3));
    connect(&mut down, &mut b, at(3));
    connect(&mut down, &mut a, at(3));
    for second in 1..10 {
        let now = at(3 + second * SECOND);
        exchange(&mut a, &mut b, now);
        exchange(&mut down, &mut b, now);
        exchange(&mut down, &mut a, now);
        for table in [&mut a, &mut b, &mut down] {
            table.tick(now);
        }
    }
    assert!(b.take_events().iter().any(|event| matches!(event, Event::Folded { last } if last.origin == old)));
    b.disconnect(down.me(), at(12 * SECOND));
    b.disconnect(a.me(), at(12 * SECOND));
    let mut again = table(1);
    again.renew(later(1), at(13 * SECOND));
    // It hears of who is over only after it has the rows.
    again.members_are(members);
    connect(&mut again, &mut b, at(13 * SECOND));
    for second in 13..30 {
        if second == 20 {
            for table in [&mut again, &mut b] {
                table.gone(id(1));
            }
            again.gone(old);
        }
        exchange(&mut again, &mut b, at(second * SECOND));
        for table in [&mut again, &mut b] {
            table.tick(at(second * SECOND));
        }
    }
    assert!(again.get(b"k", at(30 * SECOND).wall).is_some());
    assert_eq!(again.is_abreast_of(b.me()), Some(true), "it lacks nothing");
    again.check();
}

#[test]
fn what_a_member_held_in_memory_that_is_down_is_only_here() {
    let (mut a, mut b) = (table(1), table(2));
    a.members_are([id(1).node_id, id(2).node_id]);
    a.put(b"k", b"1", None, at(1).wall).unwrap();
    connect(&mut a, &mut b, at(1));
    for second in 1..4 {
        exchange(&mut a, &mut b, at(second * SECOND));
        a.tick(at(second * SECOND));
        b.tick(at(second * SECOND));
    }
    assert_eq!(a.only_here(&[b.me()]), 0);
    a.disconnect(b.me(), at(5 * SECOND));
    assert_eq!(a.only_here(&[b.me()]), 0, "it is up still");
    assert_eq!(a.only_here(&[]), 1);
}

/// Gives an estate to a judge, until neither has anything more to say.
fn give(estate: &mut Estate, judge: &mut Table, new: &mut Table, now: Now) {
    let (from, to) = (new.me(), judge.me());
    judge.receive(from, estate.offer(to), now).unwrap();
    loop {
        let (said, given) = (judge.poll(from, 4096), estate.poll());
        if said.is_none() && given.is_none() {
            return;
        }
        if let Some(said) = said {
            estate.receive(to, &said, new, now);
        }
        if let Some(given) = given {
            judge.receive(from, given, now).unwrap();
        }
    }
}

#[test]
fn a_judge_takes_nothing_beyond_its_bound_and_takes_it_once_that_is_raised() {
    let settings = Settings { me: id(1), storage: Storage::Ram, bound: Hlc::ZERO, faults: Faults::default() };
    let (mut judge, mut old) = (Table::new(settings), table(2));
    judge.bound_is(Hlc::at(at(SECOND).wall));
    // Its clock is some seconds ahead, as it may be.
    old.put(b"k", b"ahead", None, at(5 * SECOND).wall).unwrap();
    let settings = Settings { me: later(2), storage: Storage::Ram, bound: Hlc::ZERO, faults: Faults::default() };
    let (mut estate, mut new) = (Estate::new(old), Table::new(settings));
    judge.connect(new.me(), at(0));
    new.connect(judge.me(), at(0));
    give(&mut estate, &mut judge, &mut new, at(0));
    assert!(judge.rows().is_empty() && judge.journal().count() == 0, "what it writes next could lie below it");
    assert_eq!(judge.wanted_bound(at(0).wall).map(|bound| bound > Hlc::at(at(5 * SECOND).wall)), Some(true));
    judge.bound_is(Hlc::at(at(20 * SECOND).wall));
    give(&mut estate, &mut judge, &mut new, at(0));
    assert_eq!(judge.get(b"k", at(0).wall).unwrap().value(), b"ahead");
    judge.delete(b"k", at(0).wall).unwrap();
    assert!(judge.get(b"k", at(0).wall).is_none(), "and what it writes lies above");
    judge.check();
}

#[test]
fn a_second_absorption_brings_nothing_back_that_came_with_the_first_and_was_deleted() {
    let mut judge = table(1);
    judge.members_are([id(1).node_id]);
    let mut old = table(2);
    old.put(b"k", b"theirs", None, at(10).wall).unwrap();
    let bring = |judge: &mut Table, node: u128, now: Now| {
        let mut new = table(node);
        judge.connect(new.me(), now);
        new.connect(judge.me(), now);
        give(&mut Estate::new(old.clone()).absorbed(7, false), judge, &mut new, now);
        judge.disconnect(new.me(), now);
    };
    judge.keep_tombstones(true);
    bring(&mut judge, 3, at(20));
    assert!(judge.get(b"k", at(20).wall).is_some());
    judge.delete(b"k", at(30).wall).unwrap();
    judge.keep_tombstones(false);
    for second in 1..5 {
        judge.tick(at(second * SECOND));
    }
    assert!(judge.rows().is_empty(), "the tombstone is dropped");
    // Another cluster comes, and with it a late member of the first.
    judge.keep_tombstones(true);
    bring(&mut judge, 4, at(6 * SECOND));
    assert!(judge.get(b"k", at(6 * SECOND).wall).is_none());
    assert_eq!(judge.journal().count(), 1, "it is kept where people can look at it");
}

#[test]
fn a_position_that_was_taken_before_an_expiry_was_told_tells_it_later() {
    let mut table = table(1);
    table.put(b"soon", b"1", Some(at(50).wall), at(0).wall).unwrap();
    let position = table.position(at(60).wall);
    table.tick(at(100));
    let since = table.since(&position, at(100).wall).unwrap();
    assert!(matches!(&since[..], [Since::Gone(key)] if key == b"soon"), "{since:?}");
}

#[test]
fn a_disc_that_takes_nothing_does_not_take_the_memory_and_a_checkpoint_makes_up_for_it() {
    let mut table = Table::new(Settings { storage: Storage::Disc, ..settings_of(1) });
    table.bound_is(Hlc::at(Wall::from_millis(2 * START)));
    let most = 2 * TABLE_LOG_OPS_MAX as u64;
    for number in 0..most + 10 {
        table.put(b"k", &number.to_le_bytes(), None, at(0).wall).unwrap();
    }
    assert_eq!(table.log_size().1, most);
    assert!(table.wants_checkpoint() && table.records(0, 1 << 20).0.is_empty(), "the log on disc would have a gap");
    table.synced(5);
    assert!(table.stored().iter().next().is_none(), "nothing is there yet");
    let position = table.log_end();
    table.checkpointed(position);
    assert!(!table.wants_checkpoint());
    assert_eq!(table.stored().iter().next(), Some((id(1), most + 10)));
    table.put(b"k", b"", None, at(0).wall).unwrap();
    let (batch, end) = table.records(position, 1 << 20);
    assert!(!batch.is_empty() && end == position + 1);
    table.check();
}
