//! The read-only gate. Every step runs, so that one call shows all that is wrong; nothing outside `target` is written.

use std::process::Command;
use std::time::Instant;

use anyhow::{Result, bail};

use crate::command::{self, cargo};
use crate::totals::Totals;
use crate::{licences, metadata};

/// `cargo xtask check`.
pub(crate) fn run() -> Result<()> {
    run_all(gate()?)
}

/// One named part of the gate.
struct Step {
    name: String,
    work: Box<dyn FnOnce() -> Result<()>>,
}

impl Step {
    fn new(name: impl Into<String>, work: impl FnOnce() -> Result<()> + 'static) -> Self {
        Self { name: name.into(), work: Box::new(work) }
    }

    fn command(name: impl Into<String>, mut command: Command) -> Self {
        Self::new(name, move || command::run(&mut command))
    }
}

/// The gate of the project.
fn gate() -> Result<Vec<Step>> {
    let metadata = metadata::read()?;
    let mut steps = vec![
        Step::command("fmt", cargo(["fmt", "--all", "--", "--check"])),
        Step::command("clippy", with_locked(&["clippy", "--workspace", "--all-targets"], &["--", "-D", "warnings"])),
    ];
    steps.extend(feature_steps(&metadata::features_of(&metadata, "ekka")));
    let mut doc = with_locked(&["doc", "--workspace", "--lib", "--no-deps"], &[]);
    doc.env("RUSTDOCFLAGS", "-Dwarnings");
    steps.push(Step::command("doc", doc));
    steps.push(Step::new("licences", move || licences::check(&metadata)));
    // Of the whole workspace, with the features that all tests are built with: they are built once.
    let mut tidy = with_locked(&["test", "--workspace", "--test", "it"], &["tidy::"]);
    steps.push(Step::new("tidy", move || {
        let (lines, success) = command::run_and_read(&mut tidy)?;
        let mut totals = Totals::default();
        totals.add_all(&lines);
        if !success || totals.passed == 0 {
            bail!("a rule is broken, or none was looked at: {totals}");
        }
        Ok(())
    }));
    Ok(steps)
}

/// None, all, and each feature alone: a feature may only add.
fn feature_steps(features: &[String]) -> Vec<Step> {
    let check = |name: String, flags: &[&str]| {
        let args: Vec<&str> = ["check", "-p", "ekka"].iter().chain(flags).copied().collect();
        Step::command(name, with_locked(&args, &[]))
    };
    let mut steps = vec![
        check("features: none".into(), &["--no-default-features"]),
        check("features: all".into(), &["--all-features"]),
    ];
    for feature in features {
        steps.push(check(format!("features: {feature}"), &["--no-default-features", "--features", feature]));
    }
    steps
}

/// A cargo call in the profile that all gates share, with the lock file as it is.
fn with_locked(before: &[&str], after: &[&str]) -> Command {
    cargo(before.iter().chain(&["--profile", "ci", "--locked"]).chain(after))
}

/// Runs all steps and fails with the names of those that failed.
fn run_all(steps: Vec<Step>) -> Result<()> {
    let mut failed = Vec::new();
    let mut times = Vec::new();
    for step in steps {
        println!("\n== {}", step.name);
        let start = Instant::now();
        if let Err(error) = (step.work)() {
            eprintln!("{}: {error:#}", step.name);
            failed.push(step.name.clone());
        }
        times.push(format!("{} {:.0} s", step.name, start.elapsed().as_secs_f64()));
    }
    println!("\ncheck: {}", times.join(", "));
    if !failed.is_empty() {
        bail!("check failed: {}", failed.join(", "));
    }
    Ok(())
}
