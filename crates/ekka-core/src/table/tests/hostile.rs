//! A peer that says what cannot be: it is told so, and what is there stays.

use alloc::vec;
use alloc::vec::Vec;

use super::super::*;
use super::{at, connect, exchange, id, table};
use crate::id::{Guid, Incarnation};
use crate::limits::TABLE_NUMBER_MAX;
use crate::rng::Rng;
use crate::time::Wall;

const FAR: u64 = TABLE_NUMBER_MAX + 1;

fn vector(origin: Incarnation, number: u64) -> Vector {
    [(origin, number)].into_iter().collect()
}

fn head(giver: Incarnation, held: Vector) -> CopyHead {
    CopyHead { copy: 1, giver, held, folded: Vec::new(), gc_floor: Stamp::default(), clock: Hlc::ZERO }
}

/// Messages with a number of which nobody can have got to, one for each place where there is one.
fn unbelievable(number: u64, giver: Incarnation) -> Vec<Message> {
    let (origin, far) = (id(9), vector(id(9), number));
    let last = vec![OpId { origin, number }];
    let report = Report::default();
    let place = CopyPlace { copy: 1, rows: number, after: None };
    vec![
        Message::Report(Report { held: far.clone(), ..report.clone() }),
        Message::Report(Report { stored: Some(far.clone()), ..report.clone() }),
        Message::Report(Report { closing: last.clone(), ..report.clone() }),
        Message::Report(Report { folded: last.clone(), ..report }),
        Message::Pull { have: far.clone() },
        Message::EstateWanted { have: far.clone() },
        Message::CopyAsk { resume: Some(place) },
        Message::CopyHead(head(giver, far)),
        Message::CopyHead(CopyHead { folded: last, ..head(giver, Vector::default()) }),
    ]
}

#[test]
fn numbers_that_nobody_gets_to_end_the_connection_and_change_nothing() {
    for number in [FAR, u64::MAX - 1, u64::MAX] {
        let (mut a, mut b) = (table(1), table(2));
        a.put(b"k", b"v", None, at(0).wall).unwrap();
        connect(&mut a, &mut b, at(0));
        a.ask_copy(b.me(), at(0));
        let (held, origins) = (a.all_held(), a.origins());
        for message in unbelievable(number, b.me()) {
            let words = alloc::format!("{message:?}");
            assert!(a.receive(b.me(), message, at(0)).is_err(), "{words}");
            assert_eq!((a.all_held(), a.origins()), (held.clone(), origins.clone()), "{words}");
        }
        // What is only compared is taken for no more than there is.
        a.receive(b.me(), Message::Held { applied: number, stored: number }, at(0)).unwrap();
        assert_eq!(a.lag_of(b.me()), Some(0));
        a.receive(b.me(), Message::CopyEnd { copy: number, rows: number, entries: number }, at(0)).unwrap();
        a.put(b"k", b"w", None, at(0).wall).unwrap();
        a.tick(at(2_000));
        a.check();
    }
}

#[test]
fn a_copy_never_counts_on_the_numbers_of_who_takes_it() {
    let (mut a, mut b) = (table(1), table(2));
    a.put(b"k", b"v", None, at(0).wall).unwrap();
    connect(&mut a, &mut b, at(0));
    a.ask_copy(b.me(), at(0));
    let mine = CopyHead { folded: vec![OpId { origin: a.me(), number: 2 }], ..head(b.me(), Vector::default()) };
    for head in [head(b.me(), vector(a.me(), 2)), mine] {
        let error = a.receive(b.me(), Message::CopyHead(head), at(0)).unwrap_err();
        assert!(alloc::format!("{error}").contains("than there are"), "{error}");
    }
    assert_eq!(a.latest(), 1);
    a.receive(b.me(), Message::CopyHead(head(b.me(), vector(a.me(), 1))), at(0)).unwrap();
}

#[test]
fn who_asks_without_end_and_reads_nothing_is_cut_off() {
    let (mut a, mut b) = (table(1), table(2));
    connect(&mut a, &mut b, at(0));
    let asked = (0..10_000).take_while(|_| a.receive(b.me(), Message::EstateOffer, at(0)).is_ok()).count();
    assert!((1_000..2_000).contains(&asked), "{asked} questions were taken");
    a.connect(b.me(), at(1));
    a.receive(b.me(), Message::EstateOffer, at(1)).unwrap();
}

