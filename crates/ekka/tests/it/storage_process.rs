//! The store in processes of its own: killed at any moment, and on a disc that is full.
//!
//! A child is this test binary again, told by the environment which part to play.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use ekka::storage::{EngineStorage, LogName, Seq, Storage, StorageError, StorageOptions, Truncate};
use ekka_core::rng::Rng;
use tokio::task::JoinSet;

/// Where a child has its data directory.
const CHILD: &str = "EKKA_STORE_CHILD";

fn child_dir() -> Option<PathBuf> {
    std::env::var_os(CHILD).map(PathBuf::from)
}

fn record(log: &str, seq: Seq) -> Vec<u8> {
    format!("{log} {seq} ").repeat(usize::try_from(seq % 50).unwrap() + 1).into_bytes()
}

/// Plays the process that is killed: writes to several logs, and says what is synced.
#[tokio::test]
async fn child_that_appends_until_it_is_killed() {
    let Some(dir) = child_dir() else { return };
    let store = Arc::new(EngineStorage::open(&dir, StorageOptions::default(), &|| 1).unwrap());
    println!("found {:?}", store.found().damage);
    let mut writers = JoinSet::new();
    for n in 0..8 {
        let store = store.clone();
        writers.spawn(async move {
            let log: LogName = format!("writer/{n}").into();
            loop {
                let seq = store.bounds(&log).next;
                let ticket = store.append(&log, seq, vec![record(&log, seq)]).unwrap();
                if seq.is_multiple_of(50) {
                    store.truncate(&log, Truncate::Before(seq - 20)).unwrap();
                    store.checkpoint(&log, Some(record(&log, seq))).unwrap();
                }
                store.synced(ticket).await.unwrap();
                println!("synced {log} {seq}");
            }
        });
    }
    panic!("a writer ended by itself: {:?}", writers.join_next().await);
}

/// What the runner calls a test of this file.
fn full(test: &str) -> String {
    let (_, module) = module_path!().split_once("::").expect("the binary, then this file");
    format!("{module}::{test}")
}

fn play(part: &str, dir: &Path) -> Child {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", &full(part), "--nocapture"]).env(CHILD, dir);
    command.stdout(Stdio::piped()).spawn().unwrap()
}

#[test]
fn what_a_killed_process_said_was_synced_is_there() {
    let dir = tempfile::tempdir().unwrap();
    let mut rng = Rng::new(9);
    let mut synced: BTreeMap<String, Seq> = BTreeMap::new();
    for round in 0..10 {
        let mut child = play("child_that_appends_until_it_is_killed", dir.path());
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut until = 1 + rng.below(600);
        for line in lines {
            let line = line.unwrap();
            // The runner of the child's test writes before it, in the same line.
            if let Some((_, said)) = line.split_once("found ") {
                assert_eq!(said, "[]", "round {round}");
            }
            let Some((_, said)) = line.split_once("synced ") else { continue };
            let (log, seq) = said.split_once(' ').unwrap();
            synced.insert(log.to_owned(), seq.parse().unwrap());
            until = until.saturating_sub(1);
            if until == 0 {
                // What it says between this and its end counts too.
                child.kill().unwrap();
            }
        }
        child.wait().unwrap();
        let store = EngineStorage::open(dir.path(), StorageOptions::default(), &|| 1).unwrap();
        assert_eq!(store.found().damage, Vec::<String>::new(), "round {round}");
        for (log, seq) in &synced {
            let name: LogName = log.as_str().into();
            let bounds = store.bounds(&name);
            assert!(bounds.next > *seq, "round {round}: {log} has {bounds:?}, and {seq} was synced");
            for (seq, bytes) in store.read(&name, 0, Seq::MAX, usize::MAX).unwrap() {
                assert!(bytes == record(log, seq), "round {round}: {log} {seq}");
            }
            if let Some(checkpoint) = store.read_checkpoint(log).unwrap() {
                assert!((1..bounds.next).any(|seq| checkpoint == record(log, seq)), "round {round}: {log}");
            }
        }
        // Half of the rounds end without a goodbye here too.
        if round % 2 == 0 {
            store.crash();
        }
    }
    assert_eq!(synced.len(), 8, "{synced:?}");
}

