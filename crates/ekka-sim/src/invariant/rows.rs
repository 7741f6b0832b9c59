//! Sections 4 and 9: one row for each node, with a guid that never falls while the observer lives.

use std::collections::{BTreeMap, BTreeSet};

use ekka_core::id::{Guid, NodeId};
use ekka_core::view::View;

/// No node stands twice in the view, and no row goes back to an earlier start of its node, unless the later one was of
/// a copied directory.
pub(super) fn check(before: Option<&View>, copies: &BTreeSet<NodeId>, view: &View) -> Result<(), String> {
    let mut guids: BTreeMap<NodeId, Guid> = BTreeMap::new();
    for member in &view.members {
        if guids.insert(member.id.node_id, member.id.guid).is_some() {
            return Err(format!("lists {} twice", member.name));
        }
    }
    let Some(before) = before else { return Ok(()) };
    for old in before.members.iter().filter(|old| !copies.contains(&old.id.node_id)) {
        if guids.get(&old.id.node_id).is_some_and(|guid| *guid < old.id.guid) {
            return Err(format!("the guid of {} fell: a stale start won", old.name));
        }
    }
    Ok(())
}
