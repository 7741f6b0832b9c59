//! Sections 4 and 9: one row for each node, with a guid that never falls.

use std::collections::BTreeSet;

use ekka_core::view::View;

use crate::core_world::World;

/// No node stands twice in the view, and no start is older than one that was over before this view's node began.
pub(super) fn check(world: &World, machine: usize, view: &View) -> Result<(), String> {
    let mut seen = BTreeSet::new();
    for member in &view.members {
        if !seen.insert(member.id.node_id) {
            return Err(format!("machine {machine} lists {} twice", member.name));
        }
    }
    if let Some(process) = &world.machines[machine].process {
        let before = process.control.view();
        for member in &view.members {
            if before.member(member.id.node_id).is_some_and(|old| old.id.guid > member.id.guid) {
                return Err(format!("machine {machine}: the guid of {} fell", member.name));
            }
        }
    }
    Ok(())
}
