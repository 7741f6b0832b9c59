//! The folder of a real store cut, flipped and plundered: it opens with all that was synced, or says what is wrong and
//! begins anew.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::fs::{self, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use crate::storage_support::{Content, append, copy, examine, files, filled, folder, open};
use ekka::storage::Storage;
use ekka_core::rng::Rng;

/// What is done to a copy of the folder.
#[derive(Clone, Debug)]
enum Damage {
    Cut(PathBuf, u64),
    Flip(PathBuf, u64, u8),
    Zero(PathBuf, u64),
    Delete(PathBuf),
    DeleteAll(Vec<PathBuf>),
}

impl Damage {
    fn inflict(&self, dir: &Path) {
        let open = |file: &PathBuf| OpenOptions::new().read(true).write(true).open(dir.join(file)).unwrap();
        match self {
            Self::Cut(file, length) => open(file).set_len(*length).unwrap(),
            Self::Flip(file, at, bit) => {
                let file = open(file);
                let mut byte = [0];
                file.read_exact_at(&mut byte, *at).unwrap();
                file.write_all_at(&[byte[0] ^ (1 << bit)], *at).unwrap();
            }
            Self::Zero(file, at) => {
                let file = open(file);
                let length = (file.metadata().unwrap().len() - at).min(512);
                file.write_all_at(&vec![0; usize::try_from(length).unwrap()], *at).unwrap();
            }
            Self::Delete(file) => fs::remove_file(dir.join(file)).unwrap(),
            Self::DeleteAll(files) => files.iter().for_each(|file| fs::remove_file(dir.join(file)).unwrap()),
        }
    }
}

/// How many were whole, and how many said to be damaged.
#[derive(Debug, Default)]
struct Tally {
    whole: usize,
    damaged: usize,
}

/// Tries every damage on a copy of its own, several at a time.
fn judge(dir: &Path, content: &Content, damages: &[Damage]) -> Tally {
    std::thread::scope(|scope| {
        let shares = damages.chunks(damages.len().div_ceil(6));
        let threads: Vec<_> = shares.map(|share| scope.spawn(|| judge_share(dir, content, share))).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).fold(Tally::default(), |all, share| Tally {
            whole: all.whole + share.whole,
            damaged: all.damaged + share.damaged,
        })
    })
}

fn judge_share(dir: &Path, content: &Content, damages: &[Damage]) -> Tally {
    let mut tally = Tally::default();
    for damage in damages {
        let victim = folder();
        copy(dir, victim.path());
        damage.inflict(victim.path());
        let (found, seen) = examine(victim.path(), 99);
        if found.damage.is_empty() {
            assert_eq!((found.store_id, found.created), (1, false), "{damage:?}");
            assert!(seen == *content, "{damage:?}: less, or other, in silence");
            tally.whole += 1;
        } else {
            assert_eq!((found.store_id, found.created), (99, true), "{damage:?}: {:?}", found.damage);
            assert!(seen == Content::default(), "{damage:?}: a new store is empty");
            let kept = found.damage.join("\n");
            let aside = victim.path().join("store.damaged-1");
            assert!(!aside.exists() || kept.contains("store.damaged-1"), "{damage:?}: {kept}");
            tally.damaged += 1;
        }
    }
    tally
}

fn length(dir: &Path, file: &Path) -> u64 {
    fs::metadata(dir.join(file)).unwrap().len()
}

#[tokio::test]
async fn a_store_cut_at_any_byte_of_its_end_is_whole_or_said_to_be_damaged() {
    let dir = folder();
    let content = filled(dir.path()).await;
    let mut rng = Rng::new(0xc07);
    let mut cuts = Vec::new();
    for file in files(dir.path()).into_iter().filter(|file| !file.ends_with("lock")) {
        let length = length(dir.path(), &file);
        let every = if file.extension().is_some_and(|ext| ext == "jnl") { 400 } else { 60 };
        cuts.extend((length.saturating_sub(every)..length).map(|at| Damage::Cut(file.clone(), at)));
        let sampled = (0..20).map(|_| rng.below(length)).collect::<Vec<_>>();
        cuts.extend(sampled.into_iter().map(|at| Damage::Cut(file.clone(), at)));
    }
    let tally = judge(dir.path(), &content, &cuts);
    println!("{} cuts: {tally:?}", cuts.len());
    assert!(tally.damaged > 390, "every cut of the journal takes something: {tally:?}");
}

#[tokio::test]
async fn a_store_with_flipped_bits_is_whole_or_said_to_be_damaged() {
    let dir = folder();
    let content = filled(dir.path()).await;
    let mut rng = Rng::new(0xf11b);
    let mut flips = Vec::new();
    for file in files(dir.path()).into_iter().filter(|file| length(dir.path(), file) > 0) {
        let length = length(dir.path(), &file);
        for _ in 0..60 {
            flips.push(Damage::Flip(file.clone(), rng.below(length), u8::try_from(rng.below(8)).unwrap()));
        }
        for _ in 0..10 {
            flips.push(Damage::Zero(file.clone(), rng.below(length)));
        }
    }
    // The parts of the journal that its sums do not cover are few among many bytes: the last batch, bit by bit.
    let journal = files(dir.path()).into_iter().rfind(|file| file.extension().is_some_and(|ext| ext == "jnl")).unwrap();
    let end = length(dir.path(), &journal);
    let tail = (end.saturating_sub(230)..end).map(|at| Damage::Flip(journal.clone(), at, (at % 8) as u8));
    flips.extend(tail);
    let tally = judge(dir.path(), &content, &flips);
    println!("{} flips: {tally:?}", flips.len());
    assert!(flips.len() > 900 && tally.damaged > 200, "{tally:?}");
}

