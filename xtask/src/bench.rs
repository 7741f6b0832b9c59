//! Benchmarks beside peers come with tables, locks and RPC; until then the command says so and fails.

use std::process::ExitCode;

/// `cargo xtask bench`: exit 2, as every command of the project whose feature is not there yet.
pub(crate) fn run() -> ExitCode {
    eprintln!("xtask: no benchmark yet: tables, locks and RPC, which the benchmarks compare, are not built");
    ExitCode::from(2)
}
