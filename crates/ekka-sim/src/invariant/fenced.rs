//! Section 9: a node is fenced, by its own clock, before anybody else may be told that it is gone; and that is said once.

use std::collections::BTreeSet;

use ekka_core::durable::Proof;
use ekka_core::id::{ClusterId, Incarnation};

/// Looks at the entry by which a start is over. `holds` says whether it runs and holds its lease at this moment.
pub(super) fn check(
    said: &mut BTreeSet<(ClusterId, Incarnation)>,
    cluster_id: ClusterId,
    (id, proof): (Incarnation, Proof),
    holds: bool,
) -> Result<(), String> {
    if !said.insert((cluster_id, id)) {
        return Err(format!("start {} of {} was said to be gone twice", id.guid, id.node_id));
    }
    if holds && matches!(proof, Proof::Lease | Proof::Goodbye | Proof::Removed) {
        return Err(format!("start {} of {} is gone and holds its lease: {}", id.guid, id.node_id, proof.as_str()));
    }
    Ok(())
}
