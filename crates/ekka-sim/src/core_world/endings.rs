//! What a plan does once everything has come together: it must hold again without discovery, beside a stale copy, and
//! after operators took those back who left.

use std::time::Duration;

use ekka_core::control::{Command, CommandError, Reply};
use ekka_core::limits::DETECTION_TIME;
use ekka_core::rng::Rng;
use ekka_core::view::Status;

use super::converge::{converged, insiders, outsiders, together};
use super::node::{NodeSpec, Process};
use super::steps::{Step, apply, name};
use super::world::World;
use crate::failure::Failure;

/// How long everything may take to come together once all is repaired.
pub(super) const CONVERGE: Duration = Duration::from_secs(60);

/// Waits until what the last faults broke would show: a silence that the repair has ended is found by some all the same, and
/// only from then on what has come together must stay together.
pub(super) fn let_faults_show(world: &mut World) -> Result<(), Failure> {
    world.run_for(DETECTION_TIME)
}

/// Discovery is down for days: all restart, know each other from their discs alone, and one is cut off for a while.
pub(super) fn live_without_discovery(world: &mut World) -> Result<(), Failure> {
    world.discovery_works = false;
    // What was learned last has to reach the discs first.
    world.run_for(Duration::from_secs(2))?;
    for i in (0..world.machines.len()).filter(|i| !world.machines[*i].copy).collect::<Vec<_>>() {
        world.kill(i);
        world.start(i);
    }
    world.run_to("all found each other without discovery", CONVERGE, converged)?;
    apply(world, &Step::Isolate(0));
    world.run_for(Duration::from_secs(6))?;
    world.mend_all();
    world.run_to("whoever was cut off is back without discovery", CONVERGE, converged)?;
    world.discovery_works = true;
    Ok(())
}

/// Copies the directory of a machine that then starts anew, and starts the copy with a clock that is behind, so that
/// its guid lies between those of the two starts.
pub(super) fn start_stale_copy(world: &mut World) -> Result<(), Failure> {
    // It finds the others, not the original itself: of two that meet at once the larger guid goes (section 4), and a
    // clock that is behind makes that the original.
    let original = &world.machines[0].spec;
    let mut seeds = original.seeds.clone();
    seeds.retain(|seed| *seed != original.name);
    let own = name(world.machines.len() + 100);
    let spec = NodeSpec { name: own, seeds, clock_offset_ms: -3_600_000, ..original.clone() };
    let copy = world.add(spec, world.machines[0].disc.clone());
    world.kill(0);
    world.start(0);
    world.run_to("the original is back", CONVERGE, converged)?;
    let began = world.machines[0].life;
    world.start(copy);
    world.run_to("the stale copy is refused", CONVERGE, |world| world.machines[copy].process.is_none())?;
    world.run_to("the others are together", CONVERGE, converged)?;
    if world.machines[0].life == began { Ok(()) } else { Err(world.failed("the original was thrown out")) }
}

/// Ends draining everywhere: `undrain` is refused until the node is up again.
pub(super) fn undrain_all(world: &mut World) -> Result<(), Failure> {
    for _ in 0..20 {
        world.run_for(Duration::from_millis(500))?;
        for i in 0..world.machines.len() {
            let draining = |process: &Process| process.control.view().status == Status::Draining;
            if world.machines[i].process.as_ref().is_some_and(draining) {
                apply(world, &Step::Undrain(i));
            }
        }
    }
    Ok(())
}

/// Nobody is outside but by an operator's word, and nobody inside shows one that left. A generation of the volatile group
/// may have to wait until a start whose disc is lost is gone: its lease runs out first.
pub(super) fn settled(world: &mut World) -> Result<(), Failure> {
    let ready = |world: &World| insiders(world).iter().all(|view| view.ready_quorum);
    world.run_to("all that are together are ready", CONVERGE, ready)?;
    // Voters may still move, and each node hears of that in its own time.
    let agree = |world: &World| agree(world).is_ok();
    match world.run_to("all agree", CONVERGE, agree) {
        Ok(_) => Ok(()),
        Err(failure) => Err(self::agree(world).map_or_else(|what| world.failed(what), |()| failure)),
    }
}

fn agree(world: &World) -> Result<(), String> {
    let views = insiders(world);
    let out = outsiders(world).into_iter();
    let out: Vec<_> = out.filter_map(|i| Some(world.machines[i].process.as_ref()?.control.view().me.node_id)).collect();
    world.watch.settled(&views, &out)
}

/// Takes back whoever is outside, one after the other; each is inside once `join` says so. Not `alive`: each starts
/// anew before its join.
pub(super) fn take_back(world: &mut World, alive: bool, rng: &mut Rng) -> Result<(), Failure> {
    for i in outsiders(world) {
        if !alive {
            world.kill(i);
            world.start(i);
        }
        // Staying outside is the promise: nothing brings it back but the word.
        world.run_for(rng.up_to(Duration::from_secs(4)))?;
        if !outsiders(world).contains(&i) {
            return Err(world.failed(format!("machine {i} came back uncalled")));
        }
        let views = insiders(world);
        let Some(to) = views.get(rng.index(views.len())) else {
            continue;
        };
        let join = Command::Join { name: to.name.clone(), absorb: false, plan: false };
        done(world, i, &join)?;
        world.run_to("all are together after the join", CONVERGE, together)?;
    }
    Ok(())
}

/// An operator cleans up: rows of identities that were given up go by `force-leave`.
pub(super) fn clean_up(world: &mut World) -> Result<(), Failure> {
    let given_up: Vec<_> = world.machines.iter().flat_map(|machine| machine.given_up.clone()).collect();
    for node_id in given_up {
        let views = insiders(world);
        let Some(by) = views.iter().find(|view| view.member(node_id).is_some()) else { continue };
        let at = (0..world.machines.len())
            .find(|i| world.machines[*i].process.as_ref().is_some_and(|process| process.control.view().me == by.me));
        let node = format!("{:032x}", node_id.as_u128());
        let word = Command::ForceLeave { node, replace_with: None, alive: false, plan: false };
        done(world, at.unwrap_or(0), &word)?;
    }
    world.run_to("all are together, and the rows that were given up are gone", CONVERGE, |world| {
        together(world) && insiders(world).iter().all(|view| view.members.len() == insiders(world).len())
    })?;
    Ok(())
}

/// Gives a command that must be done, since nothing is broken any more. A start that is over in the cluster that it is to
/// join, which it left for another one, begins anew first: its operator is told to ask again.
fn done(world: &mut World, at: usize, command: &Command) -> Result<(), Failure> {
    let words = format!("{command:?}");
    let mut again = matches!(command, Command::Join { .. });
    loop {
        let asked = world.operate(at, command.clone());
        let Some(id) = asked else { return Err(world.failed(format!("machine {at} does not run"))) };
        world.until_answered()?;
        match world.replies.get(&(at, id)) {
            Some(Ok(Reply::Done { .. })) => return Ok(()),
            Some(Err(CommandError::Failed(text))) if again && text.ends_with("ask again") => {
                again = false;
                world.run_to("it begins anew", CONVERGE, |world| outsiders(world).contains(&at))?;
            }
            other => return Err(world.failed(format!("machine {at} answered {words} with {other:?}"))),
        }
    }
}
