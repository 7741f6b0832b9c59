//! Section 8: nobody is `up` for the first time without a majority of the voters that it knows.

use ekka_core::view::{Status, View};

use crate::core_world::World;

/// A node that has just become ready for quorum work reaches a majority.
pub(super) fn check(world: &World, machine: usize, view: &View) -> Result<(), String> {
    let seeds = world.machines[machine].spec.seeds.len();
    if view.status == Status::Up && seeds > 1 && world.one_id_promised && view.members.len() < 2 {
        return Err(format!("machine {machine} is up alone with {seeds} seeds"));
    }
    if view.ready_quorum && !view.quorum.holds() {
        return Err(format!("machine {machine} is ready for quorum work without a majority"));
    }
    Ok(())
}
