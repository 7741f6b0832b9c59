//! What only a simulated disc can do on demand: lose itself, lie, be full, break, be slow.

use std::time::Duration;

use ekka::env::{Disk, Entropy};
use ekka::storage::{LogName, Storage, StorageError, StorageOptions};
use ekka_sim::stack::{SimDisk, SimEntropy, StoreDisc};

fn log() -> LogName {
    "durable".into()
}

async fn append(store: &dyn Storage, bytes: &[u8]) -> Result<(), StorageError> {
    let ticket = store.append(&log(), store.bounds(&log()).next, vec![bytes.to_vec()])?;
    store.synced(ticket).await
}

#[tokio::test(start_paused = true)]
async fn a_disc_that_lies_is_found_out_by_the_mark() {
    let mut caught = 0;
    for seed in 0..100 {
        let disc = StoreDisc::new(seed);
        let store = disc.open(1);
        append(&store, b"true").await.unwrap();
        disc.set_faults(|faults| faults.lies = true);
        append(&store, b"a lie").await.unwrap();
        drop(store);
        let store = disc.open(2);
        if store.found().damage.is_empty() {
            assert_eq!((store.found().store_id, store.bounds(&log()).next), (1, 3), "seed {seed}: less in silence");
        } else {
            assert_eq!((store.found().store_id, store.bounds(&log()).next), (2, 1), "seed {seed}");
            caught += 1;
        }
    }
    assert!((50..100).contains(&caught), "{caught} of 100 crashes took what was a lie");
}

#[tokio::test(start_paused = true)]
async fn what_was_not_synced_is_lost_from_a_random_place_on() {
    let mut kept = [0; 6];
    for seed in 0..200 {
        let disc = StoreDisc::new(seed);
        let store = disc.open(1);
        append(&store, b"synced").await.unwrap();
        for seq in 2..=5 {
            store.append(&log(), seq, vec![vec![9; 30]]).unwrap();
        }
        drop(store);
        let store = disc.open(2);
        assert_eq!((store.found().store_id, store.found().damage), (1, vec![]));
        kept[usize::try_from(store.bounds(&log()).next - 1).unwrap()] += 1;
    }
    assert!(kept[0] == 0 && kept[1..5].iter().all(|n| *n > 10), "{kept:?}");
}

#[tokio::test(start_paused = true)]
async fn a_lost_store_is_damage_and_a_wiped_disc_is_a_first_start() {
    let disc = StoreDisc::new(1);
    let old = disc.open(1);
    append(&old, b"x").await.unwrap();
    disc.lose_store();
    assert!(matches!(append(&old, b"y").await, Err(StorageError::Closed)), "its process is dead");
    let found = disc.open(2).found();
    assert!(found.created && found.store_id == 2 && found.damage[0].contains("it is gone"), "{found:?}");
    disc.wipe();
    let found = disc.open(3).found();
    assert_eq!((found.created, found.store_id, found.damage), (true, 3, vec![]));
}

#[tokio::test(start_paused = true)]
async fn a_full_disc_refuses_writers_and_a_broken_one_everybody() {
    let disk = SimDisk::new(5);
    let entropy = SimEntropy::new(5);
    let store = disk.open_storage(StorageOptions::default(), &entropy).unwrap();
    assert_ne!(store.found().store_id, entropy.bits());
    append(&*store, b"1").await.unwrap();
    disk.set_failing(true);
    assert!(matches!(append(&*store, b"2").await, Err(StorageError::Full(_))));
    let dropped = store.truncate(&log(), ekka::storage::Truncate::Before(2)).unwrap();
    store.synced(dropped).await.unwrap();
    disk.set_failing(false);
    append(&*store, b"2").await.unwrap();
    disk.store().set_faults(|faults| faults.broken = true);
    assert!(matches!(append(&*store, b"3").await, Err(StorageError::Failed(_))));
    disk.store().set_faults(|faults| faults.broken = false);
    assert!(matches!(append(&*store, b"4").await, Err(StorageError::Failed(_))), "until it is opened again");
    store.close().await;
    let store = disk.open_storage(StorageOptions::default(), &entropy).unwrap();
    assert_eq!((store.found().created, store.found().damage), (false, vec![]));
    append(&*store, b"again").await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_slow_disc_takes_virtual_time() {
    let disc = StoreDisc::new(3);
    disc.set_faults(|faults| faults.sync = Duration::from_secs(5));
    let store = disc.open(1);
    let begin = tokio::time::Instant::now();
    for _ in 0..20 {
        append(&store, b"x").await.unwrap();
    }
    let took = begin.elapsed();
    assert!(took > Duration::from_secs(40) && took < Duration::from_secs(200), "{took:?}");
}
