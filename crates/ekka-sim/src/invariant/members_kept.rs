//! Sections 2 and 9: a member is only forgotten by `leave` or `force-leave`; whatever discovery says.

use std::collections::BTreeSet;

use ekka_core::id::NodeId;
use ekka_core::view::{Status, View};

/// The view of a node that is up loses no member that no operator's word was about.
pub(super) fn check(may_go: &BTreeSet<NodeId>, before: Option<&View>, view: &View) -> Result<(), String> {
    let Some(before) = before else { return Ok(()) };
    if before.status != Status::Up || view.cluster_id.is_none() || before.cluster_id != view.cluster_id {
        return Ok(());
    }
    let lost = before.members.iter().find(|m| view.member(m.id.node_id).is_none() && !may_go.contains(&m.id.node_id));
    match lost {
        Some(member) => Err(format!("lost the member {} without a word", member.name)),
        None => Ok(()),
    }
}
