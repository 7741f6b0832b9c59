//! Section 2, first row: exactly one cluster forms where `expect` is more than half of the nodes that vote.

use std::collections::BTreeSet;

use ekka_core::id::ClusterId;

/// At most one id was ever in use, where one is promised.
pub(super) fn check(promised: bool, ids: &BTreeSet<ClusterId>) -> Result<(), String> {
    if promised && ids.len() > 1 {
        return Err(format!("two cluster ids where one is promised: {ids:?}"));
    }
    Ok(())
}
