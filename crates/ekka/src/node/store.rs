//! The two small files of a data directory: who the node is (`node.json`), and its cluster (`cluster.json`).

use std::io;

use ekka_core::control::{Identity, Saved};
use ekka_core::id::{Guid, NodeId, NodeName};
use serde::{Deserialize, Serialize};

use crate::env::{Clock, Disk, Entropy};
use crate::storage::StorageError;

/// Format of both files. A larger one is refused: a newer version wrote it.
const FORMAT: u32 = 1;
const NODE_FILE: &str = "node.json";
const CLUSTER_FILE: &str = "cluster.json";

/// Why the data directory cannot be used. Nothing was changed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// Another process holds its lock.
    #[error("{0}")]
    InUse(io::Error),
    /// It cannot be read or written.
    #[error("{path}: {error}")]
    Io {
        /// Which file.
        path: String,
        /// Why.
        error: io::Error,
    },
    /// The store of logs cannot be opened.
    #[error("the store of the data directory: {0}")]
    Storage(StorageError),
    /// A file is there, but its content is none that this version reads.
    #[error(
        "{path} is damaged or of another version: {error}. Restore it, or start with an empty data directory: the node then joins as a new one"
    )]
    Damaged {
        /// Which file.
        path: String,
        /// Why.
        error: String,
    },
}

#[derive(Serialize, Deserialize)]
struct NodeFile {
    format: u32,
    node_id: NodeId,
    guid: Guid,
    start_counter: u64,
    name: NodeName,
}

#[derive(Serialize, Deserialize)]
struct ClusterFile {
    format: u32,
    #[serde(flatten)]
    saved: Saved,
}

fn path_of(disk: &dyn Disk, file: &str) -> String {
    format!("{}/{file}", disk.path())
}

fn read<T: for<'de> Deserialize<'de>>(disk: &dyn Disk, file: &str) -> Result<Option<T>, StoreError> {
    let bytes = disk.read(file).map_err(|error| StoreError::Io { path: path_of(disk, file), error })?;
    let Some(bytes) = bytes else { return Ok(None) };
    let damaged = |error: String| StoreError::Damaged { path: path_of(disk, file), error };
    let value: serde_json::Value = serde_json::from_slice(&bytes).map_err(|e| damaged(e.to_string()))?;
    match value.get("format").and_then(serde_json::Value::as_u64) {
        Some(format) if format == u64::from(FORMAT) => {}
        Some(format) => return Err(damaged(format!("its format is {format}, this version reads {FORMAT}"))),
        None => return Err(damaged("it names no format".into())),
    }
    serde_json::from_value(value).map(Some).map_err(|e| damaged(e.to_string()))
}

fn write<T: Serialize>(disk: &dyn Disk, file: &str, value: &T) -> Result<(), StoreError> {
    let path = || path_of(disk, file);
    let bytes = serde_json::to_vec_pretty(value)
        .map_err(|error| StoreError::Io { path: path(), error: io::Error::other(error) })?;
    disk.write(file, &bytes).map_err(|error| StoreError::Io { path: path(), error })
}

/// Reads who the node is and raises guid and start counter on disc, under the lock of the directory. With `fresh`
/// it becomes a new node (a restored or copied directory), and what it knew of its cluster goes.
///
/// # Errors
/// See [`StoreError`].
pub(super) fn begin(
    disk: &dyn Disk,
    clock: &dyn Clock,
    entropy: &dyn Entropy,
    name: &NodeName,
    fresh: bool,
) -> Result<(Identity, Saved), StoreError> {
    let before: Option<NodeFile> = if fresh { None } else { read(disk, NODE_FILE)? };
    let saved = match (&before, fresh) {
        (None, true) => {
            let empty = Saved::default();
            save(disk, &empty)?;
            empty
        }
        _ => read::<ClusterFile>(disk, CLUSTER_FILE)?.map(|file| file.saved).unwrap_or_default(),
    };
    let previous_guid = before.as_ref().map(|file| file.guid);
    let identity = Identity {
        node_id: before.as_ref().map_or_else(|| NodeId::from_random(entropy.bits()), |file| file.node_id),
        guid: Guid::next(clock.now().wall, entropy.bits(), previous_guid),
        previous_guid,
        start_counter: before.as_ref().map_or(0, |file| file.start_counter) + 1,
        renamed_from: before.map(|file| file.name).filter(|old| old != name),
    };
    let file = NodeFile {
        format: FORMAT,
        node_id: identity.node_id,
        guid: identity.guid,
        start_counter: identity.start_counter,
        name: name.clone(),
    };
    write(disk, NODE_FILE, &file)?;
    Ok((identity, saved))
}

/// Writes what the node knows of its cluster.
///
/// # Errors
/// It could not be written; the old content is there.
pub(super) fn save(disk: &dyn Disk, saved: &Saved) -> Result<(), StoreError> {
    write(disk, CLUSTER_FILE, &ClusterFile { format: FORMAT, saved: saved.clone() })
}
