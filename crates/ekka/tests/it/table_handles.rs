//! Handles of tables on a real node: scans, indexes, expiry, watching, and what is refused.

use std::time::{Duration, SystemTime};

use crate::support::{config, names, start, until};
use ekka::node::Node;
use ekka::table::{
    Available, Change, CursorError, IndexKeys, IndexRange, OpenError, Owned, PutError, Quorum, QuorumError, ReadError,
    TableDef, Watch,
};
use serde::{Deserialize, Serialize};

#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
struct User {
    mail: String,
    groups: Vec<String>,
}

fn user(mail: &str, groups: &[&str]) -> User {
    User { mail: mail.into(), groups: groups.iter().map(ToString::to_string).collect() }
}

const USERS: TableDef<u64, User, Available> = TableDef::available("test.users");
const INDEXED: TableDef<u64, User, Available> = USERS
    .index("by_mail", |user: &User| IndexKeys::one(&user.mail))
    .index("by_group", |user: &User| IndexKeys::many(&user.groups));
const NUMBERS: TableDef<u64, u64, Available> = TableDef::available("test.numbers").ordered();
const BAG: TableDef<String, String, Available> = TableDef::available("test.bag").bag();
const SUMS: TableDef<String, i64, Available> = TableDef::sums("test.sums").json();
const MAXIMA: TableDef<String, i64, Available> = TableDef::maxima("test.maxima");
const ROUTES: TableDef<String, String, Owned> =
    TableDef::owned("test.routes").index("by_length", |to: &String| IndexKeys::one(&(to.len() as u64)));
const STOCK: TableDef<String, u64, Quorum> =
    TableDef::quorum("test.stock").index("by_number", |number: &u64| IndexKeys::one(number));

struct One {
    node: Node,
    _dir: tempfile::TempDir,
}

async fn one() -> One {
    let (names, dir) = (names(1), tempfile::tempdir().expect("a directory"));
    let node = start(config(&names[0], &names, dir.path())).await.expect("the node starts");
    until(&node, "it is ready", |view| view.ready_quorum).await;
    One { node, _dir: dir }
}

fn all<T, E: std::fmt::Debug>(rows: impl Iterator<Item = Result<T, E>>) -> Vec<T> {
    rows.map(|row| row.expect("a row of this type")).collect()
}

fn keys<T, E: std::fmt::Debug>(rows: impl Iterator<Item = Result<(u64, T), E>>) -> Vec<u64> {
    all(rows).into_iter().map(|(key, _)| key).collect()
}

