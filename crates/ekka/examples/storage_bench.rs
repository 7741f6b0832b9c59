//! Commits a second and syncs a commit, by number of writers: `cargo run --release --example storage_bench -- DIR`.
#![allow(
    clippy::unwrap_used,
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "an example"
)]

use std::fs::File;
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use ekka::storage::{EngineStorage, LogName, Storage, StorageOptions};

const TIME: Duration = Duration::from_secs(3);

#[tokio::main]
async fn main() {
    let dir = std::env::args().nth(1).map_or_else(std::env::temp_dir, PathBuf::from).join("ekka-storage-bench");
    std::fs::create_dir_all(&dir).unwrap();
    println!("| writers | commits/s | commits a sync | median | 99 % |");
    println!("|---|---|---|---|---|");
    for writers in [1usize, 16, 64, 256] {
        let store = Arc::new(EngineStorage::open(&dir, StorageOptions::default(), &|| 1).unwrap());
        let (syncs, began) = (store.syncs(), Instant::now());
        let tasks: Vec<_> = (0..writers).map(|n| tokio::spawn(write(store.clone(), n, began))).collect();
        let mut took = Vec::new();
        for task in tasks {
            took.extend(task.await.unwrap());
        }
        let (seconds, syncs) = (began.elapsed().as_secs_f64(), store.syncs() - syncs);
        took.sort_unstable();
        let (commits, at) = (took.len(), |share: f64| took[(took.len() as f64 * share) as usize]);
        let (rate, shared) = (commits as f64 / seconds, commits as f64 / syncs as f64);
        println!("| {writers} | {rate:.0} | {shared:.1} | {:.0?} | {:.0?} |", at(0.5), at(0.99));
        store.close().await;
        drop(store);
        std::fs::remove_dir_all(&dir).unwrap();
        std::fs::create_dir_all(&dir).unwrap();
    }
    println!("\nOne record and a sync, and a mark of 150 bytes: commits/s of the bare files");
    for mark in ["none", "before each acknowledgement", "beside each commit", "10 ms after a commit"] {
        println!("| {mark} | {:.0} |", bare(&dir, mark));
    }
    std::fs::remove_dir_all(&dir).unwrap();
}

/// What the mark costs: files alone, without an engine.
fn bare(dir: &Path, kind: &str) -> f64 {
    let mut journal = File::create(dir.join("journal")).unwrap();
    journal.set_len(64 << 20).unwrap();
    let mark = File::create(dir.join("mark")).unwrap();
    let write_mark = || {
        mark.write_all_at(&[1; 150], 0).unwrap();
        mark.sync_data().unwrap();
    };
    let commits = AtomicU64::new(0);
    let ended = AtomicBool::new(false);
    std::thread::scope(|scope| {
        if kind.starts_with("beside") || kind.starts_with("10") {
            scope.spawn(|| {
                let mut seen = 0;
                while !ended.load(Ordering::Relaxed) {
                    let now = commits.load(Ordering::Relaxed);
                    if now > seen {
                        write_mark();
                        seen = now;
                    }
                    let pause = if kind.starts_with("10") { Duration::from_millis(10) } else { Duration::ZERO };
                    std::thread::sleep(pause);
                }
            });
        }
        let began = Instant::now();
        while began.elapsed() < TIME {
            journal.write_all(&[2; 180]).unwrap();
            journal.sync_data().unwrap();
            if kind.starts_with("before") {
                write_mark();
            }
            commits.fetch_add(1, Ordering::Relaxed);
        }
        ended.store(true, Ordering::Relaxed);
    });
    commits.load(Ordering::Relaxed) as f64 / TIME.as_secs_f64()
}

/// One record of 100 bytes after the other, each awaited.
async fn write(store: Arc<EngineStorage>, n: usize, began: Instant) -> Vec<Duration> {
    let log: LogName = format!("writer/{n}").into();
    let mut took = Vec::new();
    while began.elapsed() < TIME {
        let begin = Instant::now();
        let ticket = store.append(&log, store.bounds(&log).next, vec![vec![7; 100]]).unwrap();
        store.synced(ticket).await.unwrap();
        took.push(begin.elapsed());
    }
    took
}
