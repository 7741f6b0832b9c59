use alloc::vec;
use alloc::vec::Vec;

use super::super::changes::{Resync, Revision};
use super::super::scan::{KeyRange, PageLimits};
use super::*;
use crate::consensus::{LogPlace, StateMachine as _};
use crate::limits::{QUORUM_EXPIRED_STEP, TABLE_KEY_MAX, TABLE_VALUE_MAX, TRANSACTION_RANGE_ROWS_MAX};
use crate::rng::Rng;
use crate::time::Wall;

mod model;
mod world;

const ALL: PageLimits = PageLimits { rows: usize::MAX, bytes: usize::MAX };

fn wall(millis: u64) -> Wall {
    Wall::from_millis(millis)
}

fn with_table(faults: Faults) -> QuorumTables {
    let mut tables = QuorumTables::with_faults(faults);
    assert_eq!(tables.apply_command(&Command::Create { table: 1 }), Answer::Committed { revision: 1 });
    tables
}

fn put(key: &[u8], value: &[u8]) -> Transaction {
    Transaction::put(1, key, value, None, Wall::default()).unwrap()
}

fn put_until(key: &[u8], expires_at: u64) -> Transaction {
    Transaction::put(1, key, b"", Some(wall(expires_at)), Wall::default()).unwrap()
}

fn tick(tables: &mut QuorumTables, now: u64) {
    tables.apply_command(&Command::Tick { now: wall(now) });
}

fn commit(tables: &mut QuorumTables, transaction: Transaction) -> Revision {
    match tables.apply_command(&transaction.into()) {
        Answer::Committed { revision } => revision,
        other => panic!("{other:?}"),
    }
}

fn version(tables: &QuorumTables, key: &[u8]) -> Option<Revision> {
    tables.view().get(1, key).unwrap().map(Row::version)
}

fn changes(tables: &QuorumTables, cursor: Cursor) -> Vec<Change> {
    tables.changes(cursor, ALL).unwrap().changes.into_iter().map(|changed| changed.change).collect()
}

fn draft(tables: &QuorumTables) -> Draft {
    Draft::new(tables.view().clone())
}

#[test]
fn a_row_is_set_only_where_it_has_the_version_that_was_seen() {
    let mut tables = with_table(Faults::default());
    let first = commit(&mut tables, put(b"key", b"1").only_at(None));
    assert_eq!(version(&tables, b"key"), Some(first));
    let conflict = Answer::Conflict { table: 1, key: (&b"key"[..]).into() };
    assert_eq!(tables.apply_command(&put(b"key", b"2").only_at(None).into()), conflict);
    let second = commit(&mut tables, put(b"key", b"2").only_at(Some(first)));
    assert!(second > first);
    assert_eq!(tables.apply_command(&put(b"key", b"3").only_at(Some(first)).into()), conflict);
    assert_eq!(tables.view().get(1, b"key").unwrap().unwrap().value(), b"2");
    commit(&mut tables, Transaction::delete(1, b"key", Wall::default()).unwrap().only_at(Some(second)));
    assert_eq!(version(&tables, b"key"), None);
}

/// Two doctors are on call; each goes home if the other one stays.
fn on_call(faults: Faults) -> [bool; 2] {
    let mut tables = with_table(faults);
    commit(&mut tables, put(b"a", b""));
    commit(&mut tables, put(b"b", b""));
    let leave = |me: &[u8], other: &[u8]| {
        let mut draft = draft(&tables);
        assert!(draft.get(1, other).unwrap().is_some());
        draft.delete(1, me).unwrap();
        draft.finish(Wall::default()).unwrap()
    };
    let both = [leave(b"a", b"b"), leave(b"b", b"a")];
    both.map(|command| matches!(tables.apply_command(&command), Answer::Committed { .. }))
}

#[test]
fn of_two_that_read_what_the_other_writes_one_is_refused() {
    assert_eq!(on_call(Faults::default()), [true, false]);
    assert_eq!(on_call(Faults { reads_unchecked: true, ..Faults::default() }), [true, true]);
}

/// Each takes a seat where nobody has one.
fn seats(faults: Faults) -> [bool; 2] {
    let mut tables = with_table(faults);
    let take = |me: &[u8]| {
        let mut draft = draft(&tables);
        assert!(draft.scan(1, &KeyRange::prefix(b"seat/"), None, ALL).unwrap().rows.is_empty());
        draft.put(1, me, b"", None).unwrap();
        draft.finish(Wall::default()).unwrap()
    };
    let both = [take(b"seat/a"), take(b"seat/b")];
    both.map(|command| matches!(tables.apply_command(&command), Answer::Committed { .. }))
}

