//! All tests of the project in one call, with their totals at the end.

use anyhow::{Result, bail};

use crate::command::{cargo, run_and_read};
use crate::install;
use crate::totals::Totals;

/// Options of `cargo xtask test`.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Install what is missing first: system packages by apt, cargo-nextest by cargo.
    #[arg(long)]
    install: bool,
    /// Arguments for `cargo nextest run`, for instance a filter.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    rest: Vec<String>,
}

/// `cargo xtask test`.
pub(crate) fn run(args: &Args) -> Result<()> {
    if args.install {
        install::install()?;
    }
    let mut totals = Totals::default();
    let mut failed = Vec::new();
    for (name, command) in runs(args)? {
        let (lines, success) = run_and_read(&mut cargo(&command))?;
        totals.add_all(&lines);
        if !success {
            failed.push(name);
        }
    }
    println!("\ntest: {totals}");
    if !failed.is_empty() {
        bail!("failed: {}", failed.join(", "));
    }
    if totals.passed == 0 {
        bail!("no test ran");
    }
    Ok(())
}

type Run = (&'static str, Vec<String>);

fn runs(args: &Args) -> Result<Vec<Run>> {
    let words = |text: &str| text.split(' ').map(str::to_owned).collect::<Vec<_>>();
    if install::has_nextest() {
        let mut nextest = words("nextest run --workspace --cargo-profile ci --locked --no-fail-fast");
        nextest.extend(args.rest.iter().cloned());
        let mut runs = vec![("nextest", nextest)];
        // A filter asks for some tests only; examples in the documentation have no names to filter by.
        if args.rest.is_empty() {
            runs.push(("doctests", words("test --doc --workspace --profile ci --locked")));
        }
        return Ok(runs);
    }
    if !install::forbidden() {
        bail!("cargo-nextest is not installed: run `cargo xtask test --install`, or set EKKA_NO_INSTALL to do without");
    }
    println!("cargo-nextest is absent and EKKA_NO_INSTALL is set: cargo's own runner is used");
    Ok(vec![
        ("tests", words("test --workspace --exclude ekka-cli --profile ci --locked --no-fail-fast")),
        // Real processes measure times: one test at a time.
        ("tests of ekka-cli", words("test -p ekka-cli --profile ci --locked --no-fail-fast -- --test-threads=1")),
    ])
}
