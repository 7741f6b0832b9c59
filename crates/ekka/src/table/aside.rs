//! Rows that have no place in a table any more: in a file of the folder `set-aside`, for a person to decide. They are lines
//! that `ekka table import` reads: the last line of a key is what it leaves.

mod lines;
mod place;

use std::collections::BTreeMap;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use ekka_core::event::EventKind;
use ekka_core::schema::Schema;
use ekka_core::time::{Instant, Wall};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

pub(super) use self::lines::{Everything, Rows};
pub(super) use self::place::Place;
use crate::codec::time::rfc3339;
use crate::env::{Disk, Env};

/// Tells people of an event.
pub(crate) type Tell = Arc<dyn Fn(EventKind) + Send + Sync>;

const FOLDER: &str = "set-aside";

/// How often it is looked what is in the folder: people take files away.
const LOOK: Duration = Duration::from_secs(60);

/// Writes such files, and counts what is in them.
pub(super) struct Aside {
    env: Env,
    tell: Tell,
    files: Mutex<Files>,
    keep: AtomicU64,
}

/// What is known of the folder.
#[derive(Default)]
struct Files {
    /// Each file of rows by its name.
    known: BTreeMap<String, File>,
    looked: Option<Instant>,
    /// The time in the name of the last file, in milliseconds.
    named: u64,
    /// What they take is more than is wanted (`storage.keep`), and that was said.
    warned: bool,
}

#[derive(Clone)]
struct File {
    bytes: u64,
    rows: u64,
}

impl Aside {
    pub(super) fn new(env: Env, tell: Tell) -> Self {
        Self { env, tell, files: Mutex::default(), keep: AtomicU64::new(u64::MAX) }
    }

    /// So many bytes of files are no reason for a warning (`storage.keep`).
    pub(super) fn warns_above(&self, keep: u64) {
        self.keep.store(keep, Ordering::Relaxed);
    }

    /// How many rows of each table are in the files, as of when it was looked last.
    pub(super) fn rows(&self) -> BTreeMap<String, u64> {
        let files = self.files.lock().unwrap_or_else(PoisonError::into_inner);
        let mut rows = BTreeMap::new();
        for (name, file) in &files.known {
            if let Some(table) = table_of(name) {
                *rows.entry(table.to_owned()).or_default() += file.rows;
            }
        }
        rows
    }

    /// Looks now and then what is in the folder, beside whoever calls.
    pub(super) fn tick(self: &Arc<Self>, now: Instant, home: &tokio::runtime::Handle) {
        {
            let mut files = self.files.lock().unwrap_or_else(PoisonError::into_inner);
            if files.looked.is_some_and(|at| now.since(at) < LOOK) {
                return;
            }
            files.looked = Some(now);
        }
        let aside = self.clone();
        home.spawn(async move { aside.look().await });
    }

    /// Looks what is in the folder. A file that is known is not read again.
    async fn look(&self) {
        let (disk, known) = (self.env.disk.clone(), self.known());
        match self.env.blocking(move || files(&*disk, &known)).await {
            Ok(found) => self.found(found),
            Err(err) => warn!(file = FOLDER, %err, "the rows that were set aside cannot be counted"),
        }
    }

    /// None of them is ever deleted: what they take is said once it is too much.
    fn found(&self, found: BTreeMap<String, File>) {
        let bytes: u64 = found.values().map(|file| file.bytes).sum();
        let keep = self.keep.load(Ordering::Relaxed);
        let mut files = self.files.lock().unwrap_or_else(PoisonError::into_inner);
        files.known = found;
        if bytes > keep && !files.warned {
            let advice = "import or delete them: ekka does not";
            warn!(file = FOLDER, bytes, keep, advice, "rows that were set aside take more than storage.keep");
        }
        files.warned = bytes > keep;
    }

    fn known(&self) -> BTreeMap<String, File> {
        self.files.lock().unwrap_or_else(PoisonError::into_inner).known.clone()
    }

