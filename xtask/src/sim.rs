//! Deterministic simulation: hands its arguments to the binary that knows the worlds.

use anyhow::Result;

use crate::command::{self, cargo};

/// Options of `cargo xtask sim`.
#[derive(clap::Args)]
#[command(disable_help_flag = true)]
pub(crate) struct Args {
    /// `--seed N`, `--seeds N`, `--minutes M`, `--mutants`; `--help` shows all.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    rest: Vec<String>,
}

/// `cargo xtask sim`.
pub(crate) fn run(args: &Args) -> Result<()> {
    // The profile that the tests have built already; a thousand nodes are worth a build of their own.
    let large = args.rest.iter().any(|word| word.contains("formation1000"));
    let profile = if large { "release" } else { "ci" };
    let before = ["run", "--quiet", "--profile", profile, "--locked", "-p", "ekka-sim", "--bin", "ekka-sim", "--"];
    command::run(cargo(before).args(&args.rest))
}
