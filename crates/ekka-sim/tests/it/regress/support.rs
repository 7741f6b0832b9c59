//! Worlds of a few nodes, and waiting in virtual time.

use std::time::Duration;

use ekka_core::id::{Guid, NodeName};
use ekka_core::view::View;
use ekka_sim::core_world::{NodeSpec, World, converged, name};

pub(crate) const SECOND: Duration = Duration::from_secs(1);

pub(crate) fn names(n: usize) -> Vec<NodeName> {
    (0..n).map(name).collect()
}

/// `n` machines with one list of all, not yet started.
pub(crate) fn listed(n: usize, seed: u64) -> World {
    let names = names(n);
    World::new(names.iter().map(|own| NodeSpec::new(own, &names)).collect(), seed)
}

/// The same, up and together.
pub(crate) fn together(n: usize, seed: u64) -> World {
    let mut world = listed(n, seed);
    (0..n).for_each(|i| world.start(i));
    wait(&mut world, "all together", 10, converged);
    world
}

pub(crate) fn wait(world: &mut World, what: &str, seconds: u32, holds: impl FnMut(&World) -> bool) -> Duration {
    world.run_to(what, SECOND * seconds, holds).unwrap_or_else(|f| panic!("{}\n{}", f.trace.join("\n"), f.what))
}

pub(crate) fn run(world: &mut World, time: Duration) {
    world.run_for(time).unwrap_or_else(|f| panic!("{}\n{}", f.trace.join("\n"), f.what));
}

pub(crate) fn view(world: &World, i: usize) -> std::sync::Arc<View> {
    world.machines[i].process.as_ref().unwrap_or_else(|| panic!("machine {i} does not run")).control.view()
}

pub(crate) fn cut(world: &mut World, a: usize, b: usize) {
    world.cut(a, b);
    world.cut(b, a);
}

pub(crate) fn guids(world: &World) -> Vec<Guid> {
    (0..world.machines.len()).map(|i| view(world, i).guid()).collect()
}
