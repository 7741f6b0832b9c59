//! What tests of the store's folder share: a store with content, copies of its folder, and what is in one.
#![allow(unreachable_pub, clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::time::Duration;

use ekka::storage::{EngineStorage, Found, LogName, Seq, Storage, StorageOptions, Ticket, Truncate};
use tempfile::TempDir;

pub const LOGS: [&str; 3] = ["durable", "table/a", "table/b"];

/// Longer than any opening here takes; reached only by one that hangs.
pub const PATIENCE: Duration = Duration::from_secs(120);

/// All that a store holds.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Content {
    pub records: BTreeMap<(String, Seq), Vec<u8>>,
    pub checkpoints: BTreeMap<String, Vec<u8>>,
}

impl Content {
    pub fn of(store: &dyn Storage) -> Self {
        let mut content = Self::default();
        for log in LOGS {
            let bounds = store.bounds(&log.into());
            let records = store.read(&log.into(), 0, Seq::MAX, usize::MAX).unwrap();
            assert!(records.iter().map(|(seq, _)| *seq).eq(bounds.first..bounds.next), "{log}: {bounds:?}");
            content.records.extend(records.into_iter().map(|(seq, bytes)| ((log.to_owned(), seq), bytes)));
            content.checkpoints.extend(store.read_checkpoint(log).unwrap().map(|bytes| (log.to_owned(), bytes)));
        }
        content
    }
}

/// A folder in memory where the system has one: these tests open thousands of stores, and never cut the power.
pub fn folder() -> TempDir {
    let memory = Path::new("/dev/shm");
    if memory.is_dir() { TempDir::new_in(memory).unwrap() } else { TempDir::new().unwrap() }
}

pub fn open(dir: &Path, fresh_id: u128) -> EngineStorage {
    let options = StorageOptions { reserve: 0, cache: 1 << 20 };
    EngineStorage::open(dir, options, &|| fresh_id).unwrap()
}

/// Opens a store that may be damaged in any way, closes it, and tells what was found and what was in it.
pub fn examine(dir: &Path, fresh_id: u128) -> (Found, Content) {
    let (send, receive) = mpsc::channel();
    let dir = dir.to_owned();
    let thread = std::thread::spawn(move || {
        let store = open(&dir, fresh_id);
        let content = Content::of(&store);
        let found = store.found();
        store.crash();
        drop(send.send((found, content)));
    });
    match receive.recv_timeout(PATIENCE) {
        Ok(seen) => {
            thread.join().unwrap();
            seen
        }
        Err(mpsc::RecvTimeoutError::Disconnected) => std::panic::resume_unwind(thread.join().unwrap_err()),
        Err(mpsc::RecvTimeoutError::Timeout) => panic!("the opening hangs"),
    }
}

pub fn append(store: &EngineStorage, log: &str, records: &[&[u8]]) -> Ticket {
    let log: LogName = log.into();
    let first = store.bounds(&log).next;
    store.append(&log, first, records.iter().map(|record| record.to_vec()).collect()).unwrap()
}

/// A store with tables and a journal, with records that were dropped, and a checkpoint that was replaced; closed.
pub async fn filled(dir: &Path) -> Content {
    let store = open(dir, 1);
    for round in 0..12u8 {
        for log in LOGS {
            append(&store, log, &[&[round; 20], b"", &[b'x'; 70]]);
        }
        store.checkpoint("durable", Some(vec![round; 3000])).unwrap();
        let size = if round % 5 == 1 { 300_000 } else { 300 };
        let last = store.checkpoint("table/b", Some(vec![round; size])).unwrap();
        store.synced(last).await.unwrap();
        if round == 3 || round == 7 {
            store.truncate(&"durable".into(), Truncate::Before(u64::from(round))).unwrap();
            store.truncate(&"table/a".into(), Truncate::From(9)).unwrap();
            store.synced(append(&store, "table/a", &[b"again"])).await.unwrap();
            store.flush().unwrap();
        }
        if round == 7 {
            store.checkpoint("table/b", Some(vec![round; 10])).unwrap();
        }
        if round > 8 {
            store.checkpoint("table/b", None).unwrap();
        }
    }
    store.close().await;
    // The second opening cuts off the journal what is reserved and empty.
    drop(store);
    let store = open(dir, 2);
    let content = Content::of(&store);
    store.synced(append(&store, "durable", &[b"the last"])).await.unwrap();
    let content = {
        let mut content = content;
        content.records.insert(("durable".into(), store.bounds(&"durable".into()).next - 1), b"the last".to_vec());
        content
    };
    store.close().await;
    content
}

/// The files of a folder, with their names below it.
pub fn files(dir: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    let mut folders = vec![PathBuf::new()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(dir.join(&folder)).unwrap() {
            let entry = entry.unwrap();
            let path = folder.join(entry.file_name());
            if entry.file_type().unwrap().is_dir() { folders.push(path) } else { files.push(path) }
        }
    }
    files.sort();
    files
}

pub fn copy(from: &Path, to: &Path) {
    for file in files(from) {
        fs::create_dir_all(to.join(&file).parent().unwrap()).unwrap();
        fs::copy(from.join(&file), to.join(&file)).unwrap();
    }
}
