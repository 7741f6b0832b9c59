//! Deterministic simulation: hands its arguments to the binary that knows the worlds.

use anyhow::{Result, bail};

use crate::command::{self, cargo};
use crate::install;

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
    // As the tests are built; a thousand nodes are worth an optimised build.
    let large = args.rest.iter().any(|word| word.contains("formation1000"));
    let profile = if large { "release" } else { "ci" };
    let mutants = args.rest.iter().any(|word| word == "--mutants");
    let before = ["run", "--quiet", "--profile", profile, "--locked", "-p", "ekka-sim", "--bin", "ekka-sim", "--"];
    let mut sim = cargo(before);
    // The engine lets the runtime's chance decide what of several that is ready comes first; with this it has the seed of
    // the run, so that a seed repeats to the last message. A folder of its own, or each build would undo the other.
    sim.env("RUSTFLAGS", "--cfg tokio_unstable").env("CARGO_TARGET_DIR", "target/sim");
    command::run(sim.args(&args.rest))?;
    if mutants { rooms_and_adapters() } else { Ok(()) }
}

/// The faults that are planted in the tests of single rooms and of the consensus adapter: those of the lease, of the
/// generations, of membership, of merging. Each test names its faults, and fails where one of them is not caught.
fn rooms_and_adapters() -> Result<()> {
    if !install::has_nextest() {
        bail!("cargo-nextest is not installed: run `cargo xtask test --install` once");
    }
    let filter = "test(/planted_fault|mutant|(stale_read|forgotten_vote|double_apply)_is_caught/)";
    let words = ["nextest", "run", "--cargo-profile", "ci", "--locked", "-p", "ekka-core", "-p", "ekka"];
    command::run(cargo(words).args(["-E", filter]))
}
