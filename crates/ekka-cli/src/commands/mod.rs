//! What each command does.

mod backup;
mod bench;
mod bench_commit;
mod bench_growth;
mod bench_table;
mod change;
mod check;
mod discover;
mod events;
mod health;
mod lock;
mod losses;
mod members;
mod pages;
mod rpc;
mod status;
mod table;
mod table_file;
mod table_import;
mod table_verify;
mod why;

use serde_json::{Value, json};

use crate::args::{BenchCommand, Cli, Command, Global, LockCommand};
use crate::client::Client;
use crate::exit::Failure;
use crate::{agent, demo, out, pick};

/// Runs one command on a runtime of this thread.
pub(crate) fn run(cli: Cli) -> Result<(), Failure> {
    let Cli { global, command } = cli;
    match command {
        Command::Agent(args) => {
            needs_no_agent(&global, "agent")?;
            agent::run(args)
        }
        Command::Demo => {
            needs_no_agent(&global, "demo")?;
            demo::run(global.json)
        }
        Command::Check(args) => {
            needs_no_agent(&global, "check")?;
            check::run(&args, global.json)
        }
        Command::Discover(args) => {
            needs_no_agent(&global, "discover")?;
            block_on(discover::run(&args, global.json))
        }
        Command::Bench(BenchCommand::Rpc { self_contained: true, stopped_peer, for_, .. }) => {
            needs_no_agent(&global, "bench rpc --self-contained")?;
            if stopped_peer { bench::stopped_peer(global.json) } else { bench::self_contained(for_, global.json) }
        }
        Command::Bench(BenchCommand::Commit { self_contained: true, group, for_ }) => {
            needs_no_agent(&global, "bench commit --self-contained")?;
            bench_commit::self_contained(group, for_, global.json)
        }
        Command::Bench(BenchCommand::Table {
            self_contained: true,
            kind,
            storage,
            rows,
            value_bytes,
            threads,
            for_,
        }) => {
            needs_no_agent(&global, "bench table --self-contained")?;
            let plan = bench_table::Plan { kind, storage, rows, value_bytes, threads, each: for_ };
            bench_table::self_contained(plan, global.json)
        }
        Command::Bench(BenchCommand::Growth { nodes, rows, value_bytes, storage, for_, .. }) => {
            needs_no_agent(&global, "bench growth")?;
            let plan = bench_growth::Plan { nodes: nodes.into(), rows, value_bytes, storage, each: for_ };
            bench_growth::self_contained(plan, global.json)
        }
        Command::Backup(args) if args.verify => {
            needs_no_agent(&global, "backup --verify")?;
            backup::verify(&args.file, global.json)
        }
        Command::Lock(LockCommand::Exec { parent, command }) => lock::exec(parent, &command),
        Command::Keygen => keygen(global.json),
        Command::Completions { shell } => pages::completions(shell),
        Command::Man => pages::man(),
        other => {
            let client = pick::pick(&global.pick)?;
            block_on(talk(&client, other, global.json))
        }
    }
}

async fn talk(client: &Client, command: Command, json: bool) -> Result<(), Failure> {
    match command {
        Command::Status => status::run(client, json).await,
        Command::Members => members::members(client, json).await,
        Command::Links => members::links(client, json).await,
        Command::Events(args) => events::run(client, args, json).await,
        Command::Why { id } => why::run(client, id, json).await,
        Command::Cookie => members::cookie(client, json).await,
        Command::Version => members::version(client, json).await,
        Command::Health(args) => health::run(client, args, json).await,
        Command::Rpc(command) => rpc::run(client, command, json).await,
        Command::Table(command) => table::run(client, command, json).await,
        Command::Backup(args) => backup::backup(client, args, json).await,
        Command::Restore(args) => backup::restore(client, args, json).await,
        Command::Lock(command) => lock::run(client, command, json).await,
        Command::Losses { table } => losses::run(client, table, json).await,
        Command::Bench(BenchCommand::Rpc { target, for_, .. }) => bench::run(client, target, for_, json).await,
        Command::Bench(BenchCommand::Commit { group, for_, .. }) => bench_commit::run(client, group, for_, json).await,
        Command::Bench(BenchCommand::Table { kind, storage, rows, value_bytes, threads, for_, .. }) => {
            bench_table::run(client, bench_table::Plan { kind, storage, rows, value_bytes, threads, each: for_ }, json)
                .await
        }
        Command::Bench(BenchCommand::Count { n }) => bench::count(client, n, json).await,
        Command::Reload => change::reload(client, json).await,
        other => change::run(client, other, json).await,
    }
}

fn keygen(json: bool) -> Result<(), Failure> {
    let cookie = ekka::transport::CookieSet::generate();
    if json { out::print(&format!("{}\n", json!({"cookie": cookie}))) } else { out::print(&format!("{cookie}\n")) }
}

/// `-n`, `--data-dir` and the like pick a running agent: here there is none.
fn needs_no_agent(global: &Global, command: &str) -> Result<(), Failure> {
    if global.pick.is_given() {
        return Err(Failure::usage(format!(
            "`ekka {command}` talks to no agent: in place of -n and --data-dir it takes --name NAME and --set node.data_dir=DIR"
        )));
    }
    Ok(())
}

/// Runs a future on this thread.
pub(crate) fn block_on<T>(future: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(future)
}

/// Prints what the agent gave, as it gave it: fields of newer agents are kept.
fn pass_on(text: &str) -> Result<(), Failure> {
    out::print(&format!("{}\n", text.trim_end()))
}

/// A body without the fields that were not asked for.
fn body(fields: &[(&str, Value)]) -> Value {
    fields.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect::<serde_json::Map<_, _>>().into()
}
