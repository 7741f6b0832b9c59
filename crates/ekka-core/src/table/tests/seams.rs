//! Where one part of a table meets another: schedules that readers found.

use super::*;

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
