//! Section 4: `leader` and `coordinator` are hints, but each names a member that this view shows as running.

use ekka_core::view::View;

/// A hint never names somebody who is not there.
pub(super) fn check(view: &View) -> Result<(), String> {
    for (hint, node_id) in [("leader", view.leader), ("coordinator", view.coordinator)] {
        let Some(node_id) = node_id else { continue };
        match view.member(node_id) {
            Some(member) if member.status.is_running() => {}
            Some(member) => return Err(format!("the {hint} {} is {}", member.name, member.status.as_str())),
            None => return Err(format!("the {hint} {node_id} is no member")),
        }
    }
    Ok(())
}
