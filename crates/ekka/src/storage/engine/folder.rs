//! The folder of a store: made, found, judged, moved aside.
//!
//! A store is made under another name and gets its own by one rename, after the mark says that it is being made: a
//! crash in between leaves nothing that could be taken for damage. From its first use on, store and mark vouch for each
//! other: one without the other, or with less than the other knows of, is damage.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use super::database::{Database, EngineError};
use super::layout::{HEAD, Head, encode};
use super::mark::{self, Found as FoundMark, Mark, MarkFiles, Phase};
use super::verify::{OnDisc, read_all};
use crate::storage::Found;

/// The store of a data directory.
pub(super) const STORE: &str = "store";
const NEW: &str = "store.new";
const ASIDE: &str = "store.damaged-";
/// Damaged folders that are kept; the oldest beyond it goes.
const ASIDE_MAX: usize = 3;

/// A store that vouches for itself.
pub(super) struct Opened {
    pub(super) database: Database,
    pub(super) on_disc: OnDisc,
    pub(super) files: MarkFiles,
    pub(super) mark: Mark,
    pub(super) found: Found,
}

/// Opens the store of a data directory, or makes one where there is none or a damaged one.
///
/// # Errors
/// `Refused`, `Full`: nothing was judged. `Damaged`: a store made just now cannot be read.
pub(super) fn open(dir: &Path, cache: u64, fresh_id: &dyn Fn() -> u128) -> Result<Opened, EngineError> {
    let marked = mark::read(dir)?;
    let exists = dir.join(STORE).try_exists()?;
    let damage = match (marked, exists) {
        (FoundMark::Nothing, false) => Vec::new(),
        (FoundMark::Mark(mark), false) if mark.phase == Phase::Creating => mark.damage,
        (FoundMark::Mark(mark), true) => match open_known(dir, cache, mark)? {
            Ok(opened) => return Ok(opened),
            Err(damage) => damage,
        },
        (FoundMark::Mark(mark), false) => {
            vec![format!("store: the folder is gone; {} changes were synced, says the mark", mark.ordinal)]
        }
        (FoundMark::Nothing, true) => vec!["store: its mark is gone: it may be older than what was synced".into()],
        (FoundMark::Unreadable, _) => vec!["store: its mark cannot be read".into()],
    };
    let damage = if exists { move_aside(dir, damage)? } else { damage };
    create(dir, cache, fresh_id(), damage)
}

/// Opens the store that a mark speaks of. The inner error: what is damaged in it.
fn open_known(dir: &Path, cache: u64, mark: Mark) -> Result<Result<Opened, Vec<String>>, EngineError> {
    let judged = Database::open(&dir.join(STORE), cache).and_then(|database| {
        let on_disc = read_all(&database)?;
        Ok((database, on_disc))
    });
    let (database, on_disc) = match judged {
        Ok(both) => both,
        Err(EngineError::Damaged(why)) => return Ok(Err(vec![why])),
        Err(other) => return Err(other),
    };
    if on_disc.head.store_id != mark.store_id {
        return Ok(Err(vec!["store: it is another one than the mark speaks of".into()]));
    }
    let missing = mark.missing(on_disc.head.ordinal, |log| on_disc.logs.get(log).map_or(1, |header| header.next));
    if !missing.is_empty() {
        return Ok(Err(missing));
    }
    let found = Found {
        store_id: mark.store_id,
        created: mark.phase == Phase::Creating || !mark.damage.is_empty(),
        damage: mark.damage.clone(),
    };
    let next = on_disc.logs.iter().map(|(log, header)| (log.to_string(), header.next)).collect();
    let mark = Mark { phase: Phase::InUse, ordinal: on_disc.head.ordinal, next, ..mark };
    // What is there now was read from the disc's cache perhaps: synced before the mark promises it.
    database.sync_all()?;
    let mut files = MarkFiles::open(dir)?;
    files.write_both(&mark)?;
    Ok(Ok(Opened { database, on_disc, files, mark, found }))
}

fn create(dir: &Path, cache: u64, store_id: u128, damage: Vec<String>) -> Result<Opened, EngineError> {
    let new = dir.join(NEW);
    if new.try_exists()? {
        fs::remove_dir_all(&new)?;
    }
    let database = Database::create(&new, cache)?;
    let head = Head { store_id, ordinal: 0, headers: 0 };
    database.commit([(HEAD.to_vec(), Some(encode(&head)))].into())?;
    database.sync_all()?;
    drop(database);
    let mark = Mark { store_id, phase: Phase::Creating, ordinal: 0, next: std::collections::BTreeMap::new(), damage };
    MarkFiles::open(dir)?.write_both(&mark)?;
    fs::rename(&new, dir.join(STORE))?;
    sync_dir(dir)?;
    open_known(dir, cache, mark)?.map_err(|damage| EngineError::Damaged(damage.join("; ")))
}

/// Keeps a damaged folder for those who want to look into it, and names it in the words.
fn move_aside(dir: &Path, mut damage: Vec<String>) -> Result<Vec<String>, EngineError> {
    let mut kept = kept_aside(dir)?;
    let number = kept.last().map_or(1, |(number, _)| number.saturating_add(1));
    let aside = dir.join(format!("{ASIDE}{number}"));
    fs::rename(dir.join(STORE), &aside)?;
    sync_dir(dir)?;
    for name in mark::NAMES {
        // The mark is for those who look into it too; the store that follows needs it no more.
        drop(fs::copy(dir.join(name), aside.join(name)));
    }
    damage.push(format!("store: the damaged folder is kept as {}", aside.display()));
    kept.push((number, aside));
    let surplus = kept.len().saturating_sub(ASIDE_MAX);
    for (_, path) in kept.drain(..surplus) {
        fs::remove_dir_all(path)?;
    }
    Ok(damage)
}

fn kept_aside(dir: &Path) -> io::Result<Vec<(u64, PathBuf)>> {
    let mut kept = Vec::new();
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        let number = entry.file_name().to_str().and_then(|name| name.strip_prefix(ASIDE)?.parse().ok());
        kept.extend(number.map(|number: u64| (number, entry.path())));
    }
    kept.sort_unstable();
    Ok(kept)
}

fn sync_dir(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}