    /// Tells people of an event.
    pub(super) fn tell(&self, event: EventKind) {
        (self.tell)(event);
    }

    /// What the node has of the world.
    pub(super) fn env(&self) -> &Env {
        &self.env
    }

    /// A place for rows of a table, which no other rows have.
    pub(super) fn place(&self, table: &str) -> Place {
        let now = self.env.clock.now().wall.as_millis();
        let mut files = self.files.lock().unwrap_or_else(PoisonError::into_inner);
        // Two that are asked for within one millisecond, or across a clock that was set back, are two files.
        let mut at = now.max(files.named + 1);
        while files.known.contains_key(&name_of(at, table)) {
            at += 1;
        }
        files.named = at;
        Place::new(format!("{FOLDER}/{}", name_of(at, table)))
    }

    /// Tries to write rows of a table to their place; whether they are on disc.
    pub(super) async fn write(&self, place: &mut Place, schema: &Schema, rows: &Arc<Rows>) -> bool {
        let (disk, name, of, lines) = (self.env.disk.clone(), place.name.clone(), schema.clone(), rows.clone());
        let written = self.env.blocking(move || disk.write(&name, &lines.lines(&of))).await;
        let (table, rows) = (schema.name.clone(), rows.len() as u64);
        let file = format!("{}/{}", self.env.disk.path(), place.name);
        match written {
            Ok(()) => {
                if place.has_failed() {
                    info!(table, file, rows, "rows that could not be set aside are set aside now");
                }
                (self.tell)(EventKind::TableSetAside { table, file, rows });
                self.look().await;
                true
            }
            Err(err) => {
                if !place.has_failed() {
                    let advice = "they are kept, and it is tried again until it is done";
                    error!(table, file, rows, %err, advice, "rows that have no place in the table cannot be set aside");
                }
                place.fails();
                false
            }
        }
    }

    /// Writes rows of a table, as often as it takes. False where `stop` came before.
    pub(super) async fn keep_writing(&self, schema: &Schema, rows: Rows, stop: &CancellationToken) -> bool {
        let (mut place, rows) = (self.place(&schema.name), Arc::new(rows));
        loop {
            // One that ends tries it a last time.
            let ends = stop.is_cancelled();
            if self.write(&mut place, schema, &rows).await {
                return true;
            }
            if ends {
                let (table, rows) = (&schema.name, rows.len());
                error!(table, rows, "the node ends before rows that have no place in the table could be set aside");
                return false;
            }
            // Either way it is tried again.
            let _ = stop.run_until_cancelled(sleep(place.wait())).await;
        }
    }
}

/// The files of rows in the folder. Those that are known, of the same length, are not read.
fn files(disk: &dyn Disk, known: &BTreeMap<String, File>) -> io::Result<BTreeMap<String, File>> {
    let mut files = BTreeMap::new();
    for (name, bytes) in disk.list(FOLDER)?.into_iter().filter(|(name, _)| table_of(name).is_some()) {
        let file = match known.get(&name).filter(|known| known.bytes == bytes) {
            Some(known) => known.clone(),
            // One that somebody took away just now is none.
            None => match disk.read(&format!("{FOLDER}/{name}"))? {
                Some(lines) => File { bytes, rows: lines.split(|byte| *byte == b'\n').count() as u64 - 1 },
                None => continue,
            },
        };
        files.insert(name, file);
    }
    Ok(files)
}

/// The table whose rows are in a file of this name.
fn table_of(name: &str) -> Option<&str> {
    let (_, table) = name.strip_suffix(".jsonl")?.split_once("Z-")?;
    Some(table)
}

/// The name of the file of a table and a time, without its folder.
fn name_of(millis: u64, table: &str) -> String {
    format!("{}-{table}.jsonl", rfc3339(Wall::from_millis(millis)).replace(':', "-"))
}

#[cfg(test)]
mod tests;
