//! Developer commands of the project: `cargo xtask check | fix | test | sim | soak | bench`.
//!
//! Each is a short list of ordinary cargo calls, printed before they run, so that any of them can be repeated by hand.
#![forbid(unsafe_code)]

mod bench;
mod check;
mod command;
mod fix;
mod install;
mod licences;
mod metadata;
mod sim;
mod soak;
mod test;
mod totals;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(name = "cargo xtask", about = "Developer commands of ekka", version)]
struct Args {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Read-only gate: format, clippy, features alone, documentation, licences and sources, tidy.
    Check,
    /// Formats, and applies what clippy can correct by itself.
    Fix,
    /// All tests: unit, property, simulation share, real processes, namespaces, documentation.
    Test(test::Args),
    /// Deterministic simulation by seed; arguments go to the binary `ekka-sim` as they are.
    Sim(sim::Args),
    /// The acceptance rounds over real processes in full number.
    Soak(soak::Args),
    /// Benchmarks beside peers.
    Bench(bench::Args),
}

fn main() -> ExitCode {
    let outcome = match Args::parse().task {
        Task::Check => check::run(),
        Task::Fix => fix::run(),
        Task::Test(args) => test::run(&args),
        Task::Sim(args) => sim::run(&args),
        Task::Soak(args) => soak::run(&args),
        Task::Bench(args) => bench::run(&args),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("xtask: {error:#}");
            ExitCode::FAILURE
        }
    }
}
