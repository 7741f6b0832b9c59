//! What must always hold, one file each, with the section that promises it.

mod alone;
mod one_id;
mod rows;

use ekka_core::view::View;

use crate::core_world::World;

/// Looks at everything that a new view of one machine can break.
///
/// # Errors
/// The words for what is broken.
pub fn after_view(world: &World, machine: usize, view: &View) -> Result<(), String> {
    one_id::check(world)?;
    alone::check(world, machine, view)?;
    rows::check(world, machine, view)
}