/// All messages of a copy of a table.
fn copy_of(table: &mut Table) -> Vec<Message> {
    let mut giving = table.clone_to_give(at(0));
    core::iter::from_fn(|| giving.next_message()).collect()
}

#[test]
fn a_copy_with_rows_that_it_does_not_account_for_is_refused() {
    let (mut a, mut b) = (table(1), table(2));
    b.put(b"k", b"v", None, at(0).wall).unwrap();
    connect(&mut a, &mut b, at(0));
    a.ask_copy(b.me(), at(0));
    let mut received = Ok(());
    for message in copy_of(&mut b) {
        let message = match message {
            Message::CopyHead(head) => Message::CopyHead(CopyHead { held: Vector::default(), ..head }),
            other => other,
        };
        received = received.and_then(|()| a.receive(b.me(), message, at(0)));
    }
    assert!(alloc::format!("{}", received.unwrap_err()).contains("does not account for"));
    assert!(a.rows().is_empty() && !a.is_taking_copy());
    a.check();
}

/// A table whose clock was a day ahead, when nobody was there to say so.
fn ahead() -> Table {
    let mut table = table(2);
    table.bound_is(Hlc::at(Wall::from_millis(200_000_000)));
    table.put(b"k", b"from tomorrow", None, Wall::from_millis(super::START + 86_400_000)).unwrap();
    table
}

#[test]
fn a_copy_with_stamps_from_tomorrow_is_not_merged() {
    let (mut a, mut b) = (table(1), ahead());
    connect(&mut a, &mut b, at(0));
    a.ask_copy(b.me(), at(0));
    for message in copy_of(&mut b) {
        let message = match message {
            Message::CopyHead(head) => Message::CopyHead(CopyHead { clock: Hlc::ZERO, ..head }),
            other => other,
        };
        a.receive(b.me(), message, at(0)).unwrap();
    }
    assert!(a.rows().is_empty() && !a.is_taking_copy());
    assert!(matches!(a.take_events()[..], [Event::StampRefused { .. }]));
    a.put(b"k", b"today", None, at(0).wall).unwrap();
    assert_eq!(a.get(b"k", at(0).wall).unwrap().value(), b"today");
}

#[test]
fn what_a_cleaned_member_stamped_tomorrow_is_set_aside_and_holds_nobody_up() {
    let (mut judge, mut third) = (table(1), table(3));
    let mut estate = Estate::new(ahead());
    let back = Incarnation { guid: Guid::from_u128(2), ..id(2) };
    judge.connect(back, at(0));
    judge.receive(back, estate.offer(judge.me()), at(0)).unwrap();
    let mut new = table(2);
    estate.receive(judge.me(), &Message::EstateWanted { have: Vector::default() }, &mut new, at(0));
    while let Some(message) = estate.poll() {
        judge.receive(back, message, at(0)).unwrap();
    }
    assert!(judge.get(b"k", at(0).wall).is_none());
    assert_eq!(judge.journal().map(Version::value).collect::<Vec<_>>(), [b"from tomorrow"]);
    judge.put(b"after", b"it", None, at(0).wall).unwrap();
    connect(&mut judge, &mut third, at(0));
    exchange(&mut judge, &mut third, at(0));
    assert_eq!(third.get(b"after", at(0).wall).unwrap().value(), b"it");
    assert_eq!(third.journal().count(), 1, "and nothing is lost");
}

#[test]
fn owned_sequences_that_nobody_gets_to_end_the_connection() {
    let (me, peer) = (id(1), id(2));
    let mut table = OwnedTable::new(me);
    table.roster_is([me, peer]);
    table.connect(peer);
    let none = Operations::default;
    for sequence in [FAR, u64::MAX] {
        for message in [
            OwnedMessage::State { sequence },
            OwnedMessage::Last { sequence },
            OwnedMessage::Operations { after: sequence, operations: none() },
        ] {
            assert!(table.receive(peer, message).is_err());
        }
        table.receive(peer, OwnedMessage::Held { sequence }).unwrap();
        assert_eq!(table.acked(peer), 0, "nobody holds more than there is");
        table.receive(peer, OwnedMessage::StateEnd { rows: sequence }).unwrap();
    }
    table.receive(peer, OwnedMessage::State { sequence: TABLE_NUMBER_MAX }).unwrap();
    table.receive(peer, OwnedMessage::StateEnd { rows: 0 }).unwrap();
    assert_eq!(table.held(peer), TABLE_NUMBER_MAX);
    table.check();
}

