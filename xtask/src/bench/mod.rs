//! `cargo xtask bench`: alternating runs beside peers, medians, and the page that shows them.

mod calls;
mod commits;
mod page;
mod tables;

use std::process::Command;

use anyhow::{Context, Result, bail};

use self::calls::Calls;
use self::commits::Commits;
use self::tables::Tables;
use crate::command::{self, cargo};

/// Options of `cargo xtask bench`.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Runs of each side, one after the other.
    #[arg(long, default_value_t = 5)]
    runs: usize,
    /// Milliseconds of each measurement.
    #[arg(long, default_value_t = 2000)]
    ms: u64,
    /// Measure only this; may be given several times.
    #[arg(long, value_enum)]
    only: Vec<Part>,
    /// The program to measure, where it is built already.
    #[arg(long)]
    ekka: Option<String>,
    /// Only show the figures, and leave `docs/benchmarks.md` as it is.
    #[arg(long)]
    dry: bool,
}

/// What can be measured.
#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Part {
    /// Calls, beside erpc
    Calls,
    /// Commits of the groups
    Commits,
    /// Tables, beside Mnesia and etcd
    Tables,
}

const PAGE: &str = "docs/benchmarks.md";

/// Runs the benchmark.
pub(crate) fn run(args: &Args) -> Result<()> {
    let wanted = |part| args.only.is_empty() || args.only.contains(&part);
    if wanted(Part::Calls) {
        Calls::prepare()?;
    }
    if wanted(Part::Tables) {
        Tables::prepare()?;
    }
    if args.ekka.is_none() {
        command::run(&mut cargo(["build", "--release", "--locked", "-p", "ekka-cli", "--bin", "ekka"]))?;
    }
    let ekka = args.ekka.clone().unwrap_or_else(|| "target/release/ekka".to_owned());
    let (mut calls, mut commits, mut tables) = (Calls::default(), Commits::default(), Tables::default());
    let begun = load();
    for run in 1..=args.runs {
        println!("run {run} of {}", args.runs);
        if wanted(Part::Calls) {
            calls.run(&ekka, args)?;
        }
        if wanted(Part::Commits) {
            commits.run(&ekka, args)?;
        }
        if wanted(Part::Tables) {
            tables.run(&ekka, args)?;
        }
    }
    let how = how(args, &[begun, load()]);
    let mut sections = Vec::new();
    if wanted(Part::Calls) {
        sections.push(("Calls, beside Erlang's `erpc`", calls.section() + &how));
    }
    if wanted(Part::Commits) {
        sections.push(("Commits", commits.section() + &how));
    }
    if wanted(Part::Tables) {
        sections.push(("Tables, beside Mnesia and etcd", tables.section() + &how));
    }
    for (heading, text) in &sections {
        println!("## {heading}\n\n{text}");
    }
    if !args.dry {
        let page = std::fs::read_to_string(PAGE).with_context(|| format!("cannot read {PAGE}"))?;
        std::fs::write(PAGE, page::updated(&page, &sections)).with_context(|| format!("cannot write {PAGE}"))?;
    }
    Ok(())
}

/// How a section was measured.
fn how(args: &Args, loads: &[String]) -> String {
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    format!(
        "\nMedians of {} alternating runs of {} ms; {cores} cores, load of the machine {} before and {} after.\n",
        args.runs, args.ms, loads[0], loads[1]
    )
}

/// Runs a benchmark and takes the figures, which are its last line.
fn read(command: &mut Command, take: impl FnOnce(&str) -> Result<()>) -> Result<()> {
    let line = command::shown(command);
    println!("$ {line}");
    let output = command.output().with_context(|| format!("cannot start `{line}`"))?;
    if !output.status.success() {
        bail!("`{line}` failed: {}", String::from_utf8_lossy(&output.stderr));
    }
    let text = String::from_utf8_lossy(&output.stdout);
    let last = text.lines().last().unwrap_or_default();
    take(last).with_context(|| format!("`{line}` printed no figures: {last}"))
}

fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted.get(sorted.len() / 2).copied().unwrap_or(f64::NAN)
}

/// The load of the machine over the last minute.
fn load() -> String {
    let text = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split(' ').next().unwrap_or("?").to_owned()
}
