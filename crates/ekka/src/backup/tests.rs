use ekka_core::id::{ClusterId, Guid, Incarnation, NodeId};
use ekka_core::schema::{Kind, Schema};
use ekka_core::time::Wall;

use super::*;

fn row(n: u32) -> SavedRow {
    let key = format!("key-{n:05}");
    let value = [7; 100];
    SavedRow {
        key: key.as_bytes().into(),
        value: (&value[..]).into(),
        expires_at: n.is_multiple_of(2).then(|| Wall::from_millis(9)),
        stamp: u64::from(n),
        origin: 0,
        number: u64::from(n),
    }
}

fn head(tables: u64) -> Head {
    Head {
        cluster: ClusterId::from_u128(5),
        cluster_name: "ekka".into(),
        node: "ekka@10.0.0.1".into(),
        time: Wall::from_millis(1_000),
        version: "0.1.0".into(),
        token_ceiling: 77,
        tables,
    }
}

fn table(name: &str, kind: Kind) -> TableHead {
    let me = Incarnation { node_id: NodeId::from_u128(1), guid: Guid::from_u128(2) };
    let schema = Schema::new(name.to_owned(), kind);
    TableHead { id: 4, schema, revision: 9, history: "h".into(), origins: vec![me] }
}

fn written(pieces: &[Piece]) -> Vec<u8> {
    let (mut encoder, mut bytes) = Encoder::begin();
    for piece in pieces {
        bytes.extend(encoder.piece(piece).unwrap());
    }
    bytes.extend(encoder.end());
    bytes
}

fn some() -> Vec<u8> {
    written(&[
        Piece::Head(head(2)),
        Piece::Table(table("users", Kind::Available)),
        Piece::Rows((0..5).map(row).collect()),
        Piece::Rows((5..8).map(row).collect()),
        Piece::TableEnd { rows: 8 },
        Piece::Table(table("stock", Kind::Quorum)),
        Piece::TableEnd { rows: 0 },
        Piece::End { tables: 2, rows: 8 },
    ])
}

fn damage(bytes: &[u8]) -> Damaged {
    match check(bytes) {
        Err(ReadError::Damaged(damaged)) => damaged,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_backup_says_what_is_in_it() {
    let bytes = some();
    let summary = check(&bytes[..]).unwrap();
    assert_eq!((summary.rows(), summary.bytes, summary.head.clone()), (8, bytes.len() as u64, head(2)));
    assert_eq!(summary.tables[0].head, table("users", Kind::Available));
    assert_eq!((summary.tables[0].rows, summary.tables[0].bytes, summary.tables[1].rows), (8, 8 * 109, 0));
    let sum = ring::digest::digest(&ring::digest::SHA256, &bytes[..bytes.len() - 32]);
    assert_eq!(sum.as_ref(), &bytes[bytes.len() - 32..], "anybody can check it");
}

#[test]
fn every_byte_counts_and_damage_is_named_where_it_is() {
    let bytes = some();
    for n in 0..bytes.len() {
        let mut wrong = bytes.clone();
        wrong[n] ^= 1;
        let damaged = damage(&wrong);
        // A length that is too large takes in what follows: then it ends too early.
        assert!(damaged.at <= n as u64 || damaged.what.contains("cut off"), "byte {n}: {damaged}");
    }
}

#[test]
fn what_is_cut_off_or_has_something_behind_it_is_none() {
    let bytes = some();
    for n in 0..bytes.len() {
        let damaged = damage(&bytes[..n]);
        assert!(damaged.at <= n as u64 && damaged.what.contains("cut off"), "cut at {n}: {damaged}");
    }
    let mut longer = bytes.clone();
    longer.push(0);
    assert_eq!((damage(&longer).at, damage(&longer).what.as_str()), (bytes.len() as u64, "something follows the end"));
}

#[test]
fn the_words_say_which_table_and_how_far() {
    let bytes = some();
    let at = bytes.windows(9).position(|window| window == b"key-00006").unwrap();
    let mut wrong = bytes.clone();
    wrong[at] ^= 4;
    let text = damage(&wrong).to_string();
    assert!(text.contains("in the table users, after 5 of its rows"), "{text}");
    assert!(damage(b"not one at all, is it").to_string().contains("does not begin as a backup"));
    let mut newer = bytes;
    newer[8] = 3;
    assert!(damage(&newer).to_string().contains("form 3"), "{}", damage(&newer));
}

#[test]
fn pieces_that_do_not_follow_are_refused_although_their_sums_are_right() {
    let (first, users) = (Piece::Head(head(1)), Piece::Table(table("users", Kind::Available)));
    let rows = |of: std::ops::Range<u32>| Piece::Rows(of.map(row).collect());
    let end = Piece::End { tables: 1, rows: 2 };
    let wrong = [
        vec![users.clone()],
        vec![first.clone(), rows(0..1)],
        vec![first.clone(), end.clone()],
        vec![first.clone(), users.clone(), rows(0..2), Piece::TableEnd { rows: 3 }],
        vec![first.clone(), users.clone(), rows(1..2), rows(0..1)],
        vec![first.clone(), users.clone(), rows(0..2), end],
        vec![
            Piece::Head(head(2)),
            users.clone(),
            Piece::TableEnd { rows: 0 },
            users.clone(),
            Piece::TableEnd { rows: 0 },
            Piece::End { tables: 2, rows: 0 },
        ],
        vec![first, users, Piece::Rows(vec![SavedRow { origin: 1, ..row(1) }])],
    ];
    for pieces in wrong {
        let damaged = damage(&written(&pieces));
        assert!(!damaged.what.contains("cut off"), "{pieces:?}: {damaged}");
    }
}
