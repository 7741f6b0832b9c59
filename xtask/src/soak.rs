//! The acceptance rounds over real processes and namespaces in full number; CI runs a bounded share of the same tests.

use anyhow::{Result, bail};

use crate::command::{self, cargo};
use crate::install;

/// Options of `cargo xtask soak`.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Rounds of each test, instead of the number that its claim names.
    #[arg(long)]
    rounds: Option<u32>,
    /// Minutes of the tests that go on for a while, instead of the number that their claim names.
    #[arg(long)]
    minutes: Option<f64>,
    /// Only tests whose name contains this.
    filter: Option<String>,
}

/// `cargo xtask soak`.
pub(crate) fn run(args: &Args) -> Result<()> {
    if !install::has_nextest() {
        bail!("cargo-nextest is not installed: run `cargo xtask test --install` once");
    }
    let tests = args.filter.as_ref().map_or_else(String::new, |name| format!(" & test({name})"));
    let filter = format!("package(ekka-cli) & test(/^net_/){tests}");
    let mut nextest = cargo(["nextest", "run", "--cargo-profile", "ci", "--profile", "soak", "--locked"]);
    nextest.args(["-p", "ekka-cli", "-E", &filter]);
    nextest.env("EKKA_SOAK", "1");
    if let Some(rounds) = args.rounds {
        nextest.env("EKKA_ROUNDS", rounds.to_string());
    }
    if let Some(minutes) = args.minutes {
        nextest.env("EKKA_MINUTES", minutes.to_string());
    }
    command::run(&mut nextest)
}
