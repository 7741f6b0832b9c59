//! The steps of a schedule, and the repair that ends them all.

use std::time::Duration;

use ekka_core::control::Command;
use ekka_core::id::NodeName;

use super::world::World;

/// One fault, or one word of an operator.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Start a machine's process.
    Start(usize),
    /// `kill -9`.
    Kill(usize),
    /// Cut both directions between two machines.
    Cut(usize, usize),
    /// Cut one direction.
    CutOneWay(usize, usize),
    /// Repair between two machines.
    Mend(usize, usize),
    /// Repair everything.
    MendAll,
    /// Cut one machine off from all.
    Isolate(usize),
    /// SIGSTOP.
    Pause(usize),
    /// SIGCONT.
    Resume(usize),
    /// A stretch of lost segments, so many of a thousand.
    Loss(u64),
    /// `ekka stop`.
    Stop(usize),
    /// `ekka leave`.
    Leave(usize),
    /// `ekka join` on a machine without a cluster: the name of the second.
    Join(usize, usize),
    /// `ekka join` on any machine.
    JoinAnyway(usize, usize),
    /// `ekka force-leave` on the first, of the second.
    ForceLeave(usize, usize),
    /// The same where the second may not have written down yet that it is a member.
    ForceLeaveNew(usize, usize),
    /// `ekka drain`.
    Drain(usize),
    /// `ekka undrain`.
    Undrain(usize),
    /// `ekka form`.
    Form(usize),
    /// The wall clock of a machine is off by so many milliseconds from now on.
    Clock(usize, i64),
    /// Writes of a machine take up to so long from now on.
    SlowDisc(usize, Duration),
    /// Discovery of a machine answers nothing, or its list again.
    EmptyList(usize, bool),
    /// Discovery of a machine fails, or answers again.
    DiscoveryDown(usize, bool),
    /// Two machines swap names and addresses, and start anew.
    Swap(usize, usize),
    /// A machine starts anew under the name and address of this number.
    Move(usize, usize),
    /// The directory of a machine is copied to a safe place, if it is in a cluster.
    BackUp(usize),
    /// A machine starts anew on the directory that was copied to a safe place, if one was.
    Restore(usize),
}

/// Steps with the waits before them.
pub type Schedule = Vec<(Duration, Step)>;

/// The `i`-th name of a simulated cluster.
#[must_use]
pub fn name(i: usize) -> NodeName {
    format!("ekka@10.0.{}.{}", i / 250, i % 250 + 1).parse().expect("a name")
}

impl World {
    /// Sets the wall clock of a machine off by so many milliseconds.
    pub fn set_clock(&mut self, machine: usize, offset_ms: i64) {
        if std::mem::replace(&mut self.machines[machine].spec.clock_offset_ms, offset_ms) != offset_ms {
            self.note(&format!("clock {machine} {offset_ms}"));
            self.watch.clock_jumped(machine);
        }
    }
}

/// Does one step.
pub fn apply(world: &mut World, step: &Step) {
    match *step {
        Step::Start(i) => world.start(i),
        Step::Kill(i) => world.kill(i),
        Step::Pause(i) => world.pause(i),
        Step::Resume(i) => world.resume(i),
        Step::Cut(..) | Step::CutOneWay(..) | Step::Mend(..) | Step::MendAll | Step::Isolate(_) | Step::Loss(_) => {
            on_network(world, step);
        }
        Step::Clock(i, offset_ms) => world.set_clock(i, offset_ms),
        Step::SlowDisc(i, delay) => world.machines[i].disc_delay = Some(delay),
        Step::EmptyList(i, true) => drop(world.lies.empty.insert(i)),
        Step::EmptyList(i, false) => drop(world.lies.empty.remove(&i)),
        Step::DiscoveryDown(i, true) => drop(world.lies.down.insert(i)),
        Step::DiscoveryDown(i, false) => drop(world.lies.down.remove(&i)),
        Step::Swap(..) | Step::Move(..) | Step::BackUp(_) | Step::Restore(_) => on_directory(world, step),
        _ => say(world, step),
    }
}

