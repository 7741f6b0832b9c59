//! Sections 4 and 8: a node changes its cluster only into an older one (rule 6), or by an operator's word;
//! one that never began, because a founder went elsewhere by such a word, it gives up.

use ekka_core::id::{ClusterId, NodeId};
use ekka_core::view::View;

/// The id of a node's cluster never grows, over restarts too.
pub(super) fn check(known: &mut Option<(NodeId, ClusterId)>, may_leave: bool, view: &View) -> Result<(), String> {
    let Some(id) = view.cluster_id else { return Ok(()) };
    if let Some((node_id, old)) = *known
        && node_id == view.me.node_id
        && id > old
        && !may_leave
    {
        return Err(format!("went from cluster {old} to the younger {id}"));
    }
    *known = Some((view.me.node_id, id));
    Ok(())
}
