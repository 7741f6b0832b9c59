//! The store on the real engine: what only its folder shows.
#![allow(clippy::unwrap_used, reason = "tests")]

use ekka::storage::{Bounds, EngineStorage, LogName, Storage, StorageOptions, Truncate};

#[tokio::test]
async fn what_was_synced_is_there_again() {
    let dir = tempfile::tempdir().unwrap();
    let open = || EngineStorage::open(dir.path(), StorageOptions { reserve: 0, ..Default::default() }, &|| 42).unwrap();
    let log: LogName = "durable".into();
    let store = open();
    assert!(store.found().created && store.found().damage.is_empty());
    store.append(&log, 1, vec![b"a".to_vec(), b"b".to_vec(), b"c".to_vec()]).unwrap();
    store.truncate(&log, Truncate::From(3)).unwrap();
    store.checkpoint("x", Some(vec![7; 1 << 20])).unwrap();
    let ticket = store.truncate(&log, Truncate::Before(2)).unwrap();
    assert_eq!(store.read(&log, 0, 9, 100).unwrap(), [(2, b"b".to_vec())]);
    store.synced(ticket).await.unwrap();
    assert_eq!(store.read(&log, 0, 9, 100).unwrap(), [(2, b"b".to_vec())]);
    store.crash();
    let store = open();
    assert_eq!((store.found().created, store.found().store_id, store.found().damage), (false, 42, vec![]));
    assert_eq!(store.bounds(&log), Bounds { first: 2, next: 3 });
    assert_eq!(store.read(&log, 0, 9, 100).unwrap(), [(2, b"b".to_vec())]);
    assert_eq!(store.read_checkpoint("x").unwrap(), Some(vec![7; 1 << 20]));
    store.close().await;
}
