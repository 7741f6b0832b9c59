//! Section 4: start counters find restored directories, so what a node keeps of them never falls.

use std::collections::BTreeMap;

use ekka_core::id::{Guid, NodeId};

/// Largest start counter of each node with the guid that had it, as a node keeps them.
type Counters = BTreeMap<NodeId, (u64, Guid)>;

/// Neither counter nor guid of any node falls in what one process keeps.
pub(super) fn check(before: &Counters, now: &Counters) -> Result<(), String> {
    let fell = before.iter().find(|(node_id, (counter, guid))| {
        now.get(node_id).is_none_or(|(new_counter, new_guid)| new_counter < counter || new_guid < guid)
    });
    match fell {
        Some((node_id, old)) => {
            Err(format!("what is kept of starts of {node_id} fell from {old:?} to {:?}", now.get(node_id)))
        }
        None => Ok(()),
    }
}
