//! Section 9: a node is never down in its own view. Section 4: each start of a node takes a larger guid.

use ekka_core::id::Incarnation;
use ekka_core::view::{Status, View};

/// The view is numbered upwards, and holds this node itself as a running member.
pub(super) fn check(before: Option<&View>, view: &View) -> Result<(), String> {
    if let Some(before) = before
        && before.number > view.number
    {
        return Err(format!("view {} came after view {}", view.number, before.number));
    }
    let Some(own) = view.member(view.me.node_id) else {
        return if view.cluster_id.is_some() && view.status == Status::Up {
            Err("its own row is missing".into())
        } else {
            Ok(())
        };
    };
    if matches!(own.status, Status::Down | Status::Gone) {
        return Err(format!("it shows itself as {}", own.status.as_str()));
    }
    if own.id != view.me {
        return Err("its own row shows another start".into());
    }
    Ok(())
}

/// Each start on one disc takes a larger guid than the one before.
pub(super) fn check_start(known: &mut Option<Incarnation>, view: &View) -> Result<(), String> {
    if let Some(known) = known
        && known.node_id == view.me.node_id
        && known.guid > view.me.guid
    {
        return Err(format!("start {} is older than the start {} before it", view.me.guid, known.guid));
    }
    *known = Some(view.me);
    Ok(())
}
