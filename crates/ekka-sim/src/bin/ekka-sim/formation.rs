//! The report on many nodes: how long they take to form and agree, and what it costs on the network.

use std::time::Duration;

use ekka_core::limits::HEARTBEAT_INTERVAL;
use ekka_sim::core_world::{NodeSpec, World, converged, name};

/// How many of the nodes are seeds.
const SEEDS: usize = 5;
/// How long they may take.
const LIMIT: Duration = Duration::from_secs(120);
/// How long the quiet cluster is measured.
const QUIET: Duration = Duration::from_secs(10);

/// Starts `nodes` nodes within a second, waits until all show all up, then measures the quiet cluster.
pub(crate) fn run(nodes: usize, seed: u64) -> bool {
    let names: Vec<_> = (0..nodes).map(name).collect();
    let seeds = &names[..SEEDS.min(nodes)];
    let mut world = World::new(names.iter().map(|own| NodeSpec::new(own, seeds)).collect(), seed);
    world.checked = nodes <= 100;
    match measure(&mut world, nodes) {
        Ok(()) => true,
        Err(failure) => {
            println!("{}", failure.tell("formation1000", seed));
            false
        }
    }
}

fn measure(world: &mut World, nodes: usize) -> Result<(), ekka_sim::failure::Failure> {
    for i in 0..nodes {
        world.start(i);
        world.run_for(Duration::from_secs(1) / u32::try_from(nodes).unwrap_or(1))?;
    }
    let took =
        world.run_to("all nodes in one cluster, each showing all up", LIMIT, converged)? + Duration::from_secs(1);
    let forming = world.report();
    world.run_for(QUIET)?;
    let quiet = world.report();
    let periods = took.as_secs_f64() / HEARTBEAT_INTERVAL.as_secs_f64();
    println!("{nodes} nodes, {} of them seeds, started within 1 s:", SEEDS.min(nodes));
    println!("  all agree after   {:.2} virtual s = {periods:.1} protocol periods", took.as_secs_f64());
    print_rate("  while forming", nodes, took, (forming.frames, forming.bytes));
    print_rate("  once formed  ", nodes, QUIET, (quiet.frames - forming.frames, quiet.bytes - forming.bytes));
    Ok(())
}

#[expect(clippy::cast_precision_loss, reason = "figures for people")]
fn print_rate(when: &str, nodes: usize, time: Duration, (frames, bytes): (u64, u64)) {
    let per = nodes as f64 * time.as_secs_f64();
    println!("{when}     {:.1} messages and {:.0} bytes per node and second", frames as f64 / per, bytes as f64 / per);
}
