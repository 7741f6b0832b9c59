use alloc::string::String;

use super::*;

/// A row as a backup of a table has it; of this very table, or of another.
fn saved(of: &Table, key: &'static [u8], same: bool) -> (Vec<u8>, Hlc, Option<OpId>) {
    let row = of.get(key, at(0).wall).expect("it is there");
    (row.value().to_vec(), row.hlc(), same.then(|| of.id_of(row)))
}

fn merge(table: &mut Table, key: &'static [u8], row: &(Vec<u8>, Hlc, Option<OpId>), now: Now) -> Fate {
    let row = Saved { key, value: &row.0, expires_at: None, hlc: row.1, id: row.2 };
    let planned = table.fate_of(&row, now.wall);
    let fate = table.merge_saved(&row, now.wall).unwrap();
    assert_eq!(fate, planned, "it is as it was said to become");
    table.check();
    fate
}

fn value(table: &Table, key: &[u8], now: Now) -> Option<String> {
    table.get(key, now.wall).map(|row| String::from_utf8_lossy(row.value()).into_owned())
}

#[test]
fn newer_rows_win_over_a_backup_and_what_was_deleted_stays_so() {
    for same in [true, false] {
        let mut a = table(1);
        for key in [b"same", b"newr", b"gone"] {
            a.put(key, b"then", None, at(0).wall).unwrap();
        }
        let rows = [b"same", b"newr", b"gone"].map(|key| saved(&a, key, same));
        a.put(b"newr", b"now", None, at(50).wall).unwrap();
        a.delete(b"gone", at(50).wall).unwrap();
        let (before, written) = (a.rows(), a.latest());
        assert_eq!(merge(&mut a, b"same", &rows[0], at(60)), Fate::Kept);
        assert_eq!(merge(&mut a, b"newr", &rows[1], at(60)), Fate::Kept);
        assert_eq!(merge(&mut a, b"gone", &rows[2], at(60)), Fate::StaysDeleted);
        assert!(a.rows().iter().eq(before.iter()) && a.latest() == written, "nothing was written");
    }
}

#[test]
fn a_row_deleted_and_forgotten_stays_deleted_and_in_a_new_table_it_comes_back_with_its_stamp() {
    let mut a = table(1);
    a.members_are([id(1).node_id]);
    a.put(b"k", b"then", None, at(0).wall).unwrap();
    let row = saved(&a, b"k", false);
    a.delete(b"k", at(10).wall).unwrap();
    a.tick(at(2_000));
    assert!(a.rows().is_empty(), "the tombstone is dropped");
    assert_eq!(merge(&mut a, b"k", &row, at(3_000)), Fate::StaysDeleted);
    let (mut b, mut c) = (table(2), table(3));
    connect(&mut b, &mut c, at(0));
    assert_eq!(merge(&mut b, b"k", &row, at(3_000)), Fate::Added);
    assert_eq!(merge(&mut b, b"k", &row, at(3_000)), Fate::Kept, "twice is once");
    c.put(b"k", b"now", None, at(3_000).wall).unwrap();
    exchange(&mut b, &mut c, at(3_000));
    for table in [&b, &c] {
        assert_eq!(value(table, b"k", at(3_000)).as_deref(), Some("now"), "the newer stamp wins everywhere");
        assert_eq!(table.journal().count(), 1, "and the other is in the journal");
    }
}

#[test]
fn a_backup_that_is_newer_replaces_on_every_node_and_what_it_replaces_is_in_their_journals() {
    for same in [true, false] {
        let (mut a, mut b, mut old) = (table(1), table(2), table(3));
        connect(&mut a, &mut b, at(0));
        a.put(b"k", b"old", None, at(0).wall).unwrap();
        old.put(b"k", b"new", None, at(50).wall).unwrap();
        exchange(&mut a, &mut b, at(60));
        let row = saved(&old, b"k", same);
        assert_eq!(merge(&mut a, b"k", &row, at(60)), Fate::Replaced);
        exchange(&mut a, &mut b, at(70));
        for table in [&a, &b] {
            assert_eq!(value(table, b"k", at(70)).as_deref(), Some("new"));
            assert_eq!(table.get(b"k", at(70).wall).unwrap().hlc(), row.1, "with the stamp that it had");
            assert_eq!(table.journal().count(), 1);
        }
    }
}

#[test]
fn what_is_written_over_has_a_new_stamp_and_what_was_there_is_in_every_journal() {
    let (mut a, mut b) = (table(1), table(2));
    connect(&mut a, &mut b, at(0));
    for key in [b"a", b"b", b"c"] {
        a.put(key, b"seen", None, at(0).wall).unwrap();
    }
    exchange(&mut a, &mut b, at(5));
    let fates = [b"a", b"b", b"d"].map(|key| a.fate_of_overwrite(key, b"seen!", None, at(10).wall));
    assert_eq!(fates, [Fate::Replaced, Fate::Replaced, Fate::Added]);
    assert_eq!(a.fate_of_overwrite(b"c", b"seen", None, at(10).wall), Fate::Kept);
    assert_eq!(a.overwrite(b"a", Some(b"seen!"), None, at(10).wall), Ok(true));
    assert_eq!(a.overwrite(b"b", None, None, at(10).wall), Ok(true));
    assert_eq!(a.overwrite(b"c", Some(b"seen"), None, at(10).wall), Ok(false), "it is as it should be");
    assert_eq!(a.overwrite(b"b", None, None, at(11).wall), Ok(false), "it is deleted already");
    assert_eq!(a.overwrite(b"b", Some(b"back"), None, at(12).wall), Ok(true));
    exchange(&mut a, &mut b, at(20));
    for table in [&a, &b] {
        table.check();
        let values = [b"a", b"b", b"c"].map(|key| value(table, key, at(20)));
        assert_eq!(values.map(Option::unwrap_or_default), ["seen!", "back", "seen"]);
        assert_eq!(table.journal().count(), 2, "the two values, and no deletion");
    }
}

#[test]
fn a_stamp_far_ahead_is_refused_and_nothing_has_changed() {
    let mut a = table(1);
    let hlc = Hlc::at(Wall::from_millis(START + 3_600_000));
    let row = Saved { key: b"k", value: b"v", expires_at: None, hlc, id: None };
    assert!(matches!(a.merge_saved(&row, at(0).wall), Err(WriteError::Stamp(_))));
    assert!(a.rows().is_empty() && a.latest() == 0);
}
