//! Section 6: who left is out for good, everywhere, until `join`; and nobody is out without a word.

use std::collections::BTreeSet;

use ekka_core::id::NodeId;
use ekka_core::view::View;

/// Whoever was told that it (or another) is out is in no view; whoever is outside was sent there.
pub(super) fn check(
    left: &BTreeSet<NodeId>,
    may_go: &BTreeSet<NodeId>,
    view: &View,
    outside: &[NodeId],
) -> Result<(), String> {
    if let Some(member) = view.members.iter().find(|member| left.contains(&member.id.node_id)) {
        return Err(format!("{} shows {}, which an operator was told is out", view.name, member.name));
    }
    match outside.iter().find(|node_id| !may_go.contains(node_id)) {
        Some(node_id) => Err(format!("{node_id} is outside without an operator's word")),
        None => Ok(()),
    }
}
