//! The phases of a run: faults, repair, a disc that goes bad, faults again, repair, and the judgement.

use std::time::Duration;

use ekka_core::control::{Command, Reply};

use super::plan::{DiscFault, Plan, apply};
use super::world::World;

/// How long everything may take to come together once all is repaired.
const CONVERGE: Duration = Duration::from_secs(60);

/// Runs a plan to its end.
///
/// # Errors
/// Something that must hold did not.
pub(super) fn go(plan: &Plan, world: &mut World) -> Result<(), String> {
    if let Some(pace) = plan.pace {
        world.let_them_write(pace);
    }
    faults(world, &plan.schedule)?;
    if let Some(fault) = plan.disc {
        lose_a_disc(world, fault)?;
    }
    if !plan.after.is_empty() {
        faults(world, &plan.after)?;
    }
    take_back(world)?;
    judge(world, plan.disc.is_some_and(|fault| matches!(fault, DiscFault::Wipe(_))))
}

/// Faults, and all comes together once they are repaired.
fn faults(world: &mut World, schedule: &[(Duration, super::Step)]) -> Result<(), String> {
    for (wait, step) in schedule {
        world.run_for(*wait)?;
        apply(world, step);
    }
    world.run_for(Duration::from_secs(2))?;
    repair(world);
    world.run_to("all in one cluster after the repair", CONVERGE, World::together)?;
    // What has come together stays together.
    world.run_for(Duration::from_secs(5))?;
    if world.together() { Ok(()) } else { Err(format!("fell apart without a fault: {}", world.words())) }
}

/// One host, of a cluster that is whole, loses what it had on disc.
fn lose_a_disc(world: &mut World, fault: DiscFault) -> Result<(), String> {
    let (DiscFault::Spoil(i) | DiscFault::Wipe(i)) = fault;
    let Some(view) = world.view(i).filter(|_| !world.outsiders().contains(&i)).cloned() else { return Ok(()) };
    // Alone it has all there is: what it loses then is lost.
    if view.members.len() < 3 || view.cluster_id.is_none() {
        return Ok(());
    }
    let before = world.voters(i);
    world.crash(i);
    match fault {
        DiscFault::Spoil(_) => world.spoil_store(i),
        DiscFault::Wipe(_) => world.wipe(i),
    }
    // Nobody has another disc in place before the others know that the node is down.
    world.run_for(Duration::from_secs(if matches!(fault, DiscFault::Wipe(_)) { 15 } else { 1 }))?;
    world.start(i);
    world.run_to("all together after a disc was lost", CONVERGE, World::together)?;
    if matches!(fault, DiscFault::Spoil(_)) {
        // One that is outside sees nobody vote.
        let outside = world.outsiders();
        let other =
            (0..world.hosts()).find(|other| *other != i && !outside.contains(other)).ok_or("all are outside")?;
        world.run_to("all vote again", CONVERGE, |world| world.all_vote(other, &before))?;
    }
    world.run_for(Duration::from_secs(2))
}

/// Takes back whoever is outside, in a new process.
fn take_back(world: &mut World) -> Result<(), String> {
    for i in world.outsiders() {
        world.crash(i);
        world.start(i);
        world.run_for(Duration::from_secs(1))?;
        let Some(to) = (0..world.hosts()).find(|to| !world.outsiders().contains(to)) else { continue };
        world.operate(i, Command::Join { name: world.name(to), absorb: false, plan: false });
        match world.until_answered(i)? {
            Some(Ok(Reply::Done { .. })) => {}
            other => return Err(format!("host {i} answered its join with {other:?}")),
        }
        world.run_to("all together after the join", CONVERGE, World::together)?;
    }
    Ok(())
}

/// Everybody is there and shows what was committed.
fn judge(world: &mut World, has_lost_node: bool) -> Result<(), String> {
    if !has_lost_node && !world.converged() {
        return Err(format!("not all together: {}", world.words()));
    }
    world.run_to("all show the members as committed", Duration::from_secs(10), World::shows_what_is_committed)?;
    world.groups().map(|_| ())
}

/// Ends every fault: all run, everybody reaches everybody, discs write, clocks are right.
///
/// A host whose start failed on a full disc, or that was told to stop, is started again, as its supervisor would do.
pub(super) fn repair(world: &mut World) {
    world.mend_all();
    for i in 0..world.hosts() {
        world.fail_disk(i, false);
        world.set_clock(i, 0);
        if world.is_ending(i) {
            world.crash(i);
        }
        world.start(i);
    }
}