#[test]
fn a_row_that_came_into_a_range_is_a_conflict() {
    assert_eq!(seats(Faults::default()), [true, false]);
    assert_eq!(seats(Faults { ranges_unchecked: true, ..Faults::default() }), [true, true]);
}

#[test]
fn a_transaction_writes_all_or_nothing() {
    let both = |b_version| {
        let second = Write::Put { table: 1, key: (&b"b"[..]).into(), value: (&b"2"[..]).into(), expires_at: None };
        let mut transaction = put(b"a", b"1");
        transaction.writes.push(second);
        transaction.reads.push(Read { table: 1, key: (&b"b"[..]).into(), version: b_version });
        transaction
    };
    let mut tables = with_table(Faults::default());
    assert!(matches!(tables.apply_command(&both(Some(7)).into()), Answer::Conflict { .. }));
    let mut elsewhere = both(None);
    elsewhere.writes.push(Write::Delete { table: 2, key: (&b"b"[..]).into() });
    assert_eq!(tables.apply_command(&elsewhere.into()), Answer::NoTable { table: 2 });
    assert_eq!((version(&tables, b"a"), tables.view().revision()), (None, 1));
    let revision = commit(&mut tables, both(None));
    assert_eq!((version(&tables, b"a"), version(&tables, b"b")), (Some(revision), Some(revision)));

    let mut faulty = with_table(Faults { half_applied: true, ..Faults::default() });
    assert!(matches!(faulty.apply_command(&both(Some(7)).into()), Answer::Conflict { .. }));
    assert!(version(&faulty, b"a").is_some());
}

#[test]
fn bounds_are_checked_again_where_a_command_is_applied() {
    let mut tables = with_table(Faults::default());
    let refused = |tables: &mut QuorumTables, transaction: Transaction| match tables.apply_command(&transaction.into())
    {
        Answer::TooLarge(TooLarge { limit, .. }) => limit,
        other => panic!("{other:?}"),
    };
    let of = |key: usize, value: usize| {
        let (key, value) = (Octets(vec![0; key]), Octets(vec![0; value]));
        Transaction { writes: vec![Write::Put { table: 1, key, value, expires_at: None }], ..Transaction::default() }
    };
    assert_eq!(refused(&mut tables, of(TABLE_KEY_MAX + 1, 0)), Limit::Key);
    assert_eq!(refused(&mut tables, of(1, TABLE_VALUE_MAX + 1)), Limit::Value);
    let mut three = of(1, TABLE_VALUE_MAX);
    three.writes.extend([three.writes[0].clone(), three.writes[0].clone()]);
    assert_eq!(refused(&mut tables, three), Limit::Transaction);
    let read = |count| RangeRead { table: 1, range: KeyRange::all(), newest: 0, count };
    let ranges = vec![read(TRANSACTION_RANGE_ROWS_MAX), read(1)];
    assert_eq!(refused(&mut tables, Transaction { ranges, ..Transaction::default() }), Limit::RangeRows);
    assert!(Transaction::put(1, &vec![0; TABLE_KEY_MAX + 1], b"", None, Wall::default()).is_err());
    assert_eq!(tables.view().revision(), 1);
}

#[test]
fn what_has_expired_is_not_read_and_goes_bit_by_bit() {
    let mut tables = with_table(Faults::default());
    let count = 2 * QUORUM_EXPIRED_STEP as u64 + 5;
    for n in 0..count {
        commit(&mut tables, put_until(&n.to_be_bytes(), 1_000));
    }
    let cursor = tables.watch(1).unwrap();
    tick(&mut tables, 999);
    assert_eq!(tables.view().page(1, &KeyRange::all(), None, ALL).unwrap().rows.len() as u64, count);
    let rows = |tables: &QuorumTables| tables.view().figures(1).unwrap().rows;
    for left in [count - QUORUM_EXPIRED_STEP as u64, 5, 0, 0] {
        // A clock never goes back, and any command takes its part out.
        tick(&mut tables, if left > 5 { 1_000 } else { 0 });
        assert_eq!(rows(&tables), left);
        assert_eq!(version(&tables, &0u64.to_be_bytes()), None);
        assert!(tables.view().page(1, &KeyRange::all(), None, ALL).unwrap().rows.is_empty());
    }
    assert_eq!(tables.view().revision(), cursor.revision + 3);
    assert_eq!(changes(&tables, cursor).len() as u64, count);
    assert_eq!(tables.view().figures(1), Some(Figures::default()));
}

