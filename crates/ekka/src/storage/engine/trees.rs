//! The engine's trees, opened once alone before the engine opens them.
//!
//! A tree's list of its tables has a sum, which the engine writes and does not read: it asks for memory by the numbers
//! in it, and asserts about them. Other checks of a tree's files are assertions too. Alone they are an error like any
//! other; inside the engine, which holds a lock meanwhile and takes it again when it is dropped, they would end the
//! process.
//!
//! Format of the file `current` of lsm-tree 3: `src/version/persist.rs` of its source.

use std::fs;
use std::io::{self, Write};
use std::path::Path;

use lsm_tree::checksum::ChecksummedWriter;
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
        // Without it a tree would be begun anew.
        if !is_version_whole(&path)? {
            return Err(EngineError::Damaged(format!("{}: the list of its tables is damaged", path.display())));
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

/// Whether the file `current` is there, and the version that it names has the sum that it names.
fn is_version_whole(tree: &Path) -> io::Result<bool> {
    let Some(current) = read(&tree.join("current"))? else { return Ok(false) };
    // Number and sum, little-endian, and the kind of sum, of which there is one.
    let [number @ .., 0] = &current[..] else { return Ok(false) };
    let Some((number, sum)) = number.split_first_chunk::<8>() else { return Ok(false) };
    let Ok(sum) = <[u8; 16]>::try_from(sum) else { return Ok(false) };
    let Some(version) = read(&tree.join(format!("v{}", u64::from_le_bytes(*number))))? else { return Ok(false) };
    let mut summed = ChecksummedWriter::new(io::sink());
    summed.write_all(&version)?;
    Ok(summed.checksum().into_u128() == u128::from_le_bytes(sum))
}

fn read(path: &Path) -> io::Result<Option<Vec<u8>>> {
    match fs::read(path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}
