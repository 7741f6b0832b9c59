//! The peer of `ekka bench table`: an etcd of three members on loopback, its clients at the leader.
//! Prints one JSON object a run. `bench/README.md` says what is measured.

mod api;
mod members;
mod work;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use clap::error::ErrorKind;
use clap::{ArgGroup, Parser};
use tokio::signal::unix::{SignalKind, signal};

use crate::members::{MEMBERS, Members};
use crate::work::{Load, Mode};

const MEMORY: &str = "/dev/shm";

/// Measures an etcd of three members on loopback
#[derive(Parser)]
#[command(group = ArgGroup::new("storage").args(["dir", "memory"]).required(true))]
struct Args {
    /// What the clients do
    #[arg(long, value_enum, value_name = "put|linearizable_get|serializable_get", hide_possible_values = true)]
    mode: Mode,
    /// Folder on a disc below which the members keep their data
    #[arg(long, value_name = "FOLDER")]
    dir: Option<PathBuf>,
    /// Data in /dev/shm instead
    #[arg(long)]
    memory: bool,
    /// Clients, each with one operation under way
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    clients: u32,
    /// Connections that the clients share in turn; at most one for each client
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    connections: u32,
    /// Rows, filled before the run
    #[arg(long, value_name = "N", default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(1..=10_000_000))]
    rows: u32,
    /// Bytes of a value
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u32).range(16..=1_000_000))]
    value_bytes: u32,
    /// For how long
    #[arg(long, value_name = "S", default_value = "2", value_parser = seconds)]
    seconds: Duration,
    /// One JSON object instead of text
    #[arg(long)]
    json: bool,
}

fn main() -> ExitCode {
    let args = Args::parse();
    // Each client has rows of its own.
    if args.clients > args.rows {
        refuse(&format!("--clients {}: accepted are at most as many as --rows, here {}", args.clients, args.rows));
    }
    if let Some(dir) = args.dir.as_deref().filter(|dir| !dir.is_dir()) {
        refuse(&format!("--dir {}: is no folder; accepted is a folder that exists", dir.display()));
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    match runtime.context("cannot start the runtime").and_then(|runtime| runtime.block_on(until_stopped(&args))) {
        Ok(text) => {
            println!("{text}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("etcd-bench: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn refuse(text: &str) -> ! {
    use clap::CommandFactory as _;
    Args::command().error(ErrorKind::ValueValidation, text).exit()
}

/// A signal ends the run as an error does: what was started is ended.
async fn until_stopped(args: &Args) -> Result<String> {
    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    tokio::select! {
        result = run(args) => result,
        _ = interrupt.recv() => bail!("interrupted"),
        _ = terminate.recv() => bail!("told to end"),
    }
}

async fn run(args: &Args) -> Result<String> {
    let base = args.dir.as_deref().unwrap_or(Path::new(MEMORY)).canonicalize().context("cannot find the folder")?;
    let members = Members::start(&base).await?;
    let leader = members.leader().await?;
    let load = Load {
        mode: args.mode,
        clients: args.clients as usize,
        connections: args.connections.min(args.clients) as usize,
        rows: args.rows as usize,
        value_bytes: args.value_bytes as usize,
    };
    load.fill(&members, leader).await?;
    load.run(&members, leader, args.seconds / 5).await?.settle(&members).await?;
    let before = members.syncs().await?;
    let done = load.run(&members, leader, args.seconds).await?;
    let settle = done.settle(&members).await?;
    let after = members.syncs().await?;
    if members.leader().await? != leader {
        bail!("the leader changed during the run, which so measures an election too: run it again");
    }
    Ok(shown(args, &done, settle, (after.log - before.log, after.store - before.store)))
}

fn shown(args: &Args, done: &work::Done, settle: Duration, (fsyncs, commits): (u64, u64)) -> String {
    let mode =
        clap::ValueEnum::to_possible_value(&args.mode).map_or(String::new(), |value| value.get_name().to_owned());
    let storage = if args.memory { "memory" } else { "disc" };
    let Args { clients, rows, value_bytes, .. } = args;
    let (ops, settle) = (done.times.len(), settle.as_secs_f64());
    let seconds = done.elapsed.as_secs_f64() + settle;
    #[expect(clippy::cast_precision_loss, reason = "no run has so many operations")]
    let rate = ops as f64 / seconds;
    let (p50, p99) = (done.percentile(50), done.percentile(99));
    if args.json {
        format!(
            "{{\"bench\": \"etcd\", \"mode\": \"{mode}\", \"storage\": \"{storage}\", \"clients\": {clients}, \
             \"rows\": {rows}, \"value_bytes\": {value_bytes}, \"ops\": {ops}, \"seconds\": {seconds:.3}, \
             \"ops_per_s\": {rate:.1}, \"p50_us\": {p50:.1}, \"p99_us\": {p99:.1}, \"fsyncs\": {fsyncs}, \
             \"store_syncs\": {commits}, \"settle_s\": {settle:.4}}}"
        )
    } else {
        format!(
            "{mode} in {storage}, {clients} clients, {rows} rows, values of {value_bytes} bytes: {ops} operations in \
             {seconds:.3} s, {rate:.1} /s, p50 {p50:.1} us, p99 {p99:.1} us; the logs of {MEMBERS} members synced \
             {fsyncs} times, their stores {commits}; {settle:.4} s of it until all members were complete"
        )
    }
}

fn seconds(text: &str) -> Result<Duration, String> {
    let accepted = || "accepted is a number from 0.1 to 3600".to_owned();
    let number: f64 = text.parse().map_err(|_| accepted())?;
    if (0.1..=3600.0).contains(&number) { Ok(Duration::from_secs_f64(number)) } else { Err(accepted()) }
}