#[test]
fn a_row_that_is_written_again_expires_at_its_new_time_only() {
    let mut tables = with_table(Faults::default());
    for expires_at in [1_000, 1_000, 2_000] {
        commit(&mut tables, put_until(b"key", expires_at));
    }
    tick(&mut tables, 1_500);
    assert!(version(&tables, b"key").is_some());
    tick(&mut tables, 2_000);
    assert_eq!((version(&tables, b"key"), tables.view().figures(1)), (None, Some(Figures::default())));
    commit(&mut tables, put_until(b"key", 3_000));
    commit(&mut tables, put(b"key", b"for ever"));
    tick(&mut tables, u64::MAX);
    assert!(version(&tables, b"key").is_some());
}

#[test]
fn a_row_that_has_expired_conflicts_with_who_read_it_and_a_retry_sees_that() {
    let mut tables = with_table(Faults::default());
    commit(&mut tables, put_until(b"key", 1_000));
    let attempt = |tables: &QuorumTables| {
        let mut draft = draft(tables);
        let there = draft.get(1, b"key").unwrap().is_some();
        draft.put(1, b"other", b"", None).unwrap();
        (there, draft.finish(wall(1_000)).unwrap())
    };
    let (there, command) = attempt(&tables);
    assert!(there && matches!(tables.apply_command(&command), Answer::Conflict { .. }));
    let (there, command) = attempt(&tables);
    assert!(!there && matches!(tables.apply_command(&command), Answer::Committed { .. }));
}

#[test]
fn watchers_see_an_expired_row_go_before_another_takes_its_place() {
    let mut tables = with_table(Faults::default());
    let rows = QUORUM_EXPIRED_STEP as u64 * 2;
    for n in 0..rows {
        commit(&mut tables, put_until(&n.to_be_bytes(), 10));
    }
    let cursor = tables.watch(1).unwrap();
    tick(&mut tables, 10);
    let last = (rows - 1).to_be_bytes();
    commit(&mut tables, put(&last, b"new"));
    let all = changes(&tables, cursor);
    let of_last: Vec<&Change> = all.iter().filter(|change| change.row().key() == last).collect();
    assert!(matches!(of_last[..], [Change::Expired(_), Change::Put(_)]), "{of_last:?}");
}

#[test]
fn a_command_that_changes_nothing_does_not_move_the_revision() {
    let mut tables = with_table(Faults::default());
    commit(&mut tables, put(b"key", b""));
    let before = tables.view().revision();
    assert_eq!(commit(&mut tables, Transaction::delete(1, b"other", wall(5)).unwrap()), before);
    assert_eq!(commit(&mut tables, Transaction::default()), before);
    for command in [Command::Create { table: 1 }, Command::Drop { table: 2 }, Command::Tick { now: wall(9) }] {
        assert_eq!(tables.apply_command(&command), Answer::Committed { revision: before });
    }
    assert_eq!((tables.view().revision(), tables.view().clock()), (before, wall(9)));
}

#[test]
fn a_table_that_is_dropped_is_gone_and_its_watchers_are_told() {
    let mut tables = with_table(Faults::default());
    commit(&mut tables, put(b"key", b""));
    let (cursor, view) = (tables.watch(1).unwrap(), tables.view().clone());
    tables.apply_command(&Command::Drop { table: 1 });
    assert_eq!(tables.apply_command(&put(b"key", b"").into()), Answer::NoTable { table: 1 });
    assert_eq!(tables.changes(cursor, ALL), Err(Resync));
    assert_eq!((tables.watch(1), tables.view().figures(1)), (Err(NoTable { table: 1 }), None));
    tables.apply_command(&Command::Create { table: 1 });
    assert_eq!((tables.changes(cursor, ALL), tables.resume(1, cursor.revision)), (Err(Resync), Err(Resync)));
    assert_eq!(view.figures(1).unwrap().rows, 1);
}

