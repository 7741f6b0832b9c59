//! `cargo xtask sim`: runs seeds of the simulated worlds and says what to type when one fails.
#![forbid(unsafe_code)]

mod formation;
mod options;
mod seeds;

use std::process::ExitCode;

use ekka_sim::mutants::Mutant;
use options::{Kind, Options};
use tracing_subscriber::EnvFilter;

fn main() -> ExitCode {
    let options = match Options::parse(std::env::args().skip(1)) {
        Ok(Some(options)) => options,
        Ok(None) => {
            print!("{}", options::HELP);
            return ExitCode::SUCCESS;
        }
        Err(error) => {
            eprintln!("ekka-sim: {error}\n\n{}", options::HELP);
            return ExitCode::from(2);
        }
    };
    if let Some(filter) = &options.log
        && let Err(error) = log(filter)
    {
        eprintln!("ekka-sim: --log {filter}: {error}");
        return ExitCode::from(2);
    }
    let passed = match (options.mutants, options.kind) {
        (true, kind) => mutants(options.seeds.unwrap_or(2_000), kind),
        (false, Kind::Formation1000) => formation::run(options.nodes, options.seed.unwrap_or(1)),
        (false, _) => seeds::run(&options),
    };
    if passed { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Writes what is logged to stderr. Virtual time is not told: the real one would mislead.
fn log(filter: &str) -> Result<(), String> {
    let filter = filter.parse::<EnvFilter>().map_err(|error| error.to_string())?;
    let lines =
        tracing_subscriber::fmt().with_env_filter(filter).with_ansi(false).with_writer(std::io::stderr).without_time();
    lines.try_init().map_err(|error| error.to_string())
}

/// Hunts every planted fault, or with `--kind tables` those of tables; whether all were caught.
fn mutants(seeds: u64, kind: Kind) -> bool {
    // A caught fault is often a panic of `check`; its words come with the failure.
    std::panic::set_hook(Box::new(|_| {}));
    let mut all = true;
    let wanted = |mutant: &Mutant| kind != Kind::Tables || matches!(mutant, Mutant::Tables(_));
    for mutant in Mutant::ALL.into_iter().filter(wanted) {
        if let Some((seed, failure)) = mutant.hunt(seeds) {
            println!("caught with seed {seed:#x}: {mutant}\n    {}", failure.what);
        } else {
            all = false;
            println!("NOT CAUGHT within {seeds} seeds: {mutant}. The harness is blind to it");
        }
    }
    all
}