#[tokio::test]
async fn a_store_without_some_of_its_files_is_whole_or_said_to_be_damaged() {
    let dir = folder();
    let content = filled(dir.path()).await;
    let all = files(dir.path());
    let mut losses: Vec<_> = all.iter().cloned().map(Damage::Delete).collect();
    let of = |part: &str| all.iter().filter(|file| file.to_str().unwrap().contains(part)).cloned().collect::<Vec<_>>();
    for part in ["store.mark", "tables", "keyspaces", "store/", ".jnl"] {
        losses.push(Damage::DeleteAll(of(part)));
    }
    let tally = judge(dir.path(), &content, &losses);
    println!("{} losses: {tally:?}", losses.len());
    assert!(tally.damaged > 5, "{tally:?}");
}

#[tokio::test]
async fn a_mark_without_its_store_is_damage_and_an_empty_directory_is_none() {
    let dir = folder();
    filled(dir.path()).await;
    fs::remove_dir_all(dir.path().join("store")).unwrap();
    let (found, _) = examine(dir.path(), 5);
    assert!(found.created && found.damage[0].contains("the folder is gone"), "{found:?}");
    let (found, _) = examine(dir.path(), 6);
    assert_eq!((found.store_id, found.damage.len()), (5, 1), "said until something is written: {found:?}");
    let store = open(dir.path(), 7);
    store_one(&store).await;
    let (found, _) = examine(dir.path(), 8);
    assert_eq!((found.store_id, found.created, found.damage.len()), (5, false, 0));
    let empty = folder();
    let (found, _) = examine(empty.path(), 9);
    assert_eq!((found.store_id, found.created, found.damage.len()), (9, true, 0));
}

async fn store_one(store: &ekka::storage::EngineStorage) {
    store.synced(append(store, "durable", &[b"x"])).await.unwrap();
    store.close().await;
}

#[tokio::test]
async fn damaged_folders_are_kept_and_only_the_last_three() {
    let dir = folder();
    for n in 1..=5u128 {
        let store = open(dir.path(), n);
        assert_eq!(store.found().damage.is_empty(), n == 1, "{n}");
        store_one(&store).await;
        drop(store);
        fs::write(dir.path().join("store/version"), b"?").unwrap();
    }
    let mut kept: Vec<_> = fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    kept.retain(|name| name.to_str().unwrap().starts_with("store.damaged-"));
    kept.sort();
    assert_eq!(kept, ["store.damaged-2", "store.damaged-3", "store.damaged-4"]);
    let (found, _) = examine(dir.path(), 6);
    assert!(found.damage.iter().any(|words| words.contains("store.damaged-5")), "{found:?}");
    assert!(dir.path().join("store.damaged-5/store.mark-a").exists(), "with the mark, for those who look into it");
}

/// A power loss while a batch is written can leave its end on disc and not its middle: no damage, only the batch is gone.
#[tokio::test]
async fn a_last_batch_that_is_torn_in_any_way_and_was_not_synced_is_no_damage() {
    let dir = folder();
    let before = filled(dir.path()).await;
    let journal = files(dir.path()).into_iter().rfind(|file| file.extension().is_some_and(|ext| ext == "jnl")).unwrap();
    let start = length(dir.path(), &journal);
    let marks: Vec<_> =
        ["store.mark-a", "store.mark-b"].map(|name| (name, fs::read(dir.path().join(name)).unwrap())).into();
    let store = open(dir.path(), 3);
    // One change is one batch.
    append(&store, "table/a", &[b"not", b"synced", b"says the mark"]);
    store.close().await;
    let after = Content::of(&open(dir.path(), 3));
    for (name, bytes) in &marks {
        fs::write(dir.path().join(name), bytes).unwrap();
    }
    let end = length(dir.path(), &journal);
    assert!(end > start + 100, "{start} {end}");
    let mut lost = 0;
    for at in (start..end).step_by(3) {
        for damage in [Damage::Flip(journal.clone(), at, (at % 8) as u8), Damage::Zero(journal.clone(), at)] {
            let victim = folder();
            copy(dir.path(), victim.path());
            damage.inflict(victim.path());
            let (found, seen) = examine(victim.path(), 99);
            assert_eq!((found.store_id, &found.damage), (1, &vec![]), "{damage:?}");
            assert!(seen == before || seen == after, "{damage:?}");
            lost += usize::from(seen == before);
        }
    }
    assert!(lost > 100, "most of it is found torn: {lost}");
}