/// Real messages of two tables that hold rows, tombstones, expiring rows and a journal.
fn real_messages() -> Vec<Message> {
    let (mut a, mut b) = (table(1), table(2));
    for n in 0..6u8 {
        a.put(&[n], b"a", (n % 2 == 0).then(|| at(5_000).wall), at(0).wall).unwrap();
        b.put(&[n], b"b", None, at(1).wall).unwrap();
    }
    a.delete(&[0], at(2).wall).unwrap();
    b.bag_add(b"bag", b"element", None, at(2).wall).unwrap();
    connect(&mut a, &mut b, at(2));
    let mut messages = Vec::new();
    loop {
        let (to_b, to_a) = (super::next(&mut a, b.me(), at(3)), super::next(&mut b, a.me(), at(3)));
        if to_b.is_none() && to_a.is_none() {
            break;
        }
        if let Some(message) = to_b {
            messages.push(message.clone());
            b.receive(a.me(), message, at(3)).unwrap();
        }
        if let Some(message) = to_a {
            messages.push(message.clone());
            a.receive(b.me(), message, at(3)).unwrap();
        }
    }
    messages.extend(copy_of(&mut b));
    let mut estate = Estate::new(b);
    messages.push(estate.offer(a.me()));
    estate.receive(a.me(), &Message::EstateWanted { have: Vector::default() }, &mut table(4), at(3));
    messages.extend(core::iter::from_fn(|| estate.poll()));
    messages.push(Message::EstateWanted { have: a.all_held() });
    messages.push(Message::CopyAsk { resume: Some(CopyPlace { copy: 1, rows: 3, after: Some(vec![2]) }) });
    messages
}

fn mutated(rng: &mut Rng, bytes: &mut Vec<u8>) {
    for _ in 0..=rng.index(4) {
        let at = rng.index(bytes.len() + 1);
        match rng.index(5) {
            0 => bytes.truncate(at),
            1 => bytes.insert(at, rng.next_u64().to_le_bytes()[0]),
            2 => bytes.splice(at..at, [255; 9]).for_each(drop),
            _ if at < bytes.len() => bytes[at] ^= 1 << rng.index(8),
            _ => bytes.push(0),
        }
    }
}

#[test]
fn whatever_a_peer_sends_nothing_breaks_and_own_writes_go_on() {
    let corpus: Vec<Vec<u8>> = real_messages().iter().map(|message| postcard::to_allocvec(message).unwrap()).collect();
    let (mut taken, mut refused) = (0, 0);
    for seed in 0..400 {
        let mut rng = Rng::new(seed);
        let (mut a, mut b) = (table(1), table(2));
        a.add_index(&Extract::new(|key, value| vec![value.to_vec(), key.to_vec()]), at(0).wall);
        a.put(b"mine", b"first", None, at(0).wall).unwrap();
        connect(&mut a, &mut b, at(0));
        for round in 0..40 {
            let mut bytes = corpus[rng.index(corpus.len())].clone();
            if rng.index(4) > 0 {
                mutated(&mut rng, &mut bytes);
            }
            if rng.index(8) == 0 {
                a.ask_copy(b.me(), at(round));
            }
            let Ok(message) = postcard::from_bytes::<Message>(&bytes) else { continue };
            match a.receive(b.me(), message, at(round)) {
                Ok(()) => taken += 1,
                Err(_) => refused += 1,
            }
            while super::next(&mut a, b.me(), at(round)).is_some() {}
            a.tick(at(round * 100));
            a.check();
        }
        let written = a.put(b"mine too", b"last", None, at(4_000).wall).unwrap();
        assert_eq!(written.number, a.latest(), "seed {seed}");
        assert_eq!(a.get(b"mine too", at(4_000).wall).unwrap().value(), b"last", "seed {seed}");
    }
    assert!(taken > 1_000 && refused > 100, "{taken} taken, {refused} refused");
}
