//! The engine's trees, opened once alone before the engine opens them.
//!
//! Some checks of a tree's files are assertions. Alone they are an error like any other; inside the engine, which holds
//! a lock meanwhile and takes it again when it is dropped, they would end the process.

use std::fs;
use std::path::Path;

use lsm_tree::{Config, SequenceNumberCounter};

use super::database::{EngineError, guarded};

/// The folder of the engine's own tree, which it opens before it takes locks.
const OWN: &str = "0";

/// Opens each tree of the engine's folder, and lets it go.
///
/// # Errors
/// `Damaged`, `Refused`.
pub(super) fn check(engine: &Path) -> Result<(), EngineError> {
    let mut trees = 0;
    for entry in fs::read_dir(engine.join("keyspaces"))? {
        let path = entry?.path();
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        if name.parse::<u64>().is_err() {
            return Err(EngineError::Damaged(format!("{} is not the engine's", path.display())));
        }
        // Without this file a tree would be begun anew.
        if !path.join("current").is_file() {
            return Err(EngineError::Damaged(format!("{}: it does not say which version counts", path.display())));
        }
        if name == OWN {
            continue;
        }
        trees += 1;
        guarded(|| {
            let counter = SequenceNumberCounter::default();
            let tree = Config::new(&path, counter.clone(), counter).open().map_err(fjall::Error::Storage)?;
            drop(tree);
            Ok(())
        })?;
    }
    if trees == 0 { Err(EngineError::Damaged("the engine's trees are gone".into())) } else { Ok(()) }
}
