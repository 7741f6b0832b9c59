use std::sync::atomic::AtomicUsize;

use ekka_core::id::{Guid, Incarnation, NodeId};
use ekka_core::schema::{Kind, Storage as Kept};
use ekka_core::table::{Faults, Hlc, Settings, Table, Version};

use super::*;
use crate::env::{DiskGuard, Entropy, RealDisk};
use crate::storage::{Storage, StorageError, StorageOptions};
use crate::testing::RuntimeClock;

fn rows(files: &BTreeMap<String, File>) -> Vec<(&str, u64)> {
    files.iter().map(|(name, file)| (table_of(name).unwrap(), file.rows)).collect()
}

#[test]
fn the_rows_of_each_file_are_counted_and_what_a_person_took_away_is_not() {
    let dir = tempfile::tempdir().unwrap();
    let disk = RealDisk::open(dir.path()).unwrap();
    assert!(files(&disk, &BTreeMap::new()).unwrap().is_empty(), "there is no folder");
    let name = |second: u64, table: &str| format!("{FOLDER}/{}", name_of(second * 1000, table));
    disk.write(&name(1, "users"), b"{}\n{}\n").unwrap();
    disk.write(&name(2, "z-bag"), b"{}\n").unwrap();
    disk.write(&format!("{FOLDER}/notes.txt"), b"of a person\n").unwrap();
    let found = files(&disk, &BTreeMap::new()).unwrap();
    assert_eq!(rows(&found), [("users", 2), ("z-bag", 1)]);
    std::fs::remove_file(dir.path().join(name(1, "users"))).unwrap();
    assert_eq!(rows(&files(&disk, &found).unwrap()), [("z-bag", 1)]);
}

/// A disc that takes no file so many times, and notes which were tried.
struct Refusing {
    disk: RealDisk,
    left: AtomicUsize,
    tried: Mutex<Vec<String>>,
}

impl Disk for Refusing {
    fn read(&self, name: &str) -> io::Result<Option<Vec<u8>>> {
        self.disk.read(name)
    }

    fn write(&self, name: &str, bytes: &[u8]) -> io::Result<()> {
        self.tried.lock().unwrap().push(name.to_owned());
        let left = self.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1));
        if left.is_ok() { Err(io::ErrorKind::StorageFull.into()) } else { self.disk.write(name, bytes) }
    }

    fn list(&self, folder: &str) -> io::Result<Vec<(String, u64)>> {
        self.disk.list(folder)
    }

    fn lock(&self) -> io::Result<Box<dyn DiskGuard>> {
        self.disk.lock()
    }

    fn open_storage(&self, options: StorageOptions, entropy: &dyn Entropy) -> Result<Arc<dyn Storage>, StorageError> {
        self.disk.open_storage(options, entropy)
    }

    fn path(&self) -> String {
        self.disk.path()
    }
}

struct World {
    disk: Arc<Refusing>,
    aside: Arc<Aside>,
    told: Arc<Mutex<Vec<EventKind>>>,
    _dir: tempfile::TempDir,
}

fn refusing(times: usize) -> World {
    let dir = tempfile::tempdir().unwrap();
    let real = RealDisk::open(dir.path()).unwrap();
    let disk = Arc::new(Refusing { disk: real, left: AtomicUsize::new(times), tried: Mutex::default() });
    let clock = Arc::new(RuntimeClock::default());
    let env = Env { disk: disk.clone(), clock, threads: false, ..Env::real(dir.path()).unwrap() };
    let told: Arc<Mutex<Vec<EventKind>>> = Arc::default();
    let tell = {
        let told = told.clone();
        Arc::new(move |event| told.lock().unwrap().push(event))
    };
    World { disk, aside: Arc::new(Aside::new(env, tell)), told, _dir: dir }
}

fn schema(name: &str) -> Schema {
    Schema::new(name, Kind::Available)
}

fn version() -> Version {
    let me = Incarnation { node_id: NodeId::from_u128(1), guid: Guid::from_u128(2) };
    let mut table = Table::new(Settings { me, storage: Kept::Ram, bound: Hlc::ZERO, faults: Faults::default() });
    table.bound_is(Hlc::at(Wall::from_millis(100_000)));
    table.put(b"k", b"1", None, Wall::from_millis(1)).unwrap();
    table.rows().iter().next().unwrap().clone()
}

fn some() -> Rows {
    Rows::Versions(Everything::lost(vec![version()]))
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_written_is_tried_under_one_name_and_ever_more_seldom() {
    let world = refusing(7);
    let begun = tokio::time::Instant::now();
    assert!(world.aside.keep_writing(&schema("t"), some(), &CancellationToken::new()).await);
    assert_eq!(begun.elapsed().as_secs(), 2 + 4 + 8 + 16 + 32 + 60 + 60);
    let tried = world.disk.tried.lock().unwrap().clone();
    assert!(tried.len() == 8 && tried.iter().all(|name| *name == tried[0]), "{tried:?}");
    assert_eq!(world.told.lock().unwrap().len(), 1);
    assert_eq!(world.aside.rows(), BTreeMap::from([("t".to_owned(), 1)]));
}

#[tokio::test(start_paused = true)]
async fn a_node_that_ends_tries_once_more_and_gives_up() {
    let world = refusing(usize::MAX);
    let stop = CancellationToken::new();
    let keeps = tokio::spawn({
        let (aside, stop) = (world.aside.clone(), stop.clone());
        async move { aside.keep_writing(&schema("t"), some(), &stop).await }
    });
    sleep(Duration::from_secs(7)).await;
    assert_eq!(world.disk.tried.lock().unwrap().len(), 3, "at 0 s, 2 s and 6 s");
    stop.cancel();
    assert!(!keeps.await.unwrap());
    assert_eq!(world.disk.tried.lock().unwrap().len(), 4);
}

#[tokio::test(start_paused = true)]
async fn rows_of_one_table_at_one_moment_have_a_file_each() {
    let world = refusing(0);
    let stop = CancellationToken::new();
    let (schema, write) = (schema("t"), |schema| world.aside.keep_writing(schema, some(), &stop));
    let both = tokio::join!(write(&schema), write(&schema));
    assert_eq!(both, (true, true));
    assert_eq!(world.aside.rows(), BTreeMap::from([("t".to_owned(), 2)]));
}
