//! The bound of stamps of this node's tables, on disc: the next start begins above it, and so above all that this one gave
//! or accepted, also where it forgets its rows (schedule M5).

use std::sync::Arc;

use ekka_core::table::Hlc;

use crate::storage::{Storage, StorageError};

/// The checkpoint that holds it, as eight bytes.
const NAME: &str = "stamps";

/// What is known of it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Bound {
    /// What the start before this one had left.
    pub(super) found: Hlc,
    /// What is on disc now.
    pub(super) on_disc: Hlc,
}

/// What the start before this one left; zero where there was none.
///
/// # Errors
/// It cannot be read. Without it stamps could lie below those of earlier writes.
pub(super) fn read(storage: &dyn Storage) -> Result<Hlc, String> {
    let bytes = storage.read_checkpoint(NAME).map_err(|error| error.to_string())?;
    let Some(bytes) = bytes else { return Ok(Hlc::ZERO) };
    let eight: [u8; 8] = bytes.try_into().map_err(|_| format!("the checkpoint {NAME} is not eight bytes"))?;
    Ok(Hlc::from_bits(u64::from_le_bytes(eight)))
}

/// Brings one to disc.
///
/// # Errors
/// It is not there, as far as is known.
pub(super) async fn write(storage: Arc<dyn Storage>, bound: Hlc) -> Result<(), StorageError> {
    let ticket = storage.checkpoint(NAME, Some(bound.bits().to_le_bytes().to_vec()))?;
    storage.synced(ticket).await
}