/// Runs a part on a disc of 48 MiB.
fn on_a_small_disc(part: &str) {
    let refused = std::env::var_os("EKKA_NO_NETNS").is_some_and(|value| !value.is_empty());
    if refused || !rustix::process::geteuid().is_root() {
        println!("NOT TESTED: a disc of its own takes root, and EKKA_NO_NETNS to be unset");
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let script = "mount -t tmpfs -o size=48m tmpfs \"$EKKA_STORE_CHILD\" && exec \"$@\"";
    let status = Command::new("unshare")
        .args(["--mount", "sh", "-c", script, "sh"])
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", &full(part), "--nocapture"])
        .env(CHILD, dir.path())
        .status()
        .unwrap();
    assert!(status.success());
}

#[test]
fn a_full_disc_refuses_writers_and_serves_readers() {
    on_a_small_disc("child_on_a_small_disc");
}

#[test]
fn what_was_acknowledged_after_writes_that_ended_half_way_is_there() {
    on_a_small_disc("child_whose_writes_end_half_way");
}

#[test]
fn a_full_disc_with_dropped_records_keeps_nobody_busy() {
    on_a_small_disc("child_with_dropped_records");
}

/// Plays the process on the disc of 48 MiB.
#[tokio::test]
async fn child_on_a_small_disc() {
    let Some(dir) = child_dir() else { return };
    for reserve in [0, 8 << 20] {
        let dir = dir.join(reserve.to_string());
        fs::create_dir(&dir).unwrap();
        fill_and_free(&dir, reserve).await;
        fs::remove_dir_all(&dir).unwrap();
    }
}

fn filler(dir: &Path) -> PathBuf {
    dir.join("filler")
}

/// Takes all that is left.
fn fill(dir: &Path) {
    fill_but(dir, 0);
}

/// Takes all that is left but so many bytes.
fn fill_but(dir: &Path, left: u64) {
    let stat = rustix::fs::statvfs(dir).unwrap();
    let bytes = usize::try_from((stat.f_bavail * stat.f_frsize).saturating_sub(left)).unwrap();
    fs::write(filler(dir), vec![1; bytes]).unwrap();
}

async fn append(store: &EngineStorage, log: &LogName, record: Vec<u8>) -> Result<(), StorageError> {
    let ticket = store.append(log, store.bounds(log).next, vec![record])?;
    store.synced(ticket).await
}

/// Plays the process whose records are cut off by the end of the disc, at several places, and are written once there is room.
#[tokio::test]
async fn child_whose_writes_end_half_way() {
    let Some(dir) = child_dir() else { return };
    let options = StorageOptions { reserve: 0, cache: 1 << 20 };
    let open = || EngineStorage::open(&dir, options, &|| 1).unwrap();
    let (log, other): (LogName, LogName) = ("a".into(), "b".into());
    let bytes = |seq: u8| vec![seq; 300_000];
    let (mut store, mut kept) = (open(), 0u8);
    for left in [0, 4 << 10, 36 << 10, 150 << 10, 290 << 10] {
        fill_but(&dir, left);
        let refused = append(&store, &log, bytes(kept + 1)).await;
        assert!(matches!(refused, Err(StorageError::Full(_))), "{left} bytes: {refused:?}");
        // A small one behind it may find room; it must not be lost behind what was cut off.
        let small = append(&store, &other, vec![9]).await;
        fs::remove_file(filler(&dir)).unwrap();
        let smalls = store.bounds(&other).next;
        assert!(small.is_ok() || matches!(small, Err(StorageError::Full(_))), "{left} bytes: {small:?}");
        kept += 1;
        append(&store, &log, bytes(kept)).await.unwrap();
        store.crash();
        drop(store);
        store = open();
        assert_eq!((store.found().created, store.found().damage), (false, vec![]), "{left} bytes");
        let read = store.read(&log, 0, Seq::MAX, usize::MAX).unwrap();
        let wanted: Vec<_> = (1..=kept).map(|seq| (Seq::from(seq), bytes(seq))).collect();
        assert!(read == wanted, "{left} bytes: {} records", read.len());
        assert_eq!(store.bounds(&other).next, smalls, "{left} bytes");
    }
}

/// How many bytes this process has read, from files.
fn bytes_read() -> String {
    fs::read_to_string("/proc/self/io").unwrap().lines().next().unwrap().to_owned()
}

/// Waits until nothing is read for two seconds.
async fn quiet(limit: Duration) {
    let begun = std::time::Instant::now();
    loop {
        let before = bytes_read();
        tokio::time::sleep(Duration::from_secs(2)).await;
        let after = bytes_read();
        // To look is to read, a few hundred bytes at a time.
        let number = |text: &str| text.trim_start_matches("rchar: ").parse::<u64>().unwrap();
        if number(&after) - number(&before) < 10_000 {
            return;
        }
        assert!(begun.elapsed() < limit, "the store is read again and again: {before}, {after}");
    }
}

/// Plays the process that has dropped many records, and finds no room to say so of all their keys.
#[tokio::test]
async fn child_with_dropped_records() {
    const RECORDS: Seq = 30_000;
    let Some(dir) = child_dir() else { return };
    let options = StorageOptions { reserve: 0, cache: 1 << 20 };
    let open = || EngineStorage::open(&dir, options, &|| 1).unwrap();
    let (store, log): (_, LogName) = (open(), "a".into());
    let ticket = store.append(&log, 1, vec![vec![7; 8]; usize::try_from(RECORDS).unwrap()]).unwrap();
    store.synced(ticket).await.unwrap();
    // Room for the keys of the first batch, and not for those of the seven that follow.
    fill_but(&dir, 400 << 10);
    let dropped = store.truncate(&log, Truncate::Before(RECORDS)).unwrap();
    store.synced(dropped).await.unwrap();
    quiet(Duration::from_secs(20)).await;
    let refused = append(&store, &log, vec![8; 500_000]).await;
    assert!(matches!(refused, Err(StorageError::Full(_))), "{refused:?}");
    fs::remove_file(filler(&dir)).unwrap();
    append(&store, &log, vec![9]).await.unwrap();
    store.crash();
    let again = open();
    assert_eq!((again.found().created, again.found().damage), (false, vec![]));
    let read = again.read(&log, 0, Seq::MAX, usize::MAX).unwrap();
    assert_eq!(read, [(RECORDS, vec![7; 8]), (RECORDS + 1, vec![9])]);
    again.close().await;
}

async fn fill_and_free(dir: &Path, reserve: u64) {
    let options = StorageOptions { reserve, cache: 1 << 20 };
    let open = || EngineStorage::open(dir, options, &|| 1).unwrap();
    fs::write(dir.join("others"), vec![1; 4 << 20]).unwrap();
    let store = open();
    let log: LogName = "a".into();
    let bytes = |seq: Seq| vec![u8::try_from(seq % 251).unwrap(); 400_000];
    let append = async |seq: Seq| match store.append(&log, seq, vec![bytes(seq)]) {
        Ok(ticket) => store.synced(ticket).await,
        Err(error) => Err(error),
    };
    for seq in 1..=20 {
        append(seq).await.unwrap();
    }
    let mut next = 21;
    loop {
        match append(next).await {
            Ok(()) => next += 1,
            Err(StorageError::Full(_)) => break,
            Err(other) => panic!("{other}"),
        }
    }
    assert!(next > 30, "{next} of 48 MiB");
    let all = |store: &EngineStorage, first: Seq, next: Seq| {
        assert_eq!((store.bounds(&log).first, store.bounds(&log).next), (first, next), "reserve {reserve}");
        let read = store.read(&log, 0, Seq::MAX, usize::MAX).unwrap();
        assert!(read.iter().map(|(seq, _)| *seq).eq(first..next), "reserve {reserve}");
        assert!(read.iter().all(|(seq, record)| *record == bytes(*seq)), "reserve {reserve}");
    };
    all(&store, 1, next);
    // Others take the rest: a store with a reserve has a ballast to give up for this.
    if reserve > 0 {
        fill(dir);
    }
    let truncated = store.truncate(&log, Truncate::Before(5)).unwrap();
    let truncated = store.synced(truncated).await;
    let first = if truncated.is_ok() { 5 } else { 1 };
    assert!(truncated.is_ok() || reserve == 0, "room for truncations is kept: {truncated:?}");
    all(&store, first, next);
    assert!(matches!(append(next).await, Err(StorageError::Full(_))), "still full");
    if reserve > 0 {
        fs::remove_file(filler(dir)).unwrap();
    }
    fs::remove_file(dir.join("others")).unwrap();
    append(next).await.unwrap();
    next += 1;
    all(&store, first, next);
    store.crash();
    let again = open();
    assert_eq!((again.found().created, again.found().damage), (false, vec![]));
    all(&again, first, next);
    again.close().await;
}
