//! Section 9: once all are up and in touch, all say the same of the cluster, and all are ready.

use ekka_core::id::NodeId;
use ekka_core::view::View;

type Says = (Option<NodeId>, u32, Vec<(NodeId, u64, bool)>);

fn says(view: &View) -> Says {
    let members = view.members.iter().map(|m| (m.id.node_id, m.seniority, m.voter)).collect();
    (view.leader, view.quorum.voters, members)
}

/// Two views agree on members, seniority, voters and the leader, and both are ready.
pub(super) fn check(one: &View, other: &View) -> Result<(), String> {
    if says(one) != says(other) {
        return Err(format!("{} and {} differ: {:?} and {:?}", one.name, other.name, says(one), says(other)));
    }
    match [one, other].into_iter().find(|view| !view.ready_quorum) {
        Some(view) => Err(format!("{} is not ready although all are together: {:?}", view.name, view.reasons)),
        None => Ok(()),
    }
}