#[test]
fn a_watcher_goes_on_at_another_node_and_begins_anew_after_a_restore() {
    let (mut here, mut there) = (with_table(Faults::default()), with_table(Faults::default()));
    for n in 0..10u8 {
        let command = Command::from(put(&[n], b"")).encode();
        assert_eq!(here.apply(LogPlace::default(), &command), there.apply(LogPlace::default(), &command));
    }
    let seen = here.watch(1).unwrap().revision - 4;
    let cursor = there.resume(1, seen).unwrap();
    assert_eq!(changes(&there, cursor).len(), 4);
    assert_eq!(there.resume(1, seen + 5), Err(Resync));
    there.restore(&here.snapshot()).unwrap();
    assert_eq!(there.changes(cursor, ALL), Err(Resync));
    assert_eq!(there.resume(1, seen), Err(Resync));
    let cursor = there.resume(1, seen + 4).unwrap();
    commit(&mut there, put(b"later", b""));
    assert_eq!(changes(&there, cursor).len(), 1);
}

#[test]
fn the_digest_and_counts_are_those_of_the_rows_in_whatever_order_they_came() {
    let mut tables = with_table(Faults::default());
    let mut rng = Rng::new(3);
    for _ in 0..3_000 {
        let key = [rng.next_u64().to_le_bytes()[0] % 50];
        let transaction = match rng.below(3) {
            0 => Transaction::delete(1, &key, Wall::default()).unwrap(),
            _ => put(&key, &rng.next_u64().to_le_bytes()[..rng.index(9)]),
        };
        commit(&mut tables, transaction);
    }
    let mut anew = contents::Contents::default();
    let mut rows = tables.view().page(1, &KeyRange::all(), None, ALL).unwrap().rows;
    rows.reverse();
    for row in rows {
        anew.put(&row);
    }
    assert_eq!(Some(anew.figures()), tables.view().figures(1));
}

#[test]
fn what_cannot_be_read_changes_nothing_and_is_answered_alike() {
    let mut tables = with_table(Faults::default());
    let (before, mut rng) = (tables.snapshot(), Rng::new(5));
    let mut draft = draft(&tables);
    draft.scan(1, &KeyRange::prefix(b"a"), None, ALL).unwrap();
    draft.put(1, b"key", b"value", Some(wall(5))).unwrap();
    let whole = draft.finish(wall(3)).unwrap().encode();
    for len in 0..whole.len() {
        let answer = Answer::decode(&tables.apply(LogPlace::default(), &whole[..len])).unwrap();
        assert!(matches!(answer, Answer::Unknown { .. }), "{len}: {answer:?}");
    }
    for newer in [&[2, 1, 1][..], &[1, 200, 1]] {
        assert!(matches!(tables.apply_bytes(newer), Answer::Unknown { .. }));
    }
    assert_eq!(tables.snapshot(), before);
    for _ in 0..20_000 {
        let mut bytes = whole.clone();
        for _ in 0..=rng.below(3) {
            let at = rng.index(bytes.len());
            bytes[at] = rng.next_u64().to_le_bytes()[0];
        }
        let mut other = QuorumTables::default();
        other.restore(&before).unwrap();
        let answer = other.apply(LogPlace::default(), &bytes);
        let _ = Answer::decode(&answer).unwrap();
        let _ = Answer::decode(&bytes);
    }
}

/// So many seeds of a world, or the words of the first that finds something.
fn worlds(faults: Faults, seeds: u64) -> Result<world::Seen, alloc::string::String> {
    let mut seen = world::Seen::default();
    for seed in 0..seeds {
        world::run(seed, faults, &mut seen).map_err(|words| alloc::format!("seed {seed}: {words}"))?;
    }
    Ok(seen)
}

#[test]
fn transactions_are_as_if_one_came_after_the_other_on_all_replicas() {
    let seen = worlds(Faults::default(), 200).unwrap();
    // The world is of use only where all of it happens often.
    let least = [seen.committed, seen.conflicts, seen.restored, seen.resyncs, seen.resumed, seen.changes, seen.expired];
    assert!(least.iter().all(|count| *count > 500), "{seen:?}");
}

#[test]
fn each_fault_is_found() {
    for (faults, found) in [
        (Faults { reads_unchecked: true, ..Faults::default() }, "a row was set that had another version"),
        (
            Faults { ranges_unchecked: true, ..Faults::default() },
            "a transaction was committed that had read what is not so",
        ),
        (Faults { half_applied: true, ..Faults::default() }, "the rows differ from the model"),
    ] {
        let words = worlds(faults, 20).unwrap_err();
        assert!(words.ends_with(found), "{faults:?}: {words}");
    }
}