fn on_network(world: &mut World, step: &Step) {
    match *step {
        Step::Cut(a, b) => {
            world.cut(a, b);
            world.cut(b, a);
        }
        Step::CutOneWay(a, b) => world.cut(a, b),
        Step::Mend(a, b) => {
            world.mend(a, b);
            world.mend(b, a);
        }
        Step::Isolate(i) => {
            for other in (0..world.machines.len()).filter(|other| *other != i) {
                world.cut(i, other);
                world.cut(other, i);
            }
        }
        Step::Loss(per_mille) => world.net.stall_per_mille = per_mille,
        _ => world.mend_all(),
    }
}

/// What is done to names and data directories while no process runs on them.
fn on_directory(world: &mut World, step: &Step) {
    match *step {
        Step::Swap(a, b) => {
            world.kill(a);
            world.kill(b);
            let (of_a, of_b) = (world.machines[a].spec.name.clone(), world.machines[b].spec.name.clone());
            world.machines[a].rename(&of_b);
            world.machines[b].rename(&of_a);
            world.start(a);
            world.start(b);
        }
        Step::Move(i, to) => {
            world.kill(i);
            world.backend_removes(i);
            world.machines[i].rename(&name(to));
            world.start(i);
        }
        Step::BackUp(i) if is_one_of_three(world, i) => {
            world.machines[i].backup = Some(world.machines[i].disc.clone());
        }
        Step::Restore(i) => {
            if let Some(old) = world.machines[i].backup.take() {
                world.kill(i);
                world.note(&format!("restore {i}"));
                world.watch.may_be_restored(i);
                world.machines[i].disc = old;
                world.start(i);
            }
        }
        _ => {}
    }
}

/// Whether the directory says that it belongs to a cluster that can lose one.
fn is_one_of_three(world: &World, i: usize) -> bool {
    let roster = &world.machines[i].disc.saved.roster;
    roster.cluster_id.is_some() && roster.size() >= 3
}

/// Gives an operator's word.
fn say(world: &mut World, step: &Step) {
    let view = |world: &World, i: usize| world.machines[i].process.as_ref().map(|process| process.control.view());
    let (at, command) = match *step {
        Step::Stop(i) => (i, Command::Stop { by: "command".into(), plan: false }),
        Step::Leave(i) => (i, Command::Leave { plan: false }),
        Step::Join(i, _) if view(world, i).is_none_or(|view| view.cluster_id.is_some()) => return,
        Step::Join(i, to) | Step::JoinAnyway(i, to) => {
            (i, Command::Join { name: world.machines[to].spec.name.clone(), absorb: false, plan: false })
        }
        Step::ForceLeave(_, who) if world.machines[who].disc.saved.formation.cluster_id.is_none() => return,
        Step::ForceLeave(by, who) | Step::ForceLeaveNew(by, who) => {
            let name = &world.machines[who].spec.name;
            let Some(view) = view(world, by) else { return };
            // By its id: two may have the name.
            let Some(member) = view.members.iter().find(|m| m.name == *name) else { return };
            let node = format!("{:032x}", member.id.node_id.as_u128());
            (by, Command::ForceLeave { node, replace_with: None, alive: false, plan: false })
        }
        Step::Drain(i) => (i, Command::Drain { plan: false }),
        Step::Undrain(i) => (i, Command::Undrain { plan: false }),
        Step::Form(i) => (i, Command::Form { plan: false }),
        _ => return,
    };
    world.operate(at, command);
}

/// Ends every fault: all run with right clocks, everybody reaches everybody. Lies of discovery about others go on, and
/// who drains does so.
pub fn repair(world: &mut World) {
    world.mend_all();
    world.net.stall_per_mille = 0;
    world.lies.empty.clear();
    world.lies.down.clear();
    for i in 0..world.machines.len() {
        world.set_clock(i, 0);
        world.machines[i].disc_delay = None;
        world.resume(i);
        if !world.machines[i].copy {
            world.start(i);
        }
    }
}
