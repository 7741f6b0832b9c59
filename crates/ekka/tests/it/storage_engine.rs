//! The conformance suite on the real engine.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::sync::Arc;

use ekka::storage::{EngineStorage, Storage, StorageOptions};
use ekka::testing::suite::storage::Subject;

struct Engine {
    dir: tempfile::TempDir,
    opened: Option<Arc<EngineStorage>>,
}

impl Subject for Engine {
    fn open(&mut self) -> Arc<dyn Storage> {
        let options = StorageOptions { reserve: 0, ..StorageOptions::default() };
        let store = Arc::new(EngineStorage::open(self.dir.path(), options, &|| 42).unwrap());
        self.opened = Some(store.clone());
        store
    }

    fn crash(&mut self, _: Arc<dyn Storage>) {
        self.opened.take().unwrap().crash();
    }
}

fn engine() -> Box<dyn Subject> {
    Box::new(Engine { dir: tempfile::tempdir().unwrap(), opened: None })
}

ekka::storage_suite!(engine, 24);
