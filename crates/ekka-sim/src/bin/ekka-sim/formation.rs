//! The report on many nodes: how long they take to form and agree, what it costs on the network, and when all know
//! that one of them died.

use std::time::Duration;

use ekka_core::id::NodeId;
use ekka_core::limits::HEARTBEAT_INTERVAL;
use ekka_core::view::Status;
use ekka_sim::core_world::{NodeSpec, World, converged, name};
use ekka_sim::failure::Failure;

/// How many of the nodes are seeds.
const SEEDS: usize = 5;
/// How long they may take.
const LIMIT: Duration = Duration::from_secs(120);
/// How long the quiet cluster is measured.
const QUIET: Duration = Duration::from_secs(10);
/// How long a death may take to be known to all.
const DEATH_LIMIT: Duration = Duration::from_secs(60);

/// Starts `nodes` nodes within a second, waits until all show all up, measures the quiet cluster, then kills one.
pub(crate) fn run(nodes: usize, seed: u64) -> bool {
    let names: Vec<_> = (0..nodes).map(name).collect();
    let seeds = &names[..SEEDS.min(nodes)];
    let mut world = World::new(names.iter().map(|own| NodeSpec::new(own, seeds)).collect(), seed);
    world.checked = nodes <= 100;
    world.kept = nodes <= 100;
    let begin = std::time::Instant::now();
    println!("{nodes} nodes, {} of them seeds, started within 1 s:", seeds.len());
    let result = measure(&mut world, nodes).and_then(|()| one_dies(&mut world, nodes));
    println!("  took              {:.1} s of real time", begin.elapsed().as_secs_f64());
    match result {
        Ok(()) => true,
        Err(failure) => {
            println!("{}", failure.tell("formation1000", seed));
            false
        }
    }
}

fn measure(world: &mut World, nodes: usize) -> Result<(), Failure> {
    for i in 0..nodes {
        world.start(i);
        world.run_for(Duration::from_secs(1) / u32::try_from(nodes).unwrap_or(1))?;
    }
    let took =
        world.run_to("all nodes in one cluster, each showing all up", LIMIT, converged)? + Duration::from_secs(1);
    println!("  all agree after   {}", periods(took));
    let forming = Figures::of(world);
    forming.since(&Figures::default()).print("while forming", nodes, took);
    world.run_for(QUIET)?;
    Figures::of(world).since(&forming).print("once formed", nodes, QUIET);
    Ok(())
}

/// Kills one that neither votes nor is a seed.
fn one_dies(world: &mut World, nodes: usize) -> Result<(), Failure> {
    let voters = voters(world);
    let Some(dead) = (SEEDS..nodes).rev().find(|machine| !voters.contains(machine)) else { return Ok(()) };
    let Some(node_id) = id(world, dead) else { return Ok(()) };
    world.kill(dead);
    let down = |world: &World, machine: usize| {
        let process = world.machines[machine].process.as_ref();
        process.is_some_and(|p| p.control.view().member(node_id).is_some_and(|m| m.status == Status::Down))
    };
    let others = || (0..nodes).filter(|machine| *machine != dead);
    let first = world.run_to("one shows it down", DEATH_LIMIT, |w| others().any(|machine| down(w, machine)))?;
    let all = first + world.run_to("all show it down", DEATH_LIMIT, |w| others().all(|machine| down(w, machine)))?;
    println!("  one is killed     the first shows it down after {}, all after {}", periods(first), periods(all));
    let wrong = others().filter(|machine| !only_one_is_down(world, *machine, nodes)).count();
    println!("                    {wrong} show another one down as well");
    if wrong == 0 { Ok(()) } else { Err(world.failed(format!("false alarms: {}", world.words()))) }
}

fn only_one_is_down(world: &World, machine: usize, nodes: usize) -> bool {
    let Some(process) = &world.machines[machine].process else { return false };
    process.control.view().members.iter().filter(|m| m.status == Status::Up).count() == nodes - 1
}

fn id(world: &World, machine: usize) -> Option<NodeId> {
    world.machines[machine].process.as_ref().map(|process| process.control.view().me.node_id)
}

/// The machines that vote, as the first one sees it.
fn voters(world: &World) -> Vec<usize> {
    let Some(process) = &world.machines[0].process else { return Vec::new() };
    let view = process.control.view();
    let votes = |machine: &usize| id(world, *machine).and_then(|id| view.member(id)).is_some_and(|m| m.voter);
    (0..world.machines.len()).filter(votes).collect()
}

fn periods(time: Duration) -> String {
    let periods = time.as_secs_f64() / HEARTBEAT_INTERVAL.as_secs_f64();
    format!("{:.2} virtual s = {periods:.1} protocol periods", time.as_secs_f64())
}

/// What went over the network.
#[derive(Default)]
struct Figures {
    frames: u64,
    bytes: u64,
    /// Sent and received by each machine.
    by_machine: Vec<(u64, u64)>,
    voters: Vec<usize>,
}

impl Figures {
    fn of(world: &World) -> Self {
        let report = world.report();
        let by_machine = world.machines.iter().map(|machine| (machine.sent, machine.received)).collect();
        Self { frames: report.frames, bytes: report.bytes, by_machine, voters: voters(world) }
    }

    fn since(&self, before: &Self) -> Self {
        let was = |i: usize| before.by_machine.get(i).copied().unwrap_or_default();
        let by_machine = self.by_machine.iter().enumerate().map(|(i, now)| (now.0 - was(i).0, now.1 - was(i).1));
        Self {
            frames: self.frames - before.frames,
            bytes: self.bytes - before.bytes,
            by_machine: by_machine.collect(),
            voters: self.voters.clone(),
        }
    }

    #[expect(clippy::cast_precision_loss, reason = "figures for people")]
    fn print(&self, when: &str, nodes: usize, time: Duration) {
        let per = nodes as f64 * time.as_secs_f64();
        let (frames, bytes) = (self.frames as f64 / per, self.bytes as f64 / per);
        println!("  {when:<17} {frames:.1} messages and {bytes:.0} bytes sent per node and second");
        let is_voter = |(i, _): &(usize, &(u64, u64))| self.voters.contains(i);
        let busiest = |voters: bool| {
            let of_kind = self.by_machine.iter().enumerate().filter(|one| is_voter(one) == voters);
            of_kind.map(|(_, of)| *of).max_by_key(|(sent, received)| sent + received).unwrap_or_default()
        };
        for (who, (sent, received)) in [("voter", busiest(true)), ("other", busiest(false))] {
            let a_second = |count: u64| count as f64 / time.as_secs_f64();
            let (sent, received) = (a_second(sent), a_second(received));
            println!("                    busiest {who}: {sent:.0} sent and {received:.0} received a second");
        }
    }
}
