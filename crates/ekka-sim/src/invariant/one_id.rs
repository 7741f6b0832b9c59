//! Section 2, first row: exactly one cluster forms where `expect` is more than half of the nodes that vote.

use crate::core_world::World;

/// At most one id was ever in use, where one is promised.
pub(super) fn check(world: &World) -> Result<(), String> {
    if world.one_id_promised && world.ids.len() > 1 {
        return Err(format!("two cluster ids where one is promised: {:?}", world.ids));
    }
    Ok(())
}
