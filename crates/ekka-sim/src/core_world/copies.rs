//! A copied data directory is started beside its healthy original, on a network with holes.
//!
//! Section 4: a peer that heard from the older one within the detection time holds the newer one back, asks the older,
//! and refuses the newer. So the copy ends, and the original, which never lost its majority, goes on.

use std::time::Duration;

use ekka_core::rng::Rng;

use super::converge::converged;
use super::endings::CONVERGE;
use super::node::NodeSpec;
use super::steps::name;
use super::world::World;
use crate::failure::Failure;

/// Clocks of copies, in milliseconds: an hour behind, a little behind, right, ahead.
const CLOCKS: [i64; 4] = [-3_600_000, -2_000, 0, 30_000];

/// Starts a copy of one of the members. `anywhere`: it may reach peers that have no link to the original.
pub(super) fn start_beside(world: &mut World, anywhere: bool, rng: &mut Rng) -> Result<(), Failure> {
    let n = world.machines.len();
    let original = rng.index(n);
    let clock_offset_ms = CLOCKS[rng.index(CLOCKS.len())];
    let spec = NodeSpec { name: name(n + 100), clock_offset_ms, ..world.machines[original].spec.clone() };
    let copy = world.add(spec, world.machines[original].disc.clone());
    let mut blind = n / 2;
    for peer in 0..n {
        let reached = rng.below(2) == 0;
        if !reached {
            both(world, copy, peer);
        } else if anywhere && peer != original && blind > 1 && rng.below(3) == 0 {
            blind -= 1;
            both(world, original, peer);
        }
    }
    world.run_for(rng.up_to(Duration::from_secs(5)))?;
    let life = world.machines[original].life;
    world.start(copy);
    for _ in 0..rng.below(8) {
        world.run_for(rng.up_to(Duration::from_secs(2)))?;
        let peer = rng.index(n);
        let (a, b) = if anywhere && rng.below(3) == 0 && peer != original { (original, peer) } else { (copy, peer) };
        world.mend(a, b);
        world.mend(b, a);
    }
    world.mend_all();
    world.run_to("the copy ends", CONVERGE, |world| world.machines[copy].process.is_none())?;
    world.run_to("the others are together beside a copy that ended", CONVERGE, converged)?;
    if world.machines[original].life != life {
        return Err(world.failed(format!("the original {original} was thrown out")));
    }
    // What the copy left behind in memories must not hurt the original's next start.
    world.kill(original);
    world.start(original);
    world.run_to("the original starts anew", CONVERGE, converged)?;
    Ok(())
}

fn both(world: &mut World, a: usize, b: usize) {
    world.cut(a, b);
    world.cut(b, a);
}
