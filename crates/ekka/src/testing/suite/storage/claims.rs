//! The claims, one by one.

use std::future::poll_fn;
use std::sync::Arc;
use std::task::Poll;

use tokio::task::JoinSet;

use super::{Make, block_on, reopen};
use crate::storage::{Bounds, LogName, Seq, Storage, StorageError, Ticket, Truncate};

fn log(name: &str) -> LogName {
    name.into()
}

fn record(seq: Seq) -> Vec<u8> {
    format!("record {seq}").into_bytes()
}

fn records(seqs: std::ops::Range<Seq>) -> Vec<(Seq, Vec<u8>)> {
    seqs.map(|seq| (seq, record(seq))).collect()
}

fn append(store: &dyn Storage, log: &LogName, seqs: std::ops::Range<Seq>) -> Ticket {
    store.append(log, seqs.start, seqs.map(record).collect()).unwrap()
}

fn all(store: &dyn Storage, log: &LogName) -> Vec<(Seq, Vec<u8>)> {
    store.read(log, 0, Seq::MAX, usize::MAX).unwrap()
}

/// Changes can be read before anybody has waited for them, and tickets rise.
pub fn what_is_queued_is_read_at_once(make: Make) {
    let store = make().open();
    let log = log("a");
    assert_eq!((store.bounds(&log), all(&*store, &log)), (Bounds::EMPTY, vec![]));
    let first = append(&*store, &log, 1..4);
    let second = store.truncate(&log, Truncate::From(3)).unwrap();
    let third = append(&*store, &log, 3..5);
    let fourth = store.checkpoint("c", Some(b"x".to_vec())).unwrap();
    assert!(Ticket::default() < first && first < second && second < third && third < fourth);
    assert_eq!(all(&*store, &log), records(1..5));
    assert_eq!(store.read_checkpoint("c").unwrap(), Some(b"x".to_vec()));
    block_on(async {
        store.synced(Ticket::default()).await.unwrap();
        store.synced(fourth).await.unwrap();
        store.synced(first).await.unwrap();
    });
    assert_eq!(all(&*store, &log), records(1..5));
    block_on(store.close());
}

/// Reads give what lies in the bounds, and no more than they may, but one record always.
pub fn reading_has_bounds_and_limits(make: Make) {
    let store = make().open();
    let log = log("a");
    let ticket = append(&*store, &log, 1..10);
    for queued in [true, false] {
        if !queued {
            block_on(store.synced(ticket)).unwrap();
        }
        let read = |from, to, max| store.read(&log, from, to, max).unwrap();
        assert_eq!(read(3, 5, usize::MAX), records(3..5));
        assert_eq!(read(8, 99, usize::MAX), records(8..10));
        assert_eq!((read(5, 5, 99), read(7, 3, 99), read(10, 99, 99)), (vec![], vec![], vec![]));
        assert_eq!(read(1, 10, 0), records(1..2), "at least one");
        assert_eq!(read(1, 10, 2 * record(1).len()), records(1..3));
    }
    append(&*store, &log, 10..12);
    assert_eq!(store.read(&log, 9, 12, 3 * record(1).len() + 1).unwrap(), records(9..11), "over both kinds");
    block_on(store.close());
}

/// Records follow the end of their log, or are refused.
pub fn a_gap_is_refused_and_changes_nothing(make: Make) {
    let store = make().open();
    let log = log("a");
    append(&*store, &log, 1..3);
    for first in [0, 1, 2, 4, Seq::MAX] {
        match store.append(&log, first, vec![vec![]]) {
            Err(StorageError::Gap { got, next: 3, .. }) => assert_eq!(got, first),
            other => panic!("record {first} after 2: {other:?}"),
        }
    }
    assert_eq!(all(&*store, &log), records(1..3));
    let last = append(&*store, &log, 3..4);
    assert_eq!(store.append(&log, 4, vec![]).unwrap(), last, "nothing is no change");
    block_on(store.close());
}

