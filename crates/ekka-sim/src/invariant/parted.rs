//! Section 10: a heal is begun only for a partition, not for a connection that is made anew.

use std::collections::BTreeSet;

use ekka_core::id::NodeId;

/// Of those of a heal in which somebody comes back one has declared another one down.
pub(super) fn check(fell: &BTreeSet<(NodeId, NodeId)>, stays: &[NodeId], returns: &[NodeId]) -> Result<(), String> {
    let named = |node_id: &NodeId| stays.contains(node_id) || returns.contains(node_id);
    if returns.is_empty() || fell.iter().any(|(by, who)| named(by) && named(who)) {
        return Ok(());
    }
    Err(format!("{returns:?} are to come back to {stays:?}, and none of them had declared another one down"))
}
