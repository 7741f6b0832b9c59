//! What it means that everything has come together.

use std::collections::BTreeSet;
use std::sync::Arc;

use ekka_core::id::NodeId;
use ekka_core::view::{Status, View};

use super::node::{Machine, Process};
use super::world::World;

/// Whether a node is up, and every parting that it knows of from one that runs is answered: no heal of it is to come. Views
/// are up again some seconds before a heal begins, and who comes back in one is not up meanwhile.
fn settled(process: &Process) -> bool {
    process.control.view().status == Status::Up && process.control.heal_waits().is_none()
}

/// Whether all are up in one cluster, see each other up, and have nothing to heal.
#[must_use]
pub fn converged(world: &World) -> bool {
    let mut id = None;
    let machines = || world.machines.iter().filter(|machine| !machine.copy);
    let n = machines().count();
    machines().all(|machine| {
        let Some(process) = &machine.process else { return false };
        let view = process.control.view();
        let same = view.cluster_id.is_some() && *id.get_or_insert(view.cluster_id) == view.cluster_id;
        let up = view.members.iter().filter(|m| m.status == Status::Up).count();
        same && settled(process) && up == n && view.members.len() == up
    })
}

/// Whether everybody is either up or says why not.
pub(super) fn explained(world: &World) -> bool {
    world.machines.iter().all(|machine| {
        let Some(process) = &machine.process else { return false };
        let view = process.control.view();
        let says = |code: &str, text: &str| code == "left" || text.contains("waits: ");
        view.status == Status::Up || view.reasons.iter().any(|reason| says(&reason.code, &reason.text))
    })
}

/// Whether everybody has it on disc that all are members of one cluster.
pub(super) fn all_admitted(world: &World) -> bool {
    let n = world.machines.len();
    let first = world.machines[0].disc.saved.roster.cluster_id;
    first.is_some()
        && world.machines.iter().all(|machine| {
            let roster = &machine.disc.saved.roster;
            roster.cluster_id == first && roster.seats.values().filter(|seat| seat.removed.is_none()).count() == n
        })
}

/// Whether everybody that is not outside is up, be it draining.
pub(super) fn all_take_part(world: &World) -> bool {
    insiders(world).iter().all(|view| view.status.takes_part())
}

/// Who is outside by an operator's word, as each says of itself.
pub(super) fn outsiders(world: &World) -> Vec<usize> {
    let left = |machine: &Machine| machine.process.as_ref().is_some_and(|p| p.control.saved().formation.left);
    (0..world.machines.len()).filter(|i| !world.machines[*i].copy && left(&world.machines[*i])).collect()
}

/// Of two machines with one name the one that was refused for it.
fn lost_its_name(world: &World, machine: &Machine) -> bool {
    let Some(process) = &machine.process else { return false };
    let same = world.machines.iter().filter(|other| !other.copy && other.spec.name == machine.spec.name).count();
    let view = process.control.view();
    same > 1 && !view.ready_quorum && view.reasons.iter().any(|reason| reason.text.contains("name conflict"))
}

/// All that belong together now: everybody but copies, whoever is outside, and refused twins.
fn inside(world: &World) -> impl Iterator<Item = &Process> {
    let out = outsiders(world);
    let belongs =
        move |(i, machine): &(usize, &Machine)| !machine.copy && !out.contains(i) && !lost_its_name(world, machine);
    world.machines.iter().enumerate().filter(belongs).filter_map(|(_, machine)| machine.process.as_ref())
}

/// The views of those.
pub(super) fn insiders(world: &World) -> Vec<Arc<View>> {
    inside(world).map(|process| process.control.view()).collect()
}

/// Like [`converged`], for those that are inside: whoever left is outside, and an identity that a machine gave up
/// (a restored directory) may still be listed, as down.
pub(super) fn together(world: &World) -> bool {
    if world.machines.iter().any(|machine| !machine.copy && machine.process.is_none()) {
        return false;
    }
    let processes: Vec<&Process> = inside(world).collect();
    let views: Vec<Arc<View>> = processes.iter().map(|process| process.control.view()).collect();
    let Some(first) = views.first() else { return false };
    let expected: BTreeSet<NodeId> = views.iter().map(|view| view.me.node_id).collect();
    let mut given_up: BTreeSet<NodeId> = world.machines.iter().flat_map(|m| m.given_up.iter().copied()).collect();
    let twins = world.machines.iter().filter(|machine| lost_its_name(world, machine));
    given_up.extend(twins.filter_map(|machine| Some(machine.process.as_ref()?.control.view().me.node_id)));
    if !world.half_joins_count {
        let out = outsiders(world).into_iter().filter_map(|i| world.machines[i].process.as_ref());
        given_up.extend(out.map(|process| process.control.view().me.node_id));
    }
    processes.iter().all(|process| settled(process))
        && views.iter().all(|view| {
            let (known, others): (Vec<_>, Vec<_>) = view.members.iter().partition(|m| expected.contains(&m.id.node_id));
            view.cluster_id.is_some()
                && view.cluster_id == first.cluster_id
                && known.len() == expected.len()
                && known.iter().all(|m| m.status == Status::Up)
                && others.iter().all(|m| given_up.contains(&m.id.node_id) && m.status != Status::Up)
        })
}