/// Both truncations, inside, outside and beyond, and over an opening.
pub fn truncated_logs_go_on(make: Make) {
    let mut subject = make();
    let mut store = subject.open();
    let before = store.found();
    let (a, b, c) = (log("a"), log("b"), log("c"));
    append(&*store, &a, 1..10);
    store.truncate(&a, Truncate::Before(4)).unwrap();
    store.truncate(&a, Truncate::From(7)).unwrap();
    let nothing = store.truncate(&a, Truncate::Before(2)).unwrap();
    assert_eq!(store.truncate(&a, Truncate::From(7)).unwrap(), nothing, "what drops nothing is no change");
    store.truncate(&b, Truncate::Before(50)).unwrap();
    append(&*store, &b, 50..52);
    append(&*store, &c, 1..5);
    store.truncate(&c, Truncate::From(1)).unwrap();
    for round in 0..3 {
        assert_eq!((store.bounds(&a), all(&*store, &a)), (Bounds { first: 4, next: 7 }, records(4..7)), "{round}");
        assert_eq!((store.bounds(&b), all(&*store, &b)), (Bounds { first: 50, next: 52 }, records(50..52)), "{round}");
        assert_eq!((store.bounds(&c), all(&*store, &c)), (Bounds::EMPTY, vec![]), "{round}");
        if round == 0 {
            block_on(store.synced(append(&*store, &log("end"), 1..2))).unwrap();
        } else {
            block_on(store.close());
            drop(store);
            store = reopen(&mut *subject, &before);
        }
    }
    append(&*store, &a, 7..9);
    append(&*store, &c, 1..3);
    assert_eq!((all(&*store, &a), all(&*store, &c)), (records(4..9), records(1..3)));
    store.truncate(&a, Truncate::Before(9)).unwrap();
    assert_eq!(store.bounds(&a), Bounds { first: 9, next: 9 });
    block_on(store.close());
    drop(store);
    assert_eq!(reopen(&mut *subject, &before).bounds(&a), Bounds { first: 9, next: 9 });
}

/// A checkpoint is the last one given, or none.
pub fn checkpoints_are_replaced_whole(make: Make) {
    let mut subject = make();
    let mut store = subject.open();
    let before = store.found();
    for (n, size) in [600_000usize, 3, 300_000, 0].into_iter().enumerate() {
        let bytes = vec![u8::try_from(n).unwrap(); size];
        store.checkpoint("c", Some(vec![9; 10])).unwrap();
        let ticket = store.checkpoint("c", Some(bytes.clone())).unwrap();
        assert_eq!(store.read_checkpoint("c").unwrap().as_ref(), Some(&bytes), "queued");
        block_on(store.synced(ticket)).unwrap();
        assert_eq!(store.read_checkpoint("c").unwrap().as_ref(), Some(&bytes), "synced");
        subject.crash(store);
        store = reopen(&mut *subject, &before);
        assert_eq!(store.read_checkpoint("c").unwrap(), Some(bytes), "after a crash");
    }
    let ticket = store.checkpoint("c", None).unwrap();
    assert_eq!(store.read_checkpoint("c").unwrap(), None);
    block_on(store.synced(ticket)).unwrap();
    subject.crash(store);
    store = reopen(&mut *subject, &before);
    assert_eq!((store.read_checkpoint("c").unwrap(), store.read_checkpoint("other").unwrap()), (None, None));
    block_on(store.close());
}

/// A record of 16 MiB and a checkpoint of 40 MiB.
pub fn large_records_and_checkpoints_come_back(make: Make) {
    let mut subject = make();
    let store = subject.open();
    let before = store.found();
    let pattern = |length: usize| (0..=250u8).cycle().step_by(31).take(length).collect::<Vec<u8>>();
    store.append(&log("a"), 1, vec![vec![1], pattern(16 << 20), vec![3]]).unwrap();
    let ticket = store.checkpoint("c", Some(pattern(40 << 20))).unwrap();
    block_on(store.synced(ticket)).unwrap();
    assert_eq!(store.read(&log("a"), 2, 9, 5).unwrap(), [(2, pattern(16 << 20))]);
    subject.crash(store);
    let store = reopen(&mut *subject, &before);
    assert!(store.read(&log("a"), 1, 9, usize::MAX).unwrap() == [(1, vec![1]), (2, pattern(16 << 20)), (3, vec![3])]);
    assert!(store.read_checkpoint("c").unwrap() == Some(pattern(40 << 20)));
    block_on(store.close());
}

/// Logs whose names begin alike, and the checkpoints of the same names.
pub fn many_logs_do_not_mix(make: Make) {
    let mut subject = make();
    let store = subject.open();
    let before = store.found();
    let names: Vec<LogName> = (1..200u64)
        .map(|n| "x".repeat(usize::try_from(n % 100).unwrap() + 1) + &n.to_string())
        .map(Into::into)
        .collect();
    let bytes = |n: usize, seq: Seq| format!("{n} {seq}").into_bytes();
    for seq in 1..4 {
        for (n, name) in names.iter().enumerate() {
            store.append(name, seq, vec![bytes(n, seq)]).unwrap();
            store.checkpoint(name, Some(bytes(n, 100 + seq))).unwrap();
        }
    }
    let last = store.truncate(&names[5], Truncate::From(1)).unwrap();
    block_on(store.synced(last)).unwrap();
    subject.crash(store);
    let store = reopen(&mut *subject, &before);
    for (n, name) in names.iter().enumerate() {
        let ours = if n == 5 { vec![] } else { (1..4).map(|seq| (seq, bytes(n, seq))).collect() };
        assert_eq!(all(&*store, name), ours, "log {name}");
        assert_eq!(store.read_checkpoint(name).unwrap(), Some(bytes(n, 103)), "checkpoint {name}");
    }
    block_on(store.close());
}