fn text(word: &str) -> String {
    word.to_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_index_finds_rows_by_key_prefix_and_range_and_follows_them() {
    let one = one().await;
    let plain = one.node.table(&USERS).await.expect("it opens");
    plain.put(&1, &user("ada@x", &["a", "b"])).await.expect("it is written");
    let users = one.node.table(&INDEXED).await.expect("it opens with indexes as well");
    for (id, mail, groups) in [(2, "bob@x", &["b"][..]), (3, "ada@y", &[]), (4, "ada@x", &["b", "b", "c"])] {
        users.put(&id, &user(mail, groups)).await.expect("it is written");
    }
    let by_mail = users.index("by_mail").expect("there is one");
    assert_eq!(keys(by_mail.get(&text("ada@x"))), [1, 4], "the row from before the index is in it");
    assert_eq!(keys(by_mail.scan(&IndexRange::prefix(b"ada"))), [1, 4, 3]);
    assert_eq!(keys(by_mail.scan(&IndexRange::between(&text("ada@y"), &text("c")))), [3, 2]);
    assert_eq!(keys(by_mail.scan(&IndexRange::all()).reverse().limit(2)), [2, 3]);
    let by_group = users.index("by_group").expect("there is one");
    assert_eq!(keys(by_group.get(&text("b"))), [1, 2, 4], "a key that a row gives twice counts once");
    assert!(keys(by_group.get(&text(""))).is_empty());

    // Page by page, with the place as the cursor, while rows change.
    let mut pages = Vec::new();
    let mut place = None;
    loop {
        let mut page = by_group.scan(&IndexRange::all()).limit(2);
        if let Some(place) = &place {
            page = page.after(place);
        }
        let rows = keys(page.by_ref());
        if rows.is_empty() {
            break;
        }
        place = Some(page.place());
        pages.extend(rows);
    }
    assert_eq!(pages, [1, 1, 2, 4, 4], "a and b of 1, b of 2, b and c of 4");

    users.put(&1, &user("eve@x", &["c"])).await.expect("it is written");
    users.delete(&2).await.expect("it is deleted");
    assert_eq!(keys(by_mail.scan(&IndexRange::all())), [4, 3, 1]);
    assert_eq!(keys(by_group.get(&text("c"))), [1, 4]);
    plain.put(&9, &user("zoe@x", &[])).await.expect("it is written by a handle without indexes");
    assert_eq!(keys(by_mail.get(&text("zoe@x"))), [9]);

    // The index is what a scan, filtered by the function, gives.
    let filtered: Vec<u64> =
        all(plain.scan()).into_iter().filter(|(_, user)| user.mail.starts_with("ada")).map(|(id, _)| id).collect();
    let mut indexed = keys(by_mail.scan(&IndexRange::prefix(b"ada")));
    indexed.sort_unstable();
    assert_eq!(indexed, filtered);
    let error = plain.index("by_mail").map(|_| ()).expect_err("this handle has none");
    assert!(matches!(&error, ReadError::NoIndex { known, .. } if known == "none"), "{error}");
    let error = users.index("by_male").map(|_| ()).expect_err("there is none").to_string();
    assert!(error.contains("by_male") && error.contains("by_mail, by_group"), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_row_that_the_function_cannot_take_is_not_in_the_index_and_breaks_nothing() {
    const PICKY: TableDef<u64, User, Available> = USERS.index("picky", |user: &User| {
        assert!(user.mail.contains('@'), "a function that panics");
        IndexKeys::one(&user.mail)
    });
    const OTHER: TableDef<u64, u64, Available> = TableDef::available("test.users");
    let one = one().await;
    let (users, other) = (one.node.table(&PICKY).await.unwrap(), one.node.table(&OTHER).await.unwrap());
    users.put(&1, &user("none", &[])).await.expect("it is written all the same");
    other.put(&2, &7).await.expect("a value of another type is written");
    users.put(&3, &user("a@b", &[])).await.expect("it is written");
    assert_eq!(keys(users.index("picky").unwrap().scan(&IndexRange::all())), [3]);
    assert_eq!(users.len(), 3);
    users.delete(&1).await.expect("it is deleted");
    assert_eq!(users.get(&1), Ok(None));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn indexes_of_owned_and_quorum_tables() {
    let one = one().await;
    let routes = one.node.table(&ROUTES).await.expect("it opens");
    for (topic, to) in [("a", "long"), ("b", "x"), ("c", "yy")] {
        routes.put(&text(topic), &text(to)).await.expect("it is written");
    }
    let topics = |rows: Vec<(_, String, String)>| rows.into_iter().map(|(_, topic, _)| topic).collect::<Vec<_>>();
    let by_length = routes.index("by_length").expect("there is one");
    assert_eq!(topics(all(by_length.scan(&IndexRange::all()))), ["b", "c", "a"]);
    routes.put(&text("b"), &text("longer")).await.expect("it is written");
    routes.delete(&text("c")).await.expect("it is deleted");
    assert_eq!(topics(all(by_length.scan(&IndexRange::all()))), ["a", "b"]);
    assert_eq!(topics(all(by_length.get(&6u64))), ["b"]);
    assert_eq!(topics(all(routes.scan().reverse())), ["b", "a"]);
    assert_eq!(topics(all(routes.scan().after(&text("a")))), ["b"]);
    assert_eq!(topics(all(routes.prefix(b"a"))), ["a"]);

    let stock = one.node.table(&STOCK).await.expect("it opens");
    for (item, number) in [("bolt", 9u64), ("nut", 7), ("gear", 300)] {
        stock.put(&text(item), &number).await.expect("it is committed");
    }
    let by_number = stock.index("by_number").expect("there is one");
    let items = |rows: Vec<(String, u64)>| rows.into_iter().map(|(item, _)| item).collect::<Vec<_>>();
    let range = IndexRange::between(&0u64, &100);
    assert_eq!(items(all(by_number.scan(&range).await.expect("a majority answers"))), ["nut", "bolt"]);
    stock.put(&text("nut"), &1000).await.expect("it is committed");
    stock.delete(&text("gear")).await.expect("it is committed");
    assert_eq!(items(all(by_number.scan_stale(&IndexRange::all()).expect("there is a replica"))), ["bolt", "nut"]);
    assert_eq!(items(all(by_number.get(&1000u64).await.expect("a majority answers"))), ["nut"]);
    let rows = stock.scan().await.expect("a majority answers");
    assert_eq!(items(all(rows.reverse().limit(1))), ["nut"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_table_is_read_page_by_page_both_ways_while_it_is_written() {
    let one = one().await;
    let numbers = one.node.table(&NUMBERS).await.expect("it opens");
    for n in 0..3_000u64 {
        numbers.put(&n, &n).await.expect("it is written");
    }
    let (mut up, mut last) = (Vec::new(), None);
    loop {
        let page = numbers.scan().limit(700);
        let page = if let Some(last) = &last { page.after(last) } else { page };
        let rows = keys(page);
        let Some(end) = rows.last() else { break };
        last = Some(*end);
        // In front of the place, at it, and far behind it.
        numbers.delete(end).await.expect("it is deleted");
        numbers.put(&0, &0).await.expect("it is written");
        numbers.put(&(10_000 + end), &0).await.expect("it is written");
        up.extend(rows);
        if last > Some(5_000) {
            break;
        }
    }
    assert!(up.is_sorted() && up.windows(2).all(|pair| pair[0] < pair[1]), "no row comes twice");
    assert_eq!(up[..3_000], (0..3_000).collect::<Vec<_>>(), "every row that was there all the time comes");
    assert_eq!(keys(numbers.range(&10, &20).reverse().limit(3)), [19, 18, 17]);
    assert_eq!(keys(numbers.range(&10, &20).reverse().after(&12)), [11, 10]);
    assert_eq!(keys(numbers.range(&10, &13).after(&5)), [10, 11, 12], "one in front of the range takes nothing away");
    assert!(keys(numbers.range(&10, &13).after(&50)).is_empty() && keys(numbers.scan().limit(0)).is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bags_and_counters_are_scanned_and_watched_by_their_keys() {
    let one = one().await;
    let bag = one.node.table(&BAG).await.expect("it opens");
    for (key, value) in [("a", "1"), ("a", "2"), ("b\0", "3"), ("c", "4")] {
        bag.put(&text(key), &text(value)).await.expect("it is added");
    }
    let pairs = |rows: &[(&str, &str)]| rows.iter().map(|(key, value)| (text(key), text(value))).collect::<Vec<_>>();
    assert_eq!(all(bag.scan()), pairs(&[("a", "1"), ("a", "2"), ("b\0", "3"), ("c", "4")]));
    assert_eq!(all(bag.scan().after(&text("a")).limit(1)), pairs(&[("b\0", "3")]));
    assert_eq!(all(bag.prefix(b"b").reverse()), pairs(&[("b\0", "3")]));
    let mut watch = bag.watch();
    assert_eq!(snapshot(&mut watch).await, pairs(&[("a", "1"), ("a", "2"), ("b\0", "3"), ("c", "4")]));
    bag.remove(&text("a"), &text("1")).await.expect("it is removed");
    bag.put(&text("c"), &text("5")).await.expect("it is added");
    assert_eq!(watch.next().await, Ok(Some(Change::Removed(text("a"), text("1")))));
    assert_eq!(watch.next().await, Ok(Some(Change::Put(text("c"), text("5")))));

    let (sums, maxima) = (one.node.table(&SUMS).await.unwrap(), one.node.table(&MAXIMA).await.unwrap());
    for (key, number) in [("x", 2), ("y", -5), ("x", 3)] {
        sums.add(&text(key), number).await.expect("it is added");
        maxima.add(&text(key), number).await.expect("it is raised");
    }
    assert_eq!(all(sums.scan()), [(text("x"), 5), (text("y"), -5)]);
    assert_eq!(all(maxima.scan().reverse()), [(text("y"), -5), (text("x"), 3)]);
    let mut watch = sums.watch();
    assert_eq!(snapshot(&mut watch).await, [(text("x"), 5), (text("y"), -5)]);
    sums.add(&text("x"), 10).await.expect("it is added");
    assert_eq!(watch.next().await, Ok(Some(Change::Put(text("x"), 15))));
    sums.delete(&text("y")).await.expect("it is deleted");
    assert_eq!(watch.next().await, Ok(Some(Change::Delete(text("y")))));
}

async fn snapshot<V: Clone>(watch: &mut Watch<String, V>) -> Vec<(String, V)> {
    let mut rows = Vec::new();
    loop {
        match watch.next().await.expect("rows of this type").expect("the table is there") {
            Change::Snapshot(key, value) => rows.push((key, value)),
            Change::SnapshotEnd { .. } => return rows,
            _ => panic!("no change comes before the end of the snapshot"),
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_expired_row_is_gone_at_its_time_and_watchers_are_told_once() {
    let one = one().await;
    let users = one.node.table(&INDEXED).await.expect("it opens");
    let mut watch = users.watch();
    assert_eq!(watch.next().await, Ok(Some(Change::SnapshotEnd { revision: 0 })));
    let soon = SystemTime::now() + Duration::from_millis(1_500);
    users.put(&1, &user("a", &[])).expires_at(soon).await.expect("it is written");
    let stored = users.get_stored(&1).expect("a row of this type").expect("it is there");
    let off = |time: SystemTime| time.duration_since(soon).unwrap_or_else(|error| error.duration());
    assert!(off(stored.expires_at.expect("it expires")) < Duration::from_millis(2), "{stored:?}");
    assert!(stored.written.is_some() && stored.revision.contains('-'), "{stored:?}");
    users.put(&2, &user("b", &[])).await.expect("it is written");
    assert_eq!(users.get_stored(&2).unwrap().unwrap().expires_at, None);
    assert_eq!(watch.next().await, Ok(Some(Change::Put(1, user("a", &[])))));
    assert_eq!(watch.next().await, Ok(Some(Change::Put(2, user("b", &[])))));
    assert_eq!(watch.next().await, Ok(Some(Change::Delete(1))), "it has expired");
    assert!(SystemTime::now() >= soon);
    assert_eq!(users.get(&1), Ok(None));
    assert!(keys(users.index("by_mail").unwrap().get(&text("a"))).is_empty());
    users.delete(&1).await.expect("it is deleted");
    users.put(&3, &user("c", &[])).expires_at(SystemTime::UNIX_EPOCH).await.expect("one that is past is taken");
    users.put(&4, &user("d", &[])).await.expect("it is written");
    assert_eq!(watch.next().await, Ok(Some(Change::Put(4, user("d", &[])))), "what is gone does not go again");
    assert_eq!(users.get(&3), Ok(None));

    let stock = one.node.table(&STOCK).await.expect("it opens");
    stock.put(&text("bolt"), &1).expires_at(SystemTime::now() + Duration::from_secs(60)).await.expect("committed");
    let stored = stock.get_stored(&text("bolt")).await.expect("a majority answers").expect("it is there");
    assert!(stored.expires_at.is_some_and(|at| at > SystemTime::now()) && stored.written.is_none(), "{stored:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_table_does_not_take_is_refused_in_words() {
    const NO_COUNTERS: TableDef<u64, i64, Available> = TableDef::available("test.users");
    const BYTES: TableDef<Vec<u8>, Vec<u8>, Available> = TableDef::available("test.bytes");
    const OWNED: TableDef<Vec<u8>, Vec<u8>, Owned> = TableDef::owned("test.owned.bytes");
    const GROUP: TableDef<Vec<u8>, Vec<u8>, Quorum> = TableDef::quorum("test.quorum.bytes");
    let one = one().await;
    let (bytes, owned) = (one.node.table(&BYTES).await.unwrap(), one.node.table(&OWNED).await.unwrap());
    let group = one.node.table(&GROUP).await.unwrap();
    let (long_key, long_value) = (vec![0u8; 65_601], vec![0u8; 16 * 1024 * 1024 + 1]);
    let small = vec![1u8];
    let key = |error: &PutError| matches!(error, PutError::KeyTooLong { len: 65_601 });
    let value = |error: &PutError| matches!(error, PutError::ValueTooLong { len } if *len > 16 * 1024 * 1024);
    for (error, fits) in [
        (bytes.put(&long_key, &small).await.unwrap_err(), key as fn(&PutError) -> bool),
        (bytes.delete(&long_key).await.unwrap_err(), key),
        (bytes.put(&small, &long_value).await.unwrap_err(), value),
        (owned.put(&long_key, &small).await.unwrap_err(), key),
        (owned.put(&small, &long_value).await.unwrap_err(), value),
    ] {
        assert!(fits(&error), "{error:?}");
        assert!(error.to_string().contains("at most") && !error.is_retryable() && !error.outcome_unknown(), "{error}");
    }
    for error in [group.put(&long_key, &small).await.unwrap_err(), group.put(&small, &long_value).await.unwrap_err()] {
        assert!(matches!(error, QuorumError::TooLarge(_)) && !error.outcome_unknown(), "{error:?}");
    }
    assert!(bytes.is_empty() && owned.owners(&small).unwrap().is_empty());

    let (sums, users) = (one.node.table(&SUMS).await.unwrap(), one.node.table(&USERS).await.unwrap());
    let error = sums.put(&text("x"), &1).await.unwrap_err();
    assert!(error.to_string().contains("has counters"), "{error}");
    let error = users.remove(&1, &user("a", &[])).await.unwrap_err();
    assert!(error.to_string().contains("is no bag"), "{error}");
    let error = one.node.table(&NO_COUNTERS).await.unwrap().add(&1, 1).await.unwrap_err();
    assert!(error.to_string().contains("has no counters"), "{error}");

    for other in [
        one.node.table(&TableDef::<u64, User, Available>::available("test.users").disc()).await.map(|_| ()),
        one.node.table(&TableDef::<u64, User, Available>::available("test.users").json()).await.map(|_| ()),
        one.node.table(&TableDef::<u64, User, Available>::available("test.users").bag()).await.map(|_| ()),
        one.node.table(&TableDef::<u64, User, Owned>::owned("test.users")).await.map(|_| ()),
    ] {
        let Err(OpenError::Mismatch { ours, theirs }) = other else { panic!("{other:?}") };
        assert!(ours != theirs && theirs.contains("test.users"), "{ours}, {theirs}");
    }
    for name in ["", "Upper", "a b", "ekka.own"] {
        let opened = one.node.table(&TableDef::<u64, u64, Available>::available(name)).await.map(|_| ());
        assert!(matches!(opened, Err(OpenError::Schema(_))), "{name:?}: {opened:?}");
    }
}

#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
struct OldQuote {
    item: String,
}

#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
struct NewQuote {
    item: String,
    #[serde(default)]
    count: u32,
}

fn old() -> OldQuote {
    OldQuote { item: "bolt".into() }
}

fn new(count: u32) -> NewQuote {
    NewQuote { item: "bolt".into(), count }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_versions_of_a_program_share_a_table_where_the_codec_has_names() {
    const AFTER: TableDef<u64, NewQuote, Available> = TableDef::available("test.postcard").postcard();
    const BEFORE: TableDef<u64, OldQuote, Available> = TableDef::available("test.postcard").postcard();
    let (names, dirs) = (names(2), [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()]);
    let mut nodes = Vec::new();
    for (name, dir) in names.iter().zip(&dirs) {
        nodes.push(start(config(name, &names, dir.path())).await.expect("the node starts"));
    }
    for node in &nodes {
        until(node, "it is ready", |view| view.ready_quorum && view.members.len() == 2).await;
    }
    for named in ["test.messagepack", "test.json"] {
        let (mut before, mut after) = (
            TableDef::<u64, OldQuote, Available>::available(named),
            TableDef::<u64, NewQuote, Available>::available(named),
        );
        if named == "test.json" {
            (before, after) = (before.json(), after.json());
        }
        let (before, after) = (nodes[0].table(&before).await.unwrap(), nodes[1].table(&after).await.unwrap());
        assert_eq!(before.put(&1, &old()).strict().await.expect("both have it").copies, 2);
        after.put(&2, &new(7)).strict().await.expect("both have it");
        assert_eq!((before.get(&1), before.get(&2)), (Ok(Some(old())), Ok(Some(old()))), "{named}");
        assert_eq!((after.get(&1), after.get(&2)), (Ok(Some(new(0))), Ok(Some(new(7)))), "{named}");
        assert_eq!(all(before.scan()).len(), 2, "{named}");
    }
    let (before, after) = (nodes[0].table(&BEFORE).await.unwrap(), nodes[1].table(&AFTER).await.unwrap());
    before.put(&1, &old()).strict().await.expect("both have it");
    after.put(&2, &new(7)).strict().await.expect("both have it");
    let error = after.get(&1).expect_err("a value of the old type is none of the new one");
    assert!(error.to_string().contains("not of this type"), "{error}");
    let error = after.scan().next().expect("there is a row").expect_err("it is of the old type");
    assert!(matches!(error, ReadError::WrongType(_)), "{error}");
}

const DISC: TableDef<u64, u64, Available> = TableDef::available("test.disc").disc();

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cursor_goes_on_where_it_was_committed() {
    let (names, dir) = (names(1), tempfile::tempdir().expect("a directory"));
    let begin = || async {
        let node = start(config(&names[0], &names, dir.path())).await.expect("the node starts");
        until(&node, "it is ready", |view| view.ready_quorum).await;
        node
    };
    let node = begin().await;
    let (disc, ram) = (node.table(&DISC).await.expect("it opens"), node.table(&NUMBERS).await.expect("it opens"));
    for n in 0..3 {
        disc.put(&n, &10).await.expect("it is written");
        ram.put(&n, &10).await.expect("it is written");
    }
    let mut cursor = disc.watch().cursor("wills").expect("it opens");
    for n in 0..3 {
        assert_eq!(cursor.next().await, Ok(Some(Change::Snapshot(n, 10))));
        cursor.commit().await.expect("within a snapshot there is nothing to keep");
    }
    assert!(matches!(cursor.next().await, Ok(Some(Change::SnapshotEnd { .. }))));
    cursor.commit().await.expect("it is kept");
    let error = disc.watch().cursor("wills").map(|_| ()).expect_err("it is in use");
    assert_eq!(error, CursorError::InUse("wills".into()));
    for name in ["", "Wills", "a/b", &"x".repeat(80)] {
        assert!(matches!(disc.watch().cursor(name).map(|_| ()), Err(CursorError::Name(_))), "{name:?}");
    }

    // What was given and not committed comes again, and what was committed does not.
    disc.put(&0, &20).await.expect("it is written");
    disc.put(&1, &20).await.expect("it is written");
    assert_eq!(cursor.next().await, Ok(Some(Change::Put(0, 20))));
    cursor.commit().await.expect("it is kept");
    assert_eq!(cursor.next().await, Ok(Some(Change::Put(1, 20))));
    drop(cursor);
    let mut cursor = disc.watch().cursor("wills").expect("it opens again");
    assert_eq!(cursor.next().await, Ok(Some(Change::Put(1, 20))));
    cursor.commit().await.expect("it is kept");

    let mut other = ram.watch().cursor("wills").expect("cursors of two tables are two");
    while !matches!(other.next().await, Ok(Some(Change::SnapshotEnd { .. }))) {}
    other.commit().await.expect("it is kept");

    // Seen and not committed, and not seen, when the node ends.
    disc.put(&2, &30).await.expect("it is written");
    assert_eq!(cursor.next().await, Ok(Some(Change::Put(2, 30))));
    disc.delete(&0).await.expect("it is deleted");
    disc.put(&7, &30).await.expect("it is written");
    disc.put(&7, &40).await.expect("it is written");
    drop((cursor, other, disc, ram));
    node.stop(Duration::from_secs(10)).await.expect("it stops");

    let node = begin().await;
    let disc = node.table(&DISC).await.expect("it opens");
    let mut cursor = disc.watch().cursor("wills").expect("it opens");
    let first = cursor.next().await.expect("of this type").expect("the table is there");
    if first == Change::Resync {
        // A checkpoint was made behind what was committed: then all rows come.
        let mut rows = Vec::new();
        while let Ok(Some(Change::Snapshot(key, value))) = cursor.next().await {
            rows.push((key, value));
        }
        assert_eq!(rows, [(1, 20), (2, 30), (7, 40)]);
    } else {
        assert_eq!(first, Change::Put(2, 30));
        assert_eq!(cursor.next().await, Ok(Some(Change::Delete(0))));
        assert_eq!(cursor.next().await, Ok(Some(Change::Put(7, 40))), "as it is now, once");
    }
    cursor.commit().await.expect("it is kept");
    disc.put(&8, &50).await.expect("it is written");
    assert_eq!(cursor.next().await, Ok(Some(Change::Put(8, 50))));

    let ram = node.table(&NUMBERS).await.expect("it opens");
    let mut other = ram.watch().cursor("wills").expect("it opens");
    assert_eq!(other.next().await, Ok(Some(Change::Resync)), "nothing of a table in ram is known after a start");
    assert!(matches!(other.next().await, Ok(Some(Change::SnapshotEnd { .. }))));
    cursor.forget().await.expect("it is forgotten");
    let mut cursor = disc.watch().cursor("wills").expect("it opens");
    assert_eq!(cursor.next().await, Ok(Some(Change::Snapshot(1, 20))));
}
