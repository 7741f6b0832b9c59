//! What comes with a stamp that is refused is asked for again, seldom and not in vain.

use super::*;

const SECOND: u64 = 1_000;

/// How often something was asked for, or said.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
struct Asked {
    pulls: usize,
    copies: usize,
    refusals: usize,
    /// When all of it had come, in milliseconds.
    came: Option<u64>,
}

/// A node of which the others are peers: what it asks for until it has a row, or for two minutes.
fn until(key: &[u8], from: u64, a: &mut Table, others: &mut [&mut Table]) -> Asked {
    let mut asked = Asked::default();
    for ms in (from..from + 120 * SECOND).step_by(50) {
        let now = at(ms);
        a.tick(now);
        for other in &mut *others {
            other.tick(now);
            // More than there is to say, unless the same is asked for again and again.
            for _ in 0..200 {
                let (to, back) = (next(a, other.me(), now), next(other, a.me(), now));
                asked.pulls += usize::from(matches!(to, Some(Message::Pull { .. })));
                asked.copies += usize::from(matches!(to, Some(Message::CopyAsk { .. })));
                let (mine, theirs) = (a.me(), other.me());
                if let Some(message) = to {
                    other.receive(mine, message, now).unwrap();
                }
                if let Some(message) = back {
                    a.receive(theirs, message, now).unwrap();
                }
                while a.is_merging() {
                    a.merge_some(usize::MAX, now);
                }
            }
        }
        let refusal = |event: &Event| matches!(event, Event::StampRefused { .. });
        asked.refusals += a.take_events().iter().filter(|event| refusal(event)).count();
        if a.get(key, now.wall).is_some() {
            return Asked { came: Some(ms), ..asked };
        }
    }
    asked
}

/// A table of a node whose clock was so far ahead, when nobody was there to say so: `first`, some rows and `last`.
fn ahead(node: u128, ms: u64) -> Table {
    let mut table = table(node);
    for key in [&b"first"[..], b"k1", b"k2", b"k3", b"last"] {
        table.put(key, b"ahead", None, at(ms).wall).unwrap();
    }
    table
}

/// It comes once the clock is there, and a pause of half a minute at most later.
fn is_in_time(asked: Asked, stamped: u64) {
    let (came, earliest) = (asked.came.expect("it comes"), stamped - 60 * SECOND);
    assert!((earliest..=earliest + 32 * SECOND).contains(&came), "{asked:?}");
}

#[test]
fn operations_from_ahead_of_the_clock_are_asked_for_at_growing_intervals() {
    for stamped in [65, 100, 150] {
        let (mut a, mut b) = (table(1), ahead(2, stamped * SECOND));
        connect(&mut a, &mut b, at(0));
        let asked = until(b"last", 0, &mut a, &mut [&mut b]);
        is_in_time(asked, stamped * SECOND);
        assert!(asked.pulls < 12 && asked.refusals < 12 && asked.copies == 0, "{asked:?}");
        a.check();
    }
}

#[test]
fn who_pushes_on_meanwhile_is_not_asked_more_often() {
    let (mut a, mut b) = (table(1), ahead(2, 100 * SECOND));
    connect(&mut a, &mut b, at(0));
    let mut pulls = 0;
    for ms in (0..30 * SECOND).step_by(50) {
        b.put(b"more", b"", None, at(100 * SECOND).wall).unwrap();
        pulls += step(&mut a, &mut b, at(ms));
    }
    assert!(pulls < 10, "{pulls} pulls");
    is_in_time(until(b"more", 30 * SECOND, &mut a, &mut [&mut b]), 100 * SECOND);
}

/// Ticks both, and delivers what they have for each other; how often something was pulled.
fn step(a: &mut Table, b: &mut Table, now: Now) -> usize {
    let mut pulled = 0;
    a.tick(now);
    b.tick(now);
    for _ in 0..200 {
        let (to, back) = (next(a, b.me(), now), next(b, a.me(), now));
        pulled += usize::from(matches!(to, Some(Message::Pull { .. })));
        let (mine, theirs) = (a.me(), b.me());
        if let Some(message) = to {
            b.receive(mine, message, now).unwrap();
        }
        if let Some(message) = back {
            a.receive(theirs, message, now).unwrap();
        }
    }
    pulled
}

#[test]
fn what_replaced_a_refused_one_is_not_asked_for_more_often_either() {
    let (mut a, mut b, mut c) = (table(1), ahead(2, 100 * SECOND), table(3));
    connect(&mut b, &mut c, at(50 * SECOND));
    exchange(&mut b, &mut c, at(50 * SECOND));
    c.put(b"first", b"of c", None, at(50 * SECOND).wall).unwrap();
    c.put(b"of c", b"", None, at(50 * SECOND).wall).unwrap();
    b.disconnect(c.me(), at(0));
    c.disconnect(b.me(), at(0));
    connect(&mut a, &mut b, at(0));
    connect(&mut a, &mut c, at(0));
    let asked = until(b"of c", 0, &mut a, &mut [&mut b, &mut c]);
    is_in_time(asked, 100 * SECOND);
    assert!(asked.pulls < 25 && asked.copies == 0, "{asked:?}");
}

#[test]
fn others_are_taken_and_asked_for_meanwhile() {
    let (mut a, mut b, mut c) = (table(1), ahead(2, 100 * SECOND), table(3));
    c.put(b"of c", b"", None, at(0).wall).unwrap();
    connect(&mut b, &mut c, at(0));
    exchange(&mut b, &mut c, at(0));
    // C is not there: what it wrote comes from B.
    connect(&mut a, &mut b, at(0));
    let asked = until(b"of c", 0, &mut a, &mut [&mut b]);
    assert!(asked.came.is_some_and(|ms| ms <= 2 * SECOND), "{asked:?}");
}

#[test]
fn full_copies_from_ahead_of_the_clock_are_asked_for_at_growing_intervals() {
    let (mut a, mut b) = (table(1), ahead(2, 100 * SECOND));
    b.drop_log();
    connect(&mut a, &mut b, at(0));
    let asked = until(b"last", 0, &mut a, &mut [&mut b]);
    is_in_time(asked, 100 * SECOND);
    assert!(asked.copies < 10 && asked.pulls < 10 && asked.refusals < 10, "{asked:?}");
    a.check();
}

#[test]
fn what_only_the_bound_keeps_out_comes_as_soon_as_it_is_raised() {
    let (mut a, mut b) = (Table::new(settings_of(1)), ahead(2, 5 * SECOND));
    a.bound_is(Hlc::at(at(SECOND).wall));
    connect(&mut a, &mut b, at(0));
    let mut pulls = 0;
    for ms in (0..10 * SECOND).step_by(50) {
        pulls += step(&mut a, &mut b, at(ms));
    }
    assert!(pulls < 8 && a.rows().is_empty(), "{pulls} pulls");
    a.bound_is(Hlc::at(at(20 * SECOND).wall));
    let asked = until(b"last", 10 * SECOND, &mut a, &mut [&mut b]);
    assert!(asked.came.is_some_and(|ms| ms <= 10 * SECOND + 100), "{asked:?}");
}