/// 64 writers that wait for each of their records need far fewer syncs than records.
pub fn many_writers_share_syncs(make: Make) {
    const WRITERS: u64 = 64;
    const RECORDS: u64 = 20;
    let mut subject = make();
    let store = subject.open();
    let before = store.found();
    let syncs = store.syncs();
    block_on(async {
        let mut writers = JoinSet::new();
        for writer in 0..WRITERS {
            let store = store.clone();
            writers.spawn(async move {
                let log = log(&format!("writer/{writer}"));
                for seq in 1..=RECORDS {
                    store.synced(append(&*store, &log, seq..seq + 1)).await.unwrap();
                }
            });
        }
        while let Some(done) = writers.join_next().await {
            done.unwrap();
        }
    });
    let syncs = store.syncs() - syncs;
    assert!(syncs * 4 <= WRITERS * RECORDS, "{syncs} syncs for {} records", WRITERS * RECORDS);
    subject.crash(store);
    let store = reopen(&mut *subject, &before);
    for writer in 0..WRITERS {
        assert_eq!(all(&*store, &log(&format!("writer/{writer}"))), records(1..RECORDS + 1));
    }
    block_on(store.close());
}

/// `synced` may be dropped at any time; those who wait beside it are served.
pub fn a_waiter_that_goes_away_harms_nobody(make: Make) {
    let store = make().open();
    block_on(async {
        for seq in 1..20 {
            let ticket = append(&*store, &log("a"), seq..seq + 1);
            let mut gone = store.synced(ticket);
            poll_fn(|context| Poll::Ready(gone.as_mut().poll(context).is_ready())).await;
            let mut stays = store.synced(ticket);
            let done = poll_fn(|context| Poll::Ready(stays.as_mut().poll(context).is_ready())).await;
            drop(gone);
            if !done {
                stays.await.unwrap();
            }
        }
    });
    block_on(store.close());
}

/// A ticket that is synced vouches for every change before it, whatever it changed.
pub fn a_crash_keeps_what_was_synced_and_all_before_it(make: Make) {
    for rounds in 1..6u64 {
        let mut subject = make();
        let store = subject.open();
        let before = store.found();
        let (a, b) = (log("a"), log("b"));
        for round in 0..rounds {
            append(&*store, &a, round * 2 + 1..round * 2 + 3);
            append(&*store, &b, round + 1..round + 2);
            store.checkpoint("c", Some(round.to_be_bytes().to_vec())).unwrap();
        }
        let ticket = store.truncate(&b, Truncate::Before(rounds)).unwrap();
        block_on(store.synced(ticket)).unwrap();
        append(&*store, &a, 2 * rounds + 1..2 * rounds + 2);
        store.checkpoint("c", None).unwrap();
        subject.crash(store);
        let store = reopen(&mut *subject, &before);
        let kept = all(&*store, &a);
        assert!(kept == records(1..2 * rounds + 1) || kept == records(1..2 * rounds + 2), "{kept:?}");
        assert_eq!(store.bounds(&b), Bounds { first: rounds, next: rounds + 1 });
        match store.read_checkpoint("c").unwrap() {
            Some(bytes) => assert_eq!(bytes, (rounds - 1).to_be_bytes()),
            None => assert_eq!(kept.len() as u64, 2 * rounds + 1, "the record before it is lost"),
        }
        block_on(store.close());
    }
}

/// After the close everything is `Closed`, and everything that was given is there again.
pub fn closing_syncs_what_waits_and_ends_the_store(make: Make) {
    let mut subject = make();
    let store = subject.open();
    let before = store.found();
    let log = log("a");
    let ticket = append(&*store, &log, 1..100);
    block_on(store.close());
    block_on(store.close());
    assert!(block_on(store.synced(ticket)).is_ok(), "it was synced by the close");
    assert!(matches!(store.append(&log, 100, vec![vec![]]), Err(StorageError::Closed)));
    assert!(matches!(store.truncate(&log, Truncate::From(1)), Err(StorageError::Closed)));
    assert!(matches!(store.checkpoint("c", None), Err(StorageError::Closed)));
    assert!(matches!(store.read(&log, 1, 2, 99), Err(StorageError::Closed)));
    assert!(matches!(store.read_checkpoint("c"), Err(StorageError::Closed)));
    assert!(matches!(block_on(store.synced(Ticket(ticket.0 + 1))), Err(StorageError::Closed)));
    let held: Arc<dyn Storage> = store;
    let store = reopen(&mut *subject, &before);
    assert_eq!(all(&*store, &log), records(1..100));
    drop(held);
    block_on(store.close());
}
