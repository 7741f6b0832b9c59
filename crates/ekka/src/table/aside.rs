//! Rows that have no place in a table any more: in a file of the folder `set-aside`, for a person to decide. They are lines
//! that `ekka table import` reads: the last line of a key is what it leaves.

mod lines;

use std::collections::BTreeMap;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use ekka_core::event::EventKind;
use ekka_core::schema::Schema;
use ekka_core::table::{Version, quorum};
use ekka_core::time::{Instant, Wall};
use tracing::{error, warn};

pub(super) use self::lines::Everything;
use self::lines::{lines, lines_of_quorum};
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

    /// Writes these versions of a table, which have lost; whether they are on disc.
    pub(super) async fn write(&self, schema: &Schema, lost: Vec<Version>) -> bool {
        self.write_all(schema, Everything::lost(lost)).await
    }

    /// The same of all that there is of a table.
    pub(super) async fn write_all(&self, schema: &Schema, all: Everything) -> bool {
        let count = all.len() as u64;
        self.write_lines(schema, count, move |schema| lines(schema, all)).await
    }

    /// The same of rows of a quorum table.
    pub(super) async fn write_rows(&self, schema: &Schema, rows: Vec<quorum::Row>) -> bool {
        let count = rows.len() as u64;
        self.write_lines(schema, count, move |schema| lines_of_quorum(schema, &rows)).await
    }

    async fn write_lines(
        &self,
        schema: &Schema,
        rows: u64,
        lines: impl FnOnce(&Schema) -> Vec<u8> + Send + 'static,
    ) -> bool {
        let table = schema.name.clone();
        let name = format!("{FOLDER}/{}-{table}.jsonl", stamp(self.env.clock.now().wall));
        let (disk, file, of) = (self.env.disk.clone(), name.clone(), schema.clone());
        let written = self.env.blocking(move || disk.write(&file, &lines(&of))).await;
        let file = format!("{}/{name}", self.env.disk.path());
        let done = self.said(written, table, file, rows);
        self.look().await;
        done
    }

    fn said(&self, written: io::Result<()>, table: String, file: String, rows: u64) -> bool {
        match written {
            Ok(()) => {
                (self.tell)(EventKind::TableSetAside { table, file, rows });
                true
            }
            Err(err) => {
                error!(table, file, rows, %err, "rows that have no place in the table cannot be set aside");
                false
            }
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

/// A time as the name of a file may have it.
fn stamp(wall: Wall) -> String {
    rfc3339(wall).replace(':', "-")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::env::RealDisk;

    fn rows(files: &BTreeMap<String, File>) -> Vec<(&str, u64)> {
        files.iter().map(|(name, file)| (table_of(name).unwrap(), file.rows)).collect()
    }

    #[test]
    fn the_rows_of_each_file_are_counted_and_what_a_person_took_away_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let disk = RealDisk::open(dir.path()).unwrap();
        assert!(files(&disk, &BTreeMap::new()).unwrap().is_empty(), "there is no folder");
        let name =
            |second: u64, table: &str| format!("{FOLDER}/{}-{table}.jsonl", stamp(Wall::from_millis(second * 1000)));
        disk.write(&name(1, "users"), b"{}\n{}\n").unwrap();
        disk.write(&name(2, "z-bag"), b"{}\n").unwrap();
        disk.write(&format!("{FOLDER}/notes.txt"), b"of a person\n").unwrap();
        let found = files(&disk, &BTreeMap::new()).unwrap();
        assert_eq!(rows(&found), [("users", 2), ("z-bag", 1)]);
        std::fs::remove_file(dir.path().join(name(1, "users"))).unwrap();
        assert_eq!(rows(&files(&disk, &found).unwrap()), [("z-bag", 1)]);
    }
}
